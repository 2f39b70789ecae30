"""Dynamic inference: a cheap network answers what it can, a better one the rest, in one file."""

from eapc.routing.check import check_routing
from eapc.routing.energy import expected_energy
from eapc.routing.features import PooledFeatures, Scores, pooled_features
from eapc.routing.merge import Router, merged, with_features
from eapc.routing.networks import ROUTE_KEY, require_classifiers
from eapc.routing.parts import RoutedParts, routed_parts
from eapc.routing.result import DynamicNetwork, Level
from eapc.routing.selector import (
    CONFIDENCE_ALONE,
    Features,
    Selection,
    Selector,
    TriedSelector,
    area_under_curve,
    select,
)
from eapc.routing.splits import Split, split
from eapc.routing.threshold import Cut, choose_cut, share_interval

__all__ = [
    "CONFIDENCE_ALONE",
    "ROUTE_KEY",
    "Cut",
    "DynamicNetwork",
    "Features",
    "Level",
    "PooledFeatures",
    "RoutedParts",
    "Router",
    "Scores",
    "Selection",
    "Selector",
    "Split",
    "TriedSelector",
    "area_under_curve",
    "check_routing",
    "choose_cut",
    "expected_energy",
    "merged",
    "pooled_features",
    "require_classifiers",
    "routed_parts",
    "select",
    "share_interval",
    "split",
    "with_features",
]
