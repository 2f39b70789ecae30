"""What calibration data tell of a layer: streamed activations, statistics, error curves."""

from eapc.calibration.activations import (
    ActivationWalk,
    Batches,
    DownstreamRun,
    DownstreamSubgraph,
    Kinds,
    MemoryBudget,
    downstream_of,
)
from eapc.calibration.fitting import LayerFit
from eapc.calibration.grids import weight_grid
from eapc.calibration.lockstep import LayerwiseReconstruction, Reference, is_cut_from
from eapc.calibration.own_scales import OwnScale, on_layers_grid
from eapc.calibration.reaching import unreached
from eapc.calibration.sensitivity import (
    DENSITIES,
    ErrorCurve,
    LayerEffects,
    Probes,
    Seen,
    changed_constants,
    error_curves,
    layer_effects,
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
    row_scale,
    scaled_matrix,
    unscaled_matrix,
)

__all__ = [
    "DENSITIES",
    "ActivationWalk",
    "Batches",
    "DownstreamRun",
    "DownstreamSubgraph",
    "ErrorCurve",
    "Kinds",
    "LayerEffects",
    "LayerFit",
    "LayerRows",
    "LayerwiseReconstruction",
    "MemoryBudget",
    "OwnScale",
    "Probes",
    "Reference",
    "Seen",
    "changed_constants",
    "downstream_of",
    "error_curves",
    "is_cut_from",
    "is_rectified",
    "layer_effects",
    "moved_biases",
    "on_layers_grid",
    "probe_inputs",
    "probe_moments",
    "probed_tensors",
    "probes_of",
    "rectified",
    "row_scale",
    "scaled_matrix",
    "unreached",
    "unscaled_matrix",
    "weight_grid",
]
