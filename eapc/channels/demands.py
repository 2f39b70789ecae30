"""Demands on channels: to take indices of two axes in a ratio, or none of an axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eapc.channels.atoms import NO_EDGES, Atoms
from eapc.channels.axis_rules import Counts, Freeze
from eapc.channels.groups import Patch
from eapc.model import Array


@dataclass(frozen=True)
class Demand:
    """Channels take atoms of two axes in a ratio, or none of the first; a patch lifts that."""

    one: Array
    other: Array
    ratio: tuple[int, int]
    patch: Patch | None

    @classmethod
    def of_none(cls, freeze: Freeze, atoms: Atoms) -> Demand:
        """That an axis keeps its length."""
        frozen = atoms.atoms(freeze.port, freeze.axis)
        return cls(frozen, NO_EDGES[0], (1, 1), freeze.patch)

    @classmethod
    def of_counts(cls, counts: Counts, atoms: Atoms) -> Demand:
        """That the lengths of two axes stay in their ratio."""
        one = atoms.atoms(counts.one, counts.one_axis)
        other = atoms.atoms(counts.other, counts.other_axis)
        if counts.indices is not None and len(other):
            other = other[counts.indices]
        return cls(one, other, counts.ratio, counts.patch)

    def unmet(self, labels: Array) -> Array:
        """(components,) True where a component does not do so; `labels` has each atom's."""
        ones = np.bincount(labels[self.one], minlength=len(labels))
        others = np.bincount(labels[self.other], minlength=len(labels))
        unmet: Array = ones * self.ratio[1] != others * self.ratio[0]
        return unmet
