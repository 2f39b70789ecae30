"""Which inputs the weights of a layer read, output by output."""

from __future__ import annotations

import numpy as np

from eapc.channels.axis_rules import Site
from eapc.model import Array


def used_weights(site: Site, weight: Array) -> Array:
    """(outputs, inputs of one group): True where some weight between the two is not zero."""
    if site.node.op_type == "Gemm":
        dense: Array = (weight if site.node.attribute("transB", 0) else weight.T) != 0
        return dense
    used: Array = np.any((weight != 0).reshape(*weight.shape[:2], -1), axis=2)
    if site.node.op_type == "Conv":
        return used
    groups = int(site.node.attribute("group", 1))
    apart = used.reshape(groups, -1, used.shape[1])
    return apart.swapaxes(1, 2).reshape(-1, apart.shape[1])


def inputs_of(site: Site, weight: Array) -> Array:
    """(outputs, inputs of one group): which channel of x each weight of an output reads."""
    used = used_weights(site, weight)
    groups = int(site.node.attribute("group", 1)) if site.node.op_type != "Gemm" else 1
    group = np.arange(len(used)) // (len(used) // groups)
    places: Array = group[:, None] * used.shape[1] + np.arange(used.shape[1])
    return places
