"""Machines: the schema of a hardware file, its loader, and machines that were measured."""

from eapc.hardware.measured import Axis, MeasuredLayer, MeasuredMachine, Scan
from eapc.hardware.schema import (
    HardwareModel,
    load_hardware,
    load_machine,
    shipped_hardware,
    with_less_room,
)
from eapc.hardware.sections import (
    Amount,
    Count,
    MachineSection,
    Memories,
    Memory,
    Price,
    Section,
    Share,
    Text,
    ZeroSkipping,
    require_sizes,
)

__all__ = [
    "Amount",
    "Axis",
    "Count",
    "HardwareModel",
    "MachineSection",
    "MeasuredLayer",
    "MeasuredMachine",
    "Memories",
    "Memory",
    "Price",
    "Scan",
    "Section",
    "Share",
    "Text",
    "ZeroSkipping",
    "load_hardware",
    "load_machine",
    "require_sizes",
    "shipped_hardware",
    "with_less_room",
]
