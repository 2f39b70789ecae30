"""Channel pruning: what groups of channels cost, what the outputs lose, which go."""

from eapc.structured.costs import ChannelCosts, constant_costs, energy_costs, latency_costs
from eapc.structured.counts import ChannelPlan, predicted_error, right_edges
from eapc.structured.criteria import DEFAULT_CRITERION, Criterion, Evidence
from eapc.structured.curves import FRACTIONS, ChannelCurve
from eapc.structured.layers import (
    LayeredGroup,
    left_alone,
    most_telling,
    with_layers,
    without_channels,
)
from eapc.structured.survey import Survey

__all__ = [
    "DEFAULT_CRITERION",
    "FRACTIONS",
    "ChannelCosts",
    "ChannelCurve",
    "ChannelPlan",
    "Criterion",
    "Evidence",
    "LayeredGroup",
    "Survey",
    "constant_costs",
    "energy_costs",
    "latency_costs",
    "left_alone",
    "most_telling",
    "predicted_error",
    "right_edges",
    "with_layers",
    "without_channels",
]
