"""Channels taken out of layers' inputs one after the other, what is left refitted each time.

Optimal Brain Surgeon (Hassibi and Stork, 1993) for blocks of inputs. With V = G H^-1 the best
weight of a layer, and S the inputs of some channels, taking S away costs

    tr(V_S (H^-1_SS)^-1 V_S^T)                                                              (1)

in the layer's output error once all other weights are refitted, which makes them

    V - V_S (H^-1_SS)^-1 H^-1_S:    and    H^-1 - H^-1_:S (H^-1_SS)^-1 H^-1_S:              (2)

Several layers that read the same channels lose them together: their errors, each relative to
the power of its outputs, are added. Where outputs of one layer count differently (its
`row_scale`), V and G stand for R V and R G.

Layers too wide for H^-1 are fitted by masks instead: `fitted` does for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eapc.errors import DataError
from eapc.solvers.blas import inverses, single_thread
from eapc.solvers.methods import refit
from eapc.solvers.problem import LayerProblem

_STEPS = 32
"""A step takes one channel in so many of those left: a layer of up to that many loses one at a
time, one of 512 channels takes 150 steps."""

WIDEST = 8192
"""Inputs of a layer up to which H^-1 is kept: half a gigabyte, and as much to mirror it."""

_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Consumer:
    """A layer that reads channels: its problem, and which of its inputs are whose.

    `inputs` (groups, channels, width) are places among the k inputs of each group; `power` is
    E||y||^2 of the layer's outputs, about the means; of the first part where these count apart.
    """

    problem: LayerProblem
    inputs: NDArray[np.intp]
    power: float

    @property
    def channels(self) -> int:
        """Channels that can be taken away."""
        return int(self.inputs.shape[1])

    @property
    def is_wide(self) -> bool:
        """True where H^-1 would take more memory than it is worth."""
        return int(self.problem.weight.shape[2]) > WIDEST

    @cached_property
    def removal_costs(self) -> NDArray[np.float64]:
        """(channels,) tr(W_c H_cc W_c^T) / power: what each costs alone if nothing is refitted.

        The second-order cost of Optimal Brain Damage (LeCun, Denker, Solla, 1990) for the
        layer's output error, with all of a channel's products. H is never written out.
        """
        gram, weight = self.problem.gram, self.problem.by_row(self.problem.weight)
        costs = np.zeros(self.channels)
        for g, channels in enumerate(self.inputs):
            for channel, inputs in enumerate(channels):
                columns = weight[g][:, inputs].astype(np.float64)
                costs[channel] += np.sum(columns @ gram.corner(g, inputs) * columns)
        return costs / max(self.power, _TINY)

    def without(self, channels: NDArray[np.intp]) -> NDArray[np.float32]:
        """The best weight (groups, m, k) with 0 for the inputs of some channels."""
        mask = np.ones(self.problem.weight.shape, np.bool_)
        for g, inputs in enumerate(self.inputs):
            mask[g][:, inputs[channels].ravel()] = False
        return refit(self.problem, mask)


@dataclass(frozen=True)
class Elimination:
    """Channels in the order in which they went, and what was left at some counts.

    `errors[i]` is the sum of the consumers' relative output errors once the first i channels
    are gone; `weights[n]` holds the refitted weight (groups, m, k) of each consumer with n left.
    """

    order: NDArray[np.intp]
    errors: NDArray[np.float64]
    weights: Mapping[int, tuple[NDArray[np.float32], ...]]


@single_thread()  # factors have the same bytes however many threads there are
@np.errstate(over="ignore")  # outputs that do not vary have no power to lose a fraction of
def eliminate(
    consumers: Sequence[Consumer],
    counts: Sequence[int] = (),
    order: NDArray[np.intp] | None = None,
) -> Elimination:
    """Take all channels away, the one that costs least first, or in a given order.

    Weights are told at `counts` of channels left. Raises ValueError without consumers, DataError
    where a Gram matrix has no inverse.
    """
    if not consumers:
        raise ValueError("channels without a consumer cost nothing")
    states = [_State(consumer) for consumer in consumers]
    size = consumers[0].channels
    gone: list[int] = []
    errors = [0.0]
    weights = {}
    if size in counts:
        weights[size] = tuple(state.told() for state in states)
    for step in _steps(size, counts):
        if order is None:
            chosen = _cheapest(states, gone, size, step)
        else:
            chosen = order[len(gone) : len(gone) + step]
        spent = sum(state.remove(chosen) for state in states)
        before = errors[-1]
        errors += [before + spent * (i + 1) / len(chosen) for i in range(len(chosen))]
        gone.extend(chosen.tolist())
        if size - len(gone) in counts:
            weights[size - len(gone)] = tuple(state.told() for state in states)
    return Elimination(np.asarray(gone, np.intp), np.asarray(errors), weights)


def fitted(
    consumers: Sequence[Consumer], counts: Sequence[int], order: NDArray[np.intp]
) -> dict[int, tuple[NDArray[np.float32], ...]]:
    """What is best of each consumer's weight, by counts of channels that are left.

    They go in the order given. Raises as `eliminate`.
    """
    if not any(consumer.is_wide for consumer in consumers):
        return dict(eliminate(consumers, counts, order).weights)
    gone = {count: order[: len(order) - count] for count in counts}
    return {n: tuple(consumer.without(gone[n]) for consumer in consumers) for n in counts}


def _steps(size: int, counts: Sequence[int]) -> Iterator[int]:
    """How many channels go at each step: never past a count that is asked for."""
    left = size
    while left:
        below = max((count for count in counts if count < left), default=0)
        step = min(max(1, left // _STEPS), left - below)
        yield step
        left -= step


def _cheapest(
    states: Sequence[_State], gone: Sequence[int], size: int, step: int
) -> NDArray[np.intp]:
    """The channels left that cost least; of equals the first."""
    left = np.setdiff1d(np.arange(size), gone)
    costs = sum((state.costs(left) for state in states), np.zeros(len(left)))
    return left[np.argsort(costs, kind="stable")[:step]]


class _State:
    """One consumer on the way: V and H^-1 of equation 2, in float64."""

    def __init__(self, consumer: Consumer) -> None:
        self._inputs = consumer.inputs
        self._scale = 1 / max(consumer.power, _TINY)
        try:
            self._inverse = inverses(consumer.problem.gram.dense(), dtype=np.float64)
        except np.linalg.LinAlgError as error:
            raise DataError(
                "moments of a layer: the Gram matrix is not one; check the data"
            ) from error
        targets = consumer.problem.by_row(consumer.problem.G.astype(np.float64))
        self._weight = np.matmul(targets, self._inverse)
        self._row_scale = consumer.problem.row_scale

    def costs(self, channels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Equation 1 for each of some channels alone."""
        costs = np.zeros(len(channels))
        for inputs, weight, inverse in zip(self._inputs, self._weight, self._inverse, strict=True):
            places = inputs[channels]
            blocks = inverse[places[:, :, None], places[:, None, :]]
            columns = weight[:, places].transpose(1, 2, 0)  # channels, width, m
            costs += np.einsum("cwm,cwm->c", columns, np.linalg.solve(blocks, columns))
        return costs * self._scale

    def remove(self, channels: NDArray[np.intp]) -> float:
        """Equation 2; the cost of all together."""
        cost = 0.0
        for g, inputs in enumerate(self._inputs):
            gone = inputs[channels].ravel()
            weight, inverse = self._weight[g], self._inverse[g]
            lost = weight[:, gone]
            gain = np.linalg.solve(inverse[np.ix_(gone, gone)], np.c_[inverse[gone], lost.T])
            rows, columns = gain[:, : len(inverse)], gain[:, len(inverse) :]
            cost += float(np.sum(lost.T * columns))
            weight -= lost @ rows
            inverse -= inverse[:, gone] @ rows
            weight[:, gone] = 0
            inverse[gone] = 0
            inverse[:, gone] = 0
        return cost * self._scale

    def told(self) -> NDArray[np.float32]:
        """The weight (groups, m, k) as it is now."""
        if self._row_scale is None:
            return np.asarray(self._weight, np.float32)
        return np.asarray(self._weight / self._row_scale[:, :, None], np.float32)
