"""What weights are: which inputs they read, output by output, and their values behind scales."""

from __future__ import annotations

import numpy as np

from eapc.channels.axis_rules import Site
from eapc.model import Array, Node, spread_zero_points
from eapc.operators import WeightLayout, operator_of


def used_weights(site: Site, weight: Array) -> Array:
    """(outputs, inputs of one group): True where some weight between the two is not zero."""
    layout, attributes = _layout(site), site.node.attributes
    used: Array = np.any((weight != 0).reshape(*weight.shape[:2], -1), axis=2)
    if layout.axes(attributes, weight.ndim)[0] == 0:
        return used
    apart = used.reshape(layout.groups(attributes), -1, used.shape[1])
    return apart.swapaxes(1, 2).reshape(-1, apart.shape[1])


def inputs_of(site: Site, weight: Array) -> Array:
    """(outputs, inputs of one group): which channel of x each weight of an output reads."""
    used, groups = used_weights(site, weight), _layout(site).groups(site.node.attributes)
    group = np.arange(len(used)) // (len(used) // groups)
    places: Array = group[:, None] * used.shape[1] + np.arange(used.shape[1])
    return places


def _layout(site: Site) -> WeightLayout:
    layout = operator_of(site.node).weights
    assert layout is not None  # operators without weights are not asked
    return layout


def dequantized(node: Node, array: Array, scale: Array, zero: Array | None = None) -> Array:
    """(x - zero point) * scale, one of each for the tensor, an index of an axis or a block."""
    place = (array.shape, int(node.attribute("axis", 1)), node.attribute("block_size", 0) or 1)
    offset = 0.0 if zero is None else spread_zero_points(zero, *place).astype(np.float32)
    values: Array = (array.astype(np.float32) - offset) * spread_zero_points(scale, *place)
    return values
