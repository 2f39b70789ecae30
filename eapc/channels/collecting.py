"""From components of atoms to groups: channels that take as much of the same axes compete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eapc.channels.atoms import Atoms
from eapc.channels.groups import ChannelGroup, Slice
from eapc.tensors import Array


@dataclass(frozen=True)
class Made:
    """An axis, by number, of a node's weights that makes channels, or that reads them."""

    node: str
    axis: int
    makes: bool


Signature = tuple[tuple[int, int], ...]
"""(axis, width) of all axes that a channel takes a part of, by the axes' numbers."""


def collect(
    made: Sequence[Made], labels: Array, alive: Array, atoms: Atoms
) -> tuple[ChannelGroup, ...]:
    """The groups of the alive components, in the order of the nodes that make them."""
    parts = _parts(labels, alive, atoms)
    by_signature: dict[Signature, list[int]] = {}
    for label, axes in parts.items():
        signature = tuple((axis, len(indices)) for axis, indices in axes.items())
        by_signature.setdefault(signature, []).append(label)
    order = {use.axis: place for place, use in reversed(list(enumerate(made))) if use.makes}
    groups = []
    for signature, found in by_signature.items():
        first = min((axis for axis, _ in signature if axis in order), key=order.__getitem__)
        found.sort(key=lambda label: int(parts[label][first][0]))
        rank = (order[first], int(parts[found[0]][first][0]))
        group = _group(signature, [parts[label] for label in found], made, atoms)
        groups.append((rank, group, made[order[first]].node))
    groups.sort(key=lambda entry: entry[0])
    return _named([(node, group) for _, group, node in groups])


def _parts(labels: Array, alive: Array, atoms: Atoms) -> dict[int, dict[int, Array]]:
    """Label -> axis -> indices along it, of the alive components."""
    parts: dict[int, dict[int, Array]] = {}
    for number, axis in enumerate(atoms.axes):
        own = labels[axis.start : axis.start + axis.size]
        kept = np.flatnonzero(alive[own])
        kept = kept[np.argsort(own[kept], kind="stable")]
        found, starts = np.unique(own[kept], return_index=True)
        for label, indices in zip(found.tolist(), np.split(kept, starts[1:]), strict=False):
            parts.setdefault(label, {})[number] = indices
    return parts


def _group(
    signature: Signature, channels: list[dict[int, Array]], made: Sequence[Made], atoms: Atoms
) -> ChannelGroup:
    slices = []
    for number, _ in signature:
        axis = atoms.axes[number]
        indices = np.stack([channel[number] for channel in channels])
        slices.append(Slice(axis.tensor, axis.axis, indices, axis.reader))
    touched = {number for number, _ in signature}
    uses = [use for use in made if use.axis in touched]
    return ChannelGroup(
        name="",
        size=len(channels),
        slices=tuple(slices),
        producers=tuple(dict.fromkeys(use.node for use in uses if use.makes)),
        consumers=tuple(dict.fromkeys(use.node for use in uses if not use.makes)),
    )


def _named(groups: list[tuple[str, ChannelGroup]]) -> tuple[ChannelGroup, ...]:
    """Groups under the name of the node that makes them first; further ones are numbered."""
    from dataclasses import replace

    seen: Counter[str] = Counter()
    named = []
    for node, group in groups:
        seen[node] += 1
        number = seen[node]
        named.append(replace(group, name=node if number == 1 else f"{node}#{number}"))
    return tuple(named)
