"""The layer problem: the weight with few non-zeros whose outputs come closest.

minimise tr(R (V H V^T - 2 V G^T) R) over V (m, k) in every group, with at most so many non-zeros
in all groups together. R is diagonal: what errors of each output are multiplied by.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eapc.errors import DataError
from eapc.solvers.blas import single_thread
from eapc.solvers.gram import Gram
from eapc.solvers.moments import Moments

DAMPING = 0.01
"""Damping towards the original weights, in mean variances of an input."""

_FIRST_RETRY = 0.01
"""Extra damping, in variances of an input, of a Gram matrix that has no factor."""

_LAST_RETRY = 10
"""The same per input: enough for any matrix with |H_ij| <= sqrt(H_ii H_jj)."""

_ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Relative to its value, the deviation of a constant input."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerProblem:
    """A weight (groups, m, k) and the damped moments H (groups, k, k) and G (groups, m, k).

    All float32. Inputs that do not vary have no row or column in H but the diagonal: what is
    left of their weights stays what it was. Which values are best on a mask does not depend on
    `row_scale`, only which mask is.
    """

    weight: NDArray[np.float32]
    gram: Gram
    """H"""
    G: NDArray[np.float32]
    row_scale: NDArray[np.float64] | None = None
    """diag R (groups, m); None is 1 for all."""

    @classmethod
    def from_moments(
        cls, weight: NDArray[np.float32], moments: Moments, damping: float = DAMPING
    ) -> LayerProblem:
        """Damp the moments towards `weight` (groups, m, k): H += l I, G += l W.

        R is the moments' `row_scale`.

        l = (damping + 1/n) mean(diag H) of each group, from n calibration inputs: where these
        say little, the weights stay what training made them. The 1/n is one more input, of
        independent values of that variance, for which the layer does what it did. Of what did not
        vary in n inputs it is all that is known: such inputs count little, and the less the more
        inputs there were.

        Raises ValueError if the weight does not have the shape of `moments.yx`, DataError
        if a weight or a moment is not finite.
        """
        if weight.shape != moments.yx.shape:
            raise ValueError(f"expected a weight of {moments.yx.shape}, got {weight.shape}")
        variance = moments.gram.diagonal()
        _require_finite("the weights", weight)
        _require_finite("products of the inputs", variance)
        _require_finite("products of inputs and outputs", moments.yx)
        # A constant input's variance is the rounding of its values.
        alive = variance > (_ROUNDING * moments.x_mean) ** 2
        alive &= variance > 0
        gram = moments.gram.scaled(alive.astype(np.float32))
        mean = gram.diagonal().mean(axis=1)[:, None]
        typical = np.where(mean > 0, mean, mean.mean() or 1)
        undamped = cls(weight, gram, moments.yx * alive[:, None], moments.row_scale)
        return undamped.damped(damping * mean * alive + typical / moments.inputs)

    def damped(self, amount: NDArray[np.float32]) -> LayerProblem:
        """The problem with `amount` (groups, k) added to diag(H), and amount * W to G."""
        raised = np.broadcast_to(amount, self.G.shape[::2]).astype(np.float32)
        targets = self.G + raised[:, None] * self.weight
        return replace(self, gram=self.gram.raised(raised), G=targets)

    @single_thread()
    def objective(self, weight: NDArray[np.float32]) -> float:
        """tr(R (V H V^T - 2 V G^T) R) of a (groups, m, k) weight V, summed in float64."""
        product = self.gram.times(weight)
        product -= 2 * self.G
        rows = self.by_row(weight), self.by_row(product)
        return float(np.einsum("gmk,gmk->", *rows, dtype=np.float64))

    def by_row(self, values: NDArray[Any]) -> NDArray[Any]:
        """R V, of values (groups, m, k)."""
        return values if self.row_scale is None else values * self.row_scale[:, :, None]


@dataclass(frozen=True)
class ScaledProblem:
    """A layer problem in units that make diag(H) and R one and the largest weight about one.

    `weight` is the original times `unit` (groups, 1 or m, k), float64. Scaling by sqrt(diag H)
    makes |weight| the error of removing it alone (the score of Wanda, Sun et al. 2023) and
    conjugate gradients Jacobi-preconditioned; the common factor keeps float32 from
    overflowing whatever the weights are.
    """

    problem: LayerProblem
    unit: NDArray[np.float64]

    def scaled(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """A (groups, m, k) weight of the original problem in these units."""
        return (weight * self.unit).astype(np.float32)

    def unscaled(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """A (groups, m, k) weight of the scaled problem in the original units."""
        return (weight / self.unit).astype(np.float32)


def scaled(problem: LayerProblem) -> ScaledProblem:
    """Scale by sqrt(diag H), R and a power of two; H comes out positive definite.

    Rounding can leave H of nearly dependent inputs without a Cholesky factor: its group is
    then damped further, and a warning logged. Raises DataError if that does not help.
    """
    root, unit, exponent = _scales(problem)
    gram = problem.gram.scaled((1 / root[:, 0]).astype(np.float32))
    G = np.ldexp(problem.by_row(problem.G / root), -exponent).astype(np.float32)
    units = LayerProblem(importance(problem), gram, G)
    return ScaledProblem(_positive(units), np.ldexp(unit, -exponent))


def importance(problem: LayerProblem) -> NDArray[np.float32]:
    """The weight (groups, m, k) in the units of `scaled`: roots of the cost of removing each."""
    _, unit, exponent = _scales(problem)
    return (problem.weight * np.ldexp(unit, -exponent)).astype(np.float32)


def _scales(problem: LayerProblem) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """sqrt(diag H) (groups, 1, k), R times that, and a power of two above the weights in it."""
    root = np.sqrt(problem.gram.diagonal().astype(np.float64))[:, None, :]
    unit = problem.by_row(root)
    _, exponent = np.frexp(np.abs(problem.weight * unit).max(initial=0))
    return root, unit, int(exponent)


def _positive(problem: LayerProblem) -> LayerProblem:
    """The problem, its groups damped tenfold more until every H can be factorised.

    Raises DataError if damping does not help: H is not a matrix of moments.
    """
    amount = _FIRST_RETRY
    while not (positive := problem.gram.positive()).all():
        if amount > _LAST_RETRY * problem.weight.shape[2]:
            raise DataError("moments of a layer: the Gram matrix is not one; check the data")
        _logger.warning(
            "%d of %d Gram matrices are not positive definite; damping them by %g more",
            np.count_nonzero(~positive),
            positive.size,
            amount,
        )
        problem = problem.damped(np.where(positive, 0, amount)[:, None].astype(np.float32))
        amount *= 10
    return problem


def _require_finite(what: str, array: NDArray[np.float32]) -> None:
    if not np.isfinite(array).all():
        raise DataError(
            f"{what} are too large for float32 or not finite; "
            "check the scale of the calibration data and of the model's weights"
        )
