"""A classifier's head: the layer that makes one score for each class, and what stands behind it.

Found from the output backwards: as long as a node keeps classes apart along one axis, what feeds it
does so too, until a layer is met whose weights make them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from eapc.classes.operands import ClassPart, parts_of
from eapc.classes.rules import RULES, ClassStep, Place, UncuttableError
from eapc.errors import ModelError
from eapc.model import Model, Node, infer_shapes, input_shapes
from eapc.operators import operator_of

_NORMALISES = frozenset(("Softmax", "LogSoftmax", "QLinearSoftmax", "Hardmax"))
_MOVES = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))


@dataclass(frozen=True)
class ClassifierHead:
    """The layer that makes the scores, and all that follows the number of classes.

    `axes` has, for every tensor from the layer on and for what is computed of its constants, the
    axis of the classes; `parts` are the constants to cut, `reshapes` gives the new shape of a
    Reshape but for the number of classes, a 0 at the place that is given: (numbers, place).
    `ending` is the operator that divides scores by what all classes have together, where the output
    is what that gives; `?` where more is computed of it, and empty where there is none.
    """

    layer: Node
    classes: int
    axes: Mapping[str, int]
    parts: tuple[ClassPart, ...]
    reshapes: Mapping[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    ending: str = ""


def find_head(model: Model) -> ClassifierHead:
    """The head of a classifier of one output; ModelError, one line, where there is none to cut."""
    if len(model.outputs) != 1:
        _refuse(model, f"it has {len(model.outputs)} outputs, and a classifier has one")
    (output,) = model.outputs
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    shape = shapes.main(output)
    if shape is None or len(shape) < 2 or any(size != 1 for size in shape[2:]):
        seen = "of unknown shape" if shape is None else f"of shape {shape}"
        _refuse(model, f"output '{output}', {seen}, is not one score for each class")
    if shape[1] < 2:
        _refuse(model, f"output '{output}' is one score: there are no classes to choose from")
    try:
        return _HeadSearch(Place(model, shapes, shape[1])).found(output)
    except UncuttableError as refusal:
        _refuse(model, str(refusal))


def _refuse(model: Model, why: str) -> NoReturn:
    raise ModelError(f"{model.name}: no classifier head to cut: {why}")


class _HeadSearch:
    """The way from the output to the layer that makes the scores."""

    def __init__(self, place: Place) -> None:
        self._place, self._model = place, place.model
        self._axes: dict[str, int] = {}
        self._steps: list[tuple[Node, ClassStep]] = []

    def found(self, output: str) -> ClassifierHead:
        """The head; raises UncuttableError."""
        tensor, axis = output, 1
        while True:
            node = self._maker(tensor)
            self._axes[tensor] = axis
            rule = RULES.get(operator_of(node).full_name)
            if rule is None:
                raise UncuttableError(f"{_said(node)} is no layer of weights, and may mix classes")
            step = rule(self._place, node, axis)
            self._steps.append((node, step))
            if step.operand is None:
                return self._head(node)
            tensor, axis = node.inputs[step.operand], step.axis

    def _maker(self, tensor: str) -> Node:
        node = self._model.view.producer(tensor)
        if node is None:
            raise UncuttableError(f"no layer makes '{tensor}', where the scores come from")
        return node

    def _head(self, layer: Node) -> ClassifierHead:
        reshapes = {node.key: step.reshape for node, step in self._steps if step.reshape}
        self._require_unread(frozenset(reshapes))
        parts: list[ClassPart] = []
        inner: dict[str, int] = {}
        for node, step in self._steps:
            for operand, axis in step.cuts:
                found, axes = parts_of(self._model, node, operand, axis, self._place.classes)
                parts += found
                inner |= axes
        axes = {**self._axes, **inner}
        ending = _ending([node.op_type for node, _ in self._steps])
        return ClassifierHead(layer, self._place.classes, axes, tuple(parts), reshapes, ending)

    def _require_unread(self, reshaped: frozenset[str]) -> None:
        """Raise UncuttableError where scores on their way are read by anything else."""
        chain = {node.key for node, _ in self._steps}
        for tensor in self._axes:
            for reader in self._model.view.consumers(tensor):
                if reader.key not in chain and not self._only_shapes(reader, reshaped):
                    raise UncuttableError(f"{_said(reader)} reads the scores '{tensor}', too")

    def _only_shapes(self, node: Node, reshaped: frozenset[str]) -> bool:
        """Whether a node's results end as shapes of Reshape nodes that are given anew."""
        if node.op_type not in ("Shape", "Size"):
            return False
        pending = [node]
        seen: set[Node] = set()
        while pending:
            outputs = pending.pop().outputs
            if not set(outputs).isdisjoint(self._model.outputs):
                return False
            readers = {each for name in outputs for each in self._model.view.consumers(name)}
            for reader in readers - seen:
                seen.add(reader)
                is_shape = reader.key in reshaped and reader.input(0) not in outputs
                if not is_shape and reader.key in {n.key for n, _ in self._steps}:
                    return False
                if not is_shape:
                    pending.append(reader)
        return True


def _ending(behind: Sequence[str]) -> str:
    """What divides the scores, of the operators from the output on; see `ClassifierHead`."""
    last = next((i for i, name in enumerate(behind) if name in _NORMALISES), None)
    if last is None:
        return ""
    return behind[last] if _MOVES.issuperset(behind[:last]) else "?"


def _said(node: Node) -> str:
    return f"{node.op_type} '{node.key}'"
