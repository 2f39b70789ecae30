"""Which weights survive, and roughly with what values, by ADMM.

The alternating direction method of multipliers [1] on "least squares subject to at most s
non-zeros", as used for layer-wise pruning in [2] and [3]: V fits the outputs, Z is V cut to
s entries, and the scaled dual U makes the two agree.

[1] Boyd et al. 2011, Distributed optimization and statistical learning via the alternating
    direction method of multipliers.
[2] Meng et al. 2024, ALPS: Improved optimization for highly sparse one-shot pruning for
    large language models.
[3] Boza 2024, Fast and effective weight update for pruned large language models.
[4] Frantar and Alistarh 2022, Optimal Brain Compression: the exact Optimal Brain Surgeon
    that the settings are measured against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eapc.solvers.patterns import Pattern
from eapc.solvers.problem import LayerProblem


@dataclass(frozen=True)
class AdmmSettings:
    """How ADMM goes from a loose to a tight coupling of fit and sparsity."""

    iterations: int
    """One product with a (k, k) matrix each."""
    stages: int
    """Spans of iterations that share a rho; one factorisation each."""
    first_rho: float
    """Coupling of the first stage, in variances of an input; geometric to the last."""
    last_rho: float = 1.0
    """Coupling of the last stage. Below the variance of an input given the other survivors,
    weights near the threshold never stop swapping places: where inputs hardly correlate, 0.5
    leaves 10 to 20 % more error. The own variance, 1, is as much as that can be."""
    annealed: float = 0.2
    """Fraction of the iterations over which the non-zeros fall to their number."""

    def rho(self, iteration: int) -> float:
        """The coupling of the stage that an iteration belongs to."""
        stage = iteration * self.stages // self.iterations
        progress = stage / max(self.stages - 1, 1)
        return self.first_rho * math.pow(self.last_rho / self.first_rho, progress)

    def nonzeros(self, iteration: int, size: int, nonzeros: int) -> int:
        """Entries that an iteration keeps of `size`: cubic in what is left to remove."""
        span = max(round(self.annealed * self.iterations), 1)
        left = max(1 - (iteration + 1) / span, 0.0)
        return nonzeros + int((size - nonzeros) * left**3)


STANDARD = AdmmSettings(iterations=24, stages=4, first_rho=0.15)
"""Within 2 % of the output error of exact Optimal Brain Surgeon [4] on layers of a few
hundred inputs (benchmarks/layer_problem.py), in 1/500 of its time."""

THOROUGH = AdmmSettings(iterations=200, stages=20, first_rho=0.03)
"""At or below that error, in four to five times the time of STANDARD."""

QUICK = AdmmSettings(iterations=8, stages=1, first_rho=0.3, last_rho=0.3)
"""For error curves: the ranking of layers, at a third of the time of STANDARD."""


def admm(
    problem: LayerProblem,
    nonzeros: int,
    pattern: Pattern,
    settings: AdmmSettings = STANDARD,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """The mask of a pattern for a scaled problem, and values on it to start a fit from.

    V = (G + rho (Z - U)) (H + rho I)^-1, Z = V + U cut to the pattern, U += V - Z.
    """
    kept = problem.weight.copy()  # Z
    dual = np.zeros_like(kept)  # U, which is scaled: the multipliers over rho
    fitted = np.empty_like(kept)  # V
    mask = np.ones(kept.shape, bool)
    rho, inverse = 0.0, problem.gram
    for iteration in range(settings.iterations):
        now = settings.rho(iteration)
        if now != rho:
            dual *= np.float32(rho / now)
            rho, inverse = now, problem.gram.inverse(now)
        np.subtract(kept, dual, out=kept)
        kept *= np.float32(rho)
        kept += problem.G
        inverse.times(kept, out=fitted)
        fitted += dual
        mask = pattern.mask(fitted, settings.nonzeros(iteration, fitted.size, nonzeros))
        np.multiply(fitted, mask, out=kept)
        np.subtract(fitted, kept, out=dual)
    return mask, kept
