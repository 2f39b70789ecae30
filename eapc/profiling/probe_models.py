"""Small models that show what a layer costs: copies of it between cheap neighbours.

A layer is timed as it runs in a network: fused with what follows it, its inputs and outputs in
the layouts that they have there. So a probe gives each copy of the layer inputs that a node has
computed in that layout, and reads one position of what comes out. The same probe without the
layer is what is taken off; what converts a layout on the way in or out counts as the layer's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eapc.model import Array, Model, Node
from eapc.operators import operator_of
from eapc.profiling.kernels import Layout
from eapc.profiling.layer_kinds import (
    NotTimedError,
    Shape,
    Sizing,
    as_wide,
    is_depthwise,
    steering,
    weight_shape,
    with_axis,
)

_SMALL = 1
_SLICE_WITH_INPUTS = 10


@dataclass(frozen=True)
class Probe:
    """A model to time and what to feed it."""

    model: onnx.ModelProto
    feed: Mapping[str, Array]


@dataclass(frozen=True)
class ProbeMaker:
    """Makes the probes of one model's layers; `folded` are constants that onnxruntime computes."""

    model: Model
    folded: Mapping[str, Array]

    def layer(self, sizing: Sizing, copies: int) -> Probe:
        """Copies of a layer between its neighbours; NotTimedError where it cannot be resized."""
        draft, kernel = _ProbeModel(self.model, self.folded), sizing.kind.kernel
        for copy in range(copies):
            names = draft.producers(sizing, copy)
            names |= draft.layer(sizing, names, copy)
            for layout in kernel.read_as or ("plain",):
                draft.reader(names[kernel.outputs[0]], sizing.written, layout)
            for tensor, layout in list(zip(kernel.inputs, kernel.layouts, strict=True))[1:]:
                draft.reader(names[tensor], sizing.read[tensor], layout)
        return draft.finish()

    def bare(self, sizing: Sizing, copies: int, readers: int = 1) -> Probe:
        """The neighbours alone: the first input is read `readers` times, the others once."""
        draft, kernel = _ProbeModel(self.model, self.folded), sizing.kind.kernel
        for copy in range(copies):
            names = draft.producers(sizing, copy)
            for place, (name, layout) in enumerate(zip(kernel.inputs, kernel.layouts, strict=True)):
                for _ in range(1 if place else readers):
                    draft.reader(names[name], sizing.read[name], layout)
        return draft.finish()

    def empty(self) -> Probe:
        """Next to nothing: what a run costs by itself."""
        draft = _ProbeModel(self.model, self.folded)
        draft.feed["x"] = np.ones(1, np.float32)
        draft.outputs.append(draft.node("Relu", ["x"], "y"))
        return draft.finish()


@dataclass
class _ProbeModel:
    """A model that grows node by node."""

    model: Model
    folded: Mapping[str, Array]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    feed: dict[str, Array] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    given: set[str] = field(default_factory=set)

    def node(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: Array) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def normal(self, name: str, shape: Shape) -> str:
        """Weights that keep the scale of what they multiply; the first axis is the output's."""
        scale = max(1.0, float(np.prod(shape[1:]))) ** -0.5
        return self.constant(name, self.rng.normal(0, scale, shape).astype(np.float32))

    def producers(self, sizing: Sizing, copy: int) -> dict[str, str]:
        """Nodes that compute the layer's inputs in their layouts; names by original tensor."""
        kernel = sizing.kind.kernel
        return {
            tensor: self._producer(
                f"{copy}.in{place}", sizing.read[tensor], sizing.kind.axes[tensor], layout
            )
            for place, (tensor, layout) in enumerate(
                zip(kernel.inputs, kernel.layouts, strict=True)
            )
        }

    def _producer(self, name: str, shape: Shape, axis: int | None, layout: Layout) -> str:
        source = self._source(with_axis(shape, axis, 1))
        if layout == "blocked":
            weights = self.normal(f"{name}.weights", (shape[1], *(1 for _ in shape[1:])))
            plain = self.node("Conv", [source, weights], f"{name}.conv")
            return self.node("Relu", [plain], name)
        ones = with_axis((1,) * len(shape), axis, 1 if axis is None else shape[axis])
        factor = self.rng.uniform(0.5, 1.5, ones).astype(np.float32)
        return self.node("Mul", [source, self.constant(f"{name}.factor", factor)], name)

    def _source(self, shape: Shape) -> str:
        name = "x" + "x".join(map(str, shape))
        if name not in self.feed:
            self.feed[name] = self.rng.normal(0, 1, shape).astype(np.float32)
        return name

    def reader(self, tensor: str, shape: Shape, layout: Layout) -> None:
        """An output of the model that depends on one position of a tensor."""
        output = f"y{len(self.outputs)}"
        self.outputs.append(output)
        if layout == "blocked":
            weights = self.normal(f"{output}.weights", (1, shape[1], *(1 for _ in shape[2:])))
            self.node("Conv", [tensor, weights], output, strides=list(shape[2:]))
        elif shape:
            self._slice(tensor, len(shape), output)
        else:
            self.node("Identity", [tensor], output)

    def _slice(self, tensor: str, rank: int, output: str) -> None:
        if self._opset < _SLICE_WITH_INPUTS:
            self.node("Slice", [tensor], output, starts=[0] * rank, ends=[1] * rank)
            return
        starts = self.constant(f"zeros{rank}", np.zeros(rank, np.int64))
        ends = self.constant(f"ones{rank}", np.ones(rank, np.int64))
        self.node("Slice", [tensor, starts, ends], output)

    @property
    def _opset(self) -> int:
        imports = self.model.view.proto.opset_import
        return next((i.version for i in imports if i.domain in ("", "ai.onnx")), 1)

    def layer(self, sizing: Sizing, names: Mapping[str, str], copy: int) -> dict[str, str]:
        """The nodes of one copy of the layer; names of all that they compute."""
        known = dict(names)
        for place, node in enumerate(sizing.kind.kernel.nodes):
            proto = onnx.NodeProto()
            proto.CopyFrom(self.model.node_proto(node))
            inputs = [
                known.get(name) or self._parameter(node, index, sizing, f"{copy}.{place}.{index}")
                for index, name in enumerate(node.inputs)
            ]
            pairs = zip(node.inputs, inputs, strict=True)
            self.given |= {name for tensor, name in pairs if tensor in sizing.kind.kernel.given}
            known |= {name: f"{copy}.{place}.out{i}" for i, name in enumerate(node.outputs) if name}
            proto.name = ""
            proto.input[:] = inputs
            proto.output[:] = [known[name] if name else "" for name in node.outputs]
            if is_depthwise(node, sizing.shapes):
                channels = sizing.read[sizing.kind.kernel.inputs[0]][1]
                for attribute in proto.attribute:
                    if attribute.name == "group":
                        attribute.i = channels
            self.nodes.append(proto)
        return known

    def _parameter(self, node: Node, index: int, sizing: Sizing, name: str) -> str:
        """A constant of the layer, resized: made up, unless its values decide about the work."""
        tensor = node.inputs[index]
        if not tensor:
            return ""
        spec = sizing.shapes.spec(node, tensor)
        shape = sizing.shapes.shape(node, tensor)
        if spec is None or shape is None:
            raise NotTimedError(f"the shape of '{tensor}' is unknown")
        constants, row = self.model.constants, operator_of(node)
        value = constants[tensor] if tensor in constants.plain else None
        if row.steered or spec.dtype.kind != "f" or int(np.prod(shape)) <= _SMALL:
            value = self.folded.get(tensor) if value is None else value
            if value is None:
                raise NotTimedError(f"the value of '{tensor}' is unknown")
            value = steering(node, value, sizing) if row.steered else value
            return self.constant(f"{name}.value", value)
        if row.weights is not None and index == row.weights.operand:
            return self.normal(f"{name}.weights", weight_shape(node, shape, sizing))
        values = self.rng.uniform(0.5, 1.5, as_wide(shape, sizing))
        return self.constant(f"{name}.values", values.astype(spec.dtype))

    def finish(self) -> Probe:
        replaceable = (self.initializers[name] for name in sorted(self.given))
        graph = helper.make_graph(
            self.nodes,
            "probe",
            [
                *(helper.make_tensor_value_info(n, 1, v.shape) for n, v in self.feed.items()),
                *(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in replaceable),
            ],
            [helper.make_tensor_value_info(name, 1, None) for name in self.outputs],
            list(self.initializers.values()),
        )
        source = self.model.view.proto
        proto = helper.make_model(graph, opset_imports=source.opset_import)
        proto.ir_version = max(4, source.ir_version)
        return Probe(proto, self.feed)


def readers_of(sizing: Sizing) -> Iterator[tuple[Layout, int]]:
    """The readers that a probe with the layer has and the bare one lacks; negative where fewer."""
    kernel = sizing.kind.kernel
    yield from ((layout, 1) for layout in kernel.read_as or ("plain",))
    yield kernel.layouts[0], -1
