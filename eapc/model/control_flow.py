"""How often the subgraphs of If, Loop and Scan run, where that is fixed before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto, NodeProto

from eapc.model.folding import known_constants
from eapc.model.tensors import Array, ShapeOf, attributes_of


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
