"""Where the classes of a node's result come from: a rule per operator that keeps them apart.

A rule is asked with the axis of the classes in the node's result. It says which operand brings them
along which axis, or, for a layer whose weights make them, none; and which constants go by class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eapc.model import Model, Node, Shapes, find_weights
from eapc.operators import operator_of

_ORT = "com.microsoft"


class UncuttableError(Exception):
    """Why a head cannot be cut."""


@dataclass(frozen=True)
class Place:
    """The model that is searched, its shapes, and the number of classes."""

    model: Model
    shapes: Shapes
    classes: int

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        opsets = self.model.view.proto.opset_import
        return next((o.version for o in opsets if o.domain in ("", "ai.onnx")), 1)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; raises UncuttableError where it is unknown."""
        found = self.model.constants.shape(name) or self.shapes.main(name)
        if found is None and self.model.constants.shape(name) != ():
            raise UncuttableError(f"the shape of '{name}' is unknown")
        return found or ()

    def is_constant(self, name: str) -> bool:
        """Whether no input decides about a tensor's values."""
        return find_weights(self.model, name) is not None


@dataclass(frozen=True)
class ClassStep:
    """What a rule says: `operand` brings the classes along `axis`; None for a layer.

    `cuts` are (operand, axis) of constants that go by class; `reshape` is the shape that a Reshape
    is to have, and the place of the number of classes in it.
    """

    operand: int | None
    axis: int = 0
    cuts: tuple[tuple[int, int], ...] = ()
    reshape: tuple[tuple[int, ...], int] | None = None


Rule = Callable[[Place, Node, int], ClassStep]
RULES: dict[str, Rule] = {}
"""By the full name of an operator."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for operators."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def _ort(names: str) -> list[str]:
    return [f"{_ORT}.{name}" for name in names.split()]


# --- what leaves each class alone ------------------------------------------------------------


@rule(
    *"""Cast Clip Dropout Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Log Neg Relu
    Selu Sigmoid Softplus Softsign Sqrt Tanh""".split(),
    *_ort("Gelu QuickGelu FastGelu"),
)
def _unary(place: Place, node: Node, axis: int) -> ClassStep:
    return ClassStep(0, axis, _by_class(place, node, axis, range(1, len(node.inputs))))


@rule(*"Add Div Max Min Mul PRelu Pow Sub Sum".split())
def _broadcasting(place: Place, node: Node, axis: int) -> ClassStep:
    computed = [i for i, name in enumerate(node.inputs) if _brings(place, node, i, axis)]
    if len(computed) != 1:
        raise UncuttableError(f"{node.op_type} '{node.key}' joins the scores of several branches")
    others = [i for i in range(len(node.inputs)) if i != computed[0]]
    (own,) = _by_class(place, node, axis, computed)
    return ClassStep(*own, _by_class(place, node, axis, others))


def _brings(place: Place, node: Node, operand: int, axis: int) -> bool:
    """Whether an operand that inputs decide about has the axis of classes."""
    name = node.inputs[operand]
    return not place.is_constant(name) and _length(place, node, operand, axis) == place.classes


def _length(place: Place, node: Node, operand: int, axis: int) -> int:
    """How long an operand is along an axis of the result, to which it is broadcast."""
    shape = place.shape(node.inputs[operand])
    at = axis - len(place.shape(node.outputs[0])) + len(shape)
    return shape[at] if at >= 0 else 1


def _by_class(
    place: Place, node: Node, axis: int, operands: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """The operands, broadcast to the result, that have a value for each class."""
    rank, found = len(place.shape(node.outputs[0])), []
    for operand in operands:
        if node.input(operand) and _length(place, node, operand, axis) == place.classes:
            at = axis - rank + len(place.shape(node.input(operand)))
            found.append((operand, at))
    return tuple(found)


@rule(*_ort("QLinearAdd"))
def _quantized_sum(place: Place, node: Node, axis: int) -> ClassStep:
    computed = [i for i in (0, 3) if _brings(place, node, i, axis)]
    if len(computed) != 1:
        raise UncuttableError(f"{node.op_type} '{node.key}' joins the scores of several branches")
    (own,) = _by_class(place, node, axis, computed)
    return ClassStep(*own, _by_class(place, node, axis, [3 - computed[0]]))


@rule("BatchNormalization")
def _batch_normalization(place: Place, node: Node, axis: int) -> ClassStep:
    _require_channels(node, axis)
    return ClassStep(0, axis, _vectors(place, node, (1, 2, 3, 4)))


@rule("QuantizeLinear", "DequantizeLinear", *_ort("QuantizeLinear DequantizeLinear"))
def _quantization(place: Place, node: Node, axis: int) -> ClassStep:
    shape = place.shape(node.input(1))
    if math.prod(shape) == 1:
        return ClassStep(0, axis)
    rank = len(place.shape(node.outputs[0]))
    if len(shape) != 1 or int(node.attribute("axis", 1)) % rank != axis:
        raise UncuttableError(f"{node.op_type} '{node.key}' scales scores in blocks")
    return ClassStep(0, axis, _vectors(place, node, (1, 2)))


@rule(
    *"AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool".split(),
    *_ort("QLinearAveragePool QLinearGlobalAveragePool"),
)
def _pooling(place: Place, node: Node, axis: int) -> ClassStep:  # noqa: ARG001
    _require_channels(node, axis)
    if node.attribute("channels_last", 0):
        raise UncuttableError(f"{node.op_type} '{node.key}' has its channels last")
    return ClassStep(0, axis)


@rule("Softmax", "LogSoftmax", "Hardmax", *_ort("QLinearSoftmax"))
def _softmax(place: Place, node: Node, axis: int) -> ClassStep:
    shape = place.shape(node.outputs[0])
    opset = int(node.attribute("opset", place.opset))
    first = int(node.attribute("axis", -1 if opset >= 13 else 1)) % len(shape)
    others = [first] if opset >= 13 else range(first, len(shape))
    if axis not in others or any(shape[i] != 1 for i in others if i != axis):
        raise UncuttableError(f"{node.op_type} '{node.key}' does not run over the classes")
    return ClassStep(0, axis)


@rule("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")
def _reduction(place: Place, node: Node, axis: int) -> ClassStep:
    rank = len(place.shape(node.input(0)))
    given = node.attributes.get("axes")
    if given is None and node.input(1):
        given = place.model.constants.value(node.input(1))
        if given is None:
            raise UncuttableError(f"the axes of {node.op_type} '{node.key}' are computed")
    if given is None or not len(given):
        raise UncuttableError(f"{node.op_type} '{node.key}' reduces the classes")
    gone = {int(each) % rank for each in given}
    left = [i for i in range(rank) if i not in gone]
    before = axis if node.attribute("keepdims", 1) else left[axis]
    if before in gone:
        raise UncuttableError(f"{node.op_type} '{node.key}' reduces the classes")
    return ClassStep(0, before)


@rule("Transpose")
def _transpose(place: Place, node: Node, axis: int) -> ClassStep:
    rank = len(place.shape(node.outputs[0]))
    perm = node.attribute("perm", list(range(rank))[::-1])
    return ClassStep(0, int(perm[axis]))


@rule("Flatten", "Squeeze", "Unsqueeze")
def _view(place: Place, node: Node, axis: int) -> ClassStep:
    return ClassStep(0, _axis_before(place, node, axis))


@rule("Reshape")
def _reshape(place: Place, node: Node, axis: int) -> ClassStep:
    before, shape = _axis_before(place, node, axis), place.shape(node.outputs[0])
    given = place.model.constants.value(node.input(1) or "")
    if given is None:
        if axis == 0 or any(size != 1 for i, size in enumerate(shape) if i not in (0, axis)):
            raise UncuttableError(f"Reshape '{node.key}' has a computed shape")
        return ClassStep(0, before, reshape=((-1, *shape[1:]), axis))
    numbers = tuple(int(each) for each in given.reshape(-1))
    if numbers[axis] <= 0:  # taken over, or whatever is left
        return ClassStep(0, before)
    return ClassStep(0, before, reshape=(numbers, axis))


def _axis_before(place: Place, node: Node, axis: int) -> int:
    """The axis of an operand that is the same as one of its view, all else in front and behind."""
    before, after = place.shape(node.input(0)), place.shape(node.outputs[0])
    for at, size in enumerate(before):
        same = math.prod(before[:at]) == math.prod(after[:axis])
        if size == place.classes and same and math.prod(before) == math.prod(after):
            return at
    raise UncuttableError(f"{node.op_type} '{node.key}' mixes classes with positions")


# --- layers that make scores -----------------------------------------------------------------


@rule("Conv", *_ort("FusedConv"))
def _convolution(place: Place, node: Node, axis: int) -> ClassStep:
    if node.input(3):
        raise UncuttableError(f"{node.op_type} '{node.key}' joins the scores of several branches")
    return _made_by_channels(place, node, axis, 1, (2,))


@rule("QLinearConv", *_ort("QLinearConv"))
def _quantized_convolution(place: Place, node: Node, axis: int) -> ClassStep:
    return _made_by_channels(place, node, axis, 3, (4, 5, 8))


@rule("ConvInteger")
def _integer_convolution(place: Place, node: Node, axis: int) -> ClassStep:
    return _made_by_channels(place, node, axis, 1, (3,))


def _made_by_channels(
    place: Place, node: Node, axis: int, weights: int, vectors: Sequence[int]
) -> ClassStep:
    _require_channels(node, axis)
    if node.attribute("group", 1) != 1:
        raise UncuttableError(f"{node.op_type} '{node.key}' works on groups of channels")
    if node.attribute("channels_last", 0):
        raise UncuttableError(f"{node.op_type} '{node.key}' has its channels last")
    return _layer(place, node, weights, 0, vectors)


@rule("Gemm", *_ort("FusedGemm"))
def _gemm(place: Place, node: Node, axis: int) -> ClassStep:
    _require_channels(node, axis)
    return _layer(place, node, 1, 0 if node.attribute("transB", 0) else 1, (2,))


@rule(*_ort("QGemm"))
def _quantized_gemm(place: Place, node: Node, axis: int) -> ClassStep:
    _require_channels(node, axis)
    return _layer(place, node, 3, 0 if node.attribute("transB", 0) else 1, (4, 5, 6))


_MATMULS: dict[str, tuple[int, tuple[int, ...]]] = {
    "MatMul": (1, ()),
    "QLinearMatMul": (3, (4, 5)),
    "MatMulInteger": (1, (3,)),
    f"{_ORT}.MatMulIntegerToFloat": (1, (3, 5, 6)),
    f"{_ORT}.DynamicQuantizeMatMul": (1, (2, 3, 4)),
}
"""The place of the weights, and those of what may have a number for each of their columns."""


@rule(*_MATMULS)
def _product(place: Place, node: Node, axis: int) -> ClassStep:
    weights, vectors = _MATMULS[operator_of(node).full_name]
    rank = len(place.shape(node.outputs[0]))
    if weights == 1 and axis == rank - 2 and place.is_constant(node.input(0)):
        return _layer(place, node, 0, len(place.shape(node.input(0))) - 2, ())
    if axis != rank - 1:
        raise UncuttableError(f"{node.op_type} '{node.key}' has its classes along another axis")
    return _layer(place, node, weights, len(place.shape(node.input(weights))) - 1, vectors)


def _layer(place: Place, node: Node, weights: int, along: int, vectors: Sequence[int]) -> ClassStep:
    """The last step: weights that go by class along an axis, and vectors beside them."""
    name = node.input(weights)
    if not place.is_constant(name):
        raise UncuttableError(f"the weights '{name}' of {node.op_type} '{node.key}' are computed")
    if place.shape(name)[along] != place.classes:
        raise UncuttableError(f"{node.op_type} '{node.key}' does not make one score for each class")
    return ClassStep(None, cuts=((weights, along), *_vectors(place, node, vectors)))


def _vectors(place: Place, node: Node, operands: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The operands with a number for each class along their last axis; the others have one."""
    found = []
    for operand in operands:
        shape = place.shape(node.input(operand)) if node.input(operand) else ()
        if shape and shape[-1] == place.classes:
            found.append((operand, len(shape) - 1))
        elif shape and shape[-1] != 1:
            raise UncuttableError(f"'{node.input(operand)}' has no number for each class")
    return tuple(found)


def _require_channels(node: Node, axis: int) -> None:
    if axis != 1:
        raise UncuttableError(f"{node.op_type} '{node.key}' has its classes along another axis")
