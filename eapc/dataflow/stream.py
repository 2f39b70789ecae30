"""Streams: operations that pass every operand word through the machine once."""

from __future__ import annotations

from eapc.dataflow.execution import Accesses, Execution
from eapc.hardware import HardwareModel
from eapc.workload import StreamWorkload


def execute_stream(workload: StreamWorkload, hardware: HardwareModel) -> Execution:
    """Every word once at each level of `hardware.stream_levels`; nothing is kept in between.

    Traffic of the outermost memory, the first of these levels, is compressed as the machine
    does it, and an ofmap word costs `ofmap_dram_accesses_per_word` there. Zeros save no
    operations. There is no timing: `cycles` is None.
    """
    words = Accesses(workload.weight_words, workload.ifmap_words, workload.ofmap_words)
    code, densities = hardware.compression, workload.densities
    outer = Accesses(
        words.weights * code.weights.ratio(densities.weights),
        words.ifmap * code.ifmap.ratio(densities.ifmap),
        words.ofmap * code.ofmap.ratio(densities.ofmap) * hardware.ofmap_dram_accesses_per_word,
    )
    first, *inner = hardware.stream_levels
    accesses = {first: outer, **dict.fromkeys(inner, words)}
    return Execution(accesses, operations=float(workload.operations))
