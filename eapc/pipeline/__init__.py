"""Passes: what they hand on, how they are typed, found, and put together."""

from __future__ import annotations

from eapc.pipeline.analyses import (
    density_table,
    estimate_energy,
    groups_of,
    measured_milliseconds,
    one_by_one,
    shapes_of,
    with_curves,
    with_repriced_curves,
    works_of,
)
from eapc.pipeline.compilation import (
    ChannelRecord,
    Compilation,
    Conditions,
    LatencyRecord,
    LayerRecord,
    Record,
)
from eapc.pipeline.near_dead import NearDead, near_dead_of, near_dead_weights_of
from eapc.pipeline.objectives import OBJECTIVES, amount_of, counted_by_name
from eapc.pipeline.output_change import OutputChange, change_of_outputs
from eapc.pipeline.passes import Names, Numbers, Pass, Pipeline, Steps, load_passes
from eapc.pipeline.recipe import Options, Recipe
from eapc.pipeline.typed_widths import TypedWidths
from eapc.pipeline.width_plans import AllowedWidths, width_plan, with_widths, without_pruning

__all__ = [
    "OBJECTIVES",
    "AllowedWidths",
    "ChannelRecord",
    "Compilation",
    "Conditions",
    "LatencyRecord",
    "LayerRecord",
    "Names",
    "NearDead",
    "Numbers",
    "Options",
    "OutputChange",
    "Pass",
    "Pipeline",
    "Recipe",
    "Record",
    "Steps",
    "TypedWidths",
    "amount_of",
    "change_of_outputs",
    "counted_by_name",
    "density_table",
    "estimate_energy",
    "groups_of",
    "load_passes",
    "measured_milliseconds",
    "near_dead_of",
    "near_dead_weights_of",
    "one_by_one",
    "shapes_of",
    "width_plan",
    "with_curves",
    "with_repriced_curves",
    "with_widths",
    "without_pruning",
    "works_of",
]
