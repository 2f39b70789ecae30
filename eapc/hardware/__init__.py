"""Machines: the schema of a hardware file, its loader, and machines that were measured."""

from eapc.hardware.machines import (
    CacheMachine,
    LayerShape,
    PinnedMapping,
    RowStationaryMachine,
    SystolicMachine,
)
from eapc.hardware.measured import Axis, MeasuredLayer, MeasuredMachine, Scan
from eapc.hardware.schema import (
    HardwareModel,
    load_hardware,
    load_machine,
    shipped_hardware,
    with_less_room,
)
from eapc.hardware.sections import Memory, ZeroSkipping

__all__ = [
    "Axis",
    "CacheMachine",
    "HardwareModel",
    "LayerShape",
    "MeasuredLayer",
    "MeasuredMachine",
    "Memory",
    "PinnedMapping",
    "RowStationaryMachine",
    "Scan",
    "SystolicMachine",
    "ZeroSkipping",
    "load_hardware",
    "load_machine",
    "shipped_hardware",
    "with_less_room",
]
