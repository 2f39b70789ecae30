"""Inputs made up for a model that comes without data.

Images are dead leaves: discs and rectangles of all sizes that cover each other, which have
the edges and the 1/f amplitude spectrum of natural images (Lee, Mumford, Huang, IJCV 2001).
Plain 1/f noise has no edges, and networks pruned on it do far worse on real images. Contrast
and brightness vary from image to image, since the right ones can only be guessed
(`eapc.synthesis.input_scale`). A 3x3 kernel sees next to nothing but edges and flat colour in them,
so that a fit on them alone is free to change what it makes of anything else: where the network does
not tell that it was trained on such images, as many inputs are white noise. Other floating-point
inputs are normal; what holds one number has the value that the graph tells of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from eapc.data import Dataset, common_batch, dataset
from eapc.errors import DataError
from eapc.model import (
    Array,
    InputShapes,
    Model,
    TensorSpec,
    assumed_sizes,
    input_shapes,
    is_float,
    is_single_image,
    larger_input_shapes,
)
from eapc.operators import operator_of
from eapc.runtime import as_it_runs, runs
from eapc.synthesis.input_scale import with_expected_scale
from eapc.synthesis.scalars import counts_steps, filled, holds_one_number, told_value

_COUNTS = (64, 256)
_PIXELS = 1 << 20
_LEAVES = 200
_CHANNEL_CORRELATION = 0.85
_CONTRASTS = (0.25, 1.5)
_BRIGHTNESSES = (-0.5, 0.5)
_MOVING = (
    *("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose"),
    *("Slice", "Expand", "Tile", "Pad", "Clip"),
)
_ARITHMETIC = ("Add", "Sub", "Mul", "Mod", "Where", "Concat", "Max", "Min")


def synthesise(
    model: Model,
    given: InputShapes,
    count: int | None,
    rng: np.random.Generator,
    threads: int = 0,
) -> Dataset:
    """`count` samples for a model's inputs, seeded; `given` shapes hold for dynamic axes.

    Without a count, 64 to 256: large images bring many rows to fit on each. Where the model does
    not run at the usual sizes of its open axes, these are doubled till it does.
    Raises DataError where no inputs can be made up that the model accepts.
    """
    made = _made(model, input_shapes(model, given, None), count, rng)
    try:
        return _at_scale(model, made, rng, threads)
    except DataError as error:
        for shapes in larger_input_shapes(model, given):
            if runs(model, _made(model, shapes, 1, rng), threads):
                return _at_scale(model, _made(model, shapes, count, rng), rng, threads)
        sizes = ", or sizes by --input-shape" if assumed_sizes(model, given) else ""
        advice = "" if "--calib" in str(error) else f"; give --calib{sizes}"
        raise DataError(f"no inputs can be made up for this model: {error}{advice}") from error


def _at_scale(model: Model, made: Dataset, rng: np.random.Generator, threads: int) -> Dataset:
    """Inputs at the scale that the model expects; DataError if it refuses them."""
    made = as_it_runs(model, made, threads)
    return with_expected_scale(model, _textures(made, rng), threads)


def _made(
    model: Model, shapes: InputShapes, count: int | None, rng: np.random.Generator
) -> Dataset:
    """Inputs of these shapes, and what is to be said about them."""
    count = count or _default_count(shapes.values())
    limits = _integer_limits(model)
    batch = common_batch(model.inputs)
    count = -(-count // (batch or 1)) * (batch or 1)
    full = {
        spec.name: _with_samples(spec, shapes[spec.name], count, batch) for spec in model.inputs
    }
    told = {
        spec.name: told_value(model, spec, shapes)
        for spec in model.inputs
        if holds_one_number(spec) or counts_steps(model, spec)
    }
    arrays = {
        spec.name: filled(told[spec.name], spec, full[spec.name])
        if spec.name in told
        else _make_input(spec, full[spec.name], limits, rng)
        for spec in model.inputs
    }
    made = dataset(arrays, model.inputs, "synthesised inputs", are_samples=True)
    untold, shared = _untold_ranges(model, limits, told), _shared_states(model)
    has_known = limits or any(is_float(array.dtype) for array in arrays.values())
    return replace(
        made,
        synthesised=True,
        notes=(*map(str, told.values()), *untold, *shared),
        is_guesswork=bool(untold) and not has_known,
    )


def _textures(made: Dataset, rng: np.random.Generator) -> list[Dataset]:
    """The inputs, and the same with white noise in place of images where there are any."""
    noise = {}
    for name, array in made.arrays.items():
        spec = made.specs[name]
        if spec.is_float and _channels_of_image(array.shape[1:]) is not None:
            noise[name] = rng.standard_normal(array.shape, dtype=np.float32)
        elif _is_byte_image(spec, array.shape):
            noise[name] = _bytes(64 * rng.standard_normal(array.shape, dtype=np.float32) + 128)
    return [made, replace(made, arrays={**made.arrays, **noise})] if noise else [made]


def _default_count(shapes: Iterable[tuple[int, ...]]) -> int:
    fewest, most = _COUNTS
    pixels = max((math.prod(shape[-2:]) for shape in shapes if len(shape) == 4), default=1)
    return max(fewest, min(most, _PIXELS // pixels))


def _with_samples(
    spec: TensorSpec, shape: tuple[int, ...], count: int, batch: int | None
) -> tuple[int, ...]:
    """The shape of `count` samples; an input without a batch axis keeps its own."""
    if not spec.shape:
        return shape
    if is_single_image(spec):
        return (count, *shape)
    is_fixed = isinstance(spec.batch, int) and spec.batch > 1
    own = (*shape[: spec.batch_axis], *shape[spec.batch_axis + 1 :])
    return shape if is_fixed and batch is None else (count, *own)


def _make_input(
    spec: TensorSpec, full: tuple[int, ...], limits: Mapping[str, int], rng: np.random.Generator
) -> Array:
    if math.prod(full) > 1 << 31:
        said = f"input '{spec.name}': {full} is too large to be made up"
        raise DataError(f"{said}; --input-shape gives another size, --samples fewer of them")
    if is_float(spec.dtype):
        return _make_floats(full, rng)
    if _is_byte_image(spec, full):
        return _bytes(64 * _make_floats(full, rng) + 128)
    if spec.dtype.kind in "iu":
        limit = min(limits.get(spec.name, 2), int(np.iinfo(spec.dtype).max))
        return np.asarray(rng.integers(0, limit, full), dtype=spec.dtype)
    if spec.dtype.kind == "b":
        return rng.integers(0, 2, full).astype(np.bool_)
    raise DataError(f"input '{spec.name}' has type {spec.dtype}; give --calib")


def _make_floats(full: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Images where the axes are those of images, channels first or last; else normal."""
    channels = _channels_of_image(full[1:])
    if channels is None:
        return rng.standard_normal(full, dtype=np.float32)
    first = (full[0], full[1 + channels], *np.delete(full[1:], channels).tolist())
    return np.ascontiguousarray(np.moveaxis(dead_leaves(first, rng), 1, 1 + channels))


def _is_byte_image(spec: TensorSpec, full: Sequence[int]) -> bool:
    return spec.dtype == np.uint8 and _channels_of_image(full[1:]) is not None


def _bytes(x: Array) -> Array:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _channels_of_image(sample: Sequence[int]) -> int | None:
    """The axis of channels of what looks like an image: few channels and some extent."""
    if len(sample) != 3:
        return None
    for axis, extent in ((0, sample[1:]), (2, sample[:2])):
        if sample[axis] <= 4 and min(extent) >= 8:
            return axis
    return None


def dead_leaves(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Images (n, channels, rows, columns) of overlapping shapes, in units of usual contrast.

    Each has a contrast of its own, `_CONTRASTS` times the usual one, and a brightness.
    """
    images = np.empty(shape, np.float32)
    for image in images:
        _paint(image, rng)
    each = (len(images), 1, 1, 1)
    lowest, highest = _CONTRASTS
    contrasts = lowest * (highest / lowest) ** rng.random(each, dtype=np.float32)
    brightnesses = rng.uniform(*_BRIGHTNESSES, each).astype(np.float32)
    result: Array = images * contrasts + brightnesses
    return result


def _paint(image: Array, rng: np.random.Generator) -> None:
    """Cover an image (channels, rows, columns) with leaves, each over the ones before it."""
    channels, rows, columns = image.shape
    common, own = rng.standard_normal((_LEAVES, 1)), rng.standard_normal((_LEAVES, channels))
    colours = math.sqrt(_CHANNEL_CORRELATION) * common + math.sqrt(1 - _CHANNEL_CORRELATION) * own
    image[...] = colours[0][:, None, None]
    longest = max(rows, columns)
    radii = _power_law(max(1.0, longest / 32), 0.75 * longest, rng)
    centres = rng.uniform(-0.2, 1.2, (_LEAVES, 2)) * (rows, columns)
    angles, stretches = rng.uniform(0, math.pi, _LEAVES), np.exp(rng.normal(0, 0.4, _LEAVES))
    are_rectangles = rng.random(_LEAVES) < 0.5
    for i in range(1, _LEAVES):
        reach = 1.5 * radii[i] * max(stretches[i], 1 / stretches[i])
        low = np.clip(np.floor(centres[i] - reach).astype(int), 0, (rows, columns))
        high = np.clip(np.ceil(centres[i] + reach).astype(int), 0, (rows, columns))
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        leaf = _leaf(window, centres[i], angles[i], stretches[i], are_rectangles[i]) < radii[i]
        part = image[:, window[0], window[1]]
        part[:, leaf] = colours[i][:, None]


def _power_law(smallest: float, largest: float, rng: np.random.Generator) -> Array:
    """Radii whose number falls with their cube, which makes the images look alike at any zoom."""
    uniform = rng.random(_LEAVES)
    return np.asarray((smallest**-2 - uniform * (smallest**-2 - largest**-2)) ** -0.5)


def _leaf(
    window: tuple[slice, slice], centre: Array, angle: float, stretch: float, is_rectangle: bool
) -> Array:
    """Distance of each pixel of a window from a leaf's centre, in the leaf's own norm."""
    y = np.arange(window[0].start, window[0].stop)[:, None] - centre[0]
    x = np.arange(window[1].start, window[1].stop)[None] - centre[1]
    along = (math.cos(angle) * x + math.sin(angle) * y) * stretch
    across = (math.cos(angle) * y - math.sin(angle) * x) / stretch
    return np.asarray(
        np.maximum(abs(along), abs(across)) if is_rectangle else np.hypot(along, across)
    )


def _integer_limits(model: Model) -> dict[str, int]:
    """Rows of the table that each integer input indexes through Gather, by input name."""
    limits: dict[str, int] = {}
    for node in model.view.main_nodes:
        if node.op_type != "Gather" or node.domain:
            continue
        table = model.constants.shape(node.input(0))
        sources = _integers_behind(model, node.input(1)) if table else []
        if table and len(sources) == 1:
            rows = table[node.attribute("axis", 0)]
            limits[sources[0]] = min(rows, limits.get(sources[0], rows))
    return limits


def _integers_behind(model: Model, tensor: str) -> list[str]:
    """The integer inputs whose values an index is made of, by moving and by arithmetic."""
    integers = {spec.name for spec in model.inputs if spec.dtype.kind in "iu"}
    found, waiting, seen = [], [tensor], {tensor}
    while waiting:
        name = waiting.pop()
        if name in integers:
            found.append(name)
        node = model.view.producer(name)
        if node is None or node.domain or node.op_type not in (*_MOVING, *_ARITHMETIC):
            continue
        few = 1 if node.op_type in _MOVING else len(node.inputs)
        first = 1 if node.op_type == "Where" else 0
        sources = {name for name in node.inputs[first : first + few] if name} - seen
        seen |= sources
        waiting.extend(sources)
    return found


def _shared_states(model: Model) -> list[str]:
    """A sentence for each input of a recurrent network that may have a batch where none is known.

    Its first axis is fixed, as that of layers, the second open, and nothing tells that it counts.
    """
    if not any(operator_of(node).kind == "recurrent" for node in model.nodes):
        return []
    return [
        f"input '{spec.name}' is the same for all inferences, as the graph does not tell which of "
        "its axes counts them; --calib gives real ones"
        for spec in model.inputs
        if spec.is_float and len(spec.shape) > 2 and not spec.batch_axis
        if isinstance(spec.batch, int) and spec.batch > 1 and not isinstance(spec.shape[1], int)
    ]


def _untold_ranges(model: Model, limits: Mapping[str, int], told: Iterable[str]) -> list[str]:
    """A sentence for each integer input whose values nothing tells of."""
    return [
        f"input '{spec.name}' is filled with 0 and 1, as nothing in the graph tells the range of"
        " its values; --calib sets them"
        for spec in model.inputs
        if spec.dtype.kind in "iu" and spec.name not in {*limits, *told}
        if spec.dtype != np.uint8
    ]
