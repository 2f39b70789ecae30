"""Moments of rows whose inputs are known already, for other targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eapc.solvers.moments import ROWS_PER_PRODUCT, Moments


class MovedTargets:
    """Adds up the rows that `moments` were made of once more, with other targets.

    Products of inputs with inputs, the larger part of the work, are taken over. `centred`
    says whether the moments are about their means or about zero.
    """

    def __init__(self, moments: Moments, centred: bool) -> None:
        self._moments = moments
        self._centred = centred
        self._y_shift = moments.y_mean[:, None].astype(np.float32)
        self._sum = np.zeros_like(moments.y_mean)
        self._yx = np.zeros(moments.yx.shape)
        self._yy = np.zeros_like(moments.yy)

    def add(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Add x (groups, rows, k) and targets y (groups, rows, m)."""
        for begin in range(0, x.shape[1], ROWS_PER_PRODUCT):
            part = slice(begin, begin + ROWS_PER_PRODUCT)
            targets = y[:, part] - self._y_shift
            self._sum += targets.sum(axis=1, dtype=np.float64)
            self._yx += np.matmul(targets.transpose(0, 2, 1), x[:, part])
            self._yy += np.square(targets).sum(axis=1, dtype=np.float64)

    def finish(self) -> Moments:
        """The moments of all rows."""
        before, count = self._moments, self._moments.count
        change = self._sum / count
        yx = (self._yx / count - change[:, :, None] * before.x_mean[:, None]).astype(np.float32)
        if not self._centred:
            return replace(before, yx=yx, yy=self._yy / count)
        yy = np.maximum(self._yy / count - change**2, 0)
        return replace(before, y_mean=before.y_mean + change, yx=yx, yy=yy)
