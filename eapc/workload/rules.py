"""What a workload rule is given, what it returns, and the table that rules are entered in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from eapc.model import Node
from eapc.operators import operator
from eapc.workload.loop_nests import Workload

Shape = tuple[int, ...]


class UnmodelledError(Exception):
    """A node's work cannot be told; the message says why. Caught by the energy model."""


def _unknown(_: str) -> float | None:
    return None


@dataclass(frozen=True)
class Operands:
    """What a rule may look at: a node, the shapes of its operands, which are constants.

    `number_of` gives the value of a constant of one element, by name; None of other tensors.
    `opset` is that of the default domain.
    """

    node: Node
    input_shapes: tuple[Shape | None, ...]
    output_shapes: tuple[Shape | None, ...]
    constant_inputs: tuple[bool, ...]
    number_of: Callable[[str], float | None] = field(default=_unknown, compare=False)
    opset: int = 20

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

    def number(self, index: int) -> int | None:
        """The whole number that a constant input is; None where it is left out or computed."""
        name = self.node.input(index)
        found = self.number_of(name) if name and self.is_constant(index) else None
        return None if found is None else int(found)

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

    What has no name in the graph (the gates of a recurrent cell) is empty. Where several operands
    are read as one ifmap, `more` are those behind the first. Nothing stays on
    chip from one of the `times` to the next; a mean over inputs may be a fraction.
    """

    workload: Workload
    weights: str = ""
    ifmap: str = ""
    ofmap: str = ""
    times: float = 1
    more: tuple[str, ...] = ()


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
