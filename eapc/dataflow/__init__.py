"""How workloads run on machines: one file per dataflow, and `execute` to choose it.

A `Dataflow` is entered in `eapc.registry.DATAFLOWS` under the name that a hardware file's
`machine.dataflow` gives; `execute` adds the width of its MACs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from eapc.dataflow.cache_hierarchy import CacheMachine
from eapc.dataflow.execution import (
    OPERANDS,
    Accesses,
    Dataflow,
    Execution,
    MappingError,
    Widths,
    accessing_macs,
    dram_factors,
    executed_macs,
    mac_bits,
    mac_energy,
    transfer_cycles,
)
from eapc.dataflow.integer_kernels import IntegerKernelsMachine, KernelCosts
from eapc.dataflow.row_stationary import RowStationaryMapping
from eapc.dataflow.row_stationary_machine import RowStationaryMachine
from eapc.dataflow.stream import execute_stream
from eapc.dataflow.systolic import SystolicMapping
from eapc.dataflow.systolic_tiling import SystolicMachine
from eapc.hardware import HardwareModel
from eapc.registry import DATAFLOWS
from eapc.workload import StreamWorkload, Workload

__all__ = [
    "OPERANDS",
    "Accesses",
    "CacheMachine",
    "Dataflow",
    "Execution",
    "IntegerKernelsMachine",
    "KernelCosts",
    "MappingError",
    "RowStationaryMachine",
    "RowStationaryMapping",
    "SystolicMachine",
    "SystolicMapping",
    "Widths",
    "accessing_macs",
    "dram_factors",
    "execute",
    "executed_macs",
    "mac_energy",
    "transfer_cycles",
]


@lru_cache(maxsize=65536)
def execute(workload: Workload, hardware: HardwareModel) -> Execution:
    """Work and traffic of a workload on a machine; equal pairs are solved once.

    Raises MappingError where the machine cannot run the workload at all, or where it is too
    large to be counted. A convolution with an extent of zero costs nothing.
    """
    _require_countable(workload)
    dataflow: Dataflow = DATAFLOWS[hardware.dataflow]
    if isinstance(workload, StreamWorkload):
        return (dataflow.stream or execute_stream)(workload, hardware)
    if workload.macs == 0:
        return Execution({level: Accesses() for level in hardware.memories}, cycles=0.0)
    found = dataflow.execute(workload, hardware)
    return replace(found, mac_bits=mac_bits(workload.bits, hardware.word_bits))


_COUNTABLE = 2**53
"""Whole numbers up to here are exact in float64; times bits and steps they fit into int64."""


def _require_countable(workload: Workload) -> None:
    """Nothing that a search multiplies exceeds the words that each MAC could touch on its own.

    A tap reads one word, but the span of taps that are apart counts whole.
    """
    if isinstance(workload, StreamWorkload):
        words = workload.ifmap_words + workload.weight_words + workload.ofmap_words
        count, what = max(workload.operations, words), "operations or words"
    else:
        rows = max(workload.stride_rows, workload.dilation_rows)
        columns = max(workload.stride_columns, workload.dilation_columns)
        count, what = workload.macs * rows * columns, "MACs or words"
    if count > _COUNTABLE:
        about = f"2^{count.bit_length() - 1} {what}"
        raise MappingError(f"about {about} are too many to be counted; see --input-shape")
