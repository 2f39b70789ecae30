"""One file of two networks: the first answers, and what is hard goes to the second.

    scores   = first(x)
    hard     = not (hardness(scores, features) < threshold)
    answer   = If any(hard): scores with rows replaced by second(rows of x)   else: scores

Where the batch is open, hard rows are gathered, run and scattered back. This is behind an If
because networks may hold a Reshape that no runtime takes without rows; the weights of the second
network are within its branch, where onnxruntime prepares them as for a network by itself. Where
one input comes at a time, all of it is hard or none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from eapc.model import Array, Model, batch_inputs, rename_all, subgraphs_of_node
from eapc.routing.features import PooledFeatures, Scores
from eapc.routing.networks import ROUTE_KEY, opset_of
from eapc.routing.nodes import NodeWriter
from eapc.routing.selector import Selector


@dataclass(frozen=True)
class Router:
    """Who answers what: a selector of hardness, the least that is hard, and what it reads.

    `one_by_one` says that a run takes one input, whatever the batch axis is called.
    """

    selector: Selector
    threshold: float
    scores: Scores
    pooled: PooledFeatures | None = None
    one_by_one: bool = False

    def is_hard(self, hardness: Array) -> Array:
        """(n,) booleans; what is no number is hard."""
        return np.asarray(~(hardness < np.float32(self.threshold)))


def merged(first: Model, second: Model, router: Router, facts: Mapping[str, object]) -> Model:
    """A network of the first's interface that sends on what is hard; both as `require_classifiers`.

    `facts` are kept in the file's metadata beside what `routed_parts` needs.
    """
    proto, other = first.to_proto(embed=True), second.to_proto(embed=True)
    prefix = _unused(proto.graph, "router/")
    writer = NodeWriter(prefix, opset_of(proto))
    (answer,) = first.outputs
    scores = f"{prefix}scores"
    rename_all(proto.graph, lambda name: scores if name == answer else name, "")
    hard = _write_hard(writer, router, scores)
    total = writer.reduce("ReduceSum", writer.add("Cast", hard, to=TensorProto.INT32), (), False)
    is_any = writer.add("Cast", total, to=TensorProto.BOOL)
    branch, index = _second_branch(other, first, router, scores, hard, prefix)
    route = f"{prefix}If"
    node = helper.make_node(
        "If", [is_any], [answer], name=route, then_branch=branch, else_branch=_easy(scores, proto)
    )
    proto.graph.node.extend([*writer.nodes, node])
    proto.graph.initializer.extend(writer.constants)
    proto.graph.output[0].name = answer
    _unite(proto, other)
    facts = {"version": 1, **facts, "node": route, "hard": hard, "scores": scores, "index": index}
    entry = proto.metadata_props.add()
    entry.key, entry.value = ROUTE_KEY, json.dumps(facts)
    return Model.from_proto(proto)


def with_features(first: Model, pooled: PooledFeatures | None) -> tuple[Model, str]:
    """The network with its pooled features as a further output, and that output's name if any."""
    if pooled is None:
        return first, ""
    proto = first.to_proto(embed=True)
    writer = NodeWriter(_unused(proto.graph, "router/"), opset_of(proto))
    name = writer.add("Identity", pooled.write(writer))
    proto.graph.node.extend(writer.nodes)
    proto.graph.initializer.extend(writer.constants)
    shape = [None, pooled.channels]
    proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    proto.ir_version = max(proto.ir_version, _FIRST_IR)
    return Model.from_proto(proto), name


_FIRST_IR = 4
"""IR version from which initializers need not be inputs, as those of a branch never are."""


def _write_hard(to: NodeWriter, router: Router, scores: str) -> str:
    """The nodes of the selector; (n,) booleans."""
    selector = router.selector
    wanted = selector.confidence != 0
    if not wanted.any() and selector.pooled is None:
        wanted[0] = True  # hardness is a constant, of one for each input
    columns = router.scores.write(to, scores, tuple(wanted.tolist()))
    weights = [selector.confidence[wanted]]
    if selector.pooled is not None and router.pooled is not None:
        columns.append(router.pooled.write(to))
        weights.append(selector.pooled)
    joined = np.concatenate(weights).astype(np.float32)
    hardness = columns[0] if len(columns) == 1 else to.add("Concat", *columns, axis=1)
    if len(joined) > 1 or joined[0] != 1:
        hardness = to.add("MatMul", hardness, to.constant(joined[:, None]))
    if selector.bias:
        hardness = to.add("Add", hardness, to.constant(np.float32(selector.bias)))
    is_easy = to.add("Less", hardness, to.constant(np.float32(router.threshold)))
    return to.add("Reshape", to.add("Not", is_easy), to.whole(-1))


def _second_branch(
    other: ModelProto, first: Model, router: Router, scores: str, hard: str, prefix: str
) -> tuple[GraphProto, str]:
    """The branch that asks the second network, and the tensor of hard rows' indices if any."""
    own = f"{prefix}second/"
    writer = NodeWriter(f"{prefix}rows/", opset_of(other))
    fed = {spec.name: spec.name for spec in first.inputs}
    index = ""
    if not router.one_by_one:
        index = writer.add("Reshape", writer.add("NonZero", hard), writer.whole(-1))
        batched = batch_inputs(first.inputs)
        fed |= {name: writer.add("Gather", name, index, axis=0) for name in sorted(batched)}
    branch = GraphProto()
    branch.CopyFrom(other.graph)
    branch.name = f"{prefix}hard"
    rename_all(branch, lambda name: fed.get(name, own + name) if name else name, own)
    _open_batch(branch, own)
    del branch.input[:], branch.quantization_annotation[:]
    if not router.one_by_one:
        places = writer.add("Reshape", index, writer.whole(-1, 1))
        rows = branch.output[0].name
        after = NodeWriter(f"{prefix}answer/", opset_of(other))
        branch.output[0].name = after.add("ScatterND", scores, places, rows)
        tail = after.nodes
    else:
        tail = []
    nodes = [*writer.nodes, *branch.node, *tail]
    del branch.node[:]
    branch.node.extend(nodes)
    branch.initializer.extend(writer.constants)
    return branch, index


def _open_batch(branch: GraphProto, own: str) -> None:
    """Hard rows are a number of their own: named axes get other names than outside."""
    for value in (*branch.value_info, *branch.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = own + axis.dim_param


def _easy(scores: str, proto: ModelProto) -> GraphProto:
    """The branch that gives the first network's answers back."""
    name = f"{scores}/easy"
    value = ValueInfoProto()
    value.CopyFrom(proto.graph.output[0])
    value.name = name
    node = helper.make_node("Identity", [scores], [name], name=name)
    return helper.make_graph([node], f"{scores}/easy", [], [value])


def _unite(proto: ModelProto, other: ModelProto) -> None:
    """Take over the other's opsets, functions and IR version, as far as they are not there."""
    proto.ir_version = max(proto.ir_version, other.ir_version, _FIRST_IR)
    domains = {"" if o.domain == "ai.onnx" else o.domain for o in proto.opset_import}
    known = ("" if o.domain == "ai.onnx" else o.domain for o in other.opset_import)
    added = [o for o, d in zip(other.opset_import, known, strict=True) if d not in domains]
    proto.opset_import.extend(added)
    functions = {(f.domain, f.name) for f in proto.functions}
    proto.functions.extend(f for f in other.functions if (f.domain, f.name) not in functions)


def _unused(graph: GraphProto, prefix: str) -> str:
    """The prefix, with underscores behind it where names of the graph begin so already."""
    names = set(_names(graph))
    while any(name.startswith(prefix) for name in names):
        prefix = f"{prefix[:-1]}_/"
    return prefix


def _names(graph: GraphProto) -> Iterator[str]:
    """Names of all tensors and nodes of a graph and its subgraphs."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    for node in graph.node:
        yield node.name
        yield from node.output
        for inner in subgraphs_of_node(node):
            yield from _names(inner)
