"""Finding the channel groups of a graph: ties of all nodes, components, equals together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eapc.channels.atoms import Atoms, Edges, components
from eapc.channels.axis_rules import Freeze, Options, Tie, Weights
from eapc.channels.collecting import Made, collect
from eapc.channels.groups import ChannelGroups, Number
from eapc.channels.sites import Said, Sites
from eapc.channels.vanishing import with_vanishing
from eapc.model import Model
from eapc.shapes import Shapes
from eapc.tensors import Array


def find_groups(model: Model, shapes: Shapes) -> ChannelGroups:
    """Every channel group of a model's main graph.

    Where a node's axes can be tied in several ways (see `Options`), the first is taken unless
    nothing around the node can shrink then and another way lets more channels go.
    """
    return tied_groups(model, shapes)[0]


def tied_groups(model: Model, shapes: Shapes) -> tuple[ChannelGroups, list[Said]]:
    """The channel groups, and what each node says of its axes, in data-flow order."""
    sites = Sites(model, shapes)
    search = _Search(sites)
    search.improve()
    groups = collect(search.made(), search.labels, search.alive, search.atoms)
    numbers = tuple(e for said in search.said for e in said.effects if isinstance(e, Number))
    groups, branches = with_vanishing(model, sites.shape, groups)
    return ChannelGroups(groups, _left_whole(search.said), numbers, branches), search.said


def _left_whole(said: Iterable[Said]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for one in said:
        frozen = (e.reason for e in one.effects if isinstance(e, Freeze) and e.reason)
        reason = one.reason or next(frozen, "")
        if reason:
            reasons[one.site.node.key] = reason
    return reasons


@dataclass(frozen=True)
class _Bound:
    """What one node says, in atoms."""

    edges: tuple[Edges, ...]
    frozen: tuple[Array, ...]


class _Search:
    """The ways chosen so far, and what they leave alive."""

    def __init__(self, sites: Sites) -> None:
        self.atoms = Atoms()
        self._sites = sites
        self.said = [sites.said(site, 0) for site in sites.all()]
        self._bound = [self._in_atoms(one) for one in self.said]
        self._ends = tuple(self.atoms.atoms(e.port, e.axis) for e in sites.ends())
        self._settle()

    def _in_atoms(self, said: Said) -> _Bound:
        ties = [effect for effect in said.effects if isinstance(effect, Tie)]
        stays = (*said.whole, *(e for e in said.effects if isinstance(e, Freeze)))
        frozen = [self.atoms.atoms(e.port, e.axis) for e in stays]
        frozen += [self.atoms.single(tie) for tie in ties]
        return _Bound(tuple(self.atoms.edges(tie) for tie in ties), tuple(frozen))

    def made(self) -> list[Made]:
        """The axes of weights that make and read channels, in data-flow order."""
        found = []
        for said in self.said:
            for effect in said.effects:
                if isinstance(effect, Weights):
                    axis = self.atoms.axis(effect.port, effect.axis)
                    if axis is not None:
                        found.append(Made(said.site.node.key, axis, effect.makes))
        return found

    def _settle(self) -> None:
        count = self.atoms.count
        self.labels = components(count, (pair for one in self._bound for pair in one.edges))
        frozen = [*self._ends, *(atoms for one in self._bound for atoms in one.frozen)]
        whole = np.zeros(count, np.bool_)  # by label
        whole[self.labels[np.concatenate([np.empty(0, np.int64), *frozen])]] = True
        self.alive = np.zeros(count, np.bool_)  # by label
        for made in self.made():
            if made.makes:
                axis = self.atoms.axes[made.axis]
                self.alive[self.labels[axis.start : axis.start + axis.size]] = True
        self.alive &= ~whole

    def _score(self) -> int:
        """How many channels can go if one of each group stays."""
        groups = collect(self.made(), self.labels, self.alive, self.atoms)
        return sum(group.size - 1 for group in groups)

    def improve(self) -> None:
        """Try other ways around nodes where nothing can shrink; keep what lets more go."""
        best = self._score()
        for place, said in enumerate(self.said):
            options = next((e.count for e in said.effects if isinstance(e, Options)), 1)
            for choice in range(1, options):
                if self._shrinks(self.said[place]):
                    break
                kept = self.said[place], self._bound[place], self.labels, self.alive
                self.said[place] = self._sites.said(said.site, choice)
                self._bound[place] = self._in_atoms(self.said[place])
                self._settle()
                score = self._score()
                if score > best:
                    best = score
                else:
                    self.said[place], self._bound[place], self.labels, self.alive = kept

    def _shrinks(self, said: Said) -> bool:
        """True where an axis of the node's first result can shrink."""
        port = said.site.outputs[0]
        if port is None:
            return False
        atoms = [self.atoms.atoms(port, axis) for axis in range(port.rank)]
        return bool(self.alive[self.labels[np.concatenate([np.empty(0, np.int64), *atoms])]].any())
