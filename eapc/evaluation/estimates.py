"""How well a loss is known: both networks saw the same inputs, so differences are paired."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from eapc.model import Array

_NORMAL_95 = 1.959964
"""Deviations from the mean that 95 % of a normal distribution lie within."""

_ONE = 2
"""What one sample may change, in deviations of what all of them are worth before."""

GROUPS = 20
"""Parts that inputs are divided into where a metric gives one number for all of them."""


class Estimate(NamedTuple):
    """A loss among all inputs of a kind: about `loss`, off by `deviation` times Student's t.

    Without end of `degrees` of freedom that is normally distributed. A `deviation` without end
    says that nothing is known.
    """

    loss: float
    deviation: float
    degrees: float = math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """What the loss is in 95 of 100 cases."""
        is_normal = math.isinf(self.degrees)
        reach = _NORMAL_95 if is_normal else float(stdtrit(self.degrees, 0.975))
        return self.loss - reach * self.deviation, self.loss + reach * self.deviation

    def confidence(self, max_drop: float) -> float:
        """The probability that at most this much is lost."""
        room = max_drop - self.loss
        if not self.deviation or math.isinf(room):
            return 1.0 if room >= 0 else 0.0
        ratio = room / self.deviation
        return float(ndtr(ratio) if math.isinf(self.degrees) else stdtr(self.degrees, ratio))


def matched_shares(net: float, changed: int, samples: int) -> Estimate:
    """Of samples right or wrong: `changed` are right in one network alone, `net` lost on balance.

    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions"
    (2005): half a sample is added to each of the four cases of right and wrong.
    """
    size = samples + 2
    return Estimate(net / size, math.sqrt(changed + 1 - net**2 / size) / size)


def paired_mean(differences: Array, spread: float) -> Estimate:
    """Of (n,) differences d: mean d with variance s^2 / n + (1 - m / n) q / n^2.

    s^2 = sum (d - mean d)^2 / (n - 1), with n - 1 degrees of freedom: Student, "The probable error
    of a mean" (1908), for matched pairs. Where only m of them are not zero, s alone is too sure: as
    Agresti and Min, who add a sample that changes, q is the mean square of those m, or, where there
    are none, (2 `spread`)^2, the deviation of the values before.
    """
    n = len(differences)
    if not np.isfinite(differences).all():
        return Estimate(math.inf, 0.0)
    loss = float(differences.mean())
    if n < 2:
        return Estimate(loss, math.inf)
    changed = differences[differences != 0]
    one = float(np.square(changed).mean()) if len(changed) else (_ONE * spread) ** 2
    variance = float(differences.var(ddof=1)) / n + (1 - len(changed) / n) * one / n**2
    return Estimate(loss, math.sqrt(variance), n - 1)


def jackknifed(loss: float, lost: Array, before: Array, samples: int) -> Estimate:
    """Of (g,) losses `lost` and values `before` on all samples but those of one group each.

    The delete-a-group jackknife: the variance of t is (g - 1) / g sum (t_j - mean t_j)^2, with
    g - 1 degrees of freedom. Kott, "The delete-a-group jackknife", Journal of Official Statistics
    17 (2001); Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 11. To that
    of the loss comes 4 / n of that before, as if one more sample changed, for the same reason as
    in `paired_mean`: for a share of one half it is what Agresti and Min add.
    """
    g = len(lost)
    if not math.isfinite(loss):
        return Estimate(loss, 0.0)
    if g < 2 or not np.isfinite(lost).all():
        return Estimate(loss, math.inf)
    variances = [(g - 1) * float(each.var()) for each in (lost, before)]
    return Estimate(loss, math.sqrt(variances[0] + _ONE**2 * variances[1] / samples), g - 1)


def groups_of(samples: int) -> list[Array]:
    """`GROUPS` groups of indices, or one for each sample: drawn, and the same every time.

    Drawn, so that no order of the inputs, by class for one, makes groups unlike each other.
    """
    order = np.random.default_rng(0).permutation(samples)
    return np.array_split(order, min(GROUPS, samples))
