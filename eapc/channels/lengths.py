"""Shapes of a graph with fewer channels, without rewriting it."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import cast

from eapc.channels.groups import ChannelGroups
from eapc.model import Shapes, TensorSpec, static_shape


def shapes_at(groups: ChannelGroups, shapes: Shapes, counts: Mapping[str, int]) -> Shapes:
    """The shapes of all tensors once each named group has so many channels left.

    Only what changes is copied. A constant that several nodes share keeps its shape here: what
    each of them reads of it may differ.
    """
    lost: dict[str, dict[int, int]] = {}
    for group in groups.groups:
        gone = group.size - counts.get(group.name, group.size)
        for cut in group.slices if gone else ():
            if not cut.reader:
                axes = lost.setdefault(cut.tensor, {})
                axes[cut.axis] = axes.get(cut.axis, 0) + gone * cut.width
    main = cast("MutableMapping[str, TensorSpec]", shapes.by_scope[""])  # only read
    changed = {name: _shorter(main[name], axes) for name, axes in lost.items() if name in main}
    return replace(shapes, by_scope={**shapes.by_scope, "": ChainMap(changed, main)})


def _shorter(spec: TensorSpec, lost: Mapping[int, int]) -> TensorSpec:
    sizes = static_shape(spec)
    assert sizes is not None  # only axes of known length are in a group
    lengths = tuple(size - lost.get(axis, 0) for axis, size in enumerate(sizes))
    return replace(spec, shape=lengths)
