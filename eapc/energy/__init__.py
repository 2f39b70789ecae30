"""The energy of a model on a machine, from the work of each node to the report."""

from eapc.dataflow import OPERANDS
from eapc.energy.annotations import node_annotations
from eapc.energy.blocks import NamedNode, blocks_of
from eapc.energy.estimation import (
    EnergyReport,
    Figure,
    NodeEnergy,
    Unmodelled,
    energy_of,
    estimate,
    nonskipped_macs_of,
    priced_as,
    priced_at,
    weights_priced_at,
)
from eapc.energy.footprint import Footprint
from eapc.energy.given import (
    BitsSource,
    DensityTable,
    GivenBits,
    read_bits,
    read_densities,
    require_known,
)
from eapc.energy.local_functions import work_list_with_bodies
from eapc.energy.measured_zeros import measured_table
from eapc.energy.residency import all_kept
from eapc.energy.uncertainty import (
    RatioInterval,
    changed_share,
    have_equal_widths,
    interval_factor,
    ratio_interval,
)
from eapc.energy.worklist import (
    COUNT_ONCE,
    NodeWork,
    operand_tensors,
    resized,
    with_bits,
    work_list,
)

__all__ = [
    "COUNT_ONCE",
    "OPERANDS",
    "BitsSource",
    "DensityTable",
    "EnergyReport",
    "Figure",
    "Footprint",
    "GivenBits",
    "NamedNode",
    "NodeEnergy",
    "NodeWork",
    "RatioInterval",
    "Unmodelled",
    "all_kept",
    "blocks_of",
    "changed_share",
    "energy_of",
    "estimate",
    "have_equal_widths",
    "interval_factor",
    "measured_table",
    "node_annotations",
    "nonskipped_macs_of",
    "operand_tensors",
    "priced_as",
    "priced_at",
    "ratio_interval",
    "read_bits",
    "read_densities",
    "require_known",
    "resized",
    "weights_priced_at",
    "with_bits",
    "work_list",
    "work_list_with_bodies",
]
