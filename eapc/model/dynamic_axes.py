"""Sizes for the axes that a model leaves open, where nobody gives them.

An image network says nothing at one pixel, nor a recurrent one at one step: its kernels read
padding alone. So open axes get the least size that such networks are used at, and from there twice
as much each time, till every tensor has elements: a multiple of all strides together, at least 64
and at least 7 of them, which is what 224 is to the networks of total stride 32.

Where nothing from there on fits, a table of positions or the like may be shorter: then the size is
the largest one that a constant has and that fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import MappingProxyType

import numpy as np

from eapc.model.tensors import TensorSpec

Axes = Mapping[tuple[str, int], int]
"""(input, axis) -> size."""


class OpenAxis(Enum):
    """What an open axis counts; its value is the largest size that is tried."""

    PIXELS = 1024
    STEPS = 65536


_LEAST = 64

_STRIDES = 7
"""Positions of the smallest feature map: 224 / 32."""

_DOUBLINGS = 6
"""How often sizes grow that no shape inference refuses, and a run does."""

_FEW_CHANNELS = 4

_OF_IMAGES = re.compile(r"height|width|rows|cols|columns|(^|_)[hw]($|_|\d)", re.IGNORECASE)
_OF_ONE = re.compile(r"batch|past|cache|total|[+*/]|^[nb]$", re.IGNORECASE)


def is_single_image(spec: TensorSpec) -> bool:
    """Whether an input is one image, rows and columns open and channels last, without a batch."""
    if len(spec.shape) != 3:
        return False
    *places, channels = spec.shape
    names = [axis or "" for axis in places if not isinstance(axis, int)]
    if len(names) < 2 or not isinstance(channels, int) or channels > _FEW_CHANNELS:
        return False
    is_named = all(map(_OF_IMAGES.search, names))
    return is_named or (spec.dtype == np.uint8 and not any(map(_OF_ONE.search, names)))


def usual_sizes(
    specs: Sequence[TensorSpec],
    has_elements: Callable[[Axes], bool],
    stride: int,
    lengths: Iterable[int],
    told: Axes = MappingProxyType({}),
) -> dict[tuple[str, int], int]:
    """Sizes for the open axes of inputs but their batch; empty where none of those tried fit.

    `has_elements` tells whether every tensor of the network has some at given sizes, `stride` is
    that of the smallest feature map, `lengths` are sizes that constants have, `told` are sizes that
    weights leave no choice of. Axes that stay out, such as further batches and lengths of caches,
    are to be one.
    """
    found = (pair for spec in specs for pair in _kinds(spec, _others(spec, specs)))
    kinds = {place: kind for place, kind in found if place not in told}
    for size in _candidates(stride, lengths) if kinds else [1]:
        sizes = {place: min(size, _largest(kind, stride)) for place, kind in kinds.items()}
        if (kinds or told) and has_elements({**sizes, **told}):
            return {**sizes, **told}
    return {}


def larger_sizes(
    specs: Sequence[TensorSpec], sizes: Axes, stride: int, told: Axes = MappingProxyType({})
) -> Iterator[Axes]:
    """Ever twice the usual sizes of open axes, while any of them can grow.

    What counts pixels or steps grows, up to the largest that is tried; what weights tell stays.
    """
    found = (pair for spec in specs for pair in _kinds(spec, _others(spec, specs)))
    most = {
        place: _largest(kind, stride)
        for place, kind in found
        if place in sizes and place not in told
    }
    for _ in range(_DOUBLINGS):
        twice = {place: max(sizes[place], min(2 * sizes[place], most[place])) for place in most}
        grown = {**sizes, **twice}
        if grown == sizes:
            return
        yield grown
        sizes = grown


def _candidates(stride: int, lengths: Iterable[int]) -> Iterator[int]:
    """The usual sizes, growing, and then those of constants below them, the largest first."""
    least = size = stride * -(-max(_LEAST, _STRIDES * stride) // stride)
    while size <= OpenAxis.STEPS.value:
        yield size
        size *= 2
    yield from sorted({length for length in lengths if 1 < length < least}, reverse=True)


def _largest(kind: OpenAxis, stride: int) -> int:
    return max(1, kind.value // stride) * stride


def _others(spec: TensorSpec, specs: Sequence[TensorSpec]) -> set[int | str | None]:
    """What other inputs call their open axes but the batch; None among them where it is open."""
    return {
        axis
        for other in specs
        if other is not spec and len(other.shape) != len(spec.shape)
        for place, axis in enumerate(other.shape)
        if place != other.batch_axis and not isinstance(axis, int)
    }


def _kinds(
    spec: TensorSpec, others: set[int | str | None]
) -> Iterator[tuple[tuple[str, int], OpenAxis]]:
    """The open axes behind the first, and what they count.

    Where the first axis is fixed, as in a state, the next one that is open counts inferences.
    """
    if is_single_image(spec):
        yield from (((spec.name, axis), OpenAxis.PIXELS) for axis in (0, 1))
        return
    images = set(_image_axes(spec, others))
    batched = not spec.shape or not isinstance(spec.batch, int) or spec.batch == 1
    for axis, size in enumerate(spec.shape):
        if axis == spec.batch_axis or isinstance(size, int):
            continue
        name = size or ""
        if axis in images or (len(spec.shape) > 3 and _OF_IMAGES.search(name)):
            yield (spec.name, axis), OpenAxis.PIXELS
        elif not batched:
            batched = True
        elif not _OF_ONE.search(name) and not (len(spec.shape) == 4 and axis == 1):
            yield (spec.name, axis), OpenAxis.STEPS


def _image_axes(spec: TensorSpec, others: set[int | str | None]) -> Sequence[int]:
    """Rows and columns where both are open: behind few channels, or in front of them.

    A mask of attention has axes of one name, or of names that sequences beside it have.
    """
    shape = spec.shape
    if not spec.is_float and spec.dtype.kind != "u":
        return ()
    channels_last = isinstance(shape[-1], int) and shape[-1] <= _FEW_CHANNELS if shape else False
    axes = {4: (1, 2) if channels_last else (2, 3), 3: (1, 2)}.get(len(shape), ())
    if len(shape) == 3 and not (isinstance(shape[0], int) and shape[0] <= _FEW_CHANNELS):
        return ()
    names = [shape[axis] for axis in axes]
    is_mask = bool(others & set(names)) or (len(set(names)) == 1 and names[0] is not None)
    return () if is_mask or any(isinstance(name, int) for name in names) else axes
