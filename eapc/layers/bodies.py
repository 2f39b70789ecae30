"""Layers in the bodies of If, Loop and Scan: found as if each body were a model of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx
from onnx import numpy_helper

from eapc.layers.forms import DenseForm, UnsupportedLayerError
from eapc.layers.layer import Layer
from eapc.model import GraphView, Model, Node, WeightSource, free_names, scopes_of

_OPENED = ("If", "Loop", "Scan")

_FIRST_PLAIN_SCAN = 9
"""Before this opset a Scan has batches of sequences of their own lengths."""


class Bodies:
    """The bodies of a model, each as a model of its own: what it captures are constants there."""

    def __init__(self, model: Model) -> None:
        self._model, self._scopes = model, scopes_of(model.view)
        self._alone: dict[str, tuple[Model, dict[Node, Node]]] = {}

    def layer(self, node: Node, make: Callable[[Model, Node], Layer | None]) -> Layer | None:
        """What `make` finds of a node in a body, all named as in the whole model.

        Raises UnsupportedLayerError where it cannot be reached.
        """
        self._require_opened(node)
        alone, within = self._body(node.scope)
        own = next(each for each, theirs in within.items() if theirs is node)
        layer = make(alone, own)
        return None if layer is None else self._outside(node, layer, within)

    def _require_opened(self, node: Node) -> None:
        for scope in self._scopes.around(node.scope):
            holder = self._scopes.holders[scope]
            if holder.domain or holder.op_type not in _OPENED:
                raise UnsupportedLayerError(f"inside a {holder.op_type}")
            if holder.op_type == "Scan" and self._model.opset < _FIRST_PLAIN_SCAN:
                raise UnsupportedLayerError(f"inside a Scan of opset {self._model.opset}")
            if not holder.scope and holder not in self._model.view.needed:
                raise UnsupportedLayerError("no output needs it")

    def _body(self, scope: str) -> tuple[Model, dict[Node, Node]]:
        """A body as a model, and the whole model's node for each of its nodes."""
        if scope not in self._alone:
            graph = onnx.GraphProto()
            graph.CopyFrom(self._scopes.graphs[scope])
            outside = self._model.constants.within(self._scopes.holders[scope].scope)
            for name in sorted(free_names(graph)):
                value = outside.value(name)
                if value is not None:
                    graph.initializer.append(numpy_helper.from_array(value, name))
            proto = self._model.emptied()
            proto.graph.CopyFrom(graph)
            alone = Model(GraphView(proto), self._model.path)
            theirs = self._model.view.by_scope[scope]
            within = dict(zip(alone.view.main_nodes, theirs, strict=True))
            self._alone[scope] = alone, within
        return self._alone[scope]

    def _outside(self, node: Node, layer: Layer, within: dict[Node, Node]) -> Layer:
        if layer.source.packing is not None:
            raise UnsupportedLayerError("packed weights inside a body")
        if isinstance(layer.form, DenseForm):
            if any(step.op_type == "DequantizeLinear" for step in layer.source.chain):
                raise UnsupportedLayerError(  # onnxruntime looks for them in the body alone
                    "its weights are behind a DequantizeLinear inside a body"
                )
            if len(layer.form.weight_shape) > 2:
                raise UnsupportedLayerError("a stack of matrices inside a body")
            if layer.form.input_turned or layer.form.output_turned:
                raise UnsupportedLayerError(
                    "its input is transposed, or behind its weights, inside a body"
                )
        operand = layer.tapped or 1
        bias = layer.bias and replace(
            layer.bias, source=self._source(node, layer.bias.source, within)
        )
        if bias and len(self._scopes.readers.get(bias.tensor, ())) != 1:
            bias = None
        return replace(
            layer,
            node=node,
            source=self._source(node, layer.source, within),
            x=f"eapc/{node.key}/{operand}/x",
            y=f"eapc/{node.key}/{operand}/y",
            bias=bias,
            other="",
            clipping=None if layer.other else layer.clipping,
            unmixed=False,
            tapped=operand,
        )

    def _source(self, node: Node, source: WeightSource, within: dict[Node, Node]) -> WeightSource:
        chain = tuple(
            replace(
                within[step],
                inputs=tuple(name and self._named(node, name) for name in step.inputs),
                outputs=tuple(name and self._named(node, name) for name in step.outputs),
            )
            for step in source.chain
        )
        reading = source.reading
        if reading is not None:
            scales = tuple(self._named(node, name) for name in reading.scales)
            zero = reading.zero and self._named(node, reading.zero)
            reading = replace(reading, scales=scales, zero=zero)
        tensor, root = (self._named(node, name) for name in (source.tensor, source.root))
        return WeightSource(tensor, root, chain, reading)

    def _named(self, node: Node, tensor: str) -> str:
        return self._scopes.unique_name(node.scope, tensor)
