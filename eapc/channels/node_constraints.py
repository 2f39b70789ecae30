"""From a model's nodes to what their rules say, and what must stay for lack of a word on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from eapc.channels import (
    axiswise_rules,
    picking_rules,
    product_rules,
    regrouping_rules,
    view_rules,
)
from eapc.channels.constraints import (
    Axis,
    Constraint,
    Dependency,
    FixedAxis,
    FixedNodeError,
    Follows,
    Operand,
)
from eapc.channels.dimensions import SHAPE_OPERATORS
from eapc.channels.nodes import NodeAxes, rule_of

RULE_MODULES = (axiswise_rules, picking_rules, product_rules, regrouping_rules, view_rules)
"""Imported for the rules that they enter in the table."""

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class NodeConstraints:
    """What is known of one node's axes; why all of them must stay, if so."""

    axes: NodeAxes
    constraints: tuple[Constraint, ...]
    reason: str = ""

    @property
    def key(self) -> str:
        """The node's key."""
        return self.axes.node.key

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The constraints of one kind, in order."""
        return [each for each in self.constraints if isinstance(each, kind)]


def constraints_of(node: NodeAxes) -> NodeConstraints:
    """What the node's rule says, and of what it does not mention; all is fixed where it cannot."""
    try:
        if node.node.subgraphs:
            raise FixedNodeError("it holds subgraphs")
        said = NodeConstraints(node, tuple(rule_of(node.row)(node)))
        for dependency in said.of(Dependency):
            _require_fit(dependency)
    except FixedNodeError as error:
        return NodeConstraints(node, tuple(_everything(node)), str(error))
    fixed = (*_unmentioned(said), *_lengths(said))
    return replace(said, constraints=(*said.constraints, *fixed))


def _require_fit(dependency: Dependency) -> None:
    """Raise FixedNodeError where a rule ties axes that the graph's shapes do not have."""
    if any(axis.number >= axis.operand.rank for axis in (dependency.one, dependency.other)):
        raise FixedNodeError("an operand has fewer axes than expected")
    one, other = dependency.pairs()
    if len(one) != len(other):
        raise FixedNodeError("its operands do not fit each other")


def _everything(node: NodeAxes) -> Iterator[FixedAxis]:
    graph = node.graph
    dependencies = graph.model.view.dependencies(node.node)
    operands = {*node.inputs, *node.outputs, *map(graph.operand, dependencies)}
    for operand in operands - {None}:
        yield from map(FixedAxis, _axes(operand))
    for name in dependencies:
        yield from graph.fixed_lengths(graph.dimensions.of(name))


def _axes(operand: Operand | None) -> Iterator[Axis]:
    return operand.axes() if operand else iter(())


def _unmentioned(said: NodeConstraints) -> Iterator[FixedAxis]:
    """Every axis of the node's operands and results that no dependency speaks of."""
    dependencies = said.of(Dependency)
    mentioned = {axis for each in dependencies for axis in (each.one, each.other)}
    for operand in {*said.axes.inputs, *said.axes.outputs}:
        yield from (FixedAxis(axis) for axis in _axes(operand) if axis not in mentioned)


def _lengths(said: NodeConstraints) -> Iterator[FixedAxis]:
    """Lengths of axes among the operands that the rule did not follow to where they go.

    Shape arithmetic passes them on: what its result comes from is known to whoever reads it.
    """
    node, dimensions = said.axes.node, said.axes.graph.dimensions
    if node.op_type in SHAPE_OPERATORS and dimensions.of(node.outputs[0]) is not None:
        return
    followed = {each.operand for each in said.of(Follows)}
    for place, name in enumerate(node.inputs):
        if place not in followed:
            yield from said.axes.graph.fixed_lengths(dimensions.of(name))
