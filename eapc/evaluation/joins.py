"""Which tensors a network's outputs are joined from: the parts of outputs that the graph shows.

Detectors put boxes and scores into one tensor, so that it comes as one output. What an element
of the output is an element of is told by going back through joins (Concat) and what only moves
or scales elements, to the tensors that are not made so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count

import numpy as np
from numpy.typing import NDArray

from eapc.model import (
    Array,
    InputShapes,
    Model,
    Node,
    Shapes,
    infer_shapes,
    input_shapes,
    subgraphs_of_node,
)
from eapc.operators import operator_of

Labels = NDArray[np.intp]
"""A number for each element of a tensor, of its rank; axes that make no difference have size 1."""

_DEEPEST = 100
"""Nodes from an output back, beyond which a tensor counts as a whole."""

_LARGEST = 1 << 24
"""Elements of a view that are numbered one by one; those of a larger one count as a whole."""


def joined_labels(model: Model, given: InputShapes) -> Mapping[str, Labels]:
    """By output, the number of the tensor that each element comes from, at these input shapes.

    Outputs whose shape or parts are not known count as a whole.
    """
    shapes = infer_shapes(model, input_shapes(model, given, None))
    tracer = _LabelTracer(model, shapes)
    return {name: tracer.labels(name) for name in model.outputs if name in tracer.shapes}


class _LabelTracer:
    """Goes back from a tensor of a graph; every tensor is labelled once.

    A tensor of the graphs around a branch is labelled by the tracer of these.
    """

    def __init__(
        self, model: Model, shapes: Shapes, scope: str = "", outer: _LabelTracer | None = None
    ) -> None:
        known = ((name, shapes.seen_from(scope, name)) for name in shapes.by_scope.get(scope, {}))
        self.shapes = {name: shape for name, shape in known if shape is not None}
        self._model, self._all_shapes, self._outer = model, shapes, outer
        self._constants = model.constants.within(scope)
        nodes = model.view.by_scope.get(scope, ())
        self._producers = {name: node for node in nodes for name in node.outputs}
        self._known: dict[str, Labels] = {}
        self._numbers: Iterator[int] = count() if outer is None else outer._numbers

    def labels(self, tensor: str, depth: int = 0) -> Labels:
        """The labels of a tensor whose shape is known."""
        node = self._producers.get(tensor)
        if node is None and self._outer is not None and tensor in self._outer.shapes:
            return self._outer.labels(tensor, depth)
        if tensor not in self._known:
            found = None if node is None or depth > _DEEPEST else self._through(node, tensor, depth)
            self._known[tensor] = self._whole(tensor) if found is None else found
        return self._known[tensor]

    def _whole(self, tensor: str) -> Labels:
        """One part, other than all others."""
        return np.full((1,) * len(self.shapes[tensor]), next(self._numbers), np.intp)

    def _through(self, node: Node, tensor: str, depth: int) -> Labels | None:
        """The labels by those of what a node reads; None if it makes something new."""
        rule = _RULES.get(node.op_type) if not node.domain else None
        sources = [name for name in node.inputs if name and name not in self._constants]
        if any(name not in self.shapes for name in sources):
            return None
        if rule is not None:
            return rule(self, node, tensor, depth)
        if len(sources) != 1 or self.shapes[sources[0]] != self.shapes[tensor]:
            return None
        moved = operator_of(node).is_element_wise or node.op_type == "Identity"
        return self.labels(sources[0], depth + 1) if moved else None

    def concatenated(self, node: Node, tensor: str, depth: int) -> Labels | None:
        """One after the other along an axis."""
        rank = len(self.shapes[tensor])
        axis = int(node.attribute("axis", 0)) % rank
        if axis == 0 or any(name not in self.shapes for name in node.inputs):
            return None  # along the first axis inputs follow each other
        parts = [self._along(name, axis, depth) for name in node.inputs]
        others = np.broadcast_shapes(*(_without(part.shape, axis) for part in parts))
        full = [np.broadcast_to(p, _with(others, axis, p.shape[axis])) for p in parts]
        return np.concatenate(full, axis=axis)

    def _along(self, tensor: str, axis: int, depth: int) -> Labels:
        """Labels with an axis at its full size."""
        labels, size = self.labels(tensor, depth + 1), self.shapes[tensor][axis]
        labels = self._whole(tensor) if labels.size == 1 else labels
        return np.broadcast_to(labels, _with(_without(labels.shape, axis), axis, size))

    def transposed(self, node: Node, tensor: str, depth: int) -> Labels | None:
        """Axes in another order."""
        order = node.attribute("perm", None) or range(len(self.shapes[tensor]))[::-1]
        return self.labels(node.input(0), depth + 1).transpose(tuple(order))

    def viewed(self, node: Node, tensor: str, depth: int) -> Labels | None:
        """The same elements in another shape, where those of an input stay together."""
        labels = self.labels(node.input(0), depth + 1)
        before, after = self.shapes[node.input(0)], self.shapes[tensor]
        if labels.size == 1:
            return labels.reshape((1,) * len(after))
        keeps_samples = bool(before) and labels.shape[0] == 1 and before[:1] == after[:1]
        if not keeps_samples or before[0] < 1 or np.prod(after) > _LARGEST:
            return None
        return np.broadcast_to(labels, before)[:1].reshape(1, *after[1:])

    def split_off(self, node: Node, tensor: str, depth: int) -> Labels | None:
        """A stretch of an axis."""
        axis = int(node.attribute("axis", 0)) % len(self.shapes[tensor])
        sizes = [self.shapes.get(name, ())[axis : axis + 1] for name in node.outputs]
        place = node.outputs.index(tensor)
        if axis == 0 or not all(sizes[: place + 1]):
            return None
        start = sum(size for (size,) in sizes[:place])
        return self._picked(node, {axis: slice(start, start + sizes[place][0])}, depth)

    def sliced(self, node: Node, tensor: str, depth: int) -> Labels | None:
        """Stretches of axes at constant bounds."""
        constants = self._constants
        given = [constants.value(name) if name else None for name in node.inputs[1:]]
        if len(given) < 2 or given[0] is None or given[1] is None:
            return None
        rank, starts, ends = len(self.shapes[tensor]), given[0].ravel(), given[1].ravel()
        axes = _integers(given, 2, range(len(starts)))
        steps = _integers(given, 3, [1] * len(starts))
        bounds = zip(axes, starts.tolist(), ends.tolist(), steps, strict=True)
        picked = {axis % rank: _bounded(start, end, step) for axis, start, end, step in bounds}
        return None if 0 in picked else self._picked(node, picked, depth)

    def branched(self, node: Node, tensor: str, depth: int) -> Labels | None:
        """What an If gives, where both branches are joined alike: of new tensors then."""
        place = node.outputs.index(tensor)
        found = []
        for scope, graph in zip(
            node.subgraphs, subgraphs_of_node(self._model.node_proto(node)), strict=True
        ):
            inner = _LabelTracer(self._model, self._all_shapes, scope, self)
            result = graph.output[place].name
            if inner.shapes.get(result) != self.shapes[tensor]:
                return None
            found.append(_numbered(inner.labels(result, depth + 1)))
        if len({(labels.shape, labels.tobytes()) for labels in found}) != 1:
            return None
        fresh = [next(self._numbers) for _ in range(int(found[0].max(initial=0)) + 1)]
        return np.asarray(fresh, np.intp)[found[0]]

    def _picked(self, node: Node, stretches: Mapping[int, slice], depth: int) -> Labels:
        labels = self.labels(node.input(0), depth + 1)
        every = slice(None)
        return labels[
            tuple(
                stretches.get(axis, every) if size > 1 else every
                for axis, size in enumerate(labels.shape)
            )
        ]


def _numbered(labels: Labels) -> Labels:
    """The same parts, numbered as they come."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.reshape(labels.shape)]


def _integers(given: list[Array | None], place: int, default: range | list[int]) -> list[int]:
    found = given[place] if place < len(given) else None
    return list(default) if found is None else [int(each) for each in found.ravel()]


def _bounded(start: int, end: int, step: int) -> slice:
    """As ONNX has it: the end of a backward slice may lie before the first element."""
    return slice(start, None if step < 0 and end < -(1 << 31) + 1 else end, step)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _with(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis:])


_RULES: dict[str, Callable[[_LabelTracer, Node, str, int], Labels | None]] = {
    "Concat": _LabelTracer.concatenated,
    "If": _LabelTracer.branched,
    "Transpose": _LabelTracer.transposed,
    "Split": _LabelTracer.split_off,
    "Slice": _LabelTracer.sliced,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _LabelTracer.viewed),
}
