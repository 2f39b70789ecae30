"""Fits of one layer, on what reaches it in the network made so far, to the dense one's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eapc.calibration.lockstep import LayerwiseReconstruction
from eapc.calibration.statistics import LayerRows, is_rectified, rectified, scaled_matrix
from eapc.errors import DataError
from eapc.layers import TiedLayers
from eapc.model import Array
from eapc.solvers import LayerProblem, Moments, combine, refit

_STEP = 1.25
"""How far to go towards moved targets: 1 is to them, and anything below 2 lowers the error.

One longer step brings what two plain ones do, which would cost as much as the moments.
"""

_FEWEST_ROWS = 4
"""Rows per input from which on targets may be moved: they leave a layer less determined."""


@dataclass(frozen=True)
class LayerFit:
    """A layer that inputs come to, and the problem that its weights solve.

    `original` and `pruned` are W of z (groups, m, k) in the dense network and in the one that is
    fitted. `moments`, one per user, are those of the targets that the dense network sets; `aims`
    of those that weights and biases are fitted to.
    """

    tied: TiedLayers
    rows: Sequence[LayerRows]
    original: Array
    pruned: Array
    moments: Sequence[Moments]
    aims: Sequence[Moments]
    problem: LayerProblem

    @classmethod
    def at(
        cls, sweep: LayerwiseReconstruction, step: int, tied: TiedLayers, with_biases: bool = True
    ) -> LayerFit | None:
        """The fit at a step of a sweep; None where no input comes to the layer.

        Without biases, which take the means up, those count. Raises DataError where moments
        are not finite.
        """
        rows = [user for user in sweep.rows(step) if user.is_reached]
        if not rows:
            return None
        tied = replace(tied, users=tuple(user.layer for user in rows))
        moments = [user.moments() for user in rows]
        if not with_biases:
            moments = [moment.uncentred() for moment in moments]
        original, pruned = (scaled_matrix(tied, each) for each in (sweep.original, sweep.model))
        problem = _problem(tied, original, moments)
        return cls(tied, rows, original, pruned, moments, moments, problem)

    def behind_activation(self, matrix: Array) -> tuple[LayerFit, Array]:
        """Towards targets that an activation behind leaves free, and the weights refitted to them.

        `matrix` solves the problem so far. The targets' moments are about the means that the
        longer step leads to: biases follow it.
        """
        inputs, now = matrix.shape[2], self.moments
        if not all(map(is_rectified, self.rows)) or now[0].count < _FEWEST_ROWS * inputs:
            return self, matrix
        moved = [
            rectified(user, moment, matrix, moment.bias(matrix))
            for user, moment in zip(self.rows, now, strict=True)
        ]
        beyond = [end.beyond(start, _STEP) for end, start in zip(moved, now, strict=True)]
        problem = _problem(self.tied, self.original, beyond)
        aims = [end.about_outputs(aim.y_mean) for end, aim in zip(moved, beyond, strict=True)]
        return replace(self, aims=aims, problem=problem), refit(problem, matrix != 0, matrix)

    def relative_error(self, matrix: Array) -> float:
        """What is lost of the outputs, of what the dense network's vary by."""
        return combine(self.aims).relative_error(matrix, combine(self.moments))


def _problem(tied: TiedLayers, original: Array, moments: Sequence[Moments]) -> LayerProblem:
    try:
        return LayerProblem.from_moments(original, combine(moments))
    except DataError as error:
        raise DataError(f"layer '{tied.first.node.key}': {error}") from error
