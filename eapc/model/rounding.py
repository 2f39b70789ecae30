"""Pairs of QuantizeLinear and DequantizeLinear: widths that they tell, and what they do for free.

Codes of fewer bits than their type go through a Clip behind QuantizeLinear, which is part of
rounding. A pair behind what only moves values of the same grid changes none of them.
"""

from __future__ import annotations

import math

import numpy as np

from eapc.model.graph import Node
from eapc.model.model import BITS_KEY, Model
from eapc.operators import operator_of


def told_bits(model: Model, node: Node) -> int | None:
    """Bits of a node's integers as its metadata tell; None where they tell nothing.

    So is it for a node that is not the file's: operators on integers are taken apart into such.
    """
    if not model.view.holds(node):
        return None
    for entry in model.view.node_proto(node).metadata_props:
        if entry.key == BITS_KEY and entry.value.isdecimal() and int(entry.value):
            return int(entry.value)
    return None


def clip_of_codes(model: Model, node: Node) -> Node | None:
    """The Clip that alone reads the codes which a QuantizeLinear makes."""
    if node.op_type != "QuantizeLinear" or node.outputs[0] in model.outputs:
        return None
    readers = model.view.consumers(node.outputs[0])
    is_clip = len(readers) == 1 and readers[0].op_type == "Clip" and not readers[0].domain
    return readers[0] if is_clip and readers[0].input(0) == node.outputs[0] else None


def clip_bounds(model: Model, clip: Node) -> tuple[float, float] | None:
    """The bounds of a Clip, infinite where it has none; None where one is computed."""
    low = _bound(model, clip, 1, "min", -math.inf)
    high = _bound(model, clip, 2, "max", math.inf)
    return None if low is None or high is None else (low, high)


def _bound(model: Model, node: Node, place: int, name: str, default: float) -> float | None:
    """A bound of a Clip, an attribute before opset 11; None where it is computed."""
    if not node.input(place):
        return float(node.attribute(name, default))
    return model.constants.scalar(node.input(place))


def is_part_of_rounding(model: Model, node: Node) -> bool:
    """Whether a node of the main graph costs nothing beside the rounding that is done anyway.

    That is a Clip of codes, and a pair of QuantizeLinear and DequantizeLinear between which and
    the grid of its values nothing computes.
    """
    if node.scope:
        return False
    maker = model.view.producer(node.input(0))
    if node.op_type == "Clip":
        return maker is not None and clip_of_codes(model, maker) is node
    if node.op_type == "DequantizeLinear" and maker is not None:
        return maker.op_type == "QuantizeLinear" and _repeats(model, maker)
    return node.op_type == "QuantizeLinear" and _repeats(model, node)


def _repeats(model: Model, quantize: Node) -> bool:
    """Whether a QuantizeLinear reads values that are all on its grid already."""
    pending, found = [quantize.input(0)], False
    while pending:
        maker = model.view.producer(pending.pop())
        if maker is None:
            return False
        if maker.op_type == "DequantizeLinear":
            if not _is_same_grid(model, maker, quantize):
                return False
            found = True
        elif operator_of(maker).on_integers == "same grid":
            pending += maker.inputs if operator_of(maker).joins else maker.inputs[:1]
        else:
            return False
    return found


def _is_same_grid(model: Model, one: Node, other: Node) -> bool:
    """Whether two nodes read the same single scale, zero point and type."""
    grids = [_grid(model, node) for node in (one, other)]
    return grids[0] is not None and grids[0] == grids[1]


def _grid(model: Model, node: Node) -> tuple[float, int, str] | None:
    scale = model.constants.value(node.input(1))
    name = node.input(2)
    zero = model.constants.value(name) if name else np.zeros(1, np.uint8)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    return float(scale.item()), int(zero.item()), zero.dtype.name
