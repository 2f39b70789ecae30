"""--target-size: how many bytes the file may have, as it is or packed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eapc.errors import EapcError, UsageError
from eapc.goals.result import Pruned
from eapc.goals.target import Judge, Target

if TYPE_CHECKING:
    from eapc.goals.trials import Trials
    from eapc.model import Model
    from eapc.pipeline import Recipe

_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([kKmMgG]?)(i?)[bB]?")

_WIDTHS = (8, 4)
"""Bits of weights that are tried where none are given; activations have 8."""

PACKINGS = ("gzip",)

_NO_SMALLER = (
    "zeros make a plain file no smaller: give --structured, so that channels go, or --packed gzip"
)


@dataclass(frozen=True)
class TargetSize(Target):
    """The file's bytes, its external data included, at most a fraction of the input's, or so many.

    `value` is a fraction up to 1, or bytes: a number above 1, or text such as `200kB`, `1.5MB`
    or `64KiB`. With `packed` they are those of the files packed by gzip, at its default level.
    Where the recipe names no bits they are chosen as well: those of the file, 8, or, packed, 4 of
    weights, whichever reaches the size with the least loss of those that may.
    """

    value: float | str
    packed: str = field(
        default="",
        metadata={
            "option": "--packed",
            "metavar": "gzip",
            "kind": str,
            "help": "With --target-size: count the file packed by gzip.",
        },
    )

    option = "--target-size"
    metavar = "F|BYTES"
    help = "At most this fraction of the file's bytes, or so many, such as 200kB."
    kind = str
    remedy = "a higher --target-size keeps more"
    cost = prefers = "size"
    is_searched = True
    note = "size=1.0 stands for the budget, and the bits, that are found to give the size"

    def __post_init__(self) -> None:
        if self.packed not in ("", *PACKINGS):
            raise UsageError(f"--packed: expected {' or '.join(PACKINGS)}, got '{self.packed}'")
        if isinstance(self.value, str) and _is_number(self.value):
            object.__setattr__(self, "value", float(self.value))
        if not 0 < self.amount < math.inf:
            raise UsageError(f"{self.option}: expected more than 0, got {self.value}")

    def __str__(self) -> str:
        """The goal as it is typed."""
        value = self.value if isinstance(self.value, str) else f"{self.value:g}"
        return f"{self.option} {value}{f' --packed {self.packed}' if self.packed else ''}"

    @property
    def amount(self) -> float:
        """The fraction, up to 1, or the bytes."""
        if not isinstance(self.value, str):
            return float(self.value)
        match = _SIZE.fullmatch(self.value.strip())
        if match is None:
            raise UsageError(
                f"{self.option}: expected a fraction such as 0.5 or a size such as 200kB, "
                f"got '{self.value}'"
            )
        base = 1024.0 if match[3] else 1000.0
        return float(match[1]) * base ** " KMG".index(match[2].upper() or " ")

    @property
    def is_fraction(self) -> bool:
        """Whether the value is one of the input's size."""
        return not isinstance(self.value, str) and self.value <= 1

    def limit(self, dense: Model) -> float:
        """The fraction of the input's bytes."""
        whole = self._input_bytes(dense)
        return self.amount if self.is_fraction else min(1.0, self.amount / whole)

    def ratio(self, result: Pruned) -> float:
        """Bytes that are written over those of the input."""
        return self.bytes_of(result) / self._input_bytes(result.compilation.reference)

    def bytes_of(self, result: Pruned) -> int:
        """Bytes of the files that a result is written to."""
        from eapc.model import written_bytes

        model, packed = result.model, bool(self.packed)
        return model.analyses.once(("written", packed), lambda: written_bytes(model, packed))

    def _input_bytes(self, dense: Model) -> int:
        from eapc.model import input_bytes

        packed = bool(self.packed)
        return dense.analyses.once(("input", packed), lambda: input_bytes(dense, packed))

    def can_fall(self, recipe: Recipe) -> bool:
        """Zeros save bytes of a packed file alone, channels of any."""
        return bool(self.packed) or recipe.structured

    def ways(self, trials: Trials) -> Iterator[Trials]:
        """By the recipe's bits; without any by 8, then by fewer, then as the file has them."""
        recipe = trials.recipe
        is_given = recipe.widths is not None or _is_measured(trials)
        if not is_given:
            yield from self._narrower(trials)
        if is_given or self.can_fall(recipe):
            yield trials

    def _narrower(self, trials: Trials) -> Iterator[Trials]:
        """Trials by the bits that the machine knows; a plain file gets no smaller below 8."""
        from eapc.energy import GivenBits, require_known

        for weights in _WIDTHS if self.packed else _WIDTHS[:1]:
            bits = GivenBits(weights=weights, activations=8)
            try:
                require_known(bits, trials.hardware)
            except EapcError:
                continue
            yield trials.at_bits(bits)

    def tried_ways(
        self, trials: Trials, judge: Judge | None = None
    ) -> Iterator[tuple[Trials, Pruned]]:
        """What each way comes to, of those that may be the best.

        Where 8 bits alone are small enough, fewer lose more; where they are not, the file's own
        bits would take a quarter of the weights that 8 leave. Widths that this network cannot have
        are left out. Raises UsageError where nothing that may be done makes the file smaller.
        """
        reached: list[Pruned] = []
        said = "this machine knows no bits to quantize to"
        for way in self.ways(trials):
            is_narrow = way is not trials
            if reached and (_is_alone(reached[0]) if is_narrow else not _is_alone(reached[0])):
                continue
            try:
                found = self.closest(way, judge)
            except EapcError as error:
                if not is_narrow or error.exit_code != _INVALID:
                    raise
                said = str(error)
                continue
            reached.append(found)
            yield way, found
        if not reached:
            raise UsageError(f"{self.option}: {_NO_SMALLER} ({said})")

    def unpruned(self, trials: Trials) -> Pruned | None:
        """The network quantized alone, if it is to be: what that saves is not known before."""
        recipe = trials.recipe
        if recipe.widths is None:
            return None
        steps = (*recipe.at_widest().settling(1.0), *recipe.finishing)
        return Pruned(self, trials.pruned(steps), trials.before, trials.whole(steps))

    def advice(self, recipe: Recipe) -> str:
        """What would let the file become smaller where the recipe does not."""
        return "" if self.can_fall(recipe) else _NO_SMALLER


_INVALID = 3
"""The exit code of what the network or its data do not allow."""


def _is_alone(found: Pruned) -> bool:
    """Whether a size was reached with nothing pruned."""
    return found.goal_met and not found.is_pruned


def _is_measured(trials: Trials) -> bool:
    """Whether latencies of the file's own widths count."""
    from eapc.hardware import MeasuredMachine

    return isinstance(trials.hardware, MeasuredMachine)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
