"""Machines: the schema of a hardware file, its loader, and machines that were measured."""

from eapc.hardware.machines import MachineSection, Memories, require_sizes
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
    "HardwareModel",
    "MachineSection",
    "MeasuredLayer",
    "MeasuredMachine",
    "Memories",
    "Memory",
    "Scan",
    "ZeroSkipping",
    "load_hardware",
    "load_machine",
    "require_sizes",
    "shipped_hardware",
    "with_less_room",
]
