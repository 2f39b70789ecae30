"""The statistics of a layer, taken from two networks' activations.

The solver sees z = scale * (y - offset): outputs as the layers behind will see them, without
the bias that is solved afterwards. Targets come from the original network, inputs from the
one pruned so far.

Targets of a layer in front of an activation that cuts values off.

Behind a Relu all negative values are one. So a layer that is refitted need not meet a negative
target, but only stay negative there: it minimises E||clip(v) - clip(t)||^2, v = W x + b its
outputs and t the targets. Where t is cut off, whatever of v is cut off too is as good a target as
t. Least squares towards such targets, then new targets from the new v, lowers the error step by
step: each squared distance is an upper bound of the clipped one that touches it at v [1].

[1] Reconstruction behind the nonlinearity: Zhang, Zou, He, Sun, "Accelerating Very Deep
    Convolutional Networks for Classification and Detection", PAMI 2016.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np

from eapc.calibration.activations import Batches, Kinds
from eapc.layers import Layer, TiedLayers
from eapc.model import Array, Model
from eapc.solvers import MomentAccumulator, Moments, MovedTargets

K = TypeVar("K", bound=Hashable)

MIN_ROWS = 65_536
ROWS_PER_INPUT = 16
WORDS = 1 << 25

_KEPT_WORDS = 1 << 26
"""Words of a layer's rows that may stay in memory for further passes: 256 MiB."""


@dataclass(frozen=True)
class LayerActivations:
    """One layer's inputs and original outputs, batch by batch.

    `branch` holds the other summand of the Add that follows, (original, pruned), where both
    are known: what the pruned one lacks is added to the layer's targets. `inputs` is how many
    calibration inputs the batches hold; unless it is known, each row is taken for one. `kinds` are
    those of each batch's samples; without them all batches are alike.
    """

    x: Batches
    y: Batches
    branch: tuple[Batches, Batches] | None = None
    inputs: int | None = None
    kinds: Kinds = ()


def row_limit(inputs: int) -> int:
    """Rows to fit a layer with this many inputs per output on.

    Enough to determine the weights; more where rows are short and so cost little.
    """
    return max(MIN_ROWS, ROWS_PER_INPUT * inputs, WORDS // inputs)


class RowBatch(NamedTuple):
    """Inputs (groups, rows, k) and targets z (groups, rows, m) of a batch, each row by a weight.

    `added` is what the pruned network's other branch adds to z, where that is known.
    """

    inputs: Array
    targets: Array
    added: Array | None
    weight: float


@dataclass(frozen=True)
class LayerRows:
    """The rows of a layer's activations that it is fitted on: indices for every batch.

    With `keep` inputs, targets and branches stay in memory for further passes.
    """

    layer: Layer
    activations: LayerActivations
    rows: tuple[Array, ...]
    keep: bool = False

    @classmethod
    def sample(
        cls,
        layer: Layer,
        activations: LayerActivations,
        limit: int,
        rng: np.random.Generator,
        row_words: int | None = None,
    ) -> LayerRows:
        """About `limit` rows, or all if there are no more.

        `row_words`, all that a row consists of in all groups, are given where several passes
        are to be made.
        """
        counts = [layer.form.row_count(y.shape) for y in activations.y]
        share = min(1.0, limit / max(1, sum(counts)))
        keep = row_words is not None and share * sum(counts) * row_words <= _KEPT_WORDS
        rows = tuple(_sample(count, share, rng) for count in counts)
        return cls(layer, activations, rows, keep)

    @property
    def is_reached(self) -> bool:
        """Whether any input has come to the layer: a branch may never be taken."""
        return any(rows.size for rows in self.rows)

    def batches(self) -> Iterable[RowBatch]:
        """The rows with their targets and weights, batch by batch."""
        return self._kept if self.keep else self._made()

    @cached_property
    def _kept(self) -> Sequence[RowBatch]:
        return list(self._made())

    def _made(self) -> Iterator[RowBatch]:
        for i, rows in enumerate(self.rows):
            if rows.size:
                x, y = self.activations.x[i], self.activations.y[i]
                inputs = self.layer.form.inputs(x, y.shape, rows)
                yield RowBatch(inputs, *self._targets(i), self._weights[i])

    @cached_property
    def _weights(self) -> Sequence[float]:
        """What a row of each batch counts, see `row_weights`."""
        kinds = self.activations.kinds
        if len(set(kinds)) < 2:
            return [1.0] * len(self.rows)
        spreads: dict[tuple[int, ...], TargetSpread] = {}
        for i, rows in enumerate(self.rows):
            if rows.size:
                spread = spreads.setdefault(kinds[i], TargetSpread())
                spread.add(self._targets(i)[0])
        weights = row_weights(spreads)
        return [weights.get(kind, 0.0) for kind in kinds]

    def moments(self) -> Moments:
        """Second moments of inputs and targets; about zero where there is no bias to move.

        Outputs that nothing mixes count by part, as they are judged.
        """
        accumulator: MomentAccumulator | None = None
        for inputs, targets, _, weight in self.batches():
            if accumulator is None:
                groups, _, k = inputs.shape
                sizes = (groups, k, targets.shape[2])
                accumulator = MomentAccumulator(*sizes, self.activations.inputs)
            accumulator.add(inputs, targets, weight)
        assert accumulator is not None  # a dataset is never empty
        moments = replace(accumulator.finish(), by_part=self.layer.unmixed)
        return moments if self.layer.bias else moments.uncentred()

    def _targets(self, i: int) -> tuple[Array, Array | None]:
        """z of one batch, plus what the pruned other branch lacks, and what that one adds."""
        layer, y, rows = self.layer, self.activations.y[i], self.rows[i]
        z = layer.form.outputs(y, rows)
        groups, _, m = z.shape
        scale, offset = (v.reshape(groups, 1, m) for v in (layer.scale, layer.offset))
        z = (z - offset) * scale
        if self.activations.branch is None or not self.has_branch:
            return z, None
        original, pruned = (layer.form.outputs(b[i], rows) for b in self.activations.branch)
        return z + (original - pruned), pruned

    @property
    def has_branch(self) -> bool:
        """Whether another branch of the outputs' shape is added to them."""
        branch, shape = self.activations.branch, self.activations.y[0].shape
        return branch is not None and all(each[0].shape == shape for each in branch)


# --- kinds of samples ----------------------------------------------------------------------------


_RESOLUTION = 1e-5
"""Deviations below this fraction of a deviation from zero are rounding."""


class TargetSpread:
    """Adds up what targets z (groups, rows, m) of one kind vary by."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum: Array | float = 0.0
        self._squares = 0.0

    def add(self, z: Array) -> None:
        """Take the targets of some more rows."""
        wide = z.astype(np.float64)
        self.rows += z.shape[1]
        self._sum = self._sum + wide.sum(axis=1)
        self._squares += float(np.square(wide).sum())

    @property
    def power(self) -> float:
        """E||z - E z||^2 over all groups; 0 where that is rounding."""
        square = self._squares / self.rows
        power = square - float(np.square(self._sum / self.rows).sum())
        return power if power > _RESOLUTION**2 * square else 0.0


def row_weights(spreads: Mapping[K, TargetSpread]) -> dict[K, float]:
    """What a row of each kind counts: 1 over the power of its kind, and 1 on average of all rows.

    A network is judged on inputs of each scale apart, by the share of what its outputs vary by
    that is lost. So a layer is fitted for the least sum of such shares: without weights, rows of
    values up to 255 would count thousands of times as much as others. Targets of a kind that do
    not vary have no share to lose, and its rows count nothing, unless none vary.
    """
    inverse = {kind: 1 / s.power if s.power else 0.0 for kind, s in spreads.items()}
    total = sum(inverse[kind] * spread.rows for kind, spread in spreads.items())
    if not 0 < total < math.inf:
        return dict.fromkeys(spreads, 1.0)
    rows = sum(spread.rows for spread in spreads.values())
    return {kind: each * rows / total for kind, each in inverse.items()}


def row_generator(seed: int, layer: Layer) -> np.random.Generator:
    """The generator for a layer's rows; it owes nothing to the layers that came before."""
    name = hashlib.sha256(layer.node.key.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(name[:8], "little")])


def _sample(count: int, share: float, rng: np.random.Generator) -> Array:
    if share >= 1:
        return np.arange(count)
    chosen = rng.choice(count, size=max(1, round(share * count)), replace=False)
    return np.sort(chosen)


def scaled_matrix(tied: TiedLayers, model: Model) -> Array:
    """W (groups, m, k) with each output multiplied by its scale: z = W x."""
    matrix = tied.matrix(model)
    return matrix * row_scale(tied, matrix)


def unscaled_matrix(tied: TiedLayers, matrix: Array) -> Array:
    """The inverse; an output that is multiplied by 0 gets no weights."""
    scale = row_scale(tied, matrix)
    safe = np.where(scale == 0, 1, scale)
    return np.where(scale == 0, 0, matrix / safe).astype(np.float32)


def row_scale(tied: TiedLayers, matrix: Array) -> Array:
    """(groups, m, 1); layers that share weights see them in common units, so in ones."""
    return tied.first.scale.reshape(*matrix.shape[:2], 1)


def moved_biases(
    tied: TiedLayers,
    model: Model,
    matrix: Array,
    moments: Sequence[Moments],
    now: Model | None = None,
    scales: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """New values of the constants that take up the change of each user's mean output.

    `matrix` is the new W of z, `moments` one per user. What other layers have made of these
    constants is as the model has it `now`; `scales` are new ones of codes.
    """
    changed: dict[str, Array] = {}
    for layer, moment in zip(tied.users, moments, strict=True):
        if layer.bias is None:
            continue
        change = moment.bias(matrix).ravel()
        changed[layer.bias.tensor] = layer.bias.changed(model, change, now, scales)
    return changed


# --- targets behind activations ------------------------------------------------------------------


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
    for inputs, targets, added, weight in rows.batches():
        fitted = np.matmul(inputs, transposed)
        fitted += offset
        nearest = _nearest(fitted, targets, *_bounds(rows.layer, targets.shape, added))
        moved.add(inputs, nearest, weight)
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
