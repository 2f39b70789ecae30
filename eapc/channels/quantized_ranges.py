"""Bounds behind QuantizeLinear: its codes reach from and to, whatever a model is fed."""

from __future__ import annotations

from eapc.channels.bounded_layers import constant_layer
from eapc.channels.ranges import Ranges
from eapc.model import Model, Shapes


def bounds_behind_grids(model: Model, shapes: Shapes) -> Ranges | None:
    """The bounds of a model's tensors for inputs of any size; None where it has no codes."""
    if all(node.op_type != "QuantizeLinear" for node in model.view.main_nodes):
        return None
    ranges = Ranges(model, shapes, {})
    for node in model.view.main_nodes:
        layer = constant_layer(model, ranges, node)
        if layer is None:
            ranges.follow(node)
        else:
            ranges.set(node.outputs[0], layer.result(ranges))
    return ranges
