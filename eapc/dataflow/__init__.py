"""How workloads run on machines: one function per dataflow, and `execute` to choose it.

A dataflow is a function (ConvWorkload, HardwareModel) -> Execution, entered in `DATAFLOWS`
under the name that a hardware file's `machine.dataflow` gives. It maps and counts operands at
the widths of `workload.bits`, accesses in machine words; `execute` adds the width of its MACs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from eapc.dataflow.cache_hierarchy import execute_cache_hierarchy
from eapc.dataflow.execution import (
    Accesses,
    CacheMapping,
    Execution,
    MappingError,
    RowStationaryMapping,
    SystolicMapping,
)
from eapc.dataflow.row_stationary import execute_row_stationary
from eapc.dataflow.stream import execute_stream
from eapc.dataflow.systolic import execute_systolic
from eapc.dataflow.widths import mac_bits
from eapc.hardware import HardwareModel
from eapc.workload import ConvWorkload, StreamWorkload, Workload

__all__ = [
    "DATAFLOWS",
    "Accesses",
    "CacheMapping",
    "Dataflow",
    "Execution",
    "MappingError",
    "RowStationaryMapping",
    "SystolicMapping",
    "execute",
    "register_dataflow",
]

Dataflow = Callable[[ConvWorkload, HardwareModel], Execution]

DATAFLOWS: dict[str, Dataflow] = {}


def register_dataflow(name: str, dataflow: Dataflow) -> None:
    """Enter a dataflow in `DATAFLOWS`; ValueError if the name is taken."""
    if name in DATAFLOWS:
        raise ValueError(f"dataflow {name!r} is registered twice; choose another name")
    DATAFLOWS[name] = dataflow


@lru_cache(maxsize=65536)
def execute(workload: Workload, hardware: HardwareModel) -> Execution:
    """Work and traffic of a workload on a machine; equal pairs are solved once.

    Raises MappingError where the machine cannot run the workload at all. A convolution with
    an extent of zero costs nothing.
    """
    if isinstance(workload, StreamWorkload):
        return execute_stream(workload, hardware)
    if workload.macs == 0:
        return Execution({level: Accesses() for level in hardware.memories}, cycles=0.0)
    found = DATAFLOWS[hardware.machine.dataflow](workload, hardware)
    return replace(found, mac_bits=mac_bits(workload.bits, hardware.word_bits))


register_dataflow("row_stationary", execute_row_stationary)
register_dataflow("systolic", execute_systolic)
register_dataflow("cache_hierarchy", execute_cache_hierarchy)
