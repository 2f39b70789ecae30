"""Which way each node's axes are tied, where there are several, and what can shrink then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from eapc.channels.atoms import NO_EDGES, Atoms, Edges, components
from eapc.channels.axis_rules import Counts, Freeze, Options, Tie, Weights
from eapc.channels.collecting import Channels, Made
from eapc.channels.demands import Demand
from eapc.channels.groups import Patch
from eapc.channels.holding import Hold, ends_held, held_layers, holds_of
from eapc.channels.sites import Said, Sites
from eapc.model import Array


@dataclass(frozen=True)
class _Bound:
    """What one node says, in atoms."""

    edges: tuple[Edges, ...]
    frozen: tuple[Array, ...]
    demands: tuple[Demand, ...]


@dataclass(frozen=True)
class _Settled:
    """The component of every atom, and by component: do weights make it, can it go.

    `patches` are those that lift a demand.
    """

    labels: Array
    made: Array
    alive: Array
    patches: frozenset[Patch]


class Search:
    """The ways chosen so far, by node in data-flow order, and what they leave alive."""

    def __init__(self, sites: Sites) -> None:
        self.said = [sites.said(site, 0) for site in sites.all()]
        self._sites, self._atoms = sites, Atoms()
        self._bound = [self._in_atoms(one) for one in self.said]
        self._shown = tuple(sites.ends())
        self._ends = tuple(self._atoms.atoms(e.port, e.axis) for e in self._shown)
        self._settled = self._settle()
        self._further: dict[str, Hold] = {}

    def channels(self) -> Channels:
        """What can go."""
        return Channels(self._settled.labels, self._settled.alive, self._atoms)

    def patches(self) -> tuple[Patch, ...]:
        """Entries of shapes that must be overwritten where channels go."""
        given = (e for said in self.said for e in said.effects if isinstance(e, Patch))
        lifting = sorted(self._settled.patches, key=lambda patch: (patch.node, patch.index))
        return (*given, *lifting)

    def made(self) -> list[Made]:
        """The axes of weights that make and read channels, in data-flow order."""
        found = []
        for said in self.said:
            for effect in said.effects:
                if isinstance(effect, Weights):
                    axis = self._atoms.axis(effect.port, effect.axis)
                    if axis is not None:
                        found.append(Made(said.site.node.key, axis, effect.makes))
        return found

    def held(self) -> dict[str, str]:
        """Why, by node with weights, where none of the channels that it makes can go.

        Where nodes have several ways, by the way on which channels come furthest.
        """
        found = self._held()
        others = {node: self._further.get(node, hold) for node, hold in found.items()}
        return {
            node: max(hold, others[node], key=lambda each: each.place).reason
            for node, hold in found.items()
        }

    def _held(self) -> dict[str, Hold]:
        atoms, settled = self._atoms, self._settled
        holds = [
            hold
            for place, said in enumerate(self.said)
            for hold in holds_of(place, said, settled.patches, atoms, settled.labels)
        ]
        holds += ends_held(self._shown, self.said, self._sites, atoms, settled.labels)
        return held_layers(self.said, holds, settled.alive, atoms, settled.labels)

    def improve(self) -> None:
        """Try other ways around nodes where nothing can shrink; keep what lets more go.

        First one node at a time, then all at once that are alike, as those of layers which share
        their weights must be.
        """
        for place in range(len(self.said)):
            self._try_all([place])
        alike: dict[tuple[object, ...], list[int]] = {}
        for place, said in enumerate(self.said):
            if self._ways(place) > 1:
                ports = (*said.site.inputs, *said.site.outputs)
                shapes = tuple(port and port.shape for port in ports)
                alike.setdefault((said.site.node.op_type, shapes), []).append(place)
        for places in alike.values():
            if len(places) > 1:
                self._try_all(places)

    def _ways(self, place: int) -> int:
        return next((e.count for e in self.said[place].effects if isinstance(e, Options)), 1)

    def _try_all(self, places: list[int]) -> None:
        for choice in range(1, max(map(self._ways, places))):
            if any(self._shrinks(self.said[place]) for place in places):
                return
            others = {p: self._sites.said(self.said[p].site, choice) for p in places}
            if any(self._concerns_channels(place, other) for place, other in others.items()):
                self._try(others)

    def _try(self, others: Mapping[int, Said]) -> None:
        before = list(self.said), list(self._bound), self._settled
        spare = self.channels().spare()
        for place, other in others.items():
            self.said[place], self._bound[place] = other, self._in_atoms(other)
        self._settled = self._settle()
        if self.channels().spare() <= spare:
            for node, hold in self._held().items():
                if node not in self._further or hold.place > self._further[node].place:
                    self._further[node] = hold
            self.said, self._bound, self._settled = before

    def _shrinks(self, said: Said) -> bool:
        """True where an axis of the node's first result can shrink."""
        port = said.site.outputs[0]
        atoms = [self._atoms.atoms(port, a) for a in range(port.rank)] if port else []
        return bool(self._settled.alive[self._settled.labels[_joined(atoms)]].any())

    def _concerns_channels(self, place: int, other: Said) -> bool:
        """True where the other way ties anew what weights make; most ties are of positions."""
        known = {_key(e) for e in self.said[place].effects if isinstance(e, Tie)}
        ties = (e for e in other.effects if isinstance(e, Tie) and _key(e) not in known)
        edges = [self._atoms.edges(tie) for tie in ties]
        atoms = _joined(side for pair in edges for side in pair)
        return bool(self._settled.made[self._settled.labels[atoms]].any())

    def _in_atoms(self, said: Said) -> _Bound:
        ties = [effect for effect in said.effects if isinstance(effect, Tie)]
        stays = [*said.whole, *(e for e in said.effects if isinstance(e, Freeze))]
        frozen = [self._atoms.atoms(e.port, e.axis) for e in stays if e.patch is None]
        frozen += [self._atoms.single(tie) for tie in ties]
        demands = [Demand.of_none(e, self._atoms) for e in stays if e.patch is not None]
        counts = (e for e in said.effects if isinstance(e, Counts))
        demands += [Demand.of_counts(e, self._atoms) for e in counts]
        return _Bound(tuple(map(self._atoms.edges, ties)), tuple(frozen), tuple(demands))

    def _settle(self) -> _Settled:
        count = self._atoms.count
        labels = components(count, (pair for one in self._bound for pair in one.edges))
        whole, made = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        frozen = (atoms for one in self._bound for atoms in one.frozen)
        whole[labels[_joined([*self._ends, *frozen])]] = True
        patches: dict[tuple[str, int | None], Patch] = {}
        for demand in (demand for bound in self._bound for demand in bound.demands):
            unmet = demand.unmet(labels) & ~whole
            if unmet.any() and not _lifted(demand.patch, patches):
                whole |= unmet
        for use in self.made():
            axis = self._atoms.axes[use.axis]
            made[labels[axis.start : axis.start + axis.size]] |= use.makes
        return _Settled(labels, made, made & ~whole, frozenset(patches.values()))


def _lifted(patch: Patch | None, patches: dict[tuple[str, int | None], Patch]) -> bool:
    """True where the patch can be applied; what stands for any length may do so but once."""
    if patch is None:
        return False
    place = (patch.node, patch.index if patch.value == 1 else -1)
    return patches.setdefault(place, patch) == patch


def _joined(arrays: Iterable[Array]) -> Array:
    return np.concatenate([NO_EDGES[0], *arrays])


def _key(tie: Tie) -> tuple[str, int, str, int]:
    return tie.one.tensor, tie.one_axis, tie.other.tensor, tie.other_axis
