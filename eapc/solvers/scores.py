"""Methods that score each weight by itself and leave the survivors as they are.

Neither refits anything: what the outputs lose in mean is for a bias to take up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eapc.solvers.method import Method
from eapc.solvers.patterns import Pattern
from eapc.solvers.problem import LayerProblem, importance


def magnitude(problem: LayerProblem, nonzeros: int, pattern: Pattern) -> NDArray[np.float32]:
    """Keep the largest |w| of the layer [1].

    [1] Han et al. 2015, Learning both weights and connections for efficient neural networks.
    """
    return _kept(problem.weight, pattern.mask(problem.weight, nonzeros))


def wanda(problem: LayerProblem, nonzeros: int, pattern: Pattern) -> NDArray[np.float32]:
    """Keep the largest |w| ||x|| of the layer [1].

    ||x||^2 is diag H: damped, and about the means where a bias takes them up. [1] compares
    the weights of one output for language models, those of a whole layer for image
    classifiers; here it is the layer, as with every method.

    [1] Sun et al. 2023, A simple and effective pruning approach for large language models.
    """
    return _kept(problem.weight, pattern.mask(importance(problem), nonzeros))


def _kept(weight: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask, weight, np.float32(0))


MAGNITUDE = Method(magnitude, fits=False)
WANDA = Method(wanda, fits=False)
