"""Symbolic dimensions: what a number of a computed shape is made of, and whether it follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eapc.model import Array

Length = tuple[str, int]
"""The length of an axis: (tensor, axis)."""


@dataclass(frozen=True)
class Dimension:
    """A number that is made of lengths of axes, or of none.

    Where it is made of one length, `values[n]` is what it is where that is n, up to what it is
    now; a number that depends on no length has that one value; others have none. A number that
    stands in a file does so at `index` of a constant that `reader` reads, `shared` where others
    depend on it too.
    """

    lengths: frozenset[Length]
    values: Sequence[int]
    constant: str = ""
    index: int = 0
    reader: str = ""
    shared: bool = True

    @property
    def is_number(self) -> bool:
        """True where it depends on no length."""
        return bool(self.values) and not self.lengths

    @property
    def now(self) -> int | None:
        """What it is as long as no axis shrinks; None where nobody knows."""
        return self.values[-1] if self.values else None


Dimensions = tuple[Dimension, ...]


def number(value: int) -> Dimension:
    """A number that stands in no constant of its own."""
    return Dimension(frozenset(), (value,))


def length(tensor: str, axis: int, size: int | None) -> Dimension:
    """The length of an axis, `size` now."""
    return Dimension(frozenset({(tensor, axis)}), () if size is None else range(size + 1))


def mixture(dimensions: Iterable[Dimension]) -> Dimension:
    """A number that depends on these in a way that nobody knows."""
    return Dimension(lengths_in(dimensions), ())


def lengths_in(dimensions: Iterable[Dimension]) -> frozenset[Length]:
    """Every length that the numbers come from."""
    return frozenset().union(*(dimension.lengths for dimension in dimensions))


def as_shared(dimension: Dimension) -> Dimension:
    """The number where others are made of it too."""
    return replace(dimension, shared=True)


ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.floor_divide,
    "Mod": np.mod,
    "Max": np.maximum,
    "Min": np.minimum,
    "Equal": np.equal,
}


def combined(op_type: str, one: Dimension, other: Dimension) -> Dimension:
    """What an operator of `ARITHMETIC` makes of two numbers."""
    lengths = lengths_in((one, other))
    left, right = np.asarray(one.values), np.asarray(other.values)
    is_division = op_type in ("Div", "Mod")
    if len(lengths) > 1 or not (one.values and other.values):
        return mixture((one, other))
    if is_division and (np.any(left < 0) or np.any(right <= 0)):
        return mixture((one, other))
    values = ARITHMETIC[op_type](left, right).astype(np.int64)
    if op_type == "Equal" and lengths:
        return number(0) if not values.any() else mixture((one, other))
    return Dimension(lengths, tuple(values.tolist()))


def follows(dimension: Dimension, size: int) -> tuple[int, int] | None:
    """(a, b) where the number is `size` now and b / a of its length whenever a divides that.

    None where it is not, or not made of one length: an axis that it describes need not follow.
    """
    source = len(dimension.values) - 1
    if source < 1 or size < 1 or dimension.now != size:
        return None
    common = int(np.gcd(source, size))
    whole, part = source // common, size // common
    fitting = np.arange(whole, source + 1, whole)
    values = np.asarray(dimension.values)[fitting]
    return (whole, part) if np.array_equal(values * whole, fitting * part) else None
