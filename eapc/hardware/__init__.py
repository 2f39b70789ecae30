"""Machines: the schema of a hardware file, its loader, and machines that were measured."""

from eapc.hardware.measured import (
    Axis,
    MeasuredLayer,
    MeasuredMachine,
    MeasuredPower,
    Metered,
    Scan,
)
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
    KnownWidths,
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
from eapc.hardware.source import HardwareSource
from eapc.hardware.validation import PairErrors, RowErrors, Validation

__all__ = [
    "Amount",
    "Axis",
    "Count",
    "HardwareModel",
    "HardwareSource",
    "KnownWidths",
    "MachineSection",
    "MeasuredLayer",
    "MeasuredMachine",
    "MeasuredPower",
    "Memories",
    "Memory",
    "Metered",
    "PairErrors",
    "Price",
    "RowErrors",
    "Scan",
    "Section",
    "Share",
    "Text",
    "Validation",
    "ZeroSkipping",
    "load_hardware",
    "load_machine",
    "require_sizes",
    "shipped_hardware",
    "with_less_room",
]
