"""A dynamic network taken apart: what every input runs, and what hard ones run in addition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
from onnx import TensorProto, helper

from eapc.errors import ModelError
from eapc.model import GraphView, Model, subgraphs_of_node
from eapc.routing.networks import ROUTE_KEY

_SHOWN = ("hard", "scores", "node", "index")


@dataclass(frozen=True)
class RoutedParts:
    """Two networks of one file, each of the file's inputs.

    `first` gives its scores and, as `hard`, (n,) booleans: which inputs are sent on. `second` is
    the branch that hard inputs take, as if all were; its nodes have the keys that they have within
    `scope` of the `node` that holds it. `share` of all inputs is hard, as the file says. `gathers`
    is False where a run takes one input.
    """

    first: Model
    second: Model
    hard: str
    node: str
    scope: str
    share: float
    gathers: bool = True


def routed_parts(model: Model) -> RoutedParts | None:
    """The parts of a file that `merged` made; None for all others.

    Raises ModelError where the file's metadata are not those of its graph.
    """
    entries = [e.value for e in model.view.proto.metadata_props if e.key == ROUTE_KEY]
    if not entries:
        return None
    facts = _read(model, entries[-1])
    holders = [n for n in model.view.main_nodes if n.name == facts["node"] and n.op_type == "If"]
    if len(holders) != 1:
        raise ModelError(f"{_of(model)}: the graph has no If '{facts['node']}'")
    scope = next(s for s in holders[0].subgraphs if s.endswith("/then_branch/"))
    return RoutedParts(
        first=_first(model, facts),
        second=_second(model, facts),
        hard=facts["hard"],
        node=holders[0].key,
        scope=scope,
        share=facts["share"],
        gathers=bool(facts["index"]),
    )


def _of(model: Model) -> str:
    return f"{model.path or model.name}: its metadata {ROUTE_KEY} do not fit"


def _read(model: Model, text: str) -> Mapping[str, Any]:
    try:
        facts = json.loads(text)
        share = float(facts["share"])
        names = [facts[name] for name in _SHOWN]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{_of(model)}: {error}") from error
    if not 0 <= share <= 1 or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{_of(model)}: share {share} and names {names}")
    return {**facts, "share": share}


def _first(model: Model, facts: Mapping[str, Any]) -> Model:
    """All but the If; scores and hard inputs are its outputs."""
    proto = model.to_proto()
    graph = proto.graph
    kept = [node for node in graph.node if node.name != facts["node"]]
    del graph.node[:]
    graph.node.extend(kept)
    answer = graph.output[0]
    graph.output[0].name = facts["scores"]
    batch = answer.type.tensor_type.shape.dim
    hard = helper.make_tensor_value_info(facts["hard"], TensorProto.BOOL, [None])
    if batch:
        hard.type.tensor_type.shape.dim[0].CopyFrom(batch[0])
    graph.output.append(hard)
    return _over(model, proto)


def _second(model: Model, facts: Mapping[str, Any]) -> Model:
    """The branch for itself, all rows hard, up to the scores that it gives."""
    whole = model.to_proto()
    holder = next(node for node in whole.graph.node if node.name == facts["node"])
    branch = subgraphs_of_node(holder)[_then(holder)]
    proto = model.emptied()
    graph = proto.graph
    graph.CopyFrom(branch)
    graph.input.extend(value for value in whole.graph.input if value.name not in _stored(whole))
    if facts["index"]:
        graph.output[0].name = graph.node[-1].input[2]  # what is scattered
        nodes = _without_index(graph.node[:-1], facts["index"])
        shape = "eapc rows' shape"
        batched = next(n.input[0] for n in nodes if n.op_type == "Gather")
        all_rows = _all_rows(batched, shape, facts["index"])
        del graph.node[:]
        graph.node.extend([*all_rows, *nodes])
        graph.initializer.extend(_numbers(shape))
    return _over(model, proto)


def _without_index(nodes: Sequence[onnx.NodeProto], index: str) -> list[onnx.NodeProto]:
    """All but what finds the hard rows."""
    found = {index, *(node.input[0] for node in nodes if index in node.output)}
    return [node for node in nodes if found.isdisjoint(node.output)]


def _then(node: onnx.NodeProto) -> int:
    graphs = [a.name for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return graphs.index("then_branch")


def _stored(proto: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in proto.graph.initializer}


def _numbers(shape: str) -> list[TensorProto]:
    numbers = (("zero", 0), ("one", 1))
    return [helper.make_tensor(f"{shape}/{n}", TensorProto.INT64, [], [v]) for n, v in numbers]


def _all_rows(batched: str, shape: str, index: str) -> list[onnx.NodeProto]:
    """Nodes that give 0, 1, ... for each row of a tensor."""
    zero, one, rows = f"{shape}/zero", f"{shape}/one", f"{shape}/rows"
    return [
        helper.make_node("Shape", [batched], [shape]),
        helper.make_node("Gather", [shape, zero], [rows]),
        helper.make_node("Range", [zero, rows, one], [index]),
    ]


def _over(model: Model, proto: onnx.ModelProto) -> Model:
    """A model over a changed graph, its external data where the file has them."""
    kept = [entry for entry in proto.metadata_props if entry.key != ROUTE_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    return replace(model, view=GraphView(proto), weights={}, annotations={})
