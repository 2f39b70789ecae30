"""Intervals through quantization: codes reach from and to, whatever is quantized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eapc.channels.intervals import UNBOUNDED, Interval
from eapc.model import Node, code_range, is_code

if TYPE_CHECKING:
    from eapc.channels.ranges import Ranges

TIE = 2.0**-10
"""Numbers so near the middle of two codes, in steps, may be rounded either way."""


def codes_range(ranges: Ranges, node: Node) -> Interval:
    """QuantizeLinear: the codes of both ends."""
    grid, x = _grid(ranges, node), ranges.of(node.input(0))
    if grid is None:
        return UNBOUNDED
    scale, zero, least, greatest = grid
    beyond = (x.low / scale - TIE, x.high / scale + TIE)
    low, high = (np.clip(np.rint(end) + zero, least, greatest) for end in beyond)
    return Interval(low, high, x.axis)


def reals_range(ranges: Ranges, node: Node) -> Interval:
    """DequantizeLinear: what the codes of both ends stand for, or those of the range."""
    grid, codes = _grid(ranges, node), ranges.of(node.input(0))
    if grid is None:
        return UNBOUNDED
    scale, zero, least, greatest = grid
    low, high = (np.clip(end, least, greatest) for end in (codes.low, codes.high))
    return Interval((low - zero) * scale, (high - zero) * scale, codes.axis)


def _grid(ranges: Ranges, node: Node) -> tuple[float, float, int, int] | None:
    """(scale, zero point, least and greatest code); None but for one grid of a whole tensor."""
    scale, zero = ranges.model.constants.scalar(node.input(1)), np.zeros(1, np.uint8)
    if node.input(2):
        given = ranges.constant(node.input(2))
        if given is None or given.size != 1 or not is_code(given.dtype):
            return None
        zero = given
    elif node.op_type == "DequantizeLinear" or node.attribute("output_dtype", 0):
        return None
    if scale is None or not scale > 0:
        return None
    return scale, float(zero.reshape(-1)[0]), *code_range(zero.dtype)
