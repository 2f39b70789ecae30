"""The prunable layers of a model, their weights as matrices, and which are chosen."""

from eapc.layers.choice import (
    EXCLUDED,
    choose,
    given_densities,
    pattern_of,
    read_layer_densities,
    suited,
    without,
)
from eapc.layers.exposing import exposed
from eapc.layers.finding import (
    find_layers,
    layers_of,
    require_layers,
    with_plain_layers,
)
from eapc.layers.integers import without_integers
from eapc.layers.layer import Layer, PrunableLayers, Skipped, TiedLayers

__all__ = [
    "EXCLUDED",
    "Layer",
    "PrunableLayers",
    "Skipped",
    "TiedLayers",
    "choose",
    "exposed",
    "find_layers",
    "given_densities",
    "layers_of",
    "pattern_of",
    "read_layer_densities",
    "require_layers",
    "suited",
    "with_plain_layers",
    "without",
    "without_integers",
]
