"""The layer problem: statistics, masks, least squares, ADMM.

Moments of calibration data (`MomentAccumulator`) become a `LayerProblem`, which `solve`
prunes to a number of non-zeros, `refit` fits to a given mask, and `quick_prune` prunes
roughly to several numbers of non-zeros; `eliminate` takes whole channels away.
"""

from eapc.solvers.blas import single_thread
from eapc.solvers.codes import CodedWeight, coded, rescaled
from eapc.solvers.elimination import Consumer, Elimination, eliminate, fitted
from eapc.solvers.gram import DenseGram, Gram, RowGram
from eapc.solvers.grids import WeightGrid, on_grid
from eapc.solvers.methods import Method, quick_prune, refit, solve
from eapc.solvers.moments import MomentAccumulator, Moments, MovedTargets, combine
from eapc.solvers.patterns import PATTERNS, Pattern, Remark, parse_pattern
from eapc.solvers.problem import LayerProblem
from eapc.solvers.scales import parts_by_scale

__all__ = [
    "PATTERNS",
    "CodedWeight",
    "Consumer",
    "DenseGram",
    "Elimination",
    "Gram",
    "LayerProblem",
    "Method",
    "MomentAccumulator",
    "Moments",
    "MovedTargets",
    "Pattern",
    "Remark",
    "RowGram",
    "WeightGrid",
    "coded",
    "combine",
    "eliminate",
    "fitted",
    "on_grid",
    "parse_pattern",
    "parts_by_scale",
    "quick_prune",
    "refit",
    "rescaled",
    "single_thread",
    "solve",
]
