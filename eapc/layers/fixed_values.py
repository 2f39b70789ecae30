"""Weights that were worked out rather than learnt: filter banks, transforms, blurs, counts.

Exporters put fixed arithmetic into the same operators as layers: the distances 0 to 15 that box
regression sums over, banks of mel filters, cosines of a Fourier transform, kernels that blur or
interpolate. What they compute is exact, few inputs show how exact, and zeros in them are no
saving that a network was trained to bear. They are told from learnt weights by their values.

Each test is a set of equations that such weights fulfil to rounding. A learnt float fulfils one by
chance about once in a million, so a handful of them, all fulfilled, is proof; what leaves nothing
to fulfil is no evidence: rows of zeros, kernels of one weight (all that is left of most in a
pruned network), rows too short. Few values alone are none either: binary and ternary networks
have them, in no order. Weights that were learnt and then made symmetric or the like look fixed:
naming the layer prunes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from eapc.model import Array, Shape

_EQUATIONS = 6
"""Fulfilled equations that are no chance, of rounded values as of binary ones."""

_ROUNDINGS = 16
"""Units in the last place that exact arithmetic may be off, relative to the largest weight."""

_ANGLES = 1e-3
"""What sinusoids are off, relative to their own size: angles of thousands are rounded as well."""

_NOTHING = 1e-7
"""What rows are rounding below, relative to the largest weight."""

_WAVE_LENGTH = 16
"""Values of a row from which a sinusoid is told from a smooth curve."""

_GLANCED_AT = 4
"""Rows looked at first: most weights fail there, however many they are."""


def fixed_arithmetic(weight: Array, matrix: Array) -> str:
    """What weights are, in words, if they are fixed arithmetic; else empty.

    `weight` has the operator's own shape, (M, C, *kernel) or two axes; `matrix` is W (groups, m, k)
    of the same.
    """
    every = matrix.reshape(-1, matrix.shape[-1]).astype(np.float64)
    if not every.size or not np.isfinite(every).all():
        return ""
    rows = _without_small(every)
    if not len(rows):
        return ""
    bits = weight.dtype if weight.dtype.itemsize < 4 else np.dtype(np.float32)
    tolerance = float(_epsilon(bits))
    for what, holds in _OF_ROWS.items():
        if holds(rows[:_GLANCED_AT], tolerance, False) and holds(rows, tolerance, True):
            return what
    if _is_windowed_wave(every, tolerance):
        return _WAVES
    kernels = _kernels(weight)
    if kernels is not None:
        for what, count in _OF_KERNELS.items():
            if _is_proof(count(kernels, tolerance), len(kernels)):
                return what
    return ""


def _without_small(rows: Array, nothing: float = _NOTHING) -> Array:
    """Rows that are more than rounding beside the others, as of the sine of whole turns."""
    sizes = np.abs(rows).max(axis=1)
    large: Array = sizes > nothing * sizes.max()
    return np.compress(large, rows, axis=0)


def _epsilon(dtype: np.dtype[np.generic]) -> float:
    return {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(dtype.name, 2.0**-23)


# --- rows: all weights of an output ----------------------------------------------------------

RowTest = Callable[[Array, float, bool], bool]
"""(rows without those of zeros, rounding, whether these are all rows) -> whether they fit."""


def _is_progression(rows: Array, tolerance: float, is_all: bool) -> bool:
    """Second differences are 0: counts, constants (means and sums), straight lines."""
    length = rows.shape[1]
    if length < 4 or (is_all and len(rows) * (length - 2) < _EQUATIONS):
        return False
    largest = np.abs(rows).max(axis=1)
    return bool(np.all(np.abs(np.diff(rows, 2)).max(axis=1) <= _ROUNDINGS * tolerance * largest))


def _is_one_hot(rows: Array, _: float, is_all: bool) -> bool:
    """One weight in each row, the same in all: identities, permutations, shifts, picks."""
    values = rows[rows != 0]
    alike = len(values) == len(rows) and bool(np.all(values == values[0]))
    return alike and rows.shape[1] >= 4 and (not is_all or len(rows) >= 4)


def _is_hadamard(rows: Array, tolerance: float, is_all: bool) -> bool:
    """Weights of one size, rows orthogonal to each other: signs alone, as in no binary network."""
    sizes = np.abs(rows)
    length = rows.shape[1]
    if not np.allclose(sizes, sizes[0, 0], rtol=_ROUNDINGS * tolerance, atol=0):
        return False
    distinct = np.unique(np.sign(rows), axis=0)
    if len(distinct) > length or (is_all and len(distinct) < 4):
        return False
    return bool(np.array_equal(distinct @ distinct.T, length * np.eye(len(distinct))))


_WAVES = "sinusoids, as of a Fourier transform"


def _is_wave(rows: Array, tolerance: float, _: bool) -> bool:
    """w[n + 1] + w[n - 1] = c w[n] along the row: a sinusoid of one frequency in each."""
    return _recurs(rows, max(_ANGLES, 4 * tolerance))


def _is_windowed_wave(rows: Array, tolerance: float) -> bool:
    """The same across the rows: a window is one factor there, if frequencies rise by equal steps.

    Cosines and sines may stand one behind the other or take turns.
    """
    off, halves = max(_ANGLES, 4 * tolerance), len(rows) // 2
    ways = ((rows,), (rows[:halves], rows[halves:]), (rows[::2], rows[1::2]))
    return any(all(_recurs(part.T, off) for part in way) for way in ways)


def _recurs(rows: Array, off: float) -> bool:
    """Whether every row that is no zeros obeys a three-term recurrence with |c| <= 2."""
    if not rows.size or rows.shape[1] < _WAVE_LENGTH or not rows.any():
        return False
    rows = _without_small(rows, _ANGLES)
    for part in (rows[:_GLANCED_AT], rows):
        middle, around = part[:, 1:-1], part[:, 2:] + part[:, :-2]
        power = np.sum(middle * middle, axis=1)
        if not np.all(power):
            return False
        c = np.clip(np.sum(around * middle, axis=1) / power, -2, 2)
        error = np.sum((around - c[:, None] * middle) ** 2, axis=1)
        if not np.all(error <= off**2 * power):
            return False
    return True


def _is_filter_bank(rows: Array, tolerance: float, is_all: bool) -> bool:
    """No weight below 0, each row one run that rises and then falls, further on in each row.

    Mel filters, triangles over frequencies, and what interpolates. Turned about they are as well.
    """
    if rows.min() < 0:
        return False
    if not is_all:
        return True
    return _is_banded(rows, tolerance) or _is_banded(rows.T, tolerance)


def _is_banded(rows: Array, tolerance: float) -> bool:
    rows = _without_small(rows)
    count, length = rows.shape
    held = rows != 0
    if count < 4 or length < 8 or np.mean(held) > 0.6:
        return False
    first, last = held.argmax(axis=1), length - 1 - held[:, ::-1].argmax(axis=1)
    steps = np.diff(rows, axis=1)
    slack = _ROUNDINGS * tolerance * rows.max(axis=1)[:, None]
    before = np.arange(length - 1) < rows.argmax(axis=1)[:, None]
    unimodal = np.all(np.where(before, steps >= -slack, steps <= slack))
    runs = np.all(last - first + 1 == held.sum(axis=1))
    ordered = np.all(np.diff(first) >= 0) and np.all(np.diff(last) >= 0)
    moves = len(np.unique(first)) + len(np.unique(last)) > count  # not one run for all rows
    return bool(unimodal and runs and ordered and moves)


_OF_ROWS: Mapping[str, RowTest] = {
    "counts, means or straight lines": _is_progression,
    "a choice or permutation of values": _is_one_hot,
    "a Hadamard matrix": _is_hadamard,
    _WAVES: _is_wave,
    "a bank of filters": _is_filter_bank,
}


# --- kernels: the weights between two channels -----------------------------------------------

KernelTest = Callable[[Array, float], int | None]
"""(kernels (n, *kernel) without zeros, rounding) -> equations that hold; None if one does not."""


def _kernels(weight: Array) -> Array | None:
    """Spatial kernels of one axis or two, those of zeros left out; None where there are none."""
    shape: Shape = weight.shape[2:]
    if len(shape) not in (1, 2) or max(shape, default=0) < 3:
        return None
    kernels = weight.reshape(-1, *shape).astype(np.float64)
    kernels = kernels[np.any(kernels.reshape(len(kernels), -1) != 0, axis=1)]
    return kernels if len(kernels) else None


def _is_proof(equations: int | None, kernels: int) -> bool:
    """Half an equation for each kernel at least: most hold enough weights to say something."""
    return equations is not None and equations >= max(4, kernels // 2)


def _mirrored(kernels: Array, tolerance: float) -> int | None:
    """Turned about along each axis a kernel is itself, or its negative: blurs, edges, ramps."""
    total = 0
    for part in _parts(kernels):
        size = np.abs(part).reshape(len(part), -1).max(axis=1)
        limit = (_ROUNDINGS * tolerance * size).reshape(-1, *(1,) * (part.ndim - 1))
        for axis in range(1, part.ndim):
            turned = np.flip(part, axis)
            same, opposite = (np.abs(part - sign * turned) <= limit for sign in (1, -1))
            each = np.maximum(_all_of(same), _all_of(opposite))
            if not np.all(each):
                return None
            middle = part.shape[axis] // 2
            total += int(np.count_nonzero(np.take(part, range(middle), axis)))
    return total + _transposed(kernels)


def _transposed(kernels: Array) -> int:
    """Equations that kernels fulfil further that are their own transposes."""
    if kernels.ndim != 3 or not np.array_equal(kernels, kernels.swapaxes(1, 2)):
        return 0
    return int(np.count_nonzero(np.triu(kernels, 1)))


def _separable(kernels: Array, tolerance: float) -> int | None:
    """A column times a row: all products of two by two weights agree."""
    if kernels.ndim != 3:
        return None
    total = 0
    for part in _parts(kernels):
        sizes = np.linalg.svd(part, compute_uv=False)
        if np.any(sizes[:, 1:].max(axis=1, initial=0) > _ROUNDINGS * tolerance * sizes[:, 0]):
            return None
        rows, columns = (np.count_nonzero(np.any(part != 0, axis=axis), axis=1) for axis in (2, 1))
        total += int(np.sum((rows - 1) * (columns - 1)))
    return total


def _the_same(kernels: Array, tolerance: float) -> int | None:
    """Every channel has the same kernel."""
    if len(kernels) < 4:
        return None
    limit = _ROUNDINGS * tolerance * np.abs(kernels[0]).max()
    if any(np.abs(part - kernels[0]).max() > limit for part in _parts(kernels)):
        return None
    return (len(kernels) - 1) * max(0, int(np.count_nonzero(kernels[0])) - 1)


def _parts(kernels: Array) -> Iterator[Array]:
    """A few kernels first, then all."""
    yield kernels[:_GLANCED_AT]
    if len(kernels) > _GLANCED_AT:
        yield kernels[_GLANCED_AT:]


def _all_of(flags: Array) -> Array:
    return np.asarray(flags.reshape(len(flags), -1).all(axis=1))


_OF_KERNELS: Mapping[str, KernelTest] = {
    "the same kernel for every channel": _the_same,
    "mirrored kernels, as of blurs and edges": _mirrored,
    "separable kernels, as of blurs and interpolation": _separable,
}
