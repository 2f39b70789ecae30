"""Small models that show what a layer costs: copies of it between cheap neighbours.

A layer is timed as it runs in a network: fused with what follows it, its inputs and outputs in
the layouts that they have there. So a probe gives each copy of the layer inputs that a node has
computed in that layout, and reads one position of what comes out. The same probe without the
layer is what is taken off; what converts a layout on the way in or out counts as the layer's.

Quantized layers keep what stands around them in the file: codes come in and go out, weights and
biases are codes with their scales per channel, all of them resized.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from eapc.model import Array, Model, Node
from eapc.operators import operator_of
from eapc.profiling.integer_layers import weight_layout
from eapc.profiling.layer_kinds import (
    NotTimedError,
    Shape,
    Sizing,
    as_wide,
    dtype_as_run,
    is_depthwise,
    steering,
    weight_shape,
)
from eapc.profiling.probe_neighbours import Handed, Probe, ProbeDraft, produced, read_one

_SMALL = 1
_ZERO_POINT = 2
"""The place of the zero point among what rounds, and what makes real numbers, of codes."""

_HALF = 128
"""What codes of uint8 are above those of int8."""


@dataclass(frozen=True)
class ProbeMaker:
    """Makes the probes of one model's layers; `folded` are constants that onnxruntime computes."""

    model: Model
    folded: Mapping[str, Array]

    def layer(self, sizing: Sizing, copies: int) -> Probe:
        """Copies of a layer between its neighbours; NotTimedError where it cannot be resized."""
        draft, kernel = self._draft(), sizing.kind.kernel
        writer, fixed = _LayerWriter(self.model, self.folded, draft, sizing), _is_fixed(sizing)
        for copy in range(copies):
            names = _producers(draft, sizing, copy)
            names |= writer.written(names, copy)
            for handed in results_handed(sizing):
                read_one(draft, names[kernel.outputs[0]], sizing.written, handed, fixed)
            for tensor, handed in zip(kernel.inputs[1:], inputs_handed(sizing)[1:], strict=True):
                read_one(draft, names[tensor], sizing.read[tensor], handed, fixed)
        return draft.finish()

    def bare(self, sizing: Sizing, copies: int, readers: int = 1) -> Probe:
        """The neighbours alone: the first input is read `readers` times, the others once."""
        draft, kernel, fixed = self._draft(), sizing.kind.kernel, _is_fixed(sizing)
        for copy in range(copies):
            names = _producers(draft, sizing, copy)
            handed = inputs_handed(sizing)
            for place, (name, each) in enumerate(zip(kernel.inputs, handed, strict=True)):
                for _ in range(1 if place else readers):
                    read_one(draft, names[name], sizing.read[name], each, fixed)
        return draft.finish()

    def empty(self) -> Probe:
        """Next to nothing: what a run costs by itself."""
        draft = self._draft()
        draft.feed["x"] = np.ones(1, np.float32)
        draft.node("Relu", ["x"], draft.output(np.dtype(np.float32)))
        return draft.finish()

    def _draft(self) -> ProbeDraft:
        return ProbeDraft(self.model.view.proto)


def inputs_handed(sizing: Sizing) -> tuple[Handed, ...]:
    """How each input of a layer is handed to it."""
    kernel, specs = sizing.kind.kernel, sizing.shapes.by_scope[""]
    pairs = zip(kernel.inputs, kernel.layouts, strict=True)
    return tuple(Handed(layout, dtype_as_run(specs[name], kernel)) for name, layout in pairs)


def results_handed(sizing: Sizing) -> tuple[Handed, ...]:
    """How a layer's result is read, once for each layout."""
    kernel, specs = sizing.kind.kernel, sizing.shapes.by_scope[""]
    dtype = dtype_as_run(specs[kernel.outputs[0]], kernel)
    return tuple(Handed(layout, dtype) for layout in kernel.read_as or ("plain",))


def readers_of(sizing: Sizing) -> Iterator[tuple[Handed, int]]:
    """The readers that a probe with the layer has and the bare one lacks; negative where fewer."""
    yield from ((handed, 1) for handed in results_handed(sizing))
    yield inputs_handed(sizing)[0], -1


def _is_fixed(sizing: Sizing) -> bool:
    """Whether the layer has to do with codes, which onnxruntime moves about."""
    return any(each.is_code for each in (*inputs_handed(sizing), *results_handed(sizing)))


def _producers(draft: ProbeDraft, sizing: Sizing, copy: int) -> dict[str, str]:
    """Nodes that compute the layer's inputs as they are handed on; names by original tensor."""
    kind = sizing.kind
    pairs = enumerate(zip(kind.kernel.inputs, inputs_handed(sizing), strict=True))
    return {
        tensor: produced(draft, f"{copy}.in{place}", sizing.read[tensor], kind.axes[tensor], handed)
        for place, (tensor, handed) in pairs
    }


@dataclass(frozen=True)
class _LayerWriter:
    """Writes copies of a layer, resized, into a probe."""

    model: Model
    folded: Mapping[str, Array]
    draft: ProbeDraft
    sizing: Sizing

    def written(self, names: Mapping[str, str], copy: int) -> dict[str, str]:
        """The nodes of one copy of the layer; names of all that they compute."""
        known, kernel = dict(names), self.sizing.kind.kernel
        for place, node in enumerate(kernel.nodes):
            proto = onnx.NodeProto()
            proto.CopyFrom(self.model.node_proto(node))
            inputs = [
                known.get(name) or self._parameter(node, index, f"{copy}.{place}.{index}")
                for index, name in enumerate(node.inputs)
            ]
            pairs = zip(node.inputs, inputs, strict=True)
            self.draft.given |= {name for tensor, name in pairs if tensor in kernel.given}
            known |= {name: f"{copy}.{place}.out{i}" for i, name in enumerate(node.outputs) if name}
            proto.name = ""
            proto.input[:] = inputs
            proto.output[:] = [known[name] if name else "" for name in node.outputs]
            if is_depthwise(node, self.sizing.shapes):
                channels = self.sizing.read[kernel.inputs[0]][1]
                for attribute in proto.attribute:
                    if attribute.name == "group":
                        attribute.i = channels
            self.draft.nodes.append(proto)
        return known

    def _parameter(self, node: Node, index: int, name: str) -> str:
        """A constant of the layer, resized: made up, unless its values decide about the work."""
        tensor, sizing = node.inputs[index], self.sizing
        if not tensor:
            return ""
        spec, shape = sizing.shapes.spec(node, tensor), sizing.shapes.shape(node, tensor)
        if spec is None or shape is None:
            raise NotTimedError(f"the shape of '{tensor}' is unknown")
        rounded = self._rounded(tensor)
        if rounded is not None:
            return self._codes(rounded, shape, self._resized(node, index, shape), name)
        row, is_small = operator_of(node), int(np.prod(shape)) <= _SMALL
        if row.quantized is not None and spec.dtype.kind in "iu" and not is_small:
            codes = np.resize(self._value(tensor), self._resized(node, index, shape))
            return self.draft.constant(f"{name}.codes", codes)
        if row.steered or spec.dtype.kind != "f" or is_small:
            value = self._as_run(node, index, self._value(tensor))
            value = steering(node, value, sizing) if row.steered else value
            return self.draft.constant(f"{name}.value", value)
        if row.weights is not None and index == row.weights.operand:
            return self.draft.normal(f"{name}.weights", weight_shape(node, shape, sizing))
        values = self.draft.rng.uniform(0.5, 1.5, as_wide(shape, sizing))
        return self.draft.constant(f"{name}.values", values.astype(spec.dtype))

    def _as_run(self, node: Node, index: int, value: Array) -> Array:
        """A zero point of int8 where the codes run as those of uint8, else the value itself."""
        codes = {"QuantizeLinear": node.outputs, "DequantizeLinear": node.inputs}
        rounded = codes.get(node.op_type, ("",))[0]
        is_moved = index == _ZERO_POINT and value.dtype == np.int8
        if not is_moved or rounded not in self.sizing.kind.kernel.unsigned:
            return value
        return (value.astype(np.int16) + _HALF).astype(np.uint8)

    def _value(self, tensor: str) -> Array:
        constants = self.model.constants
        value = constants[tensor] if tensor in constants.plain else self.folded.get(tensor)
        if value is None:
            raise NotTimedError(f"the value of '{tensor}' is unknown")
        return value

    def _resized(self, node: Node, index: int, shape: Shape) -> Shape:
        """The shape of a constant at the layer's counts."""
        layout = weight_layout(node)
        is_weight = layout is not None and index == layout.operand
        return weight_shape(node, shape, self.sizing) if is_weight else as_wide(shape, self.sizing)

    def _rounded(self, tensor: str) -> Node | None:
        """The DequantizeLinear that makes a constant of stored codes."""
        maker = self.model.view.producer(tensor)
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        return maker if all(name in self.model.constants for name in maker.inputs) else None

    def _codes(self, maker: Node, then: Shape, now: Shape, name: str) -> str:
        """A constant as its codes, with a scale for as many channels as there are now."""
        axis = maker.attribute("axis", 1) % max(1, len(then))
        operands = []
        for place, tensor in enumerate(maker.inputs):
            value = self._value(tensor)
            shape = now if place == 0 else value.shape
            if place and value.ndim == 1 and value.size == then[axis]:
                shape = (now[axis],)
            operands.append(self.draft.constant(f"{name}.{place}", np.resize(value, shape)))
        proto = onnx.NodeProto()
        proto.CopyFrom(self.model.node_proto(maker))
        proto.name, proto.input[:], proto.output[:] = "", operands, [f"{name}.rounded"]
        self.draft.nodes.append(proto)
        return f"{name}.rounded"
