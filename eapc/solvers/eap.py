"""The layer step of energy-aware pruning: prune by magnitude, restore, fit [1].

A layer first loses more weights than it has to, the smallest, which is quick. Those whose
return lowers the output error most come back, and the survivors get the values of least
output error in closed form. Two things are not as in [1]:

- It ranks by the 1-norm of the outputs; the moments hold 2-norms, so those count here.
- It judges a weight's return at its original value beside others at theirs. Correlated
  weights then all promise the same gain, and restoring loses to none at all. Here the
  survivors are fitted before each round, and a weight is judged, alone, at its best value:
  with R = G - V H, the return of w_ij lowers ||y - V x||^2 by R_ij^2 / H_jj.

[1] Yang, Chen and Sze 2017, Designing energy-efficient convolutional neural networks using
    energy-aware pruning.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eapc.solvers.least_squares import least_squares
from eapc.solvers.methods import Method
from eapc.solvers.patterns import Pattern
from eapc.solvers.problem import LayerProblem, scaled

SHARES = (0.7, 0.775, 0.85, 0.925, 1.0)
"""Of the non-zeros: what magnitude leaves, and what each round of restoring brings it to."""

_ROUGH = 1e-2
"""Tolerance of the fits that only rank."""


def eap(problem: LayerProblem, nonzeros: int, pattern: Pattern) -> NDArray[np.float32]:
    """The weight (groups, m, k) of magnitude, restoring and least squares."""
    layer = scaled(problem)
    kept, *goals = SHARES
    largest = problem.by_row(problem.weight).astype(np.float32)
    mask = pattern.thinned(kept).mask(largest, int(kept * nonzeros))
    for share in goals:
        scores = _restoring_scores(layer.problem, mask)
        mask = pattern.thinned(share).mask(scores, int(share * nonzeros))
    return layer.unscaled(least_squares(layer.problem, mask))


EAP = Method(eap)


def _restoring_scores(problem: LayerProblem, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """|R_ij| / sqrt(H_jj), where H_jj of a scaled problem is 1; infinite where kept."""
    fitted = least_squares(problem, mask, tolerance=_ROUGH)
    residual = problem.G - problem.gram.times(fitted)
    return np.where(mask, np.float32(np.inf), np.abs(residual))
