"""The constants behind an operand that has an axis of classes, and which of their axes that is."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.classes.rules import UncuttableError
from eapc.model import Model, Node

_Found = tuple[list["ClassPart"], dict[str, int]]


@dataclass(frozen=True)
class ClassPart:
    """A constant as the operand of one node, and its axis of classes.

    Where `is_computed` the node gets a constant of its own in place of what is computed.
    """

    constant: str
    reader: str
    operand: int
    axis: int
    is_computed: bool = False


def parts_of(model: Model, node: Node, operand: int, axis: int, classes: int) -> _Found:
    """What is to be cut for an operand to have fewer classes along `axis`, and where that passes.

    Behind DequantizeLinear it is the integers, and scales and zero points along the same axis.
    Returns constants, and the axis of classes of tensors in between. Raises UncuttableError.
    """
    name = node.inputs[operand]
    if name in model.constants.stored:
        return [ClassPart(name, node.key, operand, axis)], {}
    maker = model.view.producer(name)
    is_alone = len(model.view.consumers(name)) == 1 and name not in model.outputs
    if maker is not None and maker.op_type == "DequantizeLinear":
        if not is_alone:
            raise UncuttableError(f"its quantized weights '{name}' are read by other layers, too")
        found, axes = _dequantized(model, maker, axis, classes)
        return found, {**axes, name: axis}
    before = None if maker is None or not is_alone else _axis_before(maker, axis)
    if maker is not None and before is not None and maker.input(0) not in model.constants:
        found, axes = parts_of(model, maker, 0, before, classes)
        return found, {**axes, name: axis}
    if model.constants.value(name) is None:
        behind = f" behind {maker.op_type}" if maker else ""
        raise UncuttableError(f"its weights '{name}'{behind} cannot be cut")
    return [ClassPart(name, node.key, operand, axis, is_computed=True)], {}


def _axis_before(node: Node, axis: int) -> int | None:
    """The axis of the first operand that an axis of the result comes from; None if unknown."""
    if node.domain:
        return None
    if node.op_type in ("Identity", "Cast"):
        return axis
    if node.op_type == "Transpose" and "perm" in node.attributes:
        perm: list[int] = list(node.attributes["perm"])
        return perm[axis]
    return None


def _dequantized(model: Model, node: Node, axis: int, classes: int) -> _Found:
    """The integers, and what of scale and zero point goes by class."""
    found, axes = parts_of(model, node, 0, axis, classes)
    whole = model.constants.shape(node.input(0)) or ()
    rank = len(whole)
    for operand in (1, 2):
        shape = model.constants.shape(node.input(operand)) if node.input(operand) else ()
        if shape is None:
            raise UncuttableError(f"the scale of its weights '{node.outputs[0]}' is computed")
        if not shape or shape == (1,):
            continue
        runs_along = int(node.attribute("axis", 1)) % max(rank, 1)
        along = 0 if len(shape) == 1 and runs_along == axis else axis
        if len(shape) == 1 and runs_along != axis:
            continue
        if shape[along] != classes:
            raise UncuttableError(
                f"'{node.input(operand)}' scales its weights in blocks of classes"
            )
        found += parts_of(model, node, operand, along, classes)[0]
    return found, axes
