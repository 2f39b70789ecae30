"""What a workload rule is given, what it returns, and the table that rules are entered in.

From an ONNX node to its workloads: one pure rule per operator, in one table.

For an element-wise, copying or viewing operator, and for one that does the work of another, its
row in the table of operators is enough. For others write a function of an `Operands` under
`@workload_rule("Name")` in one of the modules of `RULE_MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from eapc.model import Node
from eapc.operators import Operator, operator, operator_of
from eapc.workload import (
    attention_operators,
    mac_operators,
    quantized_operators,
    recurrent_operators,
)
from eapc.workload.loop_nests import Workload
from eapc.workload.stream_operators import STREAMED

Shape = tuple[int, ...]


class UnmodelledError(Exception):
    """A node's work cannot be told; the message says why. Caught by the energy model."""


@dataclass(frozen=True)
class Operands:
    """What a rule may look at: a node, the shapes of its operands, which are constants."""

    node: Node
    input_shapes: tuple[Shape | None, ...]
    output_shapes: tuple[Shape | None, ...]
    constant_inputs: tuple[bool, ...]

    def input(self, index: int) -> Shape:
        """Shape of an input; raises UnmodelledError where it is unknown."""
        shape = self.input_shapes[index] if index < len(self.input_shapes) else None
        if shape is None:
            raise UnmodelledError(f"shape of input {index} is unknown")
        return shape

    def output(self) -> Shape:
        """Shape of the first output; raises UnmodelledError where it is unknown."""
        shape = self.output_shapes[0] if self.output_shapes else None
        if shape is None:
            raise UnmodelledError("shape of the output is unknown")
        return shape

    def is_constant(self, index: int) -> bool:
        """True when an input never changes between inferences."""
        return index < len(self.constant_inputs) and self.constant_inputs[index]

    def picked(self, *places: int) -> Operands:
        """The same with some of the inputs alone, in the given order."""
        return replace(
            self,
            node=replace(self.node, inputs=tuple(self.node.inputs[place] for place in places)),
            input_shapes=tuple(self.input_shapes[place] for place in places),
            constant_inputs=tuple(self.constant_inputs[place] for place in places),
        )

    def with_shape(self, place: int, shape: Shape) -> Operands:
        """The same with another shape of one input."""
        shapes = list(self.input_shapes)
        shapes[place] = shape
        return replace(self, input_shapes=tuple(shapes))


@dataclass(frozen=True)
class Part:
    """A loop nest, the tensors that play its weights, ifmap and ofmap, and how often it runs.

    What has no name in the graph (the gates of a recurrent cell) is empty. Nothing stays on
    chip from one of the `times` to the next; a mean over inputs may be a fraction.
    """

    workload: Workload
    weights: str = ""
    ifmap: str = ""
    ofmap: str = ""
    times: float = 1


@dataclass(frozen=True)
class Work:
    """What a node does: its parts, one after the other."""

    parts: tuple[Part, ...] = ()

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """The loop nests alone."""
        return tuple(part.workload for part in self.parts)

    @property
    def ifmap(self) -> str:
        """The ifmap of the first part."""
        return self.parts[0].ifmap if self.parts else ""

    @property
    def ofmap(self) -> str:
        """The ofmap of the last part: what the node hands on."""
        return self.parts[-1].ofmap if self.parts else ""


Rule = Callable[[Operands], Work]
WORKLOAD_RULES: dict[str, Rule] = {}


def workload_rule(*op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register a rule for operators of a domain; a second rule for one raises."""

    def register(rule: Rule) -> Rule:
        for name in (operator(op_type, domain).full_name for op_type in op_types):
            if name in WORKLOAD_RULES:
                raise ValueError(f"operator {name} has a workload rule already")
            WORKLOAD_RULES[name] = rule
        return rule

    return register


__all__ = ["WORKLOAD_RULES", "Operands", "UnmodelledError", "Work", "work_of"]

RULE_MODULES = (
    attention_operators,
    mac_operators,
    quantized_operators,
    recurrent_operators,
)
"""Imported for the rules that they enter in the table."""


def work_of(operands: Operands) -> Work:
    """The work of a node; raises UnmodelledError with the reason where no rule can tell."""
    node = operands.node
    rule = rule_of(operator_of(node))
    if node.domain and rule is None:
        raise UnmodelledError(f"no rule for {node.op_type} of domain '{node.domain}'")
    if node.inputs and all(operands.is_constant(i) for i, name in enumerate(node.inputs) if name):
        return Work()
    if rule is None:
        raise UnmodelledError(f"no rule for {node.op_type}")
    return rule(operands)


def rule_of(row: Operator) -> Rule | None:
    """An operator's own rule, or that of what it is counted by, or of the operator it is like."""
    rule = WORKLOAD_RULES.get(row.full_name) or STREAMED.get(row.work)
    if rule is not None or not row.like:
        return rule
    like, places = rule_of(operator(row.like)), row.factors or (0,)
    return None if like is None else lambda operands: like(operands.picked(*places))
