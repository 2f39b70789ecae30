"""The QDQ file: QuantizeLinear and DequantizeLinear around what runs on integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, helper

from eapc.errors import ModelError
from eapc.model import (
    BITS_KEY,
    ONNX,
    Array,
    GraphEditor,
    GraphView,
    Model,
    captured_by,
    explained,
)
from eapc.quantization.grids import TensorGrid, bias_codes, storable, weight_grid
from eapc.quantization.plan import WIDEST, QuantizationPlan, QuantizedNode

LOWEST_OPSET = 13
"""The first whose DequantizeLinear has a scale per channel."""

_IR_OF_OPSET = 7

_IR_OF_NODE_METADATA = 10

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


def written(model: Model, plan: QuantizationPlan, weights: bool = True) -> Model:
    """The model with its plan's grids written in; inputs and outputs stay as they are.

    What made a tensor with a grid is followed by QuantizeLinear and DequantizeLinear, and all
    that read it read the result. Weights, biases and other constants are stored as integers, or,
    without `weights`, left as they are. Codes of fewer than 8 bits stand in 8: activations go
    through a Clip, and metadata of the nodes tell the width.
    """
    proto = model.to_proto(embed=True)
    writer = _Writer(model, plan, proto, weights)
    nodes = list(writer.nodes())
    tells = any(node.metadata_props for node in nodes)
    lowest = _IR_OF_NODE_METADATA if tells else _IR_OF_OPSET
    proto.ir_version = max(proto.ir_version, lowest)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    _drop_unread(proto)
    _drop_declared(proto, model)
    return Model(GraphView(proto), model.path)


def code_name(tensor: str) -> str:
    """The name of a tensor's codes, before any Clip."""
    return f"{tensor}@codes"


def names_of(tensor: str) -> tuple[str, ...]:
    """What a tensor of the float network may be called where its grid is written in."""
    return code_name(tensor), f"{tensor}@rounded", f"{tensor}@float"


class _Writer:
    def __init__(
        self, model: Model, plan: QuantizationPlan, proto: onnx.ModelProto, weights: bool
    ) -> None:
        self._weights = weights
        self._model, self._plan, self._graph = model, plan, proto.graph
        self._editor = GraphEditor(proto)
        self._known = {id(each.node): each for each in plan.nodes}
        self._stored: dict[tuple[str, int, bytes], str] = {}
        self._codes: dict[str, str] = {}
        self._grid_operands: dict[str, tuple[str, str]] = {}
        self._last_codes: dict[int, str] = {}
        self._moved = {name for each in plan.nodes if each.moves for name in each.results}
        self._read_as = {
            name: name if name in model.outputs else f"{name}@rounded"
            for name in plan.tensors
            if weights or name not in model.constants
        }

    def nodes(self) -> Iterator[NodeProto]:
        """The nodes of the new graph, in order."""
        inputs = {spec.name for spec in self._model.inputs}
        for name in self._plan.tensors:
            if name in self._model.constants:
                if self._weights:
                    yield self._stored_codes(name, self._model.constants[name], self._grid(name))
            elif name in inputs:
                yield from self._pair(name, name)
        protos = list(self._graph.node)
        for node, proto in zip(self._model.view.main_nodes, protos, strict=True):
            planned = self._known.get(id(node))
            self._rewire(proto)
            if planned is not None and planned.weights and self._weights:
                yield from self._layer(planned, proto)
            if planned is not None and self._pads_codes(planned):
                yield from self._padded(planned, proto)
                continue
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
        grid = self._grid(tensor)
        operands = self._operands(tensor, grid)
        codes = code_name(tensor)
        yield _told(
            grid, helper.make_node("QuantizeLinear", [source, *operands], [codes], f"{tensor}@Q")
        )
        if grid.bits < WIDEST and tensor not in self._moved:
            ends = ["", self._last_code(grid)]
            clipped = f"{tensor}@clipped"
            yield _told(grid, helper.make_node("Clip", [codes, *ends], [clipped], clipped))
            codes = clipped
        yield self._real(tensor, codes)

    def _real(self, tensor: str, codes: str) -> NodeProto:
        """What makes a tensor of its codes, for all that read it."""
        grid, result = self._grid(tensor), self._read_as[tensor]
        self._codes[tensor] = codes
        inputs = [codes, *self._operands(tensor, grid)]
        return _told(grid, helper.make_node("DequantizeLinear", inputs, [result], f"{tensor}@DQ"))

    def _pads_codes(self, planned: QuantizedNode) -> bool:
        """Whether a node is a Pad with zeros or of a border, which works on codes as they are.

        Runtimes have no Pad between pairs to fuse.
        """
        node, constants = planned.node, self._model.constants
        if node.op_type != "Pad" or planned.makes in self._model.outputs:
            return False
        value = constants.scalar(node.input(2)) if node.input(2) else 0
        is_constant = node.attribute("mode", "constant") == "constant"
        return planned.reads[0] in self._codes and (not is_constant or value == 0)

    def _padded(self, planned: QuantizedNode, proto: NodeProto) -> Iterator[NodeProto]:
        tensor = planned.makes
        grid = self._grid(tensor)
        zero = self._add(f"{tensor}@padding", np.array(grid.zero_point, np.uint8))
        proto.input.extend([""] * (3 - len(proto.input)))
        proto.input[0], proto.input[2] = self._codes[planned.reads[0]], zero
        proto.output[0] = code_name(tensor)
        yield _told(grid, proto)
        yield self._real(tensor, code_name(tensor))

    def _last_code(self, grid: TensorGrid) -> str:
        """The constant that is the greatest code, one of each."""
        _, last = grid.ends
        if last not in self._last_codes:
            self._last_codes[last] = self._add(f"code@{last}", np.array(last, np.uint8))
        return self._last_codes[last]

    def _operands(self, tensor: str, grid: TensorGrid) -> tuple[str, str]:
        """Scale and zero point of a grid, stored once for each tensor."""
        if tensor not in self._grid_operands:
            code_type = np.int8 if grid.signed else np.uint8
            zeros = np.full(grid.scale.shape, grid.zero_point, code_type)
            operands = self._add(f"{tensor}@scale", grid.scale), self._add(f"{tensor}@zero", zeros)
            self._grid_operands[tensor] = operands
        return self._grid_operands[tensor]

    def _layer(self, planned: QuantizedNode, proto: NodeProto) -> Iterator[NodeProto]:
        """What makes the weights and bias of a layer of their codes; its operands are these."""
        constants, given = self._model.constants, self._grid(planned.reads[0]).scale
        weights = constants[planned.weights]
        channels = weights.shape[planned.axis]
        bias = constants[planned.bias].ravel() if planned.bias else np.zeros(channels, np.float32)
        fitted = self._plan.weight_grids.get(planned.weights)
        grid = (
            weight_grid(weights, planned.axis, bias / given, planned.weight_bits)
            if fitted is None
            else storable(fitted, bias / given)
        )
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
        node = helper.make_node("DequantizeLinear", operands, [result], f"{codes}@DQ", axis=axis)
        return _told(grid, node)

    def _add(self, name: str, value: Array) -> str:
        return self._editor.add_constant(name, np.array(value))


def _told(grid: TensorGrid, node: NodeProto) -> NodeProto:
    """The node, which tells the width of its codes where that is not the type's."""
    if grid.bits < WIDEST:
        node.metadata_props.add(key=BITS_KEY, value=str(grid.bits))
    return node


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
