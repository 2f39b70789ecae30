"""Shapes of what operators make where onnx, as installed or at all, infers none.

onnx knows nothing of onnxruntime's operators, and older ones nothing of the latest opsets.
Operators whose result has the shape of a standard operator's are substitutes in the table of
operators; those here have rules of their own, one each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, helper

from eapc.model.tensors import Shape, ShapeOf, TensorSpec, attributes_of
from eapc.operators import operator_of


@dataclass(frozen=True)
class _KnownOperands:
    """A node's attributes, what its operands' shapes are, whether the first is bytes."""

    attributes: Mapping[str, Any]
    shapes: Sequence[Shape | None]
    is_bytes: bool

    def __getitem__(self, place: int) -> Shape:
        """The shape of an operand; LookupError where it is unknown."""
        shape = self.shapes[place]
        if shape is None:
            raise LookupError(place)
        return shape


ShapeRule = Callable[[_KnownOperands], tuple[Shape, ...]]


def _linear_attention(known: _KnownOperands) -> tuple[Shape, ...]:
    """q (B, T, Hq dk), k (B, T, H dk), v (B, T, H dv) to (B, T, Hq dv), state (B, H, dk, dv)."""
    heads, kept = known.attributes["q_num_heads"], known.attributes["kv_num_heads"]
    batch, length, width = known[0]
    values = known[2][2] // kept
    return (batch, length, max(heads, kept) * values), (batch, kept, width // heads, values)


def _causal_conv(known: _KnownOperands) -> tuple[Shape, ...]:
    """The input's shape; the state that follows is that of the kernel, which nobody asks for."""
    return (known[0],)


def _swiglu(known: _KnownOperands) -> tuple[Shape, ...]:
    """The gate's shape, or half of it along the last axis where it holds both halves."""
    *lead, last = known[0]
    return ((*lead, last if len(known.shapes) > 1 else last // 2),)


def _gather_blocks(known: _KnownOperands) -> tuple[Shape, ...]:
    """Rows of a table whose last axis holds several words of `bits` bits in each byte."""
    data, bits = known[0], known.attributes.get("bits", 4)
    axis = known.attributes.get("gather_axis", 0) % len(data)
    words = data[-1] * (8 // bits if known.is_bytes else 1)
    unpacked = (*data[:-1], words)
    return ((*unpacked[:axis], *known[1], *unpacked[axis + 1 :]),)


_RULES: Mapping[str, tuple[ShapeRule, int]] = {
    "LinearAttention": (_linear_attention, 0),
    "CausalConvWithState": (_causal_conv, 0),
    "SwiGLU": (_swiglu, 0),
    "com.microsoft.LinearAttention": (_linear_attention, 0),
    "com.microsoft.CausalConvWithState": (_causal_conv, 0),
    "com.microsoft.SwiGLU": (_swiglu, 0),
    "com.microsoft.GatherBlockQuantized": (_gather_blocks, 2),
}
"""Rules by full name, with the operand that results have the type of."""

OWN_SHAPES = frozenset(_RULES)
"""Full names of the operators that have a rule here."""


def declare_own(graph: GraphProto, shape_of: ShapeOf, specs: Mapping[str, TensorSpec]) -> int:
    """Declare in a graph what the rules tell of its unknown shapes; how many that were."""
    declared = 0
    for node in graph.node:
        rule, place = _RULES.get(operator_of(node).full_name, (None, 0))
        if rule is None or not node.output[0] or shape_of(node.output[0]) is not None:
            continue
        first, typed = (specs.get(node.input[each]) for each in (0, place))
        if first is None or typed is None:
            continue
        shapes = _shapes(node, rule, shape_of, first.dtype == np.uint8)
        kind = helper.np_dtype_to_tensor_dtype(typed.dtype)
        for name, shape in zip(node.output, shapes, strict=False):
            if name:
                graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))
                declared += 1
    return declared


def _shapes(
    node: NodeProto, rule: ShapeRule, shape_of: ShapeOf, is_bytes: bool
) -> tuple[Shape, ...]:
    """None at all where operands are unknown or contradict the rule."""
    shapes = [shape_of(name) if name else None for name in node.input]
    known = _KnownOperands(attributes_of(node), shapes, is_bytes)
    try:
        return rule(known)
    except (LookupError, ValueError, ZeroDivisionError):
        return ()
