"""Values of inputs that hold one number: rates, thresholds, lengths and flags.

A random one may switch a network off, or stop it from running at all. What the graph does with the
input often tells a value that is valid: a number it is compared with, the length it is a length
of, the place it has in an operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from eapc.model import Array, InputShapes, Model, Node, TensorSpec

_SEEN_THROUGH = (
    "Cast", "Expand", "Identity", "Max", "ReduceMax", "Reshape", "Squeeze", "Unsqueeze",
)  # fmt: skip

_BY_PLACE: Mapping[tuple[str, int], float] = {
    ("NonMaxSuppression", 2): 100,
    ("NonMaxSuppression", 3): 0.5,
    ("NonMaxSuppression", 4): 0,
    ("TopK", 1): 1,
    ("Dropout", 1): 0,
    ("Dropout", 2): 0,
}
"""(operator, place of the operand) -> a value that networks are used with."""

_MASKING = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")


@dataclass(frozen=True)
class Told:
    """A value for an input of one number, and what tells it."""

    name: str
    value: float
    why: str

    def __str__(self) -> str:
        number = f"{self.value:g}" if abs(self.value) < 1e6 else f"{self.value:.0f}"
        return f"input '{self.name}' is set to {number}, {self.why}; --calib sets it"


def holds_one_number(spec: TensorSpec) -> bool:
    """Whether an input is a scalar or a list of one."""
    return spec.shape in ((), (1,))


def counts_steps(model: Model, spec: TensorSpec) -> bool:
    """Whether an input gives each sample's length, a number each."""
    return len(spec.shape) < 2 and spec.dtype.kind in "iu" and _is_length(model, spec.name)


def told_value(model: Model, spec: TensorSpec, shapes: InputShapes) -> Told:
    """A value for an input of one number, or of one per sample."""
    for place, node in _uses(model, spec.name):
        compared = _compared_with(model, node, place) if node.op_type == "Equal" else None
        if compared is not None:
            return Told(spec.name, compared, "which the graph compares it with")
        if (node.op_type, place) in _BY_PLACE:
            value = _BY_PLACE[node.op_type, place]
            return Told(spec.name, value, f"as {node.op_type} is often given")
    if counts_steps(model, spec) and (length := _length(model, shapes)):
        return Told(spec.name, length, "the length of what is beside it")
    value = 0.0 if spec.dtype.kind == "b" else 1.0
    return Told(spec.name, value, "for want of anything that tells it")


def _uses(model: Model, tensor: str) -> Iterator[tuple[int, Node]]:
    """Every node that reads a tensor or what only repeats it, subgraphs' included, and where."""
    pending, seen = [tensor], {tensor}
    while pending:
        name = pending.pop()
        for node in model.nodes:
            for place, read in enumerate(node.inputs):
                if read == name:
                    yield place, node
            if name in node.inputs and node.op_type in _SEEN_THROUGH:
                new = set(node.outputs) - seen
                seen |= new
                pending.extend(sorted(new))


def _compared_with(model: Model, node: Node, place: int) -> float | None:
    value: Array | None = model.constants.value(node.input(1 - place))
    return float(value.ravel()[0]) if value is not None and value.size == 1 else None


def _is_length(model: Model, name: str) -> bool:
    """Whether something counts up to it: a Range, or a mask of what lies before and behind."""
    for place, node in _uses(model, name):
        if node.op_type == "Range" and place == 1:
            return True
        if node.op_type in _MASKING:
            other = model.view.producer(node.input(1 - place))
            if other is not None and other.op_type in ("Range", *_SEEN_THROUGH):
                return True
    return "len" in name.lower()


def _length(model: Model, shapes: InputShapes) -> int:
    """The size of an input's first open axis but the batch, else of its first such; 0 if none.

    Inputs of images have no length.
    """
    specs = [spec for spec in model.inputs if len(spec.shape) in (2, 3)]
    places = [(spec, axis) for spec in specs for axis in (0, 1, 2)[: len(spec.shape)]]
    places = [(spec, axis) for spec, axis in places if axis != spec.batch_axis]
    places.sort(key=lambda place: isinstance(place[0].shape[place[1]], int))
    return next((shapes[spec.name][axis] for spec, axis in places), 0)


def filled(told: Told, spec: TensorSpec, full: tuple[int, ...]) -> Array:
    """The value as often as a shape needs it."""
    return np.full(full, told.value).astype(spec.dtype)
