"""What onnxruntime runs on integers of a QDQ file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from eapc.model import Model
from eapc.quantization.plan import LeftFloat, QuantizationPlan, QuantizedNode
from eapc.quantization.writing import code_name
from eapc.runtime import optimised_model

_NAMED = 3
"""Nodes that a sentence names at most."""


@dataclass(frozen=True)
class IntegerFusion:
    """The nodes that could run on integers: how many do, which do not, and why.

    `floats` are operators that compute on floats between them.
    """

    fused: int
    left: tuple[LeftFloat, ...]
    floats: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`fused 21 of 22 nodes; not fused: conv1 because ...`."""
        whole = self.fused + len(self.left)
        text = f"onnxruntime fuses {self.fused} of {whole} nodes to integers"
        if self.floats:
            counts = Counter(self.floats).most_common()
            text += f", in floats are {', '.join(f'{count} {name}' for name, count in counts)}"
        if not self.left:
            return text
        named = [f"{each.node} because {each.reason}" for each in self.left[:_NAMED]]
        more = len(self.left) - len(named)
        rest = [f"{more} more"] if more else []
        return f"{text}; not fused: {'; '.join([*named, *rest])}"


def fusion_of(model: Model, plan: QuantizationPlan, threads: int = 0) -> IntegerFusion:
    """What onnxruntime makes of a written model."""
    run = optimised_model(model.to_proto(embed=True), threads, blocked=False)
    float_results = set(_float_results(run))
    missed = [each for each in plan.nodes if _is_float(each, float_results)]
    left = tuple(LeftFloat(each.node.key, _reason(each, plan)) for each in missed)
    return IntegerFusion(len(plan.nodes) - len(left), (*left, *plan.left), plan.floats)


def _float_results(run: onnx.ModelProto) -> Iterator[str]:
    """What nodes make that have not become integer ones: floats, and codes made of them."""
    rounded = {n.output[0] for n in run.graph.node if n.op_type == "DequantizeLinear"}
    for node in run.graph.node:
        if node.op_type == "QuantizeLinear":
            yield node.output[0]
        elif not rounded.isdisjoint(node.input):
            yield from node.output


def _is_float(planned: QuantizedNode, float_results: set[str]) -> bool:
    """Whether a node's result is a float that is rounded, or made of rounded floats."""
    made = [code_name(name) for name in planned.results] or [planned.node.outputs[0]]
    return not float_results.isdisjoint(made)


def _reason(planned: QuantizedNode, plan: QuantizationPlan) -> str:
    if planned.folded and plan.grids[planned.makes].zero_point:
        return "an activation behind it shares a grid with negative values"
    return f"onnxruntime has no integer kernel for this {planned.node.op_type}"
