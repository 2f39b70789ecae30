"""Outputs held against outputs, without a network."""

from __future__ import annotations

from eapc.evaluation import Agreement, Outputs, Yardstick
from eapc.evaluation.parts import OutputParts


def relative_output_error(reference: Outputs, outputs: Outputs) -> float:
    """That of the worst part, whether it varies or not."""
    return OutputParts(reference).largest(outputs)


def output_divergence(reference: Outputs, outputs: Outputs, by_error: bool = False) -> float:
    return Yardstick(reference, by_error).divergence(outputs)


def agreement(
    reference: Outputs, outputs: Outputs, least: float, max_error: float, by_error: bool
) -> Agreement:
    return Yardstick(reference, by_error).agreement(outputs, least, max_error)
