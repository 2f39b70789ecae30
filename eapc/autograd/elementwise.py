"""Operators that work on each element alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as torch's own pages call it

from eapc.autograd.arrays import rounding_of, torch_type
from eapc.autograd.rules import Call, rule
from eapc.errors import ModelError
from eapc.model import numpy_type, type_bits

# --- of one operand ------------------------------------------------------------------------------

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}


@rule(*_UNARY)
def unary(call: Call, x: Tensor) -> Tensor:
    """f(x)."""
    return _UNARY[call.op_type](x)


@rule("Identity", "Dropout")
def identity(call: Call, x: Tensor, *_: Tensor | None) -> list[Tensor]:
    """x; of Dropout, which does nothing at inference, also the mask."""
    return [x, torch.ones_like(x, dtype=torch.bool)][: call.outputs]


@rule("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    """x, or alpha x below 0."""
    return F.leaky_relu(x, call.get("alpha", 0.01))


@rule("PRelu", weights=(1,))
def prelu(_: Call, x: Tensor, slope: Tensor) -> Tensor:
    """x, or slope x below 0."""
    return torch.where(x < 0, slope * x, x)


@rule("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    """x, or alpha (e^x - 1) below 0."""
    return F.elu(x, call.get("alpha", 1.0))


@rule("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    """x, or alpha (e^(x / alpha) - 1) below 0."""
    return F.celu(x, call.get("alpha", 1.0))


@rule("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    """gamma x, or gamma alpha (e^x - 1) below 0."""
    alpha = call.get("alpha", 1.6732632423543772)
    return call.get("gamma", 1.0507009873554805) * F.elu(x, alpha)  # type: ignore[no-any-return]


@rule("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    """x above alpha, else 0."""
    return torch.where(x > call.get("alpha", 1.0), x, torch.zeros_like(x))


@rule("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    """alpha x + beta, within 0 and 1."""
    return torch.clamp(call.get("alpha", 0.2) * x + call.get("beta", 0.5), 0, 1)


@rule("Shrink")
def shrink(call: Call, x: Tensor) -> Tensor:
    """x drawn to 0 by the bias where it lies outside -lambd and lambd, else 0."""
    limit, bias = call.get("lambd", 0.5), call.get("bias", 0.0)
    outside = torch.where(x > limit, x - bias, torch.zeros_like(x))
    return torch.where(x < -limit, x + bias, outside)


@rule("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    """x sigmoid(alpha x)."""
    return x * torch.sigmoid(call.get("alpha", 1.0) * x)


@rule("QuickGelu", domain="com.microsoft")
def quick_gelu(call: Call, x: Tensor) -> Tensor:
    """x sigmoid(alpha x)."""
    return x * torch.sigmoid(call.get("alpha", 1.702) * x)


@rule("Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    """x times the normal distribution function at x, or its tanh approximation."""
    return F.gelu(x, approximate=call.get("approximate", "none"))


@rule("Gelu", domain="com.microsoft")
def exact_gelu(_: Call, x: Tensor) -> Tensor:
    """x times the normal distribution function at x."""
    return F.gelu(x)


@rule("BiasGelu", domain="com.microsoft", shifts=(1,))
def bias_gelu(_: Call, x: Tensor, bias: Tensor) -> Tensor:
    """Gelu of x + bias."""
    return F.gelu(x + bias)


@rule("FastGelu", domain="com.microsoft", shifts=(1,))
def fast_gelu(_: Call, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """The tanh approximation of Gelu of x + bias."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@rule("Clip")
def clip(call: Call, x: Tensor, least: Tensor | None = None, most: Tensor | None = None) -> Tensor:
    """x within bounds, which are attributes up to opset 10; the upper one wins.

    What is a bound has its whole gradient: codes, which are whole numbers, often are.
    """
    ends = (call.get("min"), call.get("max")) if call.opset < 11 else (least, most)
    low, high = (None if end is None else torch.as_tensor(end, dtype=x.dtype) for end in ends)
    return x if low is None and high is None else torch.clamp(x, low, high)


@rule("IsInf")
def is_inf(call: Call, x: Tensor) -> Tensor:
    """Whether x is infinite, of the signs that are asked for."""
    above, below = call.get("detect_positive", 1), call.get("detect_negative", 1)
    return torch.isinf(x) & (((x > 0) & bool(above)) | ((x < 0) & bool(below)))


_BYTE = 8


@rule("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    """x in another type, rounded where that has fewer bits than are computed with."""
    to = call.get("to")
    if type_bits(numpy_type(to)) < _BYTE or "float8" in numpy_type(to).name:
        raise ModelError(f"Cast to {numpy_type(to).name} has no rule")
    rounded = rounding_of(to)
    return x.to(torch_type(to)) if rounded is None else x.to(rounded).to(torch.float32)


@rule("CastLike")
def cast_like(_: Call, x: Tensor, like: Tensor) -> Tensor:
    """x in the type of another tensor."""
    return x.to(like.dtype)


# --- of several operands -------------------------------------------------------------------------


def _divided(a: Tensor, b: Tensor) -> Tensor:
    whole = not (a.is_floating_point() or b.is_floating_point())
    return torch.div(a, b, rounding_mode="trunc" if whole else None)


def _power(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point() and b.numel() == 1:
        return torch.pow(a, float(b.reshape(()))) if not b.requires_grad else torch.pow(a, b)
    return torch.pow(a, b).to(a.dtype)


_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Div": _divided,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Or": torch.logical_or,
    "Pow": _power,
    "Xor": torch.logical_xor,
}


@rule(*_BINARY)
def binary(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """f(a, b) with numpy's broadcasting."""
    return _BINARY[call.op_type](a, b)


@rule("Add", "Sub", shifts=(0, 1), arithmetic=True)
def add(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a + b or a - b; a constant operand is a bias."""
    return a + b if call.op_type == "Add" else a - b


@rule("Mul", weights=(0, 1), arithmetic=True)
def multiply(_: Call, a: Tensor, b: Tensor) -> Tensor:
    """a b; a constant operand is a scale."""
    return a * b


@rule("Mod")
def modulo(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """What division leaves: of the divisor's sign, or with fmod of the dividend's."""
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


@rule("BitShift")
def bit_shift(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a with its bits moved by b."""
    left = call.get("direction") == "LEFT"
    return torch.bitwise_left_shift(a, b) if left else torch.bitwise_right_shift(a, b)


@rule("Where")
def where(_: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where a condition holds, else b."""
    return torch.where(condition, a, b)


@rule("Max", "Min")
def extreme(call: Call, *operands: Tensor) -> Tensor:
    """The greatest or least of all operands."""
    return reduce(torch.maximum if call.op_type == "Max" else torch.minimum, operands)


@rule("Sum", "Mean")
def total(call: Call, *operands: Tensor) -> Tensor:
    """The sum or mean of all operands."""
    found: Tensor = reduce(torch.add, operands)
    return found / len(operands) if call.op_type == "Mean" else found
