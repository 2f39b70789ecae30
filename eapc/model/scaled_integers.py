"""Nodes that read integers as real numbers without DequantizeLinear: Cast, Sub and Mul."""

from __future__ import annotations

from eapc.model.codes import Dequantization, is_code
from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.model.tensors import Shape, type_bits

_BYTE = 8
"""Bits of the widest integers that count as weights where nothing scales them; others count."""


def scaled_integers(model: Model, node: Node) -> tuple[list[Node], Dequantization] | None:
    """Cast, Sub of zero points and Mul by scales, last first, and how they read; None for others.

    Each but the Cast may be missing, and leaves the integers' shape; a Mul may have them second.
    """
    steps: list[Node] = []
    named: dict[str, str] = {}
    before: Node | None = node
    for step in ("Mul", "Sub"):
        if before is not None and before.op_type == step and not before.domain:
            steps.append(before)
            own = int(step == "Mul" and before.input(0) in model.constants.stored)
            named[step] = before.input(1 - own)
            before = model.view.producer(before.input(own))
    if before is None or not _is_of_codes(model, before, _BYTE if "Mul" not in named else None):
        return None
    shape = model.constants.shape(before.input(0)) or ()
    for name in named.values():
        if name not in model.constants or not _suits(model.constants.shape(name), shape):
            return None
    scale = named.get("Mul", "")
    return [*steps, before], Dequantization((scale,) if scale else (), named.get("Sub", ""))


def _is_of_codes(model: Model, node: Node, widest: int | None) -> bool:
    """Whether a node casts constant integers, of at most so many bits, to real numbers."""
    name = node.input(0)
    if node.op_type != "Cast" or name not in model.constants:
        return False
    dtype = model.constants.dtype(name)
    return is_code(dtype) and (widest is None or type_bits(dtype) <= widest)


def _suits(own: Shape | None, shape: Shape) -> bool:
    """Whether a constant leaves a shape as it is when it is broadcast to it."""
    if own is None or len(own) > len(shape):
        return False
    pairs = zip(reversed(own), reversed(shape), strict=False)
    return all(one in (1, other) for one, other in pairs)
