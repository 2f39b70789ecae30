"""Real constants that a file rounds to a grid each time it runs, by a QuantizeLinear.

So exporters write weights that a runtime is to store as integers when it builds its engine. A
DequantizeLinear comes behind; a Clip of the codes may stand between both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eapc.model.codes import code_range, is_code
from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.model.rounding import clip_bounds
from eapc.model.tensors import Array, numpy_type

_Grid = tuple[Array, Array]
"""Scale and zero point."""


def roundings(model: Model, dequantize: Node) -> list[Node]:
    """The Clip and the QuantizeLinear in front of a DequantizeLinear, last first; else nothing."""
    if dequantize.op_type != "DequantizeLinear":
        return []
    maker = model.view.producer(dequantize.input(0))
    steps = []
    if maker is not None and maker.op_type == "Clip" and not maker.domain:
        steps.append(maker)
        maker = model.view.producer(maker.input(0))
    is_quantizer = maker is not None and maker.op_type == "QuantizeLinear"
    return [*steps, maker] if maker is not None and is_quantizer else []


def code_type(model: Model, quantize: Node) -> np.dtype[Any]:
    """The type of what a QuantizeLinear makes: that of its zero point, or as it says."""
    if quantize.input(2):
        return model.constants.dtype(quantize.input(2))
    told = quantize.attribute("output_dtype", 0)
    return numpy_type(told) if told else np.dtype(np.uint8)


def code_ends(model: Model, quantize: Node, clip: Node | None) -> tuple[int, int] | None:
    """The least and the greatest code behind a Clip; None without one, or where it is computed."""
    bounds = None if clip is None else clip_bounds(model, clip)
    if bounds is None:
        return None
    least, greatest = code_range(code_type(model, quantize))
    return int(max(least, bounds[0])), int(min(greatest, bounds[1]))


def rounding_fault(model: Model, chain: Sequence[Node]) -> str:
    """Why new values cannot be found for what a chain rounds; empty where they can."""
    found = {node.op_type: node for node in chain}
    pair = found["QuantizeLinear"], found["DequantizeLinear"]
    grids = [grid for grid in (_grid(model, node) for node in pair) if grid is not None]
    if len(grids) < len(pair):
        return "weights have scales or zero points that are computed; fold them"
    axes = [(node.attribute("axis", 1), node.attribute("block_size", 0)) for node in pair]
    is_list = grids[0][0].size > 1
    if not _is_one_grid(*grids) or (is_list and axes[0] != axes[1]):
        return "weights are quantized on one grid and read on another; give them one"
    clip = found.get("Clip")
    if clip is None or not is_code(code_type(model, pair[0])):
        return ""
    ends = code_ends(model, pair[0], clip)
    if ends is None:
        return "weights go through a Clip to computed bounds; fold them"
    zero = grids[0][1].astype(np.int64)
    is_inside = bool(((ends[0] <= zero) & (zero <= ends[1])).all())
    return "" if is_inside else "weights go through a Clip that has no zero; quantize them anew"


def _grid(model: Model, node: Node) -> _Grid | None:
    """That of a node; None where it is computed."""
    scale = model.constants.value(node.input(1))
    zero = model.constants.value(node.input(2)) if node.input(2) else np.zeros(1, np.uint8)
    return None if scale is None or zero is None else (scale.reshape(-1), zero.reshape(-1))


def _is_one_grid(one: _Grid, other: _Grid) -> bool:
    """Whether two grids are the same; a zero point that is left out is one for all."""
    first, second = (zero.astype(np.int64) for _, zero in (one, other))
    is_spread = 1 in (first.size, second.size) or first.size == second.size
    return bool(np.array_equal(one[0], other[0]) and is_spread and (first == second).all())
