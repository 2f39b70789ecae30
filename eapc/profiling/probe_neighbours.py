"""What stands around the layer of a probe: cheap nodes that compute its inputs and read its result.

Real numbers come of a Mul in plain layout, of a pointwise convolution of one channel in the
blocked one. Codes come of QuantizeLinear in plain layout, of a QLinearConv of one channel with the
channels last. A reader takes one position, by a node that onnxruntime can move no layer through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eapc.model import Array
from eapc.profiling.integer_layers import is_code
from eapc.profiling.kernels import Layout
from eapc.profiling.layer_kinds import Shape, with_axis

_SLICE_WITH_INPUTS = 10
_GATHER_ND = 11
_REAL = np.dtype(np.float32)
_SCALE = np.array(0.02, np.float32)
"""Of codes that are made up: about the range of a normal distribution."""


@dataclass(frozen=True)
class Probe:
    """A model to time and what to feed it."""

    model: onnx.ModelProto
    feed: Mapping[str, Array]


@dataclass(frozen=True)
class Handed:
    """How a tensor is handed on: its type and the layout."""

    layout: Layout
    dtype: np.dtype[Any]

    @property
    def is_code(self) -> bool:
        """Whether it holds codes of real numbers."""
        return is_code(self.dtype)


@dataclass
class ProbeDraft:
    """A model that grows node by node, with the operators of `source`."""

    source: onnx.ModelProto
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    feed: dict[str, Array] = field(default_factory=dict)
    outputs: dict[str, np.dtype[Any]] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        imports = self.source.opset_import
        return next((i.version for i in imports if i.domain in ("", "ai.onnx")), 1)

    def node(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node; its output's name."""
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: Array) -> str:
        """Add an initializer, once; its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def normal(self, name: str, shape: Shape) -> str:
        """Weights that keep the scale of what they multiply; the first axis is the output's."""
        scale = max(1.0, float(np.prod(shape[1:]))) ** -0.5
        return self.constant(name, self.rng.normal(0, scale, shape).astype(np.float32))

    def fed(self, shape: Shape, dtype: np.dtype[Any] = _REAL) -> str:
        """An input of the model, one for each shape and type."""
        kind = "" if dtype == _REAL else dtype.name
        name = f"x{kind}" + "x".join(map(str, shape))
        if name not in self.feed:
            spread = 1 if dtype == _REAL else 30
            self.feed[name] = self.rng.normal(0, spread, shape).astype(np.float32).astype(dtype)
        return name

    def output(self, dtype: np.dtype[Any]) -> str:
        """The name of a new output."""
        name = f"y{len(self.outputs)}"
        self.outputs[name] = dtype
        return name

    def grid(self, dtype: np.dtype[Any]) -> list[str]:
        """A scale and a zero point of codes."""
        scale = self.constant("scale", _SCALE)
        return [scale, self.constant(f"{dtype.name}.zero", np.zeros((), dtype))]

    def finish(self) -> Probe:
        """The probe; weights that a caller may replace are inputs as well."""
        replaceable = (self.initializers[name] for name in sorted(self.given))
        element = helper.np_dtype_to_tensor_dtype
        inputs = [(n, int(element(v.dtype)), v.shape) for n, v in self.feed.items()]
        inputs += [(t.name, t.data_type, tuple(t.dims)) for t in replaceable]
        graph = helper.make_graph(
            self.nodes,
            "probe",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(n, element(t), None) for n, t in self.outputs.items()],
            list(self.initializers.values()),
        )
        proto = helper.make_model(graph, opset_imports=self.source.opset_import)
        proto.ir_version = max(4, self.source.ir_version)
        return Probe(proto, self.feed)


# --- in front ------------------------------------------------------------------------------------


def produced(draft: ProbeDraft, name: str, shape: Shape, axis: int | None, handed: Handed) -> str:
    """A node that computes a tensor of a shape, with its channels along `axis`; its name."""
    if handed.layout == "blocked":
        weights = draft.normal(f"{name}.weights", (shape[1], *(1 for _ in shape[1:])))
        plain = draft.node("Conv", [draft.fed(with_axis(shape, axis, 1)), weights], f"{name}.conv")
        return draft.node("Relu", [plain], name)
    if handed.layout == "channels-last":
        return (_last_codes if handed.is_code else _last_reals)(draft, name, shape, handed)
    if handed.is_code:
        real = _scaled(draft, f"{name}.real", shape, axis)
        return draft.node("QuantizeLinear", [real, *draft.grid(handed.dtype)], name)
    if handed.dtype != _REAL:
        real = _scaled(draft, f"{name}.real", shape, axis)
        return draft.node("Cast", [real], name, to=helper.np_dtype_to_tensor_dtype(handed.dtype))
    return _scaled(draft, name, shape, axis)


def _scaled(draft: ProbeDraft, name: str, shape: Shape, axis: int | None) -> str:
    """Real numbers in plain layout: a channel times a factor for each."""
    ones = with_axis((1,) * len(shape), axis, 1 if axis is None else shape[axis])
    factor = draft.constant(f"{name}.factor", _factors(draft, ones))
    return draft.node("Mul", [draft.fed(with_axis(shape, axis, 1)), factor], name)


def _factors(draft: ProbeDraft, shape: Shape) -> Array:
    return draft.rng.uniform(0.5, 1.5, shape).astype(np.float32)


def _last_codes(draft: ProbeDraft, name: str, shape: Shape, handed: Handed) -> str:
    """Codes with the channels last: a pointwise convolution of one channel of codes."""
    return _integer_conv(draft, name, draft.fed(with_axis(shape, 1, 1), handed.dtype), (
        shape[1], *(1 for _ in shape[1:])), handed)  # fmt: skip


def _last_reals(draft: ProbeDraft, name: str, shape: Shape, _: Handed) -> str:
    """Real numbers with the channels last; onnxruntime moves the Transpose on."""
    rank = len(shape)
    turned = _scaled(draft, f"{name}.last", (shape[0], *shape[2:], shape[1]), rank - 1)
    return draft.node("Transpose", [turned], name, perm=[0, rank - 1, *range(1, rank - 1)])


def _integer_conv(
    draft: ProbeDraft, name: str, source: str, shape: Shape, handed: Handed, **attributes: Any
) -> str:
    """A convolution on integers with made-up weights of a shape."""
    grid = draft.grid(handed.dtype)
    codes = draft.rng.integers(-127, 128, shape).astype(np.int8)
    weights = [draft.constant(f"{name}.weights", codes), *draft.grid(np.dtype(np.int8))]
    return draft.node("QLinearConv", [source, *grid, *weights, *grid], name, **attributes)


# --- behind --------------------------------------------------------------------------------------


def read_one(
    draft: ProbeDraft, tensor: str, shape: Shape, handed: Handed, fixed: bool = False
) -> None:
    """An output of the model that depends on one position of a tensor.

    With `fixed` in a way that lets onnxruntime move neither a Transpose nor DequantizeLinear
    behind it.
    """
    output = draft.output(handed.dtype)
    if handed.layout == "blocked":
        weights = draft.normal(f"{output}.weights", (1, shape[1], *(1 for _ in shape[2:])))
        draft.node("Conv", [tensor, weights], output, strides=list(shape[2:]))
        return
    if handed.layout == "channels-last":
        if handed.is_code:
            sizes = (1, shape[1], *(1 for _ in shape[2:]))
            strides = list(shape[2:])
            _integer_conv(draft, output, tensor, sizes, handed, strides=strides)
            return
        perm = [0, *range(2, len(shape)), 1]
        tensor, fixed = draft.node("Transpose", [tensor], f"{output}.last", perm=perm), True
    if not shape:
        draft.node("Identity", [tensor], output)
    elif fixed and draft.opset >= _GATHER_ND:
        first = draft.constant(f"first{len(shape)}", np.zeros(len(shape), np.int64))
        draft.node("GatherND", [tensor, first], output)
    else:
        _slice(draft, tensor, len(shape), output)


def _slice(draft: ProbeDraft, tensor: str, rank: int, output: str) -> None:
    if draft.opset < _SLICE_WITH_INPUTS:
        draft.node("Slice", [tensor], output, starts=[0] * rank, ends=[1] * rank)
        return
    starts = draft.constant(f"zeros{rank}", np.zeros(rank, np.int64))
    ends = draft.constant(f"ones{rank}", np.ones(rank, np.int64))
    draft.node("Slice", [tensor, starts, ends], output)
