"""The model on real numbers: operators on integers taken apart, so that their layers are found.

A QLinearConv becomes DequantizeLinear of what it reads, a Conv, and QuantizeLinear of what that
makes; an integer product with the casts and scales behind it becomes a product of real numbers.
Constants stay what they are, under their names: new codes of the one are new codes of the other.
The file is never written so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from onnx import ModelProto, NodeProto

from eapc.layers.integer_rules import RULES, Taken
from eapc.layers.layer import Layer
from eapc.model import Dequantization, GraphView, Model, Node, WeightSource


@dataclass(frozen=True)
class _Apart:
    """The graph without integers, and what its nodes and tensors are in the model.

    `nodes` are the model's, by what stands in their place writes; `readings` say what makes real
    numbers of integers, by what they are called then.
    """

    view: GraphView
    nodes: Mapping[str, Node]
    readings: Mapping[str, Dequantization]


def without_integers(model: Model) -> Model:
    """The model with operators on integers in its main graph taken apart; itself without any."""
    found = _apart(model)
    return model if found is None else replace(model, view=found.view, annotations={})


def _apart(model: Model) -> _Apart | None:
    return model.view.analyses.once("without integers", lambda: _taken_apart(model.original))


def _taken_apart(model: Model) -> _Apart | None:
    nodes = model.view.main_nodes
    if not any((node.domain, node.op_type) in RULES for node in nodes):
        return None
    taken = Taken(model)
    made: dict[Node, list[NodeProto]] = {}
    for node in nodes:
        rule = RULES.get((node.domain, node.op_type))
        if rule is not None and node in model.view.needed:
            rule(taken, node)
            made[taken.place] = taken.pop()
    if not taken.cores:
        return None
    proto = ModelProto()
    proto.CopyFrom(model.view.proto)
    del proto.graph.node[:]
    for node, own in zip(nodes, model.view.proto.graph.node, strict=True):
        if node in made:
            proto.graph.node.extend(made[node])
        elif node not in taken.gone:
            proto.graph.node.append(own)
    view = GraphView(proto)
    view.analyses.once("without integers", lambda: None)
    return _Apart(view, taken.cores, taken.readings)


def at_integers(model: Model, layer: Layer) -> Layer:
    """A layer of `without_integers` as one of the model."""
    found = _apart(model)
    assert found is not None
    core = found.nodes.get(layer.node.outputs[0])
    bias = layer.bias and replace(layer.bias, source=_in_file(layer.bias.source, found))
    if bias is not None and not _is_known(model, bias.source):
        bias = None
    source = _in_file(layer.source, found)
    return replace(layer, node=core or model.view.node(layer.node.key), bias=bias, source=source)


def _is_known(model: Model, source: WeightSource) -> bool:
    """Whether the file itself has all that reads a source's integers."""
    reading = source.reading
    return reading is None or all(model.constants.shape(n) is not None for n in reading.names)


def _in_file(source: WeightSource, found: _Apart) -> WeightSource:
    """A source whose integers are read by the file's own constants."""
    read = (found.readings.get(tensor) for tensor in source.tensors)
    reading = next(filter(None, read), None)
    return source if reading is None else replace(source, reading=reading)
