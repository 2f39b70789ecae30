"""What is fixed of the subgraphs of If, Loop and Scan before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto, NodeProto, ValueInfoProto

from eapc.model.constants import known_constants
from eapc.model.tensors import Array, ShapeOf, attributes_of, value_like


def runs_of(
    node: NodeProto, scope: str, known: Mapping[str, Array], shape_of: ShapeOf
) -> int | None:
    """Runs of one subgraph each time its node runs; None where that depends on data.

    `scope` is that of the subgraph; `known` are the constants and `shape_of` the shapes that
    the node sees.
    """
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "If":
        condition = _flag(known, node.input[0])
        return None if condition is None else int(condition == scope.endswith("/then_branch/"))
    if node.op_type == "Loop":
        return _loop_runs(node, known)
    return _scan_runs(node, shape_of) if node.op_type == "Scan" else None


def _flag(known: Mapping[str, Array], name: str) -> bool | None:
    value = known.get(name)
    return bool(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _loop_runs(node: NodeProto, known: Mapping[str, Array]) -> int | None:
    """The trip count of a Loop that no condition can end early."""
    condition = _flag(known, node.input[1]) if len(node.input) > 1 and node.input[1] else True
    if condition is False:
        return 0
    limit = known.get(node.input[0])
    body = attributes_of(node)["body"]
    if limit is None or limit.size != 1 or condition is None or not _goes_on(body, known):
        return None
    return max(0, int(limit.reshape(-1)[0]))


def _goes_on(body: GraphProto, known: Mapping[str, Array]) -> bool:
    """True when a Loop's body hands its condition on, or sets it to a constant true."""
    name = body.output[0].name
    sources = {n.output[0]: n.input[0] for n in body.node if n.op_type == "Identity"}
    while name in sources:
        name = sources[name]
    if len(body.input) > 1 and name == body.input[1].name:
        return True
    return _flag(known_constants(body, known), name) is True


def _scan_runs(node: NodeProto, shape_of: ShapeOf) -> int | None:
    """The length of the axis that a Scan steps along (opset 9 and later)."""
    attributes = attributes_of(node)
    scanned = attributes.get("num_scan_inputs", 0)
    axes = attributes.get("scan_input_axes", [0] * scanned)
    shape = shape_of(node.input[len(node.input) - scanned]) if scanned else None
    return shape[axes[0]] if shape else None


# --- shapes of a Loop's states ---------------------------------------------------------------

_LOOP_INPUTS = 2
"""Trip count and condition, before the states; a body gives back the condition only."""


def carry_shapes(graph: GraphProto, node: NodeProto, body: GraphProto, shape_of: ShapeOf) -> int:
    """Give a Loop's body and results the shapes that its states begin with; how many were news.

    onnx's inference takes a state's shape from the body's declaration alone, because it may
    change from run to run. Where the body declares that it does not, it is that of what the Loop
    is fed.

    `shape_of` is that of `graph`, which holds the node. Only states that the body declares to
    leave as they come in are known; what else the body declares goes with a shape that changes.
    """
    if node.op_type != "Loop" or node.domain not in ("", "ai.onnx"):
        return 0
    fed, states = node.input[_LOOP_INPUTS:], body.input[_LOOP_INPUTS:]
    results = body.output[_LOOP_INPUTS - 1 :]
    carried = 0
    for begin, state, result, final in zip(fed, states, results, node.output, strict=False):
        shape = shape_of(begin)
        if shape is None or not _is_kept(state, result):
            continue
        if _dims(state) != list(shape):
            _reshape(body, state, result, shape)
            carried += 1
        if final and shape_of(final) is None:
            graph.value_info.append(value_like(state, final, shape))
            carried += 1
    return carried


def _dims(value: ValueInfoProto) -> list[int | str]:
    """Sizes or names of the declared axes; those that have neither are empty names."""
    axes = value.type.tensor_type.shape.dim
    return [axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in axes]


def _is_kept(state: ValueInfoProto, result: ValueInfoProto) -> bool:
    declared = all(value.type.tensor_type.HasField("shape") for value in (state, result))
    return declared and "" not in _dims(state) and _dims(state) == _dims(result)


def _reshape(
    body: GraphProto, state: ValueInfoProto, result: ValueInfoProto, shape: tuple[int, ...]
) -> None:
    state.CopyFrom(value_like(state, state.name, shape))
    result.type.tensor_type.ClearField("shape")  # a body that contradicts it is no error
    del body.value_info[:]
