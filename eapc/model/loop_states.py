"""Shapes of what a Loop carries from one run of its body to the next.

onnx's inference takes a state's shape from the body's declaration alone, because it may change
from run to run. Where the body declares that it does not, it is that of what the Loop is fed.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto, ValueInfoProto

from eapc.model.tensors import ShapeOf, value_like

_LOOP_INPUTS = 2
"""Trip count and condition, before the states; a body gives back the condition only."""


def carry_shapes(graph: GraphProto, node: NodeProto, body: GraphProto, shape_of: ShapeOf) -> int:
    """Give a Loop's body and results the shapes that its states begin with; how many were news.

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
