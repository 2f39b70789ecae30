"""`--bits weights=8,activations=8`: widths that hold instead of the model's own."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.errors import UsageError

_WIDEST = 64


@dataclass(frozen=True)
class GivenBits:
    """Bits of every weight and of every activation; None leaves them as the model implies."""

    weights: int | None = None
    activations: int | None = None


def read_bits(text: str | None) -> GivenBits:
    """Widths of 1 to 64 bits from `weights=8,activations=8`, either of them or none.

    Raises UsageError.
    """
    given: dict[str, int] = {}
    for entry in (text or "").split(",") if text is not None else ():
        kind, _, bits = (part.strip() for part in entry.partition("="))
        if kind not in ("weights", "activations") or not bits.isdecimal():
            raise UsageError(f"--bits: expected weights=8,activations=8, got '{text}'")
        if kind in given:
            raise UsageError(f"--bits: {kind} are given twice")
        if not 1 <= int(bits) <= _WIDEST:
            raise UsageError(f"--bits: {kind}: expected 1 to {_WIDEST} bits, got {bits}")
        given[kind] = int(bits)
    return GivenBits(**given)
