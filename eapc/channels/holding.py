"""What holds channels that cannot go: the first node behind their layer that needs them all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eapc.channels.atoms import Atoms
from eapc.channels.axis_rules import Counts, Freeze, Tie, Weights
from eapc.channels.demands import Demand
from eapc.channels.groups import Patch
from eapc.channels.sites import Said, Sites
from eapc.model import Array
from eapc.operators import operator_of

ONE_CHANNEL = "there is one channel, and one must stay"
_LENGTH = "computes with the number of their channels"


@dataclass(frozen=True)
class Hold:
    """Components that must stay, where in the file that is decided, and what there is to say."""

    place: float
    labels: Array
    reason: str


def holds_of(
    place: int, said: Said, lifted: Collection[Patch], atoms: Atoms, labels: Array
) -> Iterator[Hold]:
    """What one node holds, but for what patches lift; its own words come first."""
    node = said.site.node
    name = f"{node.op_type} '{node.key}'"
    own = {*said.site.inputs, *said.site.outputs}
    done = operator_of(node).effect
    if said.reason:
        done = f"needs all of their channels: {said.reason}"
    effects = [e for e in said.effects if getattr(e, "patch", None) not in lifted]
    for effect in effects:
        if isinstance(effect, Counts):
            uneven = Demand.of_counts(effect, atoms).unmet(labels)
            yield Hold(place, np.flatnonzero(uneven), f"{name} has a shape that need not follow")
        if isinstance(effect, Tie):
            yield Hold(place, labels[atoms.single(effect)], f"{name} {done}")
    freezes = (*(e for e in effects if isinstance(e, Freeze)), *said.whole)
    for freeze in sorted(freezes, key=lambda each: not each.reason):
        why = done if freeze.port in own or said.reason else _LENGTH
        why = f"needs all of their channels: {freeze.reason}" if freeze.reason else why
        yield Hold(place, labels[atoms.atoms(freeze.port, freeze.axis)], f"{name} {why}")


def ends_held(
    ends: Sequence[Freeze], said: Sequence[Said], sites: Sites, atoms: Atoms, labels: Array
) -> Iterator[Hold]:
    """What the model shows outside holds, right behind the node that makes it."""
    places = {name: place for place, one in enumerate(said) for name in one.site.node.outputs}
    for end in ends:
        name = end.port.tensor
        place = places.get(name, -1) + 0.5
        if name in sites.outputs:
            reason = f"their channels reach the output '{name}'"
        elif place > 0:
            reason = "the number of their channels reaches an output"
        elif name in sites.inputs:
            reason = f"their channels are those of the input '{name}'"
        else:
            reason = f"their channels meet '{name}', which is computed out of constants"
        yield Hold(place, labels[atoms.atoms(end.port, end.axis)], reason)


def held_layers(
    said: Sequence[Said], holds: Sequence[Hold], alive: Array, atoms: Atoms, labels: Array
) -> dict[str, Hold]:
    """By node with weights, none of whose channels can go, what holds them.

    Of all that holds a channel the first counts that comes behind whatever makes the channel
    first, or the first of all where nothing does.
    """
    made = [
        (place, one.site.node.key, labels[atoms.atoms(effect.port, effect.axis)])
        for place, one in enumerate(said)
        for effect in one.effects
        if isinstance(effect, Weights) and effect.makes
    ]
    holds = sorted(holds, key=lambda hold: hold.place)
    first = _first_holds(holds, made, len(alive))
    found = {
        one.site.node.key: Hold(place, _NO_LABELS, one.reason)
        for place, one in enumerate(said)
        if one.reason and _has_weights(one)
    }
    for place, node, own in made:
        if not len(own):
            found[node] = Hold(place, own, ONE_CHANNEL)
        elif not alive[own].any():
            found[node] = holds[first[own].min()]
    return found


_NO_LABELS = np.empty(0, np.int64)


def _has_weights(said: Said) -> bool:
    return said.site.is_weights(said.site.node.input(1))


def _first_holds(
    holds: Sequence[Hold], made: Sequence[tuple[int, str, Array]], count: int
) -> Array:
    """By component, the number of the hold that counts; one past the last where there is none."""
    since = np.zeros(count)
    for place, _, labels in reversed(made):
        since[labels] = place
    first = np.full(count, len(holds))
    for anywhere in (False, True):
        for number, hold in enumerate(holds):
            free = (first[hold.labels] == len(holds)) & (
                anywhere | (since[hold.labels] <= hold.place)
            )
            first[hold.labels[free]] = number
    return first
