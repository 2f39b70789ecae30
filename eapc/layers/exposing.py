"""The exposed twin of a model: what every layer reads and writes, as tensors of the main graph.

Some layers multiply their weights by what no tensor of the main graph holds. In the twin, nodes
beside them make such tensors, under the names that `Layer.x` and `Layer.y` have. All else is as in
the model, constants included, so that new weights of the one are new weights of the other. What
is written to a file is never the twin.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import onnx
from onnx import NodeProto, numpy_helper

from eapc.layers.finding import Layer, layers_of
from eapc.layers.recurrent import R, RecurrentForm
from eapc.layers.taps import Nodes, tap_cell
from eapc.model import GraphView, Model, as_seen


def exposed(model: Model) -> Model:
    """The model's twin; the model itself where all layers' tensors are in its main graph."""
    view = model.view.analyses.once("exposed", lambda: _exposed_view(model.original))
    return model if view is None else replace(model, view=view, annotations={})


def _exposed_view(model: Model) -> GraphView | None:
    users = [user for tied in layers_of(model).layers for user in tied.users if user.tapped]
    if not users:
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(model.view.proto)
    beside: dict[str, list[NodeProto]] = defaultdict(list)
    for user in users:
        beside[user.node.key] += _tap(model, user, proto.graph)
    kept = list(proto.graph.node)
    del proto.graph.node[:]
    for node, own in zip(model.view.main_nodes, kept, strict=True):
        proto.graph.node.extend([*beside[node.key], own])
    view = GraphView(proto)
    view.analyses.once("exposed", lambda: None)
    return view


def _tap(model: Model, layer: Layer, graph: onnx.GraphProto) -> list[NodeProto]:
    """The nodes that make x and y of a cell's weights; its R goes into the graph as it is."""
    assert isinstance(layer.form, RecurrentForm)
    prefix = f"eapc/{layer.node.key}/{layer.tapped}/"
    original = ""
    if layer.tapped == R:
        original = f"{prefix}original"
        tensor = numpy_helper.from_array(as_seen(model, layer.source), original)
        graph.initializer.append(tensor)
    nodes = Nodes(prefix, model.opset)
    tap_cell(nodes, layer.node, layer.form, layer.tapped, (layer.x, layer.y), original)
    return nodes.protos
