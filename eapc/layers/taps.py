"""Nodes that show what a layer within a larger node multiplies its weights by.

A recurrent cell multiplies W by its inputs and R by the hidden states of the step before. Nodes
beside it gather these as rows x, and make the product y of them, so that the cell is fitted like
any other layer. The states come from a copy of the cell that has R as the file has it: those that
a pruned network will have once its R is fitted to that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from eapc.layers.recurrent import (
    BIAS,
    INITIAL,
    LENGTHS,
    R,
    RecurrentForm,
    W,
    resets_first,
)
from eapc.model import Array, Node

_INPUTS_OF_SLICE = 10
"""Opset from which on a Slice reads its bounds."""

_GRU_GATES = 3

_END = np.iinfo(np.int64).max


class Nodes:
    """Nodes to be put into a graph, each with one result that is named after `prefix`.

    `ahead` are those that come before the node that they belong to, `protos` those beside or
    behind it.
    """

    def __init__(self, prefix: str, opset: int) -> None:
        self.protos: list[NodeProto] = []
        self.ahead: list[NodeProto] = []
        self._prefix, self._opset, self._names = prefix, opset, 0

    def fresh(self) -> str:
        """A name that nothing has yet."""
        self._names += 1
        return f"{self._prefix}{self._names}"

    def first(self, op_type: str, **attributes: Any) -> str:
        """Add a node without operands ahead of all."""
        name = self.fresh()
        self.ahead.append(helper.make_node(op_type, [], [name], **attributes))
        return name

    def add(self, op_type: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """Add a node; returns its result's name."""
        name = result or self.fresh()
        self.protos.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def constant(self, array: Array) -> str:
        """A constant's name."""
        return self.add("Constant", value=numpy_helper.from_array(array))

    def numbers(self, *numbers: int) -> str:
        """The name of a list of integers."""
        return self.constant(np.array(numbers, np.int64))

    def slice(self, tensor: str, axis: int, start: int, end: int) -> str:
        """Part of a tensor along one axis."""
        if self._opset < _INPUTS_OF_SLICE:
            return self.add("Slice", tensor, axes=[axis], starts=[start], ends=[end])
        bounds = (self.numbers(number) for number in (start, end, axis))
        return self.add("Slice", tensor, *bounds)

    def reshape(self, tensor: str, *sizes: int, result: str = "") -> str:
        """A tensor in another shape, with 0 for a size that stays and -1 for the one left."""
        return self.add("Reshape", tensor, self.numbers(*sizes), result=result)

    def transpose(self, tensor: str, *axes: int) -> str:
        """A tensor with its axes in another order."""
        return self.add("Transpose", tensor, perm=axes)


def tap_cell(
    nodes: Nodes,
    cell: Node,
    form: RecurrentForm,
    operand: int,
    names: tuple[str, str],
    original: str,
) -> None:
    """Add the nodes that make x (rows, 1 or groups, k) and y (rows, outputs) of a cell's weights.

    `names` are those of x and y, `original` that of R as the file has it.
    """
    x, y = names
    tap = _CellTap(nodes, cell, form, original)
    rows = tap.inputs() if operand == W else tap.states()
    valid = tap.is_valid()
    if valid:
        nodes.add("Compress", rows, valid, axis=0, result=x)
    else:
        nodes.add("Identity", rows, result=x)
    _add_product(nodes, x, cell.input(operand), form, y)


def _add_product(nodes: Nodes, x: str, weight: str, form: RecurrentForm, y: str) -> None:
    size = form.weight_shape[2]
    outputs = form.weight_shape[0] * form.weight_shape[1] // form.groups
    matrices = nodes.transpose(nodes.reshape(weight, form.groups, outputs, size), 0, 2, 1)
    product = nodes.add("MatMul", nodes.transpose(x, 1, 0, 2), matrices)
    nodes.reshape(nodes.transpose(product, 1, 0, 2), -1, form.groups * outputs, result=y)


class _CellTap:
    def __init__(self, nodes: Nodes, cell: Node, form: RecurrentForm, original: str) -> None:
        self._nodes, self._cell, self._original = nodes, cell, original
        self._directions, self._size = form.weight_shape[0], form.weight_shape[2]
        self._steps = self._lengths = ""
        if cell.input(LENGTHS):
            self._lengths = nodes.add("Cast", cell.input(LENGTHS), to=TensorProto.INT64)
            count = nodes.add("Gather", nodes.add("Shape", cell.input(0)), self._number(0))
            steps = nodes.add("Range", self._number(0), count, self._number(1))
            self._steps = nodes.reshape(steps, -1, 1)

    def _number(self, number: int) -> str:
        return self._nodes.constant(np.array(number, np.int64))

    def is_valid(self) -> str:
        """Which rows are within their sequence; empty where all are."""
        if not self._lengths:
            return ""
        return self._nodes.reshape(self._nodes.add("Less", self._steps, self._lengths), -1)

    def inputs(self) -> str:
        """(steps * batch, 1, inputs)."""
        return self._nodes.reshape(self._cell.input(0), -1, 1, self._size)

    def states(self) -> str:
        """(steps * batch, directions, hidden), or a group for each gate."""
        before = self._before()
        if not resets_first(self._cell):
            return self._as_rows(before)
        reset = self._nodes.add("Mul", self._resets(before), before)
        both = [self._as_rows(tensor, 1) for tensor in (before, before, reset)]
        joined = self._nodes.add("Concat", *both, axis=2)
        return self._nodes.reshape(joined, 0, -1, self._size)

    def _as_rows(self, states: str, *gates: int) -> str:
        """(steps, directions, batch, hidden) -> (steps * batch, directions, *gates, hidden)."""
        turned = self._nodes.transpose(states, 0, 2, 1, 3)
        return self._nodes.reshape(turned, -1, self._directions, *gates, self._size)

    def _before(self) -> str:
        """The states that each step begins with, (steps, directions, batch, hidden)."""
        nodes, after = self._nodes, self._after()
        initial = self._initial(after)
        found = []
        for direction in range(self._directions):
            own, begin = (
                nodes.slice(states, 1, direction, direction + 1) for states in (after, initial)
            )
            found.append(
                (self._later if self._is_reverse(direction) else self._earlier)(own, begin)
            )
        return found[0] if len(found) == 1 else nodes.add("Concat", *found, axis=1)

    def _is_reverse(self, direction: int) -> bool:
        way = self._cell.attribute("direction", b"forward")
        return direction == 1 or way in (b"reverse", "reverse")

    def _earlier(self, states: str, initial: str) -> str:
        return self._nodes.add("Concat", initial, self._nodes.slice(states, 0, 0, -1), axis=0)

    def _later(self, states: str, initial: str) -> str:
        """Of the step behind; a sequence's last step begins with the initial state."""
        nodes = self._nodes
        later = nodes.add("Concat", nodes.slice(states, 0, 1, _END), initial, axis=0)
        if not self._lengths:
            return later
        last = nodes.add("Equal", nodes.add("Add", self._steps, self._number(1)), self._lengths)
        return nodes.add("Where", nodes.reshape(last, 0, 1, -1, 1), initial, later)

    def _after(self) -> str:
        """The states that a copy of the cell ends each step with."""
        cell, nodes = self._cell, self._nodes
        inputs = [self._original if place == R else name for place, name in enumerate(cell.inputs)]
        return nodes.add(cell.op_type, *inputs, **cell.attributes)

    def _initial(self, after: str) -> str:
        """(1, directions, batch, hidden)."""
        nodes, given = self._nodes, self._cell.input(INITIAL)
        if given:
            return nodes.reshape(given, 1, self._directions, -1, self._size)
        first = nodes.slice(after, 0, 0, 1)
        return nodes.add("Sub", first, first)

    def _resets(self, before: str) -> str:
        """r of a GRU, (steps, directions, batch, hidden): its second gate."""
        found = [self._reset(before, direction) for direction in range(self._directions)]
        gate = found[0] if len(found) == 1 else self._nodes.add("Concat", *found, axis=1)
        return self._nodes.add("Sigmoid", gate)

    def _reset(self, before: str, direction: int) -> str:
        """What r of one direction is the sigmoid of, (steps, 1, batch, hidden)."""
        nodes, cell, size = self._nodes, self._cell, self._size

        def second(tensor: str, first: int = 0) -> str:
            own = nodes.slice(tensor, 0, direction, direction + 1)
            return nodes.slice(own, 1, first + size, first + 2 * size)

        weights, states = second(cell.input(W)), second(self._original)
        from_x = nodes.add("MatMul", cell.input(0), nodes.transpose(weights, 0, 2, 1))
        own = nodes.slice(before, 1, direction, direction + 1)
        from_h = nodes.add("MatMul", own, nodes.transpose(states, 0, 2, 1))
        gate = nodes.add("Add", nodes.reshape(from_x, 0, 1, -1, size), from_h)
        for first in (0, _GRU_GATES * size) if cell.input(BIAS) else ():
            gate = nodes.add("Add", gate, second(cell.input(BIAS), first))
        return gate
