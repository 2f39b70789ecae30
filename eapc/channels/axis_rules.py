"""What an axis rule is given, what it says, and the table that rules are entered in.

A rule says which indices of a node's axes must stay or go together. It speaks of axes that can
shrink alone: whatever axis of an operand or a result no `Tie` of the rule mentions stays whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from eapc.channels.entries import Entries
from eapc.channels.groups import Number, Patch, Renumbering
from eapc.model import Array, Node
from eapc.operators import Kind, operator, operator_of

Shape = tuple[int, ...]
Option = TypeVar("Option")


class LeftWholeError(Exception):
    """A node whose axes cannot shrink; the message says why. Caught by the group finder."""


@dataclass(frozen=True)
class Port:
    """A tensor as a node sees it; `reader` is that node's key where others share the constant."""

    tensor: str
    shape: Shape
    reader: str = ""

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)


@dataclass(frozen=True)
class Tie:
    """Indices of two axes that go together, pair by pair; None is the whole axis in order."""

    one: Port
    one_axis: int
    other: Port
    other_axis: int
    one_indices: Array | None = None
    other_indices: Array | None = None


@dataclass(frozen=True)
class Freeze:
    """An axis that must keep its length, unless a patch may be applied; why, if worth saying."""

    port: Port
    axis: int
    reason: str = ""
    patch: Patch | None = None


@dataclass(frozen=True)
class Counts:
    """Each channel must take `ratio` indices, (of one axis, of the other), or a multiple.

    `indices` are those of the other axis that count, None for all. A patch lifts the demand.
    """

    one: Port
    one_axis: int
    other: Port
    other_axis: int
    ratio: tuple[int, int] = (1, 1)
    indices: Array | None = None
    patch: Patch | None = None


@dataclass(frozen=True)
class Weights:
    """The axis of a layer's weights that makes channels, or that reads them."""

    port: Port
    axis: int
    makes: bool


@dataclass(frozen=True)
class Options:
    """How many ways there are to tie a node's axes; `Site.choice` is the one to describe."""

    count: int


@dataclass(frozen=True)
class Follows:
    """The rule has looked at where the entries of this operand, a shape, come from."""

    operand: int


Effect = Tie | Freeze | Counts | Weights | Options | Follows | Number | Patch | Renumbering


@dataclass(frozen=True)
class Site:
    """What a rule may look at: a node, its operands and results, constants, origins of shapes."""

    node: Node
    inputs: tuple[Port | None, ...]
    outputs: tuple[Port | None, ...]
    opset: int
    constant: Callable[[str], Array | None]
    entries: Callable[[str], Entries | None]
    port_of: Callable[[str], Port | None]
    is_weights: Callable[[str], bool]
    is_read: Callable[[str], bool]
    is_stored: Callable[[str], bool]
    choice: int = 0

    def input(self, index: int) -> Port:
        """An operand; raises LeftWholeError where its shape is unknown."""
        return _known(self.inputs, index, self.node.input(index))

    def output(self, index: int = 0) -> Port:
        """A result; raises LeftWholeError where its shape is unknown."""
        return _known(self.outputs, index, self.node.outputs[index])

    def given(self, first: int = 0) -> list[Port]:
        """The operands from `first` on that are not left out."""
        places = range(first, len(self.node.inputs))
        return [self.input(place) for place in places if self.node.input(place)]

    def results(self) -> list[Port]:
        """The results that have a name."""
        return [self.output(i) for i, name in enumerate(self.node.outputs) if name]

    def integers(self, operand: int, attribute: str) -> list[int] | None:
        """Integers from an attribute or a constant operand; None where they are not given.

        Raises LeftWholeError where the operand is computed.
        """
        if attribute in self.node.attributes:
            value = self.node.attributes[attribute]
            return [int(v) for v in (value if isinstance(value, Sequence) else [value])]
        name = self.node.input(operand)
        if not name:
            return None
        found = self.constant(name)
        if found is None:
            raise LeftWholeError(f"{attribute} is computed, not constant")
        return [int(v) for v in found.reshape(-1)]

    def chosen(self, options: Sequence[Option]) -> Option:
        """The option to describe; the last where there are fewer than that."""
        return options[min(self.choice, len(options) - 1)]


def _known(ports: Sequence[Port | None], index: int, name: str) -> Port:
    port = ports[index] if index < len(ports) else None
    if port is None:
        raise LeftWholeError(f"the shape of '{name}' is unknown" if name else "an input is missing")
    return port


Rule = Callable[[Site], Iterable[Effect]]
AXIS_RULES: dict[str, Rule] = {}
KIND_RULES: dict[Kind, Rule] = {}


def axis_rule(*op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register a rule for operators of a domain; a second rule for one raises."""

    def register(rule: Rule) -> Rule:
        for name in (operator(op_type, domain).full_name for op_type in op_types):
            if name in AXIS_RULES:
                raise ValueError(f"operator {name} has an axis rule already")
            AXIS_RULES[name] = rule
        return rule

    return register


def axis_rule_of(*kinds: Kind) -> Callable[[Rule], Rule]:
    """Register a rule for all operators of some kinds that have none of their own."""

    def register(rule: Rule) -> Rule:
        KIND_RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def effects_of(site: Site) -> tuple[Effect, ...]:
    """What the rule of a node's operator says; raises LeftWholeError where there is none."""
    row = operator_of(site.node)
    rule = AXIS_RULES.get(row.full_name) or KIND_RULES.get(row.kind)
    if rule is None:
        raise no_rule(row.full_name)
    return tuple(rule(site))


def no_rule(name: str) -> LeftWholeError:
    """That nothing is known of an operator's axes."""
    return LeftWholeError(f"no axis rule for {name}")


def tie_axes(one: Port, other: Port, axes: Iterable[int]) -> Iterable[Tie]:
    """Tie axes of the same number, where they have the same length."""
    for axis in axes:
        if one.shape[axis] == other.shape[axis]:
            yield Tie(one, axis, other, axis)


def positive(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


def span(start: int, count: int) -> Array:
    """The indices start <= i < start + count."""
    return np.arange(start, start + count)


def number_at(
    site: Site,
    operand: int,
    attribute: str,
    index: int,
    port: Port,
    axis: int,
    bounds: tuple[int, int],
) -> Number:
    """A number of an attribute, or of a constant operand, that counts indices of an axis."""
    number = Number(site.node.key, index, port.tensor, axis, *bounds)
    if attribute in site.node.attributes:
        return replace(number, attribute=attribute)
    return replace(number, constant=site.node.input(operand))
