"""The table of operators: what each computes, as a differentiable torch function.

A rule takes a `Call` and the node's inputs, None where one is left out, and returns the first
output or all of them. Values of a float type of 16 bits are held at 32; codes of quantized
tensors are held as numbers at 32 bits, so that gradients pass through a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

Outputs = Tensor | Sequence[Tensor]
Function = Callable[..., Outputs]


@dataclass(frozen=True)
class Call:
    """What a rule may know of a node beside its inputs.

    `outputs` are those asked for, `stored` the types that the file stores operands in, by place.
    """

    op_type: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1
    stored: Mapping[int, np.dtype[Any]] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default` where the node does not have it."""
        return self.attributes.get(name, default)


@dataclass(frozen=True)
class Rule:
    """An operator's function, and which of its inputs are trained where they are constants.

    Zeros of `weights` stay; those of `shifts`, which are added to something, need not. Where an
    operator does `arithmetic` as well, only what looks like one number per channel is trained.
    """

    function: Function
    weights: tuple[int, ...] = ()
    shifts: tuple[int, ...] = ()
    arithmetic: bool = False

    def call(self, call: Call, inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        """All outputs of a node."""
        outputs = self.function(call, *inputs)
        return (outputs,) if isinstance(outputs, Tensor) else outputs


_RULES: dict[tuple[str, str], Rule] = {}


def rule(
    *names: str,
    domain: str = "",
    weights: tuple[int, ...] = (),
    shifts: tuple[int, ...] = (),
    arithmetic: bool = False,
) -> Callable[[Function], Function]:
    """Enter a function as the rule of some operators."""

    def enter(function: Function) -> Function:
        for name in names:
            _RULES[domain, name] = Rule(function, weights, shifts, arithmetic)
        return function

    return enter


def rule_of(op_type: str, domain: str = "") -> Rule | None:
    """The rule of an operator, if there is one; `ai.onnx` is the same domain as none."""
    return _RULES.get(("" if domain == "ai.onnx" else domain, op_type))


def ruled() -> Sequence[tuple[str, str]]:
    """Every operator that has a rule, as (domain, name)."""
    return sorted(_RULES)
