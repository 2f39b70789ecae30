"""What an entry of a computed shape is: a number of a constant, or something made of lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eapc.model import Array


@dataclass(frozen=True)
class Literal:
    """A number at `index` of a constant that `reader` reads; `shared` where others do too."""

    value: int
    constant: str
    index: int
    reader: str
    shared: bool


@dataclass(frozen=True)
class Length:
    """The length of an axis of a tensor."""

    tensor: str
    axis: int


@dataclass(frozen=True)
class Derived:
    """What arithmetic makes of one length: `values[n]` where it is n, up to what it is now."""

    length: Length
    values: tuple[int, ...]


@dataclass(frozen=True)
class Mixture:
    """A number that was computed from these lengths."""

    lengths: frozenset[Length]


Entry = Literal | Length | Derived | Mixture
Entries = tuple[Entry, ...]

LengthOf = Callable[[Length], int | None]


def lengths_in(entries: Entries) -> set[Length]:
    """Every length that the entries come from."""
    found: set[Length] = set()
    for entry in entries:
        if isinstance(entry, Length):
            found.add(entry)
        elif isinstance(entry, Derived):
            found.add(entry.length)
        elif isinstance(entry, Mixture):
            found |= entry.lengths
    return found


def as_shared(entry: Entry) -> Entry:
    """The entry, a number of which others are made too."""
    if not isinstance(entry, Literal):
        return entry
    return replace(entry, shared=True)


def known(value: int) -> Literal:
    """A number that stands in no constant of its own."""
    return Literal(value, "", 0, "", True)


_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.floor_divide,
    "Mod": np.mod,
    "Max": np.maximum,
    "Min": np.minimum,
}
COMBINING = frozenset((*_ARITHMETIC, "Equal"))


def combined(op_type: str, one: Entry, other: Entry, length_of: LengthOf) -> Entry:
    """What an operator of `COMBINING` makes of two entries."""
    if op_type == "Equal":
        return _compared(one, other)
    lengths = lengths_in((one, other))
    mixture = Mixture(frozenset(lengths))
    is_mixed = isinstance(one, Mixture) or isinstance(other, Mixture)
    length = next(iter(lengths), None)
    size = length_of(length) if length else 0
    if is_mixed or len(lengths) > 1 or size is None:
        return mixture
    left, right = _values(one, size), _values(other, size)
    if op_type in ("Div", "Mod") and (np.any(left < 0) or np.any(right <= 0)):
        return mixture
    values = tuple(_ARITHMETIC[op_type](left, right).tolist())
    return Derived(length, values) if length else known(values[0])


def _values(entry: Entry, size: int) -> Array:
    if isinstance(entry, Derived):
        return np.asarray(entry.values)
    if isinstance(entry, Literal):
        return np.full(size + 1, entry.value)
    return np.arange(size + 1)


def _compared(one: Entry, other: Entry) -> Entry:
    """No length is below zero."""
    if isinstance(one, Literal) and isinstance(other, Literal):
        return known(int(one.value == other.value))
    for length, number in ((one, other), (other, one)):
        if isinstance(length, Length) and isinstance(number, Literal) and number.value < 0:
            return known(0)
    return Mixture(frozenset(lengths_in((one, other))))


def follows(entry: Entry, source: int, size: int) -> tuple[int, int] | None:
    """(a, b) where the entry is `size` now and b / a of its length whenever a divides that.

    None where it is not, or not made of one length: an axis that it describes need not follow.
    """
    if not isinstance(entry, Length | Derived):
        return None
    values = _values(entry, source)
    if source < 1 or size < 1 or values[source] != size:
        return None
    common = int(np.gcd(source, size))
    whole, part = source // common, size // common
    fitting = np.arange(whole, source + 1, whole)
    return (whole, part) if np.array_equal(values[fitting] * whole, fitting * part) else None
