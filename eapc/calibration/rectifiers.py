"""Targets of a layer in front of an activation that cuts values off.

Behind a Relu all negative values are one. So a layer that is refitted need not meet a negative
target, but only stay negative there: it minimises E||clip(v) - clip(t)||^2, v = W x + b its
outputs and t the targets. Where t is cut off, whatever of v is cut off too is as good a target as
t. Least squares towards such targets, then new targets from the new v, lowers the error step by
step: each squared distance is an upper bound of the clipped one that touches it at v [1].

[1] Reconstruction behind the nonlinearity: Zhang, Zou, He, Sun, "Accelerating Very Deep
    Convolutional Networks for Classification and Detection", PAMI 2016.
"""

from __future__ import annotations

import math

import numpy as np

from eapc.calibration.statistics import LayerRows
from eapc.layers import Layer
from eapc.model import Array
from eapc.solvers import Moments, MovedTargets


def is_rectified(rows: LayerRows) -> bool:
    """True where what follows the layer cuts values off and all that is added before is known."""
    layer = rows.layer
    return layer.clipping is not None and (not layer.other or rows.has_branch)


def rectified(rows: LayerRows, moments: Moments, matrix: Array, bias: Array) -> Moments:
    """`moments` of the rows, with targets moved where that makes no difference behind the layer.

    `matrix` (groups, m, k) and `bias` (groups, m) are the fit so far.
    """
    moved = MovedTargets(moments, centred=rows.layer.bias is not None)
    transposed, offset = matrix.transpose(0, 2, 1), bias[:, None]
    for inputs, targets, added in rows.batches():
        fitted = np.matmul(inputs, transposed)
        fitted += offset
        moved.add(inputs, _nearest(fitted, targets, *_bounds(rows.layer, targets.shape, added)))
    return moved.finish()


def _nearest(fitted: Array, targets: Array, low: Array | None, high: Array | None) -> Array:
    """The targets, or where they are cut off the nearest to what was fitted that is so too."""
    if low is not None:
        targets = np.where(targets <= low, np.minimum(fitted, low), targets)
    if high is not None:
        targets = np.where(targets >= high, np.maximum(fitted, high), targets)
    return targets


def _bounds(
    layer: Layer, shape: tuple[int, ...], branch: Array | None
) -> tuple[Array | None, Array | None]:
    """Where z is cut off in a batch's rows: at and below the first, at and above the second."""
    clipping = layer.clipping
    assert clipping is not None  # see is_rectified
    groups, _, m = shape
    added = clipping.shift.reshape(groups, 1, m)
    if branch is not None:
        added = added + branch
    low, high = (
        np.float32(bound) - added if math.isfinite(bound) else None
        for bound in (clipping.low, clipping.high)
    )
    return low, high
