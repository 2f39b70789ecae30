"""The QDQ file: QuantizeLinear and DequantizeLinear around what runs on integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, helper

from eapc.errors import ModelError
from eapc.model import (
    ONNX,
    Array,
    GraphEditor,
    GraphView,
    Model,
    captured_by,
    explained,
)
from eapc.quantization.grids import TensorGrid, bias_codes, weight_grid
from eapc.quantization.plan import QuantizationPlan, QuantizedNode

LOWEST_OPSET = 13
"""The first whose DequantizeLinear has a scale per channel."""

_IR_OF_OPSET = 7

_IR_OF_OWN_INITIALIZERS = 4


def raised(model: Model) -> Model:
    """The model at opset 13 or above; raises ModelError where onnx cannot convert it."""
    if model.opset >= LOWEST_OPSET:
        return model
    try:
        proto = onnx.version_converter.convert_version(model.to_proto(embed=True), LOWEST_OPSET)
    except Exception as error:  # the converter's exceptions share no base
        verdict = f"opset {model.opset} cannot be raised to {LOWEST_OPSET}, which int8 needs"
        raise ModelError(explained(error, ONNX, verdict)) from error
    return Model(GraphView(proto), model.path)


def written(model: Model, plan: QuantizationPlan) -> Model:
    """The model with its plan's grids written in; inputs and outputs stay as they are.

    What made a tensor with a grid is followed by QuantizeLinear and DequantizeLinear, and all
    that read it read the result. Weights and biases are stored as integers.
    """
    proto = model.to_proto(embed=True)
    proto.ir_version = max(proto.ir_version, _IR_OF_OPSET)
    writer = _Writer(model, plan, proto)
    nodes = list(writer.nodes())
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    _drop_unread(proto)
    _drop_declared(proto, model)
    return Model(GraphView(proto), model.path)


def code_name(tensor: str) -> str:
    """The name of a tensor's codes."""
    return f"{tensor}@codes"


def names_of(tensor: str) -> tuple[str, ...]:
    """What a tensor of the float network may be called where its grid is written in."""
    return code_name(tensor), f"{tensor}@rounded", f"{tensor}@float"


class _Writer:
    def __init__(self, model: Model, plan: QuantizationPlan, proto: onnx.ModelProto) -> None:
        self._model, self._plan, self._graph = model, plan, proto.graph
        self._editor = GraphEditor(proto)
        self._known = {id(each.node): each for each in plan.nodes}
        self._stored: dict[tuple[str, int, bytes], str] = {}
        self._read_as = {
            name: name if name in model.outputs else f"{name}@rounded" for name in plan.tensors
        }

    def nodes(self) -> Iterator[NodeProto]:
        """The nodes of the new graph, in order."""
        inputs = {spec.name for spec in self._model.inputs}
        for name in self._plan.tensors:
            if name in self._model.constants:
                yield self._stored_codes(name, self._model.constants[name], self._grid(name))
            elif name in inputs:
                yield from self._pair(name, name)
        protos = list(self._graph.node)
        for node, proto in zip(self._model.view.main_nodes, protos, strict=True):
            planned = self._known.get(id(node))
            self._rewire(proto)
            if planned is not None and planned.weights:
                yield from self._layer(planned, proto)
            made = [name for name in proto.output if name in self._plan.grids]
            made = [name for name in made if name not in self._model.constants]
            ends = {name: f"{name}@float" for name in made if name in self._model.outputs}
            proto.output[:] = [ends.get(name, name) for name in proto.output]
            yield proto
            for name in made:
                yield from self._pair(name, ends.get(name, name))

    def _grid(self, tensor: str) -> TensorGrid:
        return self._plan.grids[tensor]

    def _rewire(self, proto: NodeProto) -> None:
        proto.input[:] = [self._read_as.get(name, name) for name in proto.input]

    def _pair(self, tensor: str, source: str) -> Iterator[NodeProto]:
        """What rounds a tensor, which `source` holds, to its grid."""
        operands = self._operands(tensor, self._grid(tensor))
        codes, result = code_name(tensor), self._read_as[tensor]
        yield helper.make_node("QuantizeLinear", [source, *operands], [codes], f"{tensor}@Q")
        yield helper.make_node("DequantizeLinear", [codes, *operands], [result], f"{tensor}@DQ")

    def _operands(self, tensor: str, grid: TensorGrid) -> list[str]:
        """Scale and zero point of a grid, stored once for each tensor."""
        code_type = np.int8 if grid.signed else np.uint8
        zeros = np.full(grid.scale.shape, grid.zero_point, code_type)
        return [
            self._add(f"{tensor}@scale", grid.scale),
            self._add(f"{tensor}@zero", zeros),
        ]

    def _layer(self, planned: QuantizedNode, proto: NodeProto) -> Iterator[NodeProto]:
        """What makes the weights and bias of a layer of their codes; its operands are these."""
        constants, given = self._model.constants, self._grid(planned.reads[0]).scale
        weights = constants[planned.weights]
        channels = weights.shape[planned.axis]
        bias = constants[planned.bias] if planned.bias else np.zeros(channels, np.float32)
        grid = weight_grid(weights, planned.axis, bias / given)
        key = (planned.weights, planned.axis, grid.scale.tobytes())
        if key not in self._stored:
            stored = self._stored_codes(planned.weights, weights, grid)
            self._stored[key] = stored.output[0]
            yield stored
        proto.input[1] = self._stored[key]
        if planned.bias:
            yield self._bias(planned, proto, bias_codes(bias, given, grid), given * grid.scale)

    def _bias(
        self, planned: QuantizedNode, proto: NodeProto, codes: Array, scale: Array
    ) -> NodeProto:
        name = f"{planned.node.key}@bias"
        operands = [
            self._add(f"{name}@codes", codes),
            self._add(f"{name}@scale", scale.astype(np.float32)),
            self._add(f"{name}@zero", np.zeros(codes.shape, np.int32)),
        ]
        place = list(planned.node.inputs).index(planned.bias, 2)
        proto.input[place] = f"{name}@rounded"
        return helper.make_node("DequantizeLinear", operands, [proto.input[place]], name, axis=0)

    def _stored_codes(self, constant: str, values: Array, grid: TensorGrid) -> NodeProto:
        """What makes a constant of its codes, which are stored."""
        codes = self._add(code_name(constant), grid.codes(values))
        result = self._read_as.get(constant) or self._editor.unused_name(f"{codes}@rounded")
        operands, axis = [codes, *self._operands(codes, grid)], grid.axis
        return helper.make_node("DequantizeLinear", operands, [result], f"{codes}@DQ", axis=axis)

    def _add(self, name: str, value: Array) -> str:
        return self._editor.add_constant(name, np.array(value))


def _drop_unread(proto: onnx.ModelProto) -> None:
    """Take out the constants that nothing reads any more, and the nodes that made them."""
    graph = proto.graph
    while True:
        read = {name for node in graph.node for name in (*node.input, *captured_by(node))}
        read |= {value.name for value in graph.output}
        idle = [n for n in graph.node if n.op_type == "Constant" and read.isdisjoint(n.output)]
        for node in idle:
            graph.node.remove(node)
        if not idle:
            break
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _drop_declared(proto: onnx.ModelProto, model: Model) -> None:
    """Take out the inputs that are none: those that old files had to declare, and weights."""
    named = {spec.name for spec in model.inputs}
    if model.view.proto.ir_version >= _IR_OF_OWN_INITIALIZERS:
        named |= {tensor.name for tensor in proto.graph.initializer}
    kept = [value for value in proto.graph.input if value.name in named]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
