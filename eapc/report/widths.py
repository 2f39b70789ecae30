"""The widths of what a network computes with, before and after it was quantized."""

from __future__ import annotations

from collections.abc import Iterator

from eapc.energy import EnergyReport

_OPERANDS = {"weights": "weights", "activations": "ifmap"}


def widths_of(report: EnergyReport) -> dict[str, list[int]]:
    """Bits of the weights and of the activations that nodes with MACs read, each once."""
    reading = [node.bits for node in report.nodes if node.macs]
    return {
        name: sorted({getattr(bits, operand) for bits in reading})
        for name, operand in _OPERANDS.items()
    }


def widths_text(bits: list[int]) -> str:
    """`8`, or `8, 16` where there are several."""
    return ", ".join(map(str, bits))


def width_rows(before: EnergyReport, after: EnergyReport) -> Iterator[tuple[str, str, str, str]]:
    """(figure, before, after, "") of what has got another width."""
    then, now = widths_of(before), widths_of(after)
    for name in _OPERANDS:
        if then[name] != now[name]:
            yield f"bits of {name}", widths_text(then[name]), widths_text(now[name]), ""
