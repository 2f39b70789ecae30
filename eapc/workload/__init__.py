"""The work of a node as loop nests: one pure rule per operator."""

from eapc.workload.loop_nests import (
    BitWidths,
    ConvWorkload,
    Kept,
    LiveShares,
    MacFractions,
    OperandDensities,
    StreamWorkload,
    Workload,
    reach,
    same_padding,
)
from eapc.workload.mac_counting import Counting, Reduction, counting_of, pairs
from eapc.workload.mac_operators import steps_of
from eapc.workload.operators import Operands, UnmodelledError, work_of
from eapc.workload.rules import Part, Shape, Work

__all__ = [
    "BitWidths",
    "ConvWorkload",
    "Counting",
    "Kept",
    "LiveShares",
    "MacFractions",
    "OperandDensities",
    "Operands",
    "Part",
    "Reduction",
    "Shape",
    "StreamWorkload",
    "UnmodelledError",
    "Work",
    "Workload",
    "counting_of",
    "pairs",
    "reach",
    "same_padding",
    "steps_of",
    "work_of",
]
