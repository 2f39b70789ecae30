"""Nodes written one after the other, in the form that an opset asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from eapc.model import Array

_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMax": 18, "ReduceMean": 18}


class NodeWriter:
    """Nodes and initializers whose names all begin with `prefix`, for one opset."""

    def __init__(self, prefix: str, opset: int) -> None:
        self.prefix, self.opset = prefix, opset
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """A node, by the name of its last output."""
        name = f"{self.prefix}{op_type}_{len(self.nodes)}"
        results = [f"{name}_{place}" for place in range(outputs - 1)] + [name]
        self.nodes.append(helper.make_node(op_type, inputs, results, name=name, **attributes))
        return name

    def constant(self, value: Array | np.generic) -> str:
        """An initializer."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def whole(self, *numbers: int) -> str:
        """A one-dimensional int64 initializer."""
        return self.constant(np.array(numbers, np.int64))

    def reduce(self, op_type: str, x: str, axes: tuple[int, ...], keepdims: bool) -> str:
        """A reduction over some axes, or all where there are none given."""
        if not axes:
            return self.add(op_type, x, keepdims=int(keepdims))
        if self.opset >= _AXES_AS_INPUT[op_type]:
            return self.add(op_type, x, self.whole(*axes), keepdims=int(keepdims))
        return self.add(op_type, x, axes=list(axes), keepdims=int(keepdims))
