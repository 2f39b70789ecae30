"""What each operator on integers is on real numbers: one rule each, that adds its nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from eapc.layers.taps import Nodes
from eapc.model import Dequantization, Model, Node

ORT = "com.microsoft"

_LISTS_FROM = 13
"""Opset from which on DequantizeLinear takes a scale for each index of an axis."""

Triple = tuple[str, str, str]
"""A tensor of integers, its scale and its zero point."""


class Taken:
    """What the rules have made so far, and of which node.

    `cores` are the model's nodes by the first output of what stands in their place, `gone` those
    that nothing stands for. `place` is the node in whose place the last rule's nodes come.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.cores: dict[str, Node] = {}
        self.readings: dict[str, Dequantization] = {}
        self.gone: set[Node] = set()
        self.place: Node
        self._real: dict[tuple[str, ...], str] = {}
        self._nodes = Nodes("eapc/real/", model.opset)

    def pop(self) -> list[NodeProto]:
        """The nodes since the last call."""
        found, self._nodes.protos = self._nodes.protos, []
        return found

    def add(self, op_type: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """Add a node; returns its result's name."""
        return self._nodes.add(op_type, *inputs, result=result, **attributes)

    def core(self, node: Node, op_type: str, *inputs: str, **given: Any) -> str:
        """Add what a node is on real numbers."""
        name = given.pop("result", "") or self._nodes.fresh()
        self.put(helper.make_node(op_type, inputs, [name], **given), node)
        return name

    def real(self, triple: Triple, axis: int = 1) -> str:
        """The real numbers of integers; a list of scales runs along `axis`."""
        tensor, scale, zero = triple
        if not tensor:
            return ""
        key = (*triple, str(axis))
        if key not in self._real:
            self._real[key] = name = self._read(triple, axis)
            self.readings[name] = Dequantization((scale,) if scale else (), zero, axis)
        return self._real[key]

    def real_bias(self, tensor: str, scales: tuple[str, ...], factor: float = 1.0) -> str:
        """A bias (m,) in the unit of what its products have, times a factor."""
        if not tensor:
            return ""
        if factor != 1:
            scales = (*scales, self._nodes.constant(np.array(factor, np.float32)))
        unit = scales[0]
        for scale in scales[1:]:
            unit = self.add("Mul", unit, scale)
        if self.model.opset >= _LISTS_FROM:
            name = self.add("DequantizeLinear", tensor, unit, axis=-1)
        else:
            name = self.add("Mul", self.add("Cast", tensor, to=TensorProto.FLOAT), unit)
        self.readings[name] = Dequantization(scales)
        return name

    def through_integers(self, tensor: str) -> str:
        """Real numbers as quantizing them as a whole leaves them."""
        codes, scale, zero = (self._nodes.fresh() for _ in range(3))
        self.put(helper.make_node("DynamicQuantizeLinear", [tensor], [codes, scale, zero]))
        return self.add("DequantizeLinear", codes, scale, zero)

    def put(self, proto: NodeProto, core_of: Node | None = None) -> None:
        """Add a node; with that which it is on real numbers."""
        self._nodes.protos.append(proto)
        if core_of is not None:
            proto.name = core_of.name
            self.cores[proto.output[0]] = core_of

    def _read(self, triple: Triple, axis: int) -> str:
        tensor, scale, zero = triple
        shapes = [self.model.constants.shape(name) or () for name in (scale, zero) if name]
        is_plain = all(np.prod(shape, dtype=int) == 1 for shape in shapes)
        is_list = bool(scale) and all(len(s) == 1 for s in shapes) and len({*shapes}) == 1
        if is_plain or (is_list and self.model.opset >= _LISTS_FROM):
            scale = scale or self._nodes.constant(np.array(1, np.float32))
            operands = (tensor, scale, zero) if zero else (tensor, scale)
            along: dict[str, Any] = {} if is_plain else {"axis": axis}
            return self.add("DequantizeLinear", *operands, **along)
        return self._multiplied(triple, axis)

    def _multiplied(self, triple: Triple, axis: int) -> str:
        """The same where DequantizeLinear cannot: in a Cast, Sub and Mul."""
        tensor, scale, zero = triple
        rank = len(self.model.constants.shape(tensor) or ())
        named = scale in self.model.constants
        dtype = self.model.constants.dtype(scale) if named else np.dtype(np.float32)
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        found = self.add("Cast", tensor, to=kind)
        if zero:
            shown = self._along(self.add("Cast", zero, to=kind), zero, rank, axis)
            found = self.add("Sub", found, shown)
        if not scale:
            return found
        return self.add("Mul", found, self._along(scale, scale, rank, axis))

    def _along(self, tensor: str, named: str, rank: int, axis: int) -> str:
        """A list along an axis of a rank; a cell's (directions, gates) along its first and last."""
        shape = self.model.constants.shape(named) or ()
        if len(shape) == 2 and rank == 3:
            return self._nodes.reshape(tensor, shape[0], 1, shape[1])
        if sum(size > 1 for size in shape) != 1:
            return tensor
        sizes = [1] * rank
        sizes[axis] = -1
        return self._nodes.reshape(tensor, *sizes)

    def quantized(self, node: Node, tensor: str, place: int, result: str) -> str:
        """Integers of real numbers, on the grid that a node's operands from a place on tell."""
        grid = filter(None, (node.input(place), node.input(place + 1)))
        return self.add("QuantizeLinear", tensor, *grid, result=result)


Rule = Callable[[Taken, Node], None]
RULES: dict[tuple[str, str], Rule] = {}
"""Rules by domain and operator."""


def _rule(*names: str, domain: str = "") -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        def at_its_place(taken: Taken, node: Node) -> None:
            taken.place = node
            rule(taken, node)

        RULES.update({(domain, name): at_its_place for name in names})
        return rule

    return enter


def _triple(node: Node, place: int) -> Triple:
    return node.input(place), node.input(place + 1), node.input(place + 2)


def _attributes(node: Node, *without: str) -> dict[str, Any]:
    return {name: value for name, value in node.attributes.items() if name not in without}


# --- results on a grid of their own ---------------------------------------------------------------


@_rule("QLinearConv")
@_rule("QLinearConv", domain=ORT)
def convolution(taken: Taken, node: Node) -> None:
    """Conv; the bias is in units of input scale times weight scale."""
    x, w = taken.real(_triple(node, 0)), taken.real(_triple(node, 3), axis=0)
    bias = taken.real_bias(node.input(8), (node.input(1), node.input(4)))
    operands = [_turned(taken, node, x, back=False), w, *filter(None, [bias])]
    y = taken.core(node, "Conv", *operands, **_attributes(node, "channels_last"))
    _quantized_map(taken, node, y, 6)


def _turned(taken: Taken, node: Node, x: str, back: bool, result: str = "") -> str:
    """A feature map with its channels second, or `back` as the node has them: maybe last."""
    if not node.attribute("channels_last", 0):
        return x
    rank = 2 + len(node.attribute("kernel_shape", (1, 1)))
    last, second = (0, *range(2, rank), 1), (0, rank - 1, *range(1, rank - 1))
    return taken.add("Transpose", x, perm=last if back else second, result=result)


def _quantized_map(taken: Taken, node: Node, y: str, place: int) -> None:
    """The integers of a feature map, on the grid that operands from a place on tell."""
    is_last = bool(node.attribute("channels_last", 0))
    codes = taken.quantized(node, y, place, "" if is_last else node.outputs[0])
    _turned(taken, node, codes, back=True, result=node.outputs[0])


@_rule("QLinearMatMul")
@_rule("QLinearMatMul", domain=ORT)
def product(taken: Taken, node: Node) -> None:
    """MatMul; lists of scales are those of rows, and of columns."""
    a, b = taken.real(_triple(node, 0), axis=-2), taken.real(_triple(node, 3), axis=-1)
    taken.quantized(node, taken.core(node, "MatMul", a, b), 6, node.outputs[0])


@_rule("QGemm", domain=ORT)
def gemm(taken: Taken, node: Node) -> None:
    """Gemm, whose result is on a grid where it has a scale."""
    outputs = 0 if node.attribute("transB", 0) else 1
    a, b = taken.real(_triple(node, 0)), taken.real(_triple(node, 3), axis=outputs)
    scales = (node.input(1), node.input(4))
    bias = taken.real_bias(node.input(6), scales, node.attribute("alpha", 1.0))
    is_real = not node.input(7)
    given = {"result": node.outputs[0]} if is_real else {}
    y = taken.core(node, "Gemm", a, b, *filter(None, [bias]), **_attributes(node), **given)
    if not is_real:
        taken.quantized(node, y, 7, node.outputs[0])


@_rule("QLinearAdd", "QLinearMul", domain=ORT)
def pair(taken: Taken, node: Node) -> None:
    """Add or Mul."""
    a, b = taken.real(_triple(node, 0)), taken.real(_triple(node, 3))
    y = taken.add(node.op_type.removeprefix("QLinear"), a, b)
    taken.quantized(node, y, 6, node.outputs[0])


@_rule("QLinearLeakyRelu", "QLinearSigmoid", domain=ORT)
@_rule("QLinearGlobalAveragePool", "QLinearAveragePool", domain=ORT)
def single(taken: Taken, node: Node) -> None:
    """The operator that it is named after."""
    x = _turned(taken, node, taken.real(_triple(node, 0)), back=False)
    kept = _attributes(node, "channels_last")
    _quantized_map(taken, node, taken.add(node.op_type.removeprefix("QLinear"), x, **kept), 3)


@_rule("QLinearConcat", domain=ORT)
def concat(taken: Taken, node: Node) -> None:
    """Concat of all triples from the third operand on."""
    parts = [taken.real(_triple(node, place)) for place in range(2, len(node.inputs), 3)]
    y = taken.add("Concat", *parts, **_attributes(node))
    taken.quantized(node, y, 0, node.outputs[0])


# --- integer results, scaled behind ---------------------------------------------------------------


@dataclass(frozen=True)
class _Scaled:
    """What makes real numbers of an integer result: nodes, the last of which has them."""

    nodes: tuple[Node, ...]
    scales: tuple[str, ...]


@_rule("MatMulInteger", "ConvInteger")
def integer_product(taken: Taken, node: Node) -> None:
    """The product with its scales, or in units of 1 where it is not known what is behind."""
    is_convolution = node.op_type == "ConvInteger"
    scaled = _scaled_behind(taken.model, node)
    x_scale, own = ("", ()) if scaled is None else (scaled.scales[0], scaled.scales[1:])
    x = taken.real((node.input(0), x_scale, node.input(2)), axis=-2)
    w_scale = own[0] if own else ""
    w = taken.real((node.input(1), w_scale, node.input(3)), axis=0 if is_convolution else -1)
    kind = "Conv" if is_convolution else "MatMul"
    if scaled is None:
        y = taken.core(node, kind, x, w, **_attributes(node))
        taken.add("Cast", y, to=TensorProto.INT32, result=node.outputs[0])
        return
    taken.gone |= {node, *scaled.nodes}
    taken.place = scaled.nodes[-1]
    taken.core(node, kind, x, w, **_attributes(node), result=taken.place.outputs[0])


def _scaled_behind(model: Model, node: Node) -> _Scaled | None:
    """Cast and Mul by the input's scale and the weights' behind an integer product.

    Where the input's is not computed, one scale that is constant counts for both.
    """
    quantizer = model.view.producer(node.input(0))
    is_dynamic = quantizer is not None and quantizer.op_type == "DynamicQuantizeLinear"
    wanted = quantizer.outputs[1] if quantizer is not None and is_dynamic else ""
    tensor = node.outputs[0]
    nodes: list[Node] = []
    scales: list[str] = []
    while not scales or (wanted and wanted not in scales):
        readers = model.view.consumers(tensor)
        if len(readers) != 1 or tensor in model.outputs:
            return None
        (reader,) = readers
        if reader.op_type == "Mul" and nodes:
            scales += _factors(model, reader.input(1 if reader.input(0) == tensor else 0))
        elif reader.op_type != "Cast" or nodes:
            return None
        nodes.append(reader)
        tensor = reader.outputs[0]
    own = [name for name in scales if name != wanted]
    if len(own) > 1 or any(name not in model.constants for name in own):
        return None
    return _Scaled(tuple(nodes), (wanted, *own))


def _factors(model: Model, tensor: str) -> list[str]:
    """The tensors that one is the product of."""
    node = model.view.producer(tensor)
    if node is None or node.op_type != "Mul" or tensor in model.constants:
        return [tensor]
    return [name for operand in node.inputs for name in _factors(model, operand)]


@_rule("MatMulIntegerToFloat", domain=ORT)
def integer_product_to_float(taken: Taken, node: Node) -> None:
    """MatMul, and Add where there is a bias."""
    a = taken.real((node.input(0), node.input(2), node.input(4)), axis=-2)
    b = taken.real((node.input(1), node.input(3), node.input(5)), axis=-1)
    _with_bias(taken, node, a, b, node.input(6))


@_rule("DynamicQuantizeMatMul", domain=ORT)
def dynamic_product(taken: Taken, node: Node) -> None:
    """MatMul of the input as its integers have it, and Add where there is a bias."""
    b = taken.real((node.input(1), node.input(2), node.input(3)), axis=-1)
    _with_bias(taken, node, taken.through_integers(node.input(0)), b, node.input(4))


def _with_bias(taken: Taken, node: Node, a: str, b: str, bias: str) -> None:
    result = {} if bias else {"result": node.outputs[0]}
    y = taken.core(node, "MatMul", a, b, **result)
    if bias:
        taken.add("Add", y, bias, result=node.outputs[0])


@_rule("DynamicQuantizeLSTM", domain=ORT)
def cell(taken: Taken, node: Node) -> None:
    """LSTM, whose weights have their last two axes the other way round."""
    places = {1: (8, 9), 2: (10, 11)}
    inputs = list(node.inputs[:8])
    for place, (scale, zero) in places.items():
        real = taken.real((node.input(place), node.input(scale), node.input(zero)), axis=0)
        inputs[place] = taken.add("Transpose", real, perm=(0, 2, 1))
    taken.put(helper.make_node("LSTM", inputs, node.outputs, **_attributes(node)), node)
