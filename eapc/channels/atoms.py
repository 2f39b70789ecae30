"""Atoms: every index of every axis that could shrink, and which of them go together.

An atom is (tensor, axis, index) with a number of its own; axes of length 1 have none, since
broadcasting makes them stand for any length. Ties between atoms make a graph whose connected
components are what must stay or go as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eapc.channels.axis_rules import Port, Tie
from eapc.model import Array

Edges = tuple[Array, Array]
NO_EDGES: Edges = (np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor, or of a shared constant as one reader sees it, and its first atom."""

    tensor: str
    reader: str
    axis: int
    start: int
    size: int


class Atoms:
    """Numbers the atoms of axes in the order in which they are first asked for."""

    def __init__(self) -> None:
        self.axes: list[Axis] = []
        self._place: dict[tuple[str, str, int], int] = {}
        self.count = 0

    def axis(self, port: Port, axis: int) -> int | None:
        """The number of an axis; None for one of length 1 or 0."""
        size = port.shape[axis]
        if size < 2:
            return None
        key = (port.tensor, port.reader, axis)
        if key not in self._place:
            self._place[key] = len(self.axes)
            self.axes.append(Axis(*key, self.count, size))
            self.count += size
        return self._place[key]

    def atoms(self, port: Port, axis: int) -> Array:
        """The atoms of an axis, in order."""
        place = self.axis(port, axis)
        if place is None:
            return np.empty(0, np.int64)
        found = self.axes[place]
        return np.arange(found.start, found.start + found.size)

    def edges(self, tie: Tie) -> Edges:
        """The pairs of atoms that a tie puts together; none where an axis has length 1."""
        one, other = self._tied(tie)
        return (one, other) if len(one) and len(other) else NO_EDGES

    def single(self, tie: Tie) -> Array:
        """The atoms that a tie puts together with an axis of length 1: such an axis must stay."""
        one, other = self._tied(tie)
        return NO_EDGES[0] if len(one) and len(other) else np.concatenate([one, other])

    def _tied(self, tie: Tie) -> Edges:
        one = _picked(self.atoms(tie.one, tie.one_axis), tie.one_indices)
        return one, _picked(self.atoms(tie.other, tie.other_axis), tie.other_indices)


def _picked(atoms: Array, indices: Array | None) -> Array:
    return atoms if indices is None or not len(atoms) else atoms[indices]


def components(count: int, edges: Iterable[Edges]) -> Array:
    """The component of every atom, as labels from 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [NO_EDGES, *edges]
    one = np.concatenate([pair[0] for pair in pairs])
    other = np.concatenate([pair[1] for pair in pairs])
    links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    labels: Array = connected_components(links.tocsr(), directed=False)[1]
    return labels
