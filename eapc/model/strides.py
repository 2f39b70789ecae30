"""How far apart the places of a network's smallest feature map are, in places of its inputs."""

from __future__ import annotations

import math
from fractions import Fraction

from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.operators import operator_of

_MOST = 256
"""Strides beyond are those of networks that go down and up again in ways not seen here."""


def total_stride(model: Model) -> int:
    """The product of all strides on the way to the coarsest tensor of the main graph.

    What makes maps finer (transposed convolutions, Resize and Upsample of constant scales,
    DepthToSpace) divides it.
    """
    strides: dict[str, Fraction] = {}
    for node in model.view.main_nodes:
        before = max(
            (strides[name] for name in node.inputs if name in strides), default=Fraction(1)
        )
        after = max(Fraction(1), before * _factor(model, node))
        strides.update(dict.fromkeys(filter(None, node.outputs), after))
    return min(_MOST, math.ceil(max(strides.values(), default=Fraction(1))))


def _factor(model: Model, node: Node) -> Fraction:
    """What the distance of places is multiplied by from a node's input to its output."""
    kind, step = operator_of(node).kind, max(node.attribute("strides", None) or (1,))
    if kind in ("convolution", "pooling"):
        return Fraction(step)
    if kind == "transposed convolution":
        return Fraction(1, step)
    if node.op_type == "SpaceToDepth":
        return Fraction(node.attribute("blocksize", 1))
    if node.op_type == "DepthToSpace":
        return Fraction(1, node.attribute("blocksize", 1))
    if node.op_type in ("Resize", "Upsample"):
        return 1 / _scale(model, node)
    return Fraction(1)


def _scale(model: Model, node: Node) -> Fraction:
    """The largest of the constant scales of rows and columns; 1 where they are computed."""
    values = map(model.constants.value, filter(None, node.inputs[1:3]))
    found = next((v for v in values if v is not None and v.dtype.kind == "f" and v.size > 2), None)
    scales = [] if found is None else found.ravel()[2:].tolist()
    return max((Fraction(scale) for scale in scales if scale > 0), default=Fraction(1))
