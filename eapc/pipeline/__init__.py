"""Passes: what they hand on, how they are typed, found, and put together."""

from __future__ import annotations

from eapc.pipeline.analyses import density_table, estimate_energy, groups_of, shapes_of, works_of
from eapc.pipeline.compilation import (
    ChannelRecord,
    Compilation,
    Conditions,
    Latency,
    LayerRecord,
    Record,
)
from eapc.pipeline.passes import Names, Pass, Pipeline
from eapc.pipeline.recipe import Recipe
from eapc.pipeline.registry import load_passes

__all__ = [
    "ChannelRecord",
    "Compilation",
    "Conditions",
    "Latency",
    "LayerRecord",
    "Names",
    "Pass",
    "Pipeline",
    "Recipe",
    "Record",
    "density_table",
    "estimate_energy",
    "groups_of",
    "load_passes",
    "shapes_of",
    "works_of",
]
