"""What an answer tells of how sure the network is, and what its last feature map adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from eapc.model import Array, Model, infer_shapes
from eapc.operators import operator_of
from eapc.routing.nodes import NodeWriter

CONFIDENCE = ("1 - largest probability", "entropy", "1 - margin")
"""What each column of the confidence features is."""

_TINY = 1e-12
"""Probabilities below count as this much in a logarithm."""

_MOST_CHANNELS = 4096
"""More pooled features than this are more than some hundreds of inputs can weigh."""


@dataclass(frozen=True)
class Scores:
    """What the network's answers are: probabilities, or scores that a softmax makes such.

    `is_float` is False where they have to be cast to single precision first.
    """

    are_probabilities: bool
    is_float: bool = True

    @classmethod
    def of(cls, scores: Array) -> Scores:
        """What the original's (n, classes) answers show themselves to be."""
        wide = scores.astype(np.float64)
        sums_to_one = np.allclose(wide.sum(axis=1), 1, atol=1e-3)
        return cls(bool((wide >= 0).all() and sums_to_one), scores.dtype == np.float32)

    def confidence(self, scores: Array) -> Array:
        """(n, 3) features of (n, classes) scores, larger where the network is less sure.

        1 - p1, the entropy -sum p log p, and 1 - (p1 - p2) of the two largest probabilities.
        """
        single = scores.astype(np.float32)
        p = single if self.are_probabilities else softmax(single, axis=1)
        second, first = np.sort(p, axis=1)[:, -2:].T
        entropy = -(p * np.log(np.maximum(p, np.float32(_TINY)))).sum(axis=1)
        return np.column_stack([1 - first, entropy, 1 - (first - second)]).astype(np.float32)

    def write(self, to: NodeWriter, scores: str, wanted: tuple[bool, ...]) -> list[str]:
        """The nodes of those features that are wanted; (n, 1) each."""
        x = scores if self.is_float else to.add("Cast", scores, to=1)
        x = to.add("Flatten", x, axis=1)
        p = x if self.are_probabilities else to.add("Softmax", x, axis=1)
        one = to.constant(np.float32(1)) if wanted[0] or wanted[2] else ""
        columns = []
        if wanted[0]:
            columns.append(to.add("Sub", one, to.reduce("ReduceMax", p, (1,), keepdims=True)))
        if wanted[1]:
            bits = to.add("Log", to.add("Max", p, to.constant(np.float32(_TINY))))
            summed = to.reduce("ReduceSum", to.add("Mul", p, bits), (1,), keepdims=True)
            columns.append(to.add("Neg", summed))
        if wanted[2]:
            indices = to.add("TopK", p, to.whole(2), outputs=2, axis=1)
            values = f"{indices}_0"
            first, second = (to.add("Gather", values, to.whole(place), axis=1) for place in (0, 1))
            columns.append(to.add("Sub", one, to.add("Sub", first, second)))
        return columns


@dataclass(frozen=True)
class PooledFeatures:
    """The tensor that the last layer with weights reads, averaged over all but its channels."""

    tensor: str
    channels: int
    rank: int

    def write(self, to: NodeWriter) -> str:
        """The nodes that average; (n, channels)."""
        if self.rank == 2:
            return self.tensor
        axes = tuple(range(2, self.rank))
        return to.reduce("ReduceMean", self.tensor, axes, keepdims=False)


def pooled_features(model: Model, shapes: dict[str, tuple[int, ...]]) -> PooledFeatures | None:
    """The features that a classifier decides by; None where there are none to share.

    `shapes` are those of the model's inputs for one sample. There are none where the last layer
    reads the model's input itself, something that is no float of known channels, or too much.
    """
    found = infer_shapes(model, shapes)
    fed = {spec.name for spec in model.inputs}
    needed = model.view.needed
    for node in reversed(model.view.main_nodes):
        layout = operator_of(node).weights
        if (
            node not in needed
            or layout is None
            or node.input(layout.operand) not in model.constants
        ):
            continue
        name = node.input(0)
        spec, shape = found.by_scope[""].get(name), found.main(name)
        if name in fed or spec is None or spec.dtype != np.float32 or shape is None:
            return None
        if len(shape) < 2 or shape[0] != 1 or not 1 <= shape[1] <= _MOST_CHANNELS:
            return None
        return PooledFeatures(name, shape[1], len(shape))
    return None
