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

from eapc.channels.constraints import Axis, Constraint, Dependency, Operand, Ways
from eapc.channels.nodes import NodeAxes, axis_rule
from eapc.channels.shape_operands import FIRST_OPSET_OF_WHERE, describe


@axis_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def regrouping(node: NodeAxes) -> Iterator[Constraint]:
    """Of each block one factor carries the channels, the others stay whole.

    The outermost comes first: heads of attention, groups of a normalisation, C of a Flatten.
    """
    x, y = node.input(0), node.output()
    blocks = _blocks(x, y)
    yield Ways(max(map(len, blocks), default=1))
    carrying = [node.chosen(factors) for factors in blocks]
    for factor in carrying:
        yield factor.dependency()
    followed = {factor.y.number: factor.y.number for factor in carrying}
    if node.op_type == "Reshape" and node.node.input(1):
        yield from describe(node, 1, y, followed, _free(node, y))
    elif node.op_type == "Reshape":  # before opset 5
        shape = node.attribute("shape", ())
        for axis in (axis for axis in followed if shape[axis] > 0):
            yield node.count(y.axis(axis), 0, y.shape[axis], "shape", axis)


def _free(node: NodeAxes, y: Operand) -> dict[int, int]:
    """-1 in one place of a shape that has none yet: the rest of the elements go there."""
    numbers = {each.now for each in node.dimensions(1) or () if each.is_number}
    literal_zero = 0 in numbers and node.attribute("allowzero", 0)
    if -1 in numbers or literal_zero or node.graph.opset < FIRST_OPSET_OF_WHERE:
        return {}
    return dict.fromkeys(range(y.rank), -1)


@dataclass(frozen=True)
class _Factor:
    """The part of an axis of x and of one of y: `size` indices, `stride` elements apart."""

    x: Axis
    y: Axis
    size: int
    stride: int

    def dependency(self) -> Dependency:
        """Every index of x's axis with all of y's where the factor has the same index."""
        along_x, along_y = self._coordinate(self.x), self._coordinate(self.y)
        alike = np.argsort(along_y, kind="stable").reshape(self.size, -1)
        indices = np.repeat(np.arange(len(along_x)), alike.shape[1])
        return Dependency(self.x, self.y, indices, alike[along_x].reshape(-1))

    def _coordinate(self, axis: Axis) -> np.ndarray:
        """The factor's index at every index of an axis."""
        return np.arange(axis.size) * _stride(axis) // self.stride % self.size


def _stride(axis: Axis) -> int:
    """How many elements lie between neighbours along an axis."""
    return math.prod(axis.operand.shape[axis.number + 1 :])


def _blocks(x: Operand, y: Operand) -> list[list[_Factor]]:
    """The factors of each block, outermost first; blocks are left out where axes overlap."""
    count = math.prod(x.shape)
    if count == 0 or count != math.prod(y.shape):
        return []
    x_axes, y_axes = ({_stride(a): a for a in each.axes() if a.size > 1} for each in (x, y))
    strides = sorted({count, *x_axes, *y_axes}, reverse=True)
    blocks: list[list[_Factor]] = [[]]
    overlaps = False
    for outer, inner in pairwise(strides):
        overlaps |= outer % inner > 0
        one, other = (next(a for s, a in each.items() if s <= inner) for each in (x_axes, y_axes))
        blocks[-1].append(_Factor(one, other, outer // inner, inner))
        if inner in x_axes and inner in y_axes:
            blocks[-1:] = [[]] if overlaps else [blocks[-1], []]
            overlaps = False
    return blocks[:-1]


@axis_rule("DepthToSpace", "SpaceToDepth")
def depth_and_space(node: NodeAxes) -> Iterator[Constraint]:
    """A channel of one side is blocksize^2 of the other, in the order that `mode` says."""
    x, y = node.input(0), node.output()
    deep, shallow = (x, y) if node.op_type == "DepthToSpace" else (y, x)
    channels, count = np.arange(deep.shape[1]), shallow.shape[1]
    is_inner = node.attribute("mode", "DCR") == "CRD"
    places = channels // (len(channels) // count) if is_inner else channels % count
    yield Dependency(x.axis(0), y.axis(0))
    yield Dependency(deep.axis(1), shallow.axis(1), None, places)
