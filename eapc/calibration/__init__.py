"""What calibration data tell of a layer: streamed activations, statistics, error curves."""

from eapc.calibration.activations import ActivationWalk, Batches
from eapc.calibration.lockstep import Sweep
from eapc.calibration.rectifiers import is_rectified, rectified
from eapc.calibration.reference import Reference
from eapc.calibration.sensitivity import (
    DENSITIES,
    ErrorCurve,
    Probes,
    Seen,
    changed_constants,
    error_curves,
    probe_inputs,
    probe_moments,
    probed_tensors,
    probes_of,
)
from eapc.calibration.spill import MemoryBudget
from eapc.calibration.statistics import LayerRows, moved_biases, scaled_matrix, unscaled_matrix
from eapc.calibration.suffixes import Suffix, SuffixRun, suffix_behind

__all__ = [
    "DENSITIES",
    "ActivationWalk",
    "Batches",
    "ErrorCurve",
    "LayerRows",
    "MemoryBudget",
    "Probes",
    "Reference",
    "Seen",
    "Suffix",
    "SuffixRun",
    "Sweep",
    "changed_constants",
    "error_curves",
    "is_rectified",
    "moved_biases",
    "probe_inputs",
    "probe_moments",
    "probed_tensors",
    "probes_of",
    "rectified",
    "scaled_matrix",
    "suffix_behind",
    "unscaled_matrix",
]
