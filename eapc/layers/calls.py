"""Layers in the bodies of a model's own functions: those of the model without its calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from onnx import FunctionProto, GraphProto

from eapc.layers.forms import UnsupportedLayerError
from eapc.layers.layer import Layer
from eapc.model import GraphView, Inlined, Model, Node, inlined, walk
from eapc.operators import operator_of


def without_calls(model: Model) -> Model:
    """The model with the calls in its main graph replaced by bodies; itself without any."""
    found = _inlined(model)
    return model if found is None else replace(model, view=found[1], annotations={})


def _inlined(model: Model) -> tuple[Inlined, GraphView] | None:
    def make() -> tuple[Inlined, GraphView] | None:
        found = inlined(model.view.proto)
        return None if found is None else (found, GraphView(found.proto))

    return model.view.analyses.once("without calls", make) if model.view.proto.functions else None


def at_call(model: Model, layer: Layer) -> Layer:
    """A layer of `without_calls` as one of the model: of a function's it is at the call.

    Raises UnsupportedLayerError where the model has no constant for its weights.
    """
    found = _inlined(model)
    assert found is not None
    call = found[0].calls.get(layer.node.outputs[0])
    if call is None:
        return replace(layer, node=_same(model, layer.node))
    names = [layer.source.root, *(n.input(1) for n in layer.source.chain if n.input(1))]
    if any(model.constants.shape(name) is None for name in names):
        raise UnsupportedLayerError("weights are computed within a function")
    if layer.source.root.startswith(found[0].left):
        raise UnsupportedLayerError("weights of a function that is called within a subgraph too")
    bias = layer.bias
    if bias and model.constants.shape(bias.tensor) is None:
        bias = None
    return replace(layer, node=model.view.node(call), bias=bias, tapped=layer.tapped or 1)


CALLED = "its function is called in a subgraph, or is of another opset; inline it"


def left_calls(model: Model) -> Iterator[Node]:
    """Calls in a model without others whose functions hold what would be layers elsewhere."""
    proto = model.view.proto
    functions = {(each.domain, each.name): each for each in proto.functions}
    if functions:
        for node in model.nodes:
            if (node.domain, node.op_type) in functions and _has_layers(functions, node):
                yield node


def _has_layers(functions: Mapping[tuple[str, str], FunctionProto], node: Node) -> bool:
    """Whether a function's nodes, or those of functions that it calls, take weights."""
    called = functions.get((node.domain, node.op_type))
    if called is None:
        row = operator_of(node)
        return row.weights is not None or row.kind == "recurrent"
    inner = (each for each, _ in walk(GraphProto(node=called.node)))
    return any(_has_layers(functions, each) for each in inner)


def _same(model: Model, node: Node) -> Node:
    """The model's own node, which has the key that it has without calls."""
    return model.view.node(node.key)
