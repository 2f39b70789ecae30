"""A graph as axis rules see it, and the table that the rules are entered in.

A rule says which indices of a node's axes must stay or go together. It speaks of axes that can
shrink alone: an axis of an operand or a result that no `Dependency` of the rule mentions is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from eapc.channels.constraints import (
    Axis,
    Constraint,
    Dependency,
    FixedAxis,
    FixedNodeError,
    Follows,
    Operand,
)
from eapc.channels.dimensions import SHAPE_OPERATORS, Dimensions, DimensionTracer, lengths_in
from eapc.channels.groups import Rewrite
from eapc.model import LARGEST_ELEMENTS, Array, Model, Node, Shapes, find_weights
from eapc.operators import Operator, operator_of

Kind = TypeVar("Kind")
Way = TypeVar("Way")


class Graph:
    """What axis rules may ask of a model's main graph."""

    def __init__(self, model: Model, shapes: Shapes) -> None:
        self.model, self.shapes = model, shapes
        self.dimensions = DimensionTracer(model.view, self.constant, shapes.by_scope[""].get)
        opsets = model.view.proto.opset_import
        self.opset = next((o.version for o in opsets if o.domain in ("", "ai.onnx")), 1)
        self.is_weights = cache(self._holds_weights)
        self.comes_from_shape = cache(self._comes_from_shape)
        self.are_codes = cache(self._are_codes)

    def constant(self, name: str) -> Array | None:
        """The value of a small constant, stored or computed of others, but of no shape."""
        shape = self.shape(name)  # which is known without working out large ones
        is_large = shape is not None and math.prod(shape) > LARGEST_ELEMENTS
        if is_large or name not in self.model.constants or self.comes_from_shape(name):
            return None
        array = self.model.constants.value(name)
        return array if array is not None and array.size <= LARGEST_ELEMENTS else None

    def _comes_from_shape(self, name: str) -> bool:
        """True for what is made of lengths of axes, even those of constants: they can shrink."""
        node = self.model.view.producer(name)
        if node is None or node.op_type in ("Shape", "Size"):
            return node is not None
        return any(self.comes_from_shape(each) for each in node.inputs if each)

    def _holds_weights(self, name: str) -> bool:
        source = find_weights(self.model, name)
        return source is not None and source.root in self.model.constants.plain

    def is_read(self, name: str) -> bool:
        """True where a node reads the tensor, or the model shows it."""
        return bool(self.model.view.consumers(name)) or name in self.model.outputs

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor of the main graph; None where an axis is unknown."""
        constant = self.plain_shape(name)
        return self.shapes.main(name) if constant is None else constant

    def plain_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a constant that can be written into; None of any other tensor."""
        stored = self.model.constants.plain.get(name)
        return None if stored is None else tuple(stored.dims)

    def operand(self, name: str, node: Node | None = None) -> Operand | None:
        """A tensor as a node sees it; None where it is left out or its shape is unknown."""
        shape = self.shape(name) if name else None
        if shape is None:
            return None
        own = node is not None and self._is_shared_vector(name, shape)
        return Operand(name, shape, node.key if node and own else "")

    def _is_shared_vector(self, name: str, shape: tuple[int, ...]) -> bool:
        """Per-channel parameters of several nodes, often only because exporters join equal ones.

        Each reader may need another part of them. Kernels and matrices are shared on purpose.
        """
        is_vector = sum(size > 1 for size in shape) == 1
        is_constant = name in self.model.constants.plain
        return is_vector and is_constant and len(self.model.view.consumers(name)) > 1

    def fixed_lengths(
        self, dimensions: Dimensions | None, override: Rewrite | None = None
    ) -> Iterator[FixedAxis]:
        """The lengths that numbers come from must not change, unless an override is written."""
        for tensor, axis in sorted(lengths_in(dimensions or ())):
            operand = self.operand(tensor)
            if operand is not None:
                yield FixedAxis(operand.axis(axis), override=override)

    def nodes(self) -> list[NodeAxes]:
        """Every node of the main graph that is no constant, in file order."""
        return [
            NodeAxes(
                node,
                self,
                tuple(self.operand(name, node) for name in node.inputs),
                tuple(self.operand(name, node) for name in node.outputs),
            )
            for node in self.model.view.main_nodes
            if node.op_type != "Constant" and not all(map(self._is_settled, node.outputs))
        ]

    def _is_settled(self, name: str) -> bool:
        """True for constants, and integers that follow from them: their axes keep their length.

        What is folded to real numbers is data, such as a bias that is reshaped, and may shrink; so
        are codes that stand for such.
        """
        if name in self.model.constants.plain:
            return True
        array = self.constant(name)
        return array is not None and array.dtype.kind in "iub" and not self.are_codes(name)

    def _are_codes(self, name: str) -> bool:
        """True for integers that a node reads as real numbers, behind views too."""
        readers = self.model.view.consumers(name)
        if any(operator_of(node).quantized is not None for node in readers):
            return True
        views = (node for node in readers if operator_of(node).shows_weights)
        return any(self.are_codes(node.outputs[0]) for node in views)


@dataclass(frozen=True)
class NodeAxes:
    """What a rule may look at: a node of a graph, its operands and results.

    Where its axes can depend on each other in several ways, `way` is the one to describe.
    """

    node: Node
    graph: Graph
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand | None, ...]
    way: int = 0

    @property
    def op_type(self) -> str:
        """The operator's name."""
        return self.node.op_type

    @property
    def row(self) -> Operator:
        """What is known of the operator."""
        return operator_of(self.node)

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute's value, or `default` where the node does not have it."""
        return self.node.attribute(name, default)

    def input(self, index: int) -> Operand:
        """An operand; raises FixedNodeError where its shape is unknown."""
        return _known(self.inputs, index, self.node.input(index))

    def output(self, index: int = 0) -> Operand:
        """A result; raises FixedNodeError where its shape is unknown."""
        return _known(self.outputs, index, self.node.outputs[index])

    def given(self, first: int = 0) -> list[Operand]:
        """The operands from `first` on that are not left out."""
        places = range(first, len(self.node.inputs))
        return [self.input(place) for place in places if self.node.input(place)]

    def results(self) -> list[Operand]:
        """The results that have a name."""
        return [self.output(i) for i, name in enumerate(self.node.outputs) if name]

    def constant(self, operand: int) -> Array | None:
        """The value of an operand that is a small constant."""
        return self.graph.constant(self.node.input(operand))

    def dimensions(self, operand: int) -> Dimensions | None:
        """What the numbers of an operand, a shape, are made of."""
        return self.graph.dimensions.of(self.node.input(operand))

    def integers(self, operand: int, attribute: str) -> list[int] | None:
        """Integers from an attribute or a constant operand; None where they are not given.

        Raises FixedNodeError where the operand is computed.
        """
        if attribute in self.node.attributes:
            value = self.node.attributes[attribute]
            return [int(v) for v in (value if isinstance(value, Sequence) else [value])]
        if not self.node.input(operand):
            return None
        found = self.constant(operand)
        if found is None:
            raise FixedNodeError(f"{attribute} is computed, not constant")
        return [int(v) for v in found.reshape(-1)]

    def count(
        self,
        axis: Axis,
        start: int,
        stop: int,
        attribute: str,
        index: int = 0,
        operand: int = 0,
        per: int = 1,
    ) -> Rewrite:
        """A number of an attribute, or else of a constant operand, that counts indices."""
        is_attribute = attribute in self.node.attributes
        place = (attribute, "") if is_attribute else ("", self.node.input(operand))
        tensor = axis.operand.tensor
        return Rewrite(self.node.key, index, tensor, axis.number, start, stop, per, *place)

    def chosen(self, ways: Sequence[Way]) -> Way:
        """The way to describe; the last where there are fewer than that."""
        return ways[min(self.way, len(ways) - 1)]


def _known(operands: Sequence[Operand | None], index: int, name: str) -> Operand:
    operand = operands[index] if index < len(operands) else None
    if operand is None:
        unknown = f"the shape of '{name}' is unknown"
        raise FixedNodeError(unknown if name else "an input is missing")
    return operand


Rule = Callable[[NodeAxes], Iterable[Constraint]]
AXIS_RULES: dict[str, Rule] = {}
"""By full name of an operator, and by kind, for those that have none of their own."""


def axis_rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators or kinds of them; a second rule for one raises."""

    def register(rule: Rule) -> Rule:
        for name in names:
            if name in AXIS_RULES:
                raise ValueError(f"operator {name} has an axis rule already")
            AXIS_RULES[name] = rule
        return rule

    return register


def rule_of(row: Operator) -> Rule:
    """The rule of an operator; raises FixedNodeError where nothing is known of its axes."""
    rule = AXIS_RULES.get(row.full_name) or AXIS_RULES.get(row.kind)
    if rule is None:
        raise FixedNodeError(f"no axis rule for {row.full_name}")
    return rule


# --- what the rules say ----------------------------------------------------------------------


@dataclass(frozen=True)
class NodeConstraints:
    """What is known of one node's axes; why all of them must stay, if so."""

    axes: NodeAxes
    all: tuple[Constraint, ...]
    reason: str = ""

    @property
    def key(self) -> str:
        """The node's key."""
        return self.axes.node.key

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The constraints of one kind, in order."""
        return [each for each in self.all if isinstance(each, kind)]


def constraints_of(node: NodeAxes) -> NodeConstraints:
    """What the node's rule says, and what is fixed as it does not mention it: all if it cannot."""
    try:
        if node.node.subgraphs:
            raise FixedNodeError("it holds subgraphs")
        stated = NodeConstraints(node, tuple(rule_of(node.row)(node)))
        for dependency in stated.of(Dependency):
            _require_fit(dependency)
    except FixedNodeError as error:
        stated = NodeConstraints(node, (), str(error))
    return replace(stated, all=(*stated.all, *_fixed(stated)))


def _require_fit(dependency: Dependency) -> None:
    """Raise FixedNodeError where a rule ties axes that the graph's shapes do not have."""
    if any(axis.number >= axis.operand.rank for axis in (dependency.one, dependency.other)):
        raise FixedNodeError("an operand has fewer axes than expected")
    one, other = dependency.pairs()
    if len(one) != len(other):
        raise FixedNodeError("its operands do not fit each other")


def _fixed(stated: NodeConstraints) -> Iterator[FixedAxis]:
    """Axes that no dependency speaks of, and lengths that the rule did not follow further.

    Shape arithmetic passes lengths on: what its result comes from is known to whoever reads it.
    """
    node, graph = stated.axes.node, stated.axes.graph
    read = graph.model.view.dependencies(node) if stated.reason else node.inputs
    operands = {*stated.axes.inputs, *stated.axes.outputs}
    if stated.reason:  # what subgraphs capture stays, too
        operands.update(map(graph.operand, read))
    mentioned = {axis for each in stated.of(Dependency) for axis in (each.one, each.other)}
    for operand in filter(None, operands):
        yield from (FixedAxis(axis) for axis in operand.axes() if axis not in mentioned)
    result = None if stated.reason else graph.dimensions.of(node.outputs[0])
    if node.op_type in SHAPE_OPERATORS and result is not None:
        return
    followed = {each.operand for each in stated.of(Follows)}
    for place, name in enumerate(read):
        if place not in followed:
            yield from graph.fixed_lengths(graph.dimensions.of(name))
