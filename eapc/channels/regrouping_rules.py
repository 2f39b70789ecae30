"""Axis rules of operators that split and merge axes: Reshape and its kin.

Two shapes of the same elements fall into blocks, runs of axes with equally many elements, and a
block into factors: each lies within one axis of either shape. A factor of the block can shrink
while the others stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from eapc.channels.axis_rules import Effect, Options, Port, Site, Tie, axis_rule
from eapc.channels.entries import Literal
from eapc.channels.groups import Number
from eapc.channels.targets import FIRST_OPSET_OF_WHERE, describe_target
from eapc.model import Array

_Shape = tuple[int, ...]
_Block = tuple[list[int], list[int]]


@dataclass(frozen=True)
class _Factor:
    """The part of an axis of x and of one of y: `size` indices, `stride` elements apart."""

    x_axis: int
    y_axis: int
    size: int
    stride: int


@axis_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def regrouping(site: Site) -> Iterator[Effect]:
    """Of each block one factor carries the channels, the others stay whole.

    The outermost comes first: heads of attention, groups of a normalisation, C of a Flatten.
    """
    x, y = site.input(0), site.output()
    blocks = _blocks(x.shape, y.shape)
    factors = {place: _factors(x.shape, y.shape, block) for place, block in enumerate(blocks)}
    yield Options(max(map(len, factors.values()), default=1))
    tied: dict[int, int] = {}
    for place, block in enumerate(blocks):
        if factors[place]:
            factor = site.chosen(factors[place])
            tied[factor.y_axis] = factor.y_axis
            yield _tie(x, y, block, factor)
    yield from _target(site, y, tied)


def _target(site: Site, y: Port, tied: dict[int, int]) -> Iterator[Effect]:
    """What makes the shape, an operand or before opset 5 an attribute, follow the tied axes."""
    if site.node.op_type == "Reshape" and site.node.input(1):
        yield from describe_target(site, 1, y, tied, _free(site, y))
    elif site.node.op_type == "Reshape":
        shape = site.node.attribute("shape", ())
        for axis in tied:
            if shape[axis] > 0:
                place = (site.node.key, axis, y.tensor, axis, 0, y.shape[axis])
                yield Number(*place, attribute="shape")


def _free(site: Site, y: Port) -> dict[int, int]:
    """-1 in one place of a shape that has none yet: the rest of the elements go there."""
    entries = site.entries(site.node.input(1)) or ()
    numbers = {entry.value for entry in entries if isinstance(entry, Literal)}
    literal_zero = 0 in numbers and site.node.attribute("allowzero", 0)
    if -1 in numbers or literal_zero or site.opset < FIRST_OPSET_OF_WHERE:
        return {}
    return dict.fromkeys(range(y.rank), -1)


def _blocks(one: _Shape, two: _Shape) -> list[_Block]:
    """Runs of axes, longer than 1, of two shapes that hold the same number of elements."""
    blocks: list[_Block] = []
    left = [(axis, size) for axis, size in enumerate(one) if size != 1]
    right = [(axis, size) for axis, size in enumerate(two) if size != 1]
    while left and right:
        (axis, width), (other, height) = left.pop(0), right.pop(0)
        block: _Block = ([axis], [other])
        while width != height and (left if width < height else right):
            if width < height:
                axis, size = left.pop(0)
                block[0].append(axis)
                width *= size
            else:
                other, size = right.pop(0)
                block[1].append(other)
                height *= size
        blocks.append(block)
    return blocks


def _factors(one: _Shape, two: _Shape, block: _Block) -> list[_Factor]:
    """The factors of a block, outermost first; none where axes overlap otherwise."""
    sizes = [one[axis] for axis in block[0]], [two[axis] for axis in block[1]]
    count = math.prod(sizes[0])
    if count == 0 or count != math.prod(sizes[1]):
        return []
    x_strides, y_strides = map(_strides, sizes)
    strides = [count, *sorted({*x_strides, *y_strides}, reverse=True)]
    found = []
    for outer, inner in pairwise(strides):
        if outer % inner:
            return []
        x_place = next(i for i, stride in enumerate(x_strides) if stride <= inner)
        y_place = next(i for i, stride in enumerate(y_strides) if stride <= inner)
        found.append(_Factor(block[0][x_place], block[1][y_place], outer // inner, inner))
    return found


def _strides(sizes: list[int]) -> list[int]:
    """How many elements lie between neighbours along each axis."""
    return [math.prod(sizes[place + 1 :]) for place in range(len(sizes))]


def _tie(x: Port, y: Port, block: _Block, factor: _Factor) -> Tie:
    """Every index of x's axis with all of y's where the factor has the same index."""
    along_x = _coordinate(x.shape, block[0], factor.x_axis, factor)
    along_y = _coordinate(y.shape, block[1], factor.y_axis, factor)
    alike = np.argsort(along_y, kind="stable").reshape(factor.size, -1)
    x_indices = np.repeat(np.arange(len(along_x)), alike.shape[1])
    return Tie(x, factor.x_axis, y, factor.y_axis, x_indices, alike[along_x].reshape(-1))


def _coordinate(shape: _Shape, axes: list[int], axis: int, factor: _Factor) -> Array:
    """The factor's index at every index of an axis of its block."""
    behind = math.prod(shape[other] for other in axes if other > axis)
    return np.arange(shape[axis]) * behind // factor.stride % factor.size
