"""Second moments of one layer's inputs and targets, streamed over calibration batches.

All that a layer solver needs to know about the calibration data. Every array carries a
leading axis of groups, so that a grouped or depthwise convolution is one layer.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eapc.solvers.blas import single_thread
from eapc.solvers.gram import DenseGram, Gram, RowGram, with_row
from eapc.solvers.scales import parts_by_scale

_Float = TypeVar("_Float", np.float32, np.float64)

ROWS_PER_PRODUCT = 4096
"""Rows per float32 product; the products are summed in float64."""

_ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Relative to its value, the deviation of a constant output."""

_DUAL = 0.25
"""Rows, by inputs, up to which the rows are kept instead of their products: then a product
with them takes half the operations of one with the matrix, or less."""


@dataclass(frozen=True)
class Moments:
    """Moments of inputs x (k) and targets y (m) per group, about `x_mean` and `y_mean`."""

    count: int
    """Rows seen, per group."""
    weight: float
    """Their weights together: as many, where none counts more than another."""
    x_mean: NDArray[np.float64]
    """(groups, k)"""
    y_mean: NDArray[np.float64]
    """(groups, m)"""
    gram: Gram
    """(groups, k, k), E[(x - x_mean)(x - x_mean)^T]; exactly symmetric."""
    yx: NDArray[np.float32]
    """(groups, m, k), E[(y - y_mean)(x - x_mean)^T]."""
    yy: NDArray[np.float64]
    """(groups, m), E[(y - y_mean)^2] of each output."""
    inputs: int
    """Calibration inputs that the rows come from: rows of one of them tell much the same."""
    by_part: bool = False
    """Outputs of very different power count by what each part of them varies by; see `parts`."""

    def uncentred(self) -> Moments:
        """The same moments about zero, for a layer without a bias to absorb the means."""
        return self.about(np.zeros_like(self.x_mean), np.zeros_like(self.y_mean))

    def about(self, x_mean: NDArray[np.float64], y_mean: NDArray[np.float64]) -> Moments:
        """The same moments about other points, (groups, k) and (groups, m)."""
        dx, dy = self.x_mean - x_mean, self.y_mean - y_mean
        return replace(
            self,
            x_mean=x_mean,
            y_mean=y_mean,
            gram=with_row(self.gram, dx),
            yx=(self.yx + dy[:, :, None] * dx[:, None, :]).astype(np.float32),
            yy=self.yy + dy**2,
        )

    def beyond(self, start: Moments, step: float) -> Moments:
        """Of targets at `step` times the way from `start`'s to these, for fits only: not `yy`.

        `start` has other targets for the same inputs.
        """
        return replace(
            self,
            y_mean=start.y_mean + step * (self.y_mean - start.y_mean),
            yx=start.yx + np.float32(step) * (self.yx - start.yx),
        )

    def about_outputs(self, y_mean: NDArray[np.float64]) -> Moments:
        """Of the same targets about another point, (groups, m), where the inputs' stays."""
        return replace(self, y_mean=y_mean, yy=self.yy + (self.y_mean - y_mean) ** 2)

    @property
    def parts(self) -> NDArray[np.intp] | None:
        """The part of each output (groups, m), where they are more than one; see `row_scale`.

        Outputs that vary by no more than rounding belong to the first part.
        """
        if not self.by_part:
            return None
        power = self.yy.ravel()
        found = parts_by_scale(power, np.square(_ROUNDING * self.y_mean.ravel()))
        found[found == len(power)] = 0
        return found.reshape(self.yy.shape) if found.any() else None

    @property
    def row_scale(self) -> NDArray[np.float64] | None:
        """r (groups, m), by which errors of outputs are multiplied; None where it is 1 for all.

        r_i^2 = P_0 / P, of the powers of the first part and of that of output i: so the power of
        all errors, so scaled, over P_0 is the sum of what parts lose of theirs.
        """
        parts = self.parts
        return None if parts is None else np.sqrt(self.first_power / _sums(self.yy, parts))[parts]

    @property
    def first_power(self) -> float:
        """E||y - y_mean||^2 over the first part, or over all where there are no others."""
        parts = self.parts
        return self.power if parts is None else float(self.yy[parts == 0].sum())

    def bias(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """The (groups, m) bias that goes with a (groups, m, k) weight.

        s d, where d = y_mean - W x_mean would be best for the rows that were seen. Their means are
        not those of all inputs: d has a variance of v = sum(yy) / (n - 1) at most, of n rows. So
        s = |d|^2 / (|d|^2 + v), the share of |d|^2 that is not chance: few rows move no bias far.
        Each of the `parts` has its own s.
        """
        shift = self._shift(weight)
        return np.asarray(self._trust(shift) * shift, dtype=np.float32)

    def _shift(self, weight: NDArray[np.float32]) -> NDArray[np.float64]:
        absorbed = np.matmul(weight.astype(np.float64), self.x_mean[:, :, None])[:, :, 0]
        return np.asarray(self.y_mean - absorbed)

    def _trust(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """s of each output (groups, m), or of all () where they are one part."""
        seen = self._of_part(np.square(shift)) * (self.count - 1)
        whole = seen + self._of_part(self.yy)
        return np.divide(seen, whole, out=np.zeros_like(whole), where=seen > 0)

    def _of_part(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over the part of each output (groups, m), or over all ()."""
        parts = self.parts
        if parts is None:
            return np.asarray(values.sum())
        return _sums(values, parts)[parts]

    @property
    def power(self) -> float:
        """E||y - y_mean||^2 over all groups."""
        return float(self.yy.sum())

    @single_thread()
    def error(self, weight: NDArray[np.float32]) -> float:
        """E||y - W x - b||^2 over all groups, where `bias` is b.

        tr(W xx W^T - 2 W yx^T) + sum(yy), and what b leaves of the means; cancellation limits it
        to about 1e-6 of the power.
        """
        if self.parts is not None:
            return float(self._errors(weight).sum())
        reduction = float(np.einsum("gmk,gmk->", weight, self._product(weight), dtype=np.float64))
        shift = self._shift(weight)
        left = float((1 - self._trust(shift)) ** 2 * np.square(shift).sum())
        return max(self.power + reduction + left, 0.0)

    @single_thread()
    def _errors(self, weight: NDArray[np.float32]) -> NDArray[np.float64]:
        """`error` of each output, (groups, m)."""
        reduction = np.einsum("gmk,gmk->gm", weight, self._product(weight), dtype=np.float64)
        shift = self._shift(weight)
        left = (1 - self._trust(shift)) ** 2 * np.square(shift)
        return np.asarray(np.maximum(self.yy + reduction + left, 0.0))

    def _product(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """W xx - 2 yx, (groups, m, k)."""
        product = self.gram.times(weight)
        product -= 2 * self.yx
        return product

    def relative_error(self, weight: NDArray[np.float32], original: Moments | None = None) -> float:
        """`error` over the power of the original's targets, by default of these; the worst part's.

        Targets that do not vary give 0, or infinity if W x does.
        """
        original = original or self
        parts = original.parts
        if parts is not None:
            lost, powers = (_sums(each, parts) for each in (self._errors(weight), original.yy))
            return float((lost / powers).max())
        power, error = original.power, self.error(weight)
        if power > 0:
            return error / power
        return 0.0 if error <= 0 else float("inf")


class MomentAccumulator:
    """Adds up batches of inputs (groups, rows, k) and targets (groups, rows, m), each by a weight.

    E is then the weighted mean over all rows: a batch of weight 2 counts as if it came twice.

    `inputs` is how many calibration inputs the rows come from, by default each from its own.

    Rows are shifted by the mean of the first batch, so that centring does not cancel when
    means are large, multiplied in float32 and summed in float64. Batches of at least some
    hundred rows are efficient.
    """

    def __init__(self, groups: int, k: int, m: int, inputs: int | None = None) -> None:
        self._inputs = inputs
        self._count = 0
        self._weight = 0.0
        self._x_shift = np.zeros((groups, 1, k), np.float32)
        self._y_shift = np.zeros((groups, 1, m), np.float32)
        self._x_sum = np.zeros((groups, k))
        self._y_sum = np.zeros((groups, m))
        self._xx: NDArray[np.float64] | None = None
        self._rows: list[NDArray[np.float32]] = []
        self._roots: list[NDArray[np.float32]] = []
        self._yx = np.zeros((groups, m, k))
        self._yy = np.zeros((groups, m))

    @single_thread()
    def add(self, x: NDArray[np.float32], y: NDArray[np.float32], weight: float = 1.0) -> None:
        """Add x (groups, rows, k) and y (groups, rows, m), of which each row has that weight.

        Raises ValueError if the shapes do not fit each other or the accumulator.
        """
        groups, _, k = self._x_shift.shape
        m = self._y_shift.shape[2]
        rows = x.shape[1] if x.ndim == 3 else -1
        if x.shape != (groups, rows, k) or y.shape != (groups, rows, m):
            expected = f"({groups}, rows, {k}) and ({groups}, rows, {m})"
            raise ValueError(f"expected x and y of {expected}, got {x.shape} and {y.shape}")
        if self._count == 0 and rows > 0:
            self._x_shift = x.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
            self._y_shift = y.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # the layer problem refuses infinity
            for begin in range(0, rows, ROWS_PER_PRODUCT):
                part = slice(begin, begin + ROWS_PER_PRODUCT)
                self._add_rows(x[:, part], y[:, part], weight)

    def _add_rows(self, x: NDArray[np.float32], y: NDArray[np.float32], weight: float) -> None:
        """Rows by the root of their weight: each product of two has the weight."""
        root = np.float32(math.sqrt(weight))
        x = np.subtract(x, self._x_shift, dtype=np.float32)
        y = np.subtract(y, self._y_shift, dtype=np.float32)
        if weight != 1:
            x *= root
            y *= root
        self._count += x.shape[1]
        self._weight += x.shape[1] * weight
        roots = np.full((1, x.shape[1]), root)  # a product sums short rows fastest
        self._x_sum += np.matmul(roots, x)[:, 0]
        self._y_sum += np.matmul(roots, y)[:, 0]
        self._rows.append(x)
        self._roots.append(roots)
        if self._xx is not None or self._count > _DUAL * x.shape[2]:
            self._multiply_rows()
        self._yx += np.matmul(y.transpose(0, 2, 1), x)
        self._yy += np.square(y).sum(axis=1, dtype=np.float64)

    def _multiply_rows(self) -> None:
        """Rows held back, added to the sum of products."""
        if self._xx is None:
            groups, _, k = self._x_shift.shape
            self._xx = np.zeros((groups, k, k))
        for x in self._rows:  # numpy sees the transpose: half the work (syrk)
            self._xx += np.matmul(x.transpose(0, 2, 1), x)
        self._rows.clear()
        self._roots.clear()

    @np.errstate(over="ignore", invalid="ignore")
    def finish(self) -> Moments:
        """The moments of all rows added so far; more may follow.

        Raises ValueError if no row was added.
        """
        if self._count == 0:
            raise ValueError("no rows were added")
        dx, dy = self._x_sum / self._weight, self._y_sum / self._weight
        yx = self._yx / self._weight
        yx -= dy[:, :, None] * dx[:, None, :]
        return Moments(
            count=self._count,
            weight=self._weight,
            x_mean=self._x_shift[:, 0] + dx,
            y_mean=self._y_shift[:, 0] + dy,
            gram=self._gram(dx),
            yx=yx.astype(np.float32),
            yy=np.maximum(self._yy / self._weight - dy**2, 0),
            inputs=self._inputs or self._count,
        )

    def _gram(self, dx: NDArray[np.float64]) -> Gram:
        """About the means, `dx` from the shifts."""
        if self._xx is None:
            means = dx[:, None, :].astype(np.float32)
            rows = np.concatenate(self._rows, axis=1)
            rows -= np.concatenate(self._roots, axis=1)[:, :, None] * means
            rows /= np.float32(math.sqrt(self._weight))
            return RowGram(rows, np.zeros(dx.shape, np.float32))
        xx = self._xx / self._weight
        xx -= dx[:, :, None] * dx[:, None, :]
        return DenseGram(xx.astype(np.float32))


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

    def add(self, x: NDArray[np.float32], y: NDArray[np.float32], weight: float = 1.0) -> None:
        """Add x (groups, rows, k) and targets y (groups, rows, m), by the weight that they had."""
        for begin in range(0, x.shape[1], ROWS_PER_PRODUCT):
            part = slice(begin, begin + ROWS_PER_PRODUCT)
            targets = y[:, part] - self._y_shift
            self._yy += weight * np.square(targets).sum(axis=1, dtype=np.float64)
            if weight != 1:
                targets *= np.float32(weight)
            self._sum += targets.sum(axis=1, dtype=np.float64)
            self._yx += np.matmul(targets.transpose(0, 2, 1), x[:, part])

    def finish(self) -> Moments:
        """The moments of all rows."""
        before, total = self._moments, self._moments.weight
        change = self._sum / total
        yx = (self._yx / total - change[:, :, None] * before.x_mean[:, None]).astype(np.float32)
        if not self._centred:
            return replace(before, yx=yx, yy=self._yy / total)
        yy = np.maximum(self._yy / total - change**2, 0)
        return replace(before, y_mean=before.y_mean + change, yx=yx, yy=yy)


def _sums(values: NDArray[np.float64], parts: NDArray[np.intp]) -> NDArray[np.float64]:
    """(parts,) of values (groups, m)."""
    return np.asarray(np.bincount(parts.ravel(), values.ravel()), np.float64)


def _mean_gram(grams: Sequence[Gram], shares: Sequence[float]) -> Gram:
    if all(isinstance(gram, RowGram) for gram in grams):
        return _pooled([gram for gram in grams if isinstance(gram, RowGram)], shares)
    return DenseGram(_mean((gram.dense() for gram in grams), shares))


def _mean(arrays: Iterable[NDArray[_Float]], shares: Sequence[float]) -> NDArray[_Float]:
    """The sum of arrays times their shares, in their own type."""
    parts = (array * array.dtype.type(share) for array, share in zip(arrays, shares, strict=True))
    return reduce(operator.iadd, parts)


def _pooled(grams: Sequence[RowGram], shares: Sequence[float]) -> Gram:
    """Rows of all, each by the root of its share."""
    roots = np.sqrt(shares).astype(np.float32)
    rows = np.concatenate([gram.rows * root for gram, root in zip(grams, roots, strict=True)], 1)
    pooled = RowGram(rows, np.zeros(rows.shape[::2], np.float32))
    return pooled if rows.shape[1] <= _DUAL * rows.shape[2] else DenseGram(pooled.dense())


@single_thread()
def combine(users: Sequence[Moments]) -> Moments:
    """Moments of several users of one weight, each about its own means.

    For users that have a bias each: take `bias` from each user's moments, not from the
    result, whose means are averages. Users that share the bias as well, or have none, are
    first brought `about` one point (`uncentred`).

    Raises ValueError if there are no users.
    """
    if not users:
        raise ValueError("a weight without users has no moments")
    weight = sum(user.weight for user in users)
    shares = [user.weight / weight for user in users]
    return Moments(
        count=sum(user.count for user in users),
        weight=weight,
        x_mean=_mean((user.x_mean for user in users), shares),
        y_mean=_mean((user.y_mean for user in users), shares),
        gram=_mean_gram([user.gram for user in users], shares),
        yx=_mean((user.yx for user in users), shares),
        yy=_mean((user.yy for user in users), shares),
        inputs=max(user.inputs for user in users),
        by_part=all(user.by_part for user in users),
    )
