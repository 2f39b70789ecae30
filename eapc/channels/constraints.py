"""What a rule says of a node's axes: which indices go together, which lengths stay or follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from eapc.channels.groups import Rewrite
from eapc.model import Array

Shape = tuple[int, ...]


class FixedNodeError(Exception):
    """A node whose axes cannot shrink; the message says why. Caught by the group finder."""


@dataclass(frozen=True)
class Operand:
    """A tensor as a node sees it; `reader` is that node's key where others share the constant."""

    tensor: str
    shape: Shape
    reader: str = ""

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def axis(self, number: int) -> Axis:
        """One of the axes, counted from the front or, below zero, from the end."""
        return Axis(self, number + self.rank if number < 0 else number)

    def axes(self) -> Iterator[Axis]:
        """All axes in order."""
        return (Axis(self, number) for number in range(self.rank))


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor as a node sees it; it need not exist where a graph is malformed."""

    operand: Operand
    number: int

    @property
    def size(self) -> int:
        """How many indices it has."""
        return self.operand.shape[self.number]


@dataclass(frozen=True)
class Dependency:
    """Indices of two axes that go together, pair by pair; None is the whole axis in order."""

    one: Axis
    other: Axis
    one_indices: Array | None = None
    other_indices: Array | None = None

    def pairs(self) -> tuple[Array, Array]:
        """The indices along both axes."""
        one, other = self.one_indices, self.other_indices
        return (
            np.arange(self.one.size) if one is None else one,
            np.arange(self.other.size) if other is None else other,
        )


@dataclass(frozen=True)
class FixedAxis:
    """An axis that must keep its length, unless an override is written; why, if worth saying."""

    axis: Axis
    reason: str = ""
    override: Rewrite | None = None


@dataclass(frozen=True)
class RatioConstraint:
    """Each channel must take `ratio` indices, (of one axis, of the other), or a multiple.

    `indices` are those of the other axis that count, None for all. An override lifts this.
    """

    one: Axis
    other: Axis
    ratio: tuple[int, int]
    indices: Array | None = None
    override: Rewrite | None = None


@dataclass(frozen=True)
class Weights:
    """The axis of a layer's weights that makes channels, or that reads them."""

    axis: Axis
    makes: bool


@dataclass(frozen=True)
class Ways:
    """How many ways there are for a node's axes to depend on each other."""

    count: int


@dataclass(frozen=True)
class Follows:
    """The rule has looked at where the numbers of this operand, a shape, come from."""

    operand: int


Constraint = Dependency | FixedAxis | RatioConstraint | Weights | Ways | Follows | Rewrite


def same_axes(one: Operand, other: Operand, axes: Iterable[int]) -> Iterator[Dependency]:
    """Axes of the same number depend on each other, where they have the same length."""
    for axis in axes:
        if one.shape[axis] == other.shape[axis]:
            yield Dependency(one.axis(axis), other.axis(axis))


def last_axes(narrow: Operand, wide: Operand) -> Iterator[Dependency]:
    """The axes of `narrow` go with the last ones of `wide`, where they are as long."""
    shift = wide.rank - narrow.rank
    for axis, size in enumerate(narrow.shape):
        if size == wide.shape[axis + shift]:
            yield Dependency(narrow.axis(axis), wide.axis(axis + shift))


def span(start: int, count: int) -> Array:
    """The indices start <= i < start + count."""
    return np.arange(start, start + count)
