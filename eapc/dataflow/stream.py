"""Streams: operations that pass every operand word through the machine once."""

from __future__ import annotations

from eapc.dataflow.execution import OPERANDS, Accesses, Execution, Widths, dram_factors
from eapc.hardware import HardwareModel
from eapc.workload import StreamWorkload, Workload


def execute_stream(workload: StreamWorkload, hardware: HardwareModel) -> Execution:
    """Every word once at each level of its operand's route; nothing is kept in between.

    Traffic of the outermost memory of a route is compressed as the machine does it, and an
    ofmap word costs `ofmap_dram_accesses_per_word` there; feature maps that live or are kept on
    chip spare the levels outside. Zeros save no operations. There is no timing: `cycles` is None.
    """
    widths = Widths.of(workload.bits, hardware.word_bits, hardware.word_bits)
    words = (
        workload.weight_words * widths.words("weights"),
        workload.ifmap_words * widths.words("ifmap"),
        workload.ofmap_words * widths.words("ofmap"),
    )
    factors = dram_factors(workload.densities, hardware)
    shares = workload.kept.passing
    traffic: dict[str, dict[str, float]] = {}
    for operand, count, factor, share in zip(OPERANDS, words, factors, shares, strict=True):
        outermost = hardware.machine.route(operand)[0]
        for level in stream_route(operand, feature_map_bits(workload, widths), hardware):
            moved = count * factor if level == outermost else count
            passing = share if hardware.spared(level) else 1.0
            traffic.setdefault(level, {})[operand] = moved * passing
    accesses = {level: Accesses(**moved) for level, moved in traffic.items()}
    return Execution(accesses, operations=float(workload.operations))


def feature_map_bits(workload: Workload, widths: Widths) -> int:
    """Bits of ifmap and ofmap together."""
    return workload.ifmap_words * widths.ifmap + workload.ofmap_words * widths.ofmap


def stream_route(operand: str, feature_maps: int, hardware: HardwareModel) -> tuple[str, ...]:
    """Levels that a word passes, outermost first, given the bits of ifmap and ofmap together."""
    route, home = hardware.machine.route(operand), hardware.machine.resident_level
    if operand == "weights" or home is None or not hardware.holds_bits(home, feature_maps):
        return route
    return route[route.index(home) :]
