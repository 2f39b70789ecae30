"""Errors by part: what outputs are joined from, and channels of very different scale, count each.

One error over a whole output is that of its loudest part: boxes of hundreds of pixels hide the
scores beside them. So every part is held against its own power, and the worst one decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.model import Array, is_float
from eapc.solvers import parts_by_scale

Outputs = Mapping[str, Array]

_RESOLUTION = 1e-5
"""Deviations below this fraction of the largest value beside them are none: what is left of scores
behind a Softmax, or of an activation that saturates. float16 resolves no more than 5e-4."""

_PINNED = 1e-3
"""Values this near to the end of an activation's range are at it."""

_MOVING = 0.05
"""Least share of values that are on the way from one end of that range to the other."""


class Samples(NamedTuple):
    """Outputs on some samples, and of which of several kinds these are, (n,) names."""

    outputs: Outputs
    kinds: Array | None = None


class PartErrors(NamedTuple):
    """Errors of outputs, a fraction of each part's power: the worst, and whose; their mean.

    Where there is one part, it has no name and no mean. `unjudged` are parts that do not vary on
    these data, so that nothing is told of them.
    """

    worst: float
    part: str
    mean: float | None
    unjudged: tuple[str, ...]


class _PartError(NamedTuple):
    error: float
    name: str
    varies: bool


@dataclass(frozen=True)
class OutputPart:
    """Some elements of an output; `power` is sum (y - mean y)^2 over them and the samples.

    Where more samples tell the power it is that of as many of them as are judged.
    Parts that do not vary have that of all parts of the output, or sum y^2 where none varies.
    Those that are `saturated` lie at the ends of an activation's range, whatever is before it.
    """

    name: str
    power: float
    varies: bool
    saturated: bool = False


@dataclass(frozen=True)
class SplitOutput:
    """A floating-point output with the part of each of its places.

    Places are the indices along `axis` of a sample, or all of its elements where that is None.
    """

    y: Array
    axis: int | None
    labels: NDArray[np.intp]
    parts: tuple[OutputPart, ...]

    @classmethod
    def of(
        cls,
        name: str,
        y: Array,
        joined: NDArray[np.intp] | None = None,
        kind: str = "",
        beside: Array | None = None,
        by_scale: bool = True,
    ) -> SplitOutput:
        """The parts of an output (samples, ...); `joined` numbers the tensors it is joined from.

        `kind` is what to call the samples, behind the name of each part. Parts and powers are
        those of the samples `beside` as well: few samples do not tell how an output varies.
        Without `by_scale` channels are of one part whatever their powers.
        """
        joined = joined if joined is not None and _fits(joined, y.shape) else None
        known = y if beside is None else np.concatenate([y, beside])
        wide = known.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            spread = np.square(wide - wide.mean(axis=0)).sum(axis=0)
            channels = _channels(joined, spread)
            axis = channels if joined is None or joined.size == max(joined.shape) else None
            base, channel = _places(joined, channels, axis, y.shape[1:])
            powers = _along(spread, axis)
            totals = _along(np.square(wide).sum(axis=0), axis)
            largest = _along(np.abs(wide).max(axis=0, initial=0.0), axis, np.max)
        limits = _limits(base, largest, known)
        labels = _by_scale(base, channel if by_scale else 0 * channel, powers, limits)
        count = int(labels.max(initial=0)) + 1
        sums = np.bincount(labels, powers, count)
        varies = ~(sums <= np.bincount(labels, limits, count))  # no number is no constant
        own = np.bincount(labels, totals, count)
        still = np.full(count, sums[varies].sum()) if varies.any() else own
        scales = np.where(varies, sums, still) * (len(y) / len(known) if len(known) else 1.0)
        titles = _titles(name, labels if axis is not None else labels.reshape(y.shape[1:]), axis)
        named = (f"{title}{kind}" for title in titles)
        values = wide.reshape(len(wide), -1) if axis is None else np.moveaxis(wide, axis + 1, 1)
        pinned = [is_saturated(values[:, labels == i]) for i in range(count)]
        parts = map(OutputPart, named, scales.tolist(), varies.tolist(), pinned)
        return cls(y, axis, labels, tuple(parts))

    def errors(self, other: Array) -> list[float]:
        """E||y - y'||^2 / power of each part; infinite where it is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.square(self.y.astype(np.float64) - other.astype(np.float64)).sum(axis=0)
            sums = np.bincount(self.labels, _along(squares, self.axis), len(self.parts))
        return [_ratio(float(e), part.power) for e, part in zip(sums, self.parts, strict=True)]


class OutputParts:
    """The parts of a network's outputs on some samples, to hold other outputs against."""

    def __init__(
        self,
        reference: Outputs,
        joined: Mapping[str, NDArray[np.intp]] | None = None,
        kinds: Array | None = None,
        beside: Samples | None = None,
        by_scale: bool = True,
    ) -> None:
        self._reference = reference
        labels = joined or {}

        def split(name: str, y: Array, kind: str) -> SplitOutput:
            more = _beside(beside, name, kind, y.shape[1:])
            return SplitOutput.of(name, y, labels.get(name), kind, more, by_scale)

        self._split = {
            name: [(rows, split(name, y[rows], kind)) for kind, rows in _kinds(kinds, len(y))]
            for name, y in reference.items()
            if is_float(y.dtype) and y.size
        }

    @property
    def vary(self) -> bool:
        """Whether any part differs from sample to sample, by more than rounding."""
        return any(part.varies for part in self._parts) or self._others_vary

    @property
    def are_saturated(self) -> bool:
        """Whether all parts that vary jump between the ends of an activation's range."""
        return all(part.saturated for part in self._parts if part.varies) and not self._others_vary

    @property
    def _parts(self) -> Iterator[OutputPart]:
        for found in self._split.values():
            for _, split in found:
                yield from split.parts

    @property
    def _others_vary(self) -> bool:
        """Whether integers do."""
        whole = (y for name, y in self._reference.items() if name not in self._split)
        return any(y.size and bool((y != y[:1]).any()) for y in whole)

    def errors(self, outputs: Outputs) -> PartErrors:
        """The errors of outputs; parts that do not vary count only where no part does.

        The mean of y over samples has no power, so what is constant in y does not hide an error.
        Outputs whose size depends on the data (detections) cannot be compared and are left out,
        as long as there are others; of integers the fraction of samples that differ counts.
        """
        found = list(self._of_all(outputs))
        judged = [each for each in found if each.varies] or found
        worst = max(judged, key=lambda each: each.error, default=None)
        if worst is None:
            return PartErrors(math.inf if self._reference else 0.0, "", None, ())
        if len(found) == 1:
            return PartErrors(worst.error, "", None, ())
        unjudged = tuple(each.name for each in found if each not in judged)
        mean = sum(each.error for each in judged) / len(judged)
        return PartErrors(worst.error, worst.name, mean, unjudged)

    def largest(self, outputs: Outputs) -> float:
        """The worst error of all parts, those included that do not vary."""
        found = [each.error for each in self._of_all(outputs)]
        return max(found, default=math.inf if self._reference else 0.0)

    def _of_all(self, outputs: Outputs) -> Iterator[_PartError]:
        for name, y in self._reference.items():
            other = outputs[name]
            if y.shape != other.shape:
                continue
            if name in self._split:
                for rows, split in self._split[name]:
                    for part, error in zip(split.parts, split.errors(other[rows]), strict=True):
                        yield _PartError(error, part.name, part.varies)
            else:
                yield _PartError(_differing(y, other), name, True)


def is_saturated(values: Array) -> bool:
    """Whether values of 0 to 1, or -1 to 1, are at either end and next to never between.

    So is what a Sigmoid or Softmax makes of scores that are far too large: they may become ten
    times as large or a tenth, and nothing changes.
    """
    if not values.size or not np.isfinite(values).all():
        return False
    low, high = float(values.min()), float(values.max())
    ends = [end for end in (0.0, -1.0) if abs(low - end) <= _PINNED]
    if not ends or abs(high - 1) > _PINNED:
        return False
    lower = int(np.count_nonzero(values <= ends[0] + _PINNED))
    upper = int(np.count_nonzero(values >= 1 - _PINNED))
    moving = values.size - lower - upper
    return moving < _MOVING * (moving + min(lower, upper))


def _kinds(kinds: Array | None, samples: int) -> Iterator[tuple[str, slice | Array]]:
    """What to call samples of a kind, and where they are; nothing, and all, where there is one."""
    if kinds is None or len(kinds) != samples:
        yield "", slice(None)
        return
    for kind in dict.fromkeys(kinds.tolist()):
        yield f" on {kind}", np.flatnonzero(kinds == kind)


def _beside(samples: Samples | None, name: str, kind: str, shape: tuple[int, ...]) -> Array | None:
    """An output on the samples of a kind; None where they have none of this shape."""
    y = samples.outputs.get(name) if samples else None
    if samples is None or y is None or y.shape[1:] != shape:
        return None
    rows = dict(_kinds(samples.kinds, len(y))).get(kind)
    return None if rows is None else y[rows]


def _differing(y: Array, other: Array) -> float:
    return float((y != other).any(axis=tuple(range(1, y.ndim))).mean()) if y.size else 0.0


def _ratio(error: float, power: float) -> float:
    if math.isfinite(error) and 0 < power < math.inf:
        return error / power
    return 0.0 if error == 0 else math.inf


def _fits(joined: NDArray[np.intp], shape: tuple[int, ...]) -> bool:
    """Whether labels are those of a tensor of this shape, the same for all samples."""
    if joined.ndim != len(shape) or joined.shape[:1] != (1,):
        return False
    return all(a in (1, b) for a, b in zip(joined.shape[1:], shape[1:], strict=True))


def _channels(joined: NDArray[np.intp] | None, powers: Array) -> int | None:
    """The axis of channels in a sample: the first that parts are joined along.

    Without joins the first or the last, whichever has powers further apart; None where a sample
    has no axes.
    """
    for axis, size in enumerate(joined.shape[1:] if joined is not None else ()):
        if size > 1:
            return axis
    if not powers.ndim or not powers.size:
        return 0 if powers.ndim else None
    return max(dict.fromkeys((0, powers.ndim - 1)), key=lambda axis: _range(_along(powers, axis)))


def _range(powers: Array) -> float:
    """The largest over the smallest power that is one."""
    known = powers[np.isfinite(powers) & (powers > 0)]
    return float(known.max() / known.min()) if known.size > 1 else 0.0


def _places(
    joined: NDArray[np.intp] | None, channels: int | None, axis: int | None, sample: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The joined tensor and the channel of each place, (places,)."""
    if axis is not None:
        line = np.zeros(1, np.intp) if joined is None else joined.ravel()
        return np.broadcast_to(line, sample[axis]), np.arange(sample[axis])
    if joined is None or channels is None:
        return np.zeros(1, np.intp), np.zeros(1, np.intp)
    along = [-1 if other == channels else 1 for other in range(len(sample))]
    channel = np.broadcast_to(np.arange(sample[channels]).reshape(along), sample)
    return np.broadcast_to(joined[0], sample).ravel(), channel.ravel()


def _along(values: Array, axis: int | None, join: Callable[..., Array] = np.sum) -> Array:
    """Values of a sample's elements put together at each index of an axis; None takes them all."""
    if axis is None:
        return values.ravel()
    return np.asarray(join(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1), axis=1))


def _limits(base: NDArray[np.intp], largest: Array, y: Array) -> NDArray[np.float64]:
    """What the power of each place comes to by rounding at its part's largest value."""
    peaks = np.zeros(int(base.max(initial=0)) + 1)
    np.fmax.at(peaks, base, largest)
    unit = max(_RESOLUTION, 4 * float(np.spacing(np.ones((), y.dtype))))
    with np.errstate(over="ignore"):
        return np.asarray(np.nan_to_num(y.size / len(base) * np.square(unit * peaks))[base])


def _by_scale(
    base: NDArray[np.intp],
    channel: NDArray[np.intp],
    powers: NDArray[np.float64],
    limits: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Parts of a part where powers of its channels differ by more than a factor.

    Those of the largest power come first; channels that do not vary are one part, the last.
    """
    size = int(channel.max(initial=0)) + 1
    cells, cell, counts = np.unique(base * size + channel, return_inverse=True, return_counts=True)
    power = np.bincount(cell, np.nan_to_num(powers), len(cells)) / counts
    limit = np.bincount(cell, limits, len(cells)) / counts
    group = np.zeros(len(cells), np.intp)
    for part in np.unique(cells // size):
        own = np.flatnonzero(cells // size == part)
        group[own] = parts_by_scale(power[own], limit[own])
    numbers = np.unique(cells // size * (len(cells) + 1) + group, return_inverse=True)[1]
    return np.asarray(numbers.reshape(-1)[cell.reshape(-1)])


def _titles(name: str, labels: NDArray[np.intp], axis: int | None) -> list[str]:
    """`scores`, or `boxes[:, 0:4]` for a part of an output: by the first axis that tells."""
    count = int(labels.max(initial=0)) + 1
    return [name] if count == 1 else [_title(name, labels == i, i, axis or 0) for i in range(count)]


def _title(name: str, mask: NDArray[np.bool_], number: int, first: int) -> str:
    for axis in range(mask.ndim):
        places = np.moveaxis(mask, axis, 0).reshape(mask.shape[axis], -1).any(axis=1)
        if not places.all():
            return f"{name}[{':, ' * (first + axis + 1)}{_ranges(np.flatnonzero(places))}]"
    return f"{name} part {number}"


def _ranges(places: NDArray[np.intp]) -> str:
    """`0:4`, or the first of several ranges and how many places there are."""
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    first = f"{runs[0][0]}:{runs[0][-1] + 1}" if len(runs[0]) > 1 else str(runs[0][0])
    return first if len(runs) == 1 else f"{first} and {len(places) - len(runs[0])} more"
