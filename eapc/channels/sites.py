"""From a model to what each of its nodes says about axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from eapc.channels import (
    einsum_rule,
    elementwise_rules,
    layer_rules,
    normalisation_rules,
    picking_rules,
    regrouping_rules,
    spreading_rules,
    view_rules,
)
from eapc.channels.axis_rules import (
    Effect,
    Follows,
    Freeze,
    LeftWholeError,
    Port,
    Site,
    Tie,
    effects_of,
)
from eapc.channels.constants import Constants
from eapc.channels.entries import Length, lengths_in
from eapc.channels.shape_entries import SHAPE_OPERATORS, ShapeEntries
from eapc.model import Model, Node, Shapes, find_weights

RULE_MODULES = (
    einsum_rule,
    elementwise_rules,
    layer_rules,
    normalisation_rules,
    picking_rules,
    regrouping_rules,
    spreading_rules,
    view_rules,
)
"""Imported for the rules that they enter in the table."""


@dataclass(frozen=True)
class Said:
    """What is known of one node: its site, the rule's effects, the axes that must stay whole."""

    site: Site
    effects: tuple[Effect, ...]
    whole: tuple[Freeze, ...]
    reason: str = ""


class Sites:
    """The nodes of a model's main graph as axis rules see them."""

    def __init__(self, model: Model, shapes: Shapes) -> None:
        self._model, self._shapes = model, shapes
        self._constants = Constants(model)
        self._entries = ShapeEntries(model.view, self._constants.value, shapes.by_scope[""].get)
        self.inputs = frozenset(spec.name for spec in model.inputs)
        self.outputs = frozenset(model.outputs)
        self._opset = next(
            (o.version for o in model.view.proto.opset_import if o.domain in ("", "ai.onnx")), 1
        )
        self._is_weights = cache(self._holds_weights)

    def _holds_weights(self, name: str) -> bool:
        source = find_weights(self._model, name)
        return source is not None and source.root in self._model.constants.plain

    def all(self) -> list[Site]:
        """A site for every node of the main graph that is no constant, in file order."""
        nodes = self._model.view.main_nodes
        return [self._site(node) for node in nodes if not self._is_constant(node)]

    def _is_constant(self, node: Node) -> bool:
        settled = self._constants.settled
        return node.op_type == "Constant" or all(name in settled for name in node.outputs)

    def _site(self, node: Node) -> Site:
        return Site(
            node=node,
            inputs=tuple(self._port(name, node) for name in node.inputs),
            outputs=tuple(self._port(name, node) for name in node.outputs),
            opset=self._opset,
            constant=self._constants.value,
            entries=self._entries.of,
            port_of=lambda name: self._port(name, None),
            is_weights=self._is_weights,
            is_read=self._is_read,
            is_stored=self._model.constants.plain.__contains__,
        )

    def _port(self, name: str, node: Node | None) -> Port | None:
        shape = self.shape(name)
        if not name or shape is None:
            return None
        own = node is not None and self._is_shared_vector(name, shape)
        return Port(name, shape, node.key if node and own else "")

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor of the main graph; None where an axis is unknown."""
        constant = self._model.constants.plain.get(name)
        return self._shapes.main(name) if constant is None else tuple(constant.dims)

    def _is_read(self, name: str) -> bool:
        return bool(self._model.view.consumers(name)) or name in self.outputs

    def _is_shared_vector(self, name: str, shape: tuple[int, ...]) -> bool:
        """Per-channel parameters of several nodes, often only because exporters join equal ones.

        Each reader may need another part of them. Kernels and matrices are shared on purpose.
        """
        is_vector = sum(size > 1 for size in shape) == 1
        is_constant = name in self._model.constants.plain
        return is_vector and is_constant and len(self._model.view.consumers(name)) > 1

    def said(self, site: Site, choice: int) -> Said:
        """What the node's rule says with one of its options; all stays whole where it cannot."""
        site = replace(site, choice=choice)
        try:
            if site.node.subgraphs:
                raise LeftWholeError("it holds subgraphs")
            effects = effects_of(site)
            _require_fit(effects)
        except LeftWholeError as error:
            return Said(site, (), tuple(self._everything(site)), str(error))
        whole = (*_unmentioned(site, effects), *self._lengths(site, effects))
        return Said(site, effects, whole)

    def _everything(self, site: Site) -> Iterator[Freeze]:
        ports = {*site.inputs, *site.outputs}
        ports |= {self._port(name, None) for name in self._model.view.dependencies(site.node)}
        for port in ports - {None}:
            assert port is not None  # it was taken out
            yield from (Freeze(port, axis) for axis in range(port.rank))
        for name in self._model.view.dependencies(site.node):
            yield from self._frozen_lengths(name)

    def _lengths(self, site: Site, effects: tuple[Effect, ...]) -> Iterator[Freeze]:
        """Lengths of axes among the operands that the rule did not follow to where they go."""
        if site.node.op_type in SHAPE_OPERATORS and self._passes_on(site):
            return
        followed = {effect.operand for effect in effects if isinstance(effect, Follows)}
        for place, name in enumerate(site.node.inputs):
            if place not in followed:
                yield from self._frozen_lengths(name)

    def _passes_on(self, site: Site) -> bool:
        """True for shape arithmetic: what its result comes from is known to whoever reads it."""
        return self._entries.of(site.node.outputs[0]) is not None

    def _frozen_lengths(self, tensor: str) -> Iterator[Freeze]:
        yield from self._whole(lengths_in(self._entries.of(tensor) or ()))

    def _whole(self, lengths: set[Length]) -> Iterator[Freeze]:
        for length in sorted(lengths, key=lambda found: (found.tensor, found.axis)):
            port = self._port(length.tensor, None)
            if port is not None:
                yield Freeze(port, length.axis)

    def ends(self) -> Iterator[Freeze]:
        """Axes that the model shows outside, or whose values come from outside."""
        nodes = [node for node in self._model.view.main_nodes if not self._is_constant(node)]
        read = {name for node in nodes for name in node.inputs}
        inside = {name for node in nodes for name in node.outputs}
        inside |= self._model.constants.plain.keys()
        for name in sorted((read - inside) | self.outputs):
            port = self._port(name, None)
            if port is not None:
                yield from (Freeze(port, axis) for axis in range(port.rank))
            if name in self.outputs:
                yield from self._frozen_lengths(name)


def _require_fit(effects: tuple[Effect, ...]) -> None:
    """Raise LeftWholeError where a rule ties axes that the graph's shapes do not have."""
    for tie in effects:
        if not isinstance(tie, Tie):
            continue
        sides = (
            (tie.one, tie.one_axis, tie.one_indices),
            (tie.other, tie.other_axis, tie.other_indices),
        )
        if any(axis >= port.rank for port, axis, _ in sides):
            raise LeftWholeError("an operand has fewer axes than expected")
        lengths = {port.shape[a] if at is None else len(at) for port, a, at in sides}
        if len(lengths) > 1:
            raise LeftWholeError("its operands do not fit each other")


def _unmentioned(site: Site, effects: tuple[Effect, ...]) -> Iterator[Freeze]:
    """Every axis of the node's operands and results that no tie of its rule speaks of."""
    spoken = {
        mention
        for effect in effects
        if isinstance(effect, Tie)
        for mention in ((effect.one, effect.one_axis), (effect.other, effect.other_axis))
    }
    for port in {*site.inputs, *site.outputs}:
        if port is not None:
            axes = ((port, axis) for axis in range(port.rank))
            yield from (Freeze(*place) for place in axes if place not in spoken)
