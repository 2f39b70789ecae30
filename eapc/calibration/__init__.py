"""What calibration data tell of a layer: streamed activations, statistics, error curves."""

from eapc.calibration.activations import (
    ActivationWalk,
    Batches,
    MemoryBudget,
    Suffix,
    SuffixRun,
    suffix_behind,
)
from eapc.calibration.lockstep import Reference, Sweep
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
from eapc.calibration.statistics import (
    LayerRows,
    is_rectified,
    moved_biases,
    rectified,
    scaled_matrix,
    unscaled_matrix,
)

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
