"""What holds instead of what the model tells: measured or given densities, given bit widths."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import yaml

from eapc.errors import UsageError
from eapc.hardware import HardwareModel, MeasuredMachine
from eapc.model import Array
from eapc.workload import MacFractions


@dataclass(frozen=True)
class DensityTable:
    """Densities to use where they are not the weights' own: by tensor, else by default.

    `macs` gives, by node, what has been counted of its MACs, `macs_with` how they would count
    with other weights, of which flags tell the non-zeros.
    """

    by_tensor: Mapping[str, float] = field(default_factory=dict)
    activations: float = 1.0
    weights: float | None = None
    macs: Mapping[str, MacFractions] = field(default_factory=dict)
    macs_with: Mapping[str, Callable[[Array], MacFractions]] = field(default_factory=dict)

    def activation(self, tensor: str) -> float:
        """Density of an activation, 0 to 1."""
        return self.by_tensor.get(tensor, self.activations)

    def weight(self, tensor: str, own: float) -> float:
        """Density of a weight tensor whose own zeros give `own`."""
        override = own if self.weights is None else self.weights
        return self.by_tensor.get(tensor, override)


_DEFAULTS = ("activations", "weights")


def read_densities(density: float | str | Path | None) -> DensityTable | None:
    """A density table from a number (0 to 1), a number as text, or a YAML file.

    The file maps tensor names to densities; `activations` and `weights` stand for all
    tensors of that kind. None gives None: densities are then measured. Raises UsageError.
    """
    if density is None:
        return None
    number = _number(density)
    if number is not None:
        return DensityTable(activations=_checked("--density", number))
    path = Path(density)  # type: ignore[arg-type]  # a number has returned already
    entries = _read(path)
    values = {str(key): _entry(path, str(key), value) for key, value in entries.items()}
    return DensityTable(
        by_tensor={key: value for key, value in values.items() if key not in _DEFAULTS},
        activations=values.get("activations", 1.0),
        weights=values.get("weights"),
    )


def _number(density: float | str | Path) -> float | None:
    try:
        return float(density)  # type: ignore[arg-type]  # a Path raises TypeError
    except (TypeError, ValueError):
        return None


def _checked(where: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise UsageError(f"{where}: expected a fraction from 0 to 1, got {value}")
    return value


def _entry(path: Path, key: str, value: object) -> float:
    number = _number(value) if isinstance(value, int | float | str) else None
    if number is None or isinstance(value, bool):
        raise UsageError(f"{path}: {key}: expected a fraction from 0 to 1, got {value!r}")
    return _checked(f"{path}: {key}", number)


def _read(path: Path) -> dict[object, object]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--density: '{path}' is neither a number nor a readable file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: not a YAML file: {reason}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a mapping of tensor names to densities")
    return content


_WIDEST = 64


@dataclass(frozen=True)
class GivenBits:
    """Bits of every weight and of every activation; None leaves them as the model implies.

    `by_tensor` goes before both: pairs of a tensor's name and its bits.
    """

    weights: int | None = None
    activations: int | None = None
    by_tensor: tuple[tuple[str, int], ...] = ()

    @cached_property
    def of_tensor(self) -> Mapping[str, int]:
        """Bits by tensor, of those that are named."""
        return dict(self.by_tensor)

    def of(self, tensor: str, *, is_constant: bool) -> int | None:
        """Bits of a tensor; None where the model is to tell."""
        every = self.weights if is_constant else self.activations
        return self.of_tensor.get(tensor, every)

    def __str__(self) -> str:
        """As it is typed: `8`, or `weights=4,activations=8`; what is given by tensor is counted."""
        kinds = {"weights": self.weights, "activations": self.activations}
        told = [f"{kind}={bits}" for kind, bits in kinds.items() if bits is not None]
        if self.weights is not None and self.weights == self.activations:
            told = [str(self.weights)]
        more = [f"{len(self.by_tensor)} by tensor"] if self.by_tensor else []
        return ",".join([*told, *more])


def require_known(
    bits: GivenBits,
    machine: HardwareModel | MeasuredMachine | None,
    constants: Container[str] = (),
) -> None:
    """Raise UsageError for a width that the machine does not know.

    Of the tensors that are named `constants` are weights.
    """
    widths = machine.widths if machine else None
    if machine is None or widths is None:
        return
    given: list[tuple[str, Kind, int | None]] = [
        ("weights", "weights", bits.weights),
        ("activations", "activations", bits.activations),
    ]
    for name, own in bits.by_tensor:
        given.append((name, "weights" if name in constants else "activations", own))
    for name, kind, width in given:
        allowed = widths.of(kind)
        if width is not None and width not in allowed:
            *some, last = map(str, allowed)
            known = f"{', '.join(some)} and {last}" if some else last
            of = kind if name == kind else f"{kind}, here {name},"
            raise UsageError(f"--bits: {machine.name} knows {of} of {known} bits, not {width}")


Kind = Literal["weights", "activations"]


BitsSource = str | int | Mapping[str, int] | GivenBits
"""Widths as people write them: `8`, `weights=4,activations=8`, {"weights": 4}."""


def read_bits(given: BitsSource | None, other: str = "") -> GivenBits:
    """Widths of 1 to 64 bits from 8 for both, or `weights=8,activations=8`, one of them or none.

    Raises UsageError, which names the `other` word that the option takes as well.
    """
    if given is None or isinstance(given, GivenBits):
        return given or GivenBits()
    if isinstance(given, Mapping):
        given = ",".join(f"{kind}={bits}" for kind, bits in given.items())
    return _read_bits(str(given), other)


def _read_bits(text: str, other: str) -> GivenBits:
    if text.strip().isdecimal():
        text = f"weights={text},activations={text}"
    given: dict[str, int] = {}
    for entry in text.split(","):
        kind, _, bits = (part.strip() for part in entry.partition("="))
        if kind not in ("weights", "activations") or not bits.isdecimal():
            taken = ["8", "weights=8,activations=8", *filter(None, (other,))]
            expected = f"{', '.join(taken[:-1])} or {taken[-1]}"
            raise UsageError(f"--bits: expected {expected}, got '{text}'")
        if kind in given:
            raise UsageError(f"--bits: {kind} are given twice")
        if not 1 <= int(bits) <= _WIDEST:
            raise UsageError(f"--bits: {kind}: expected 1 to {_WIDEST} bits, got {bits}")
        given[kind] = int(bits)
    return GivenBits(given.get("weights"), given.get("activations"))
