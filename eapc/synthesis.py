"""Inputs made up for a model that comes without data.

Images are dead leaves: discs and rectangles of all sizes that cover each other, which have
the edges and the 1/f amplitude spectrum of natural images (Lee, Mumford, Huang, IJCV 2001).
Plain 1/f noise has no edges, and networks pruned on it do far worse on real images. Other
floating-point inputs are normal. Their scale is unknown: see `_scaled`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from eapc.data import Dataset, common_batch, dataset
from eapc.errors import DataError
from eapc.evaluation import Outputs
from eapc.graph import Node
from eapc.model import Model
from eapc.runtime import Session, collect_outputs, with_outputs
from eapc.scaling import Affine
from eapc.shapes import InputShapes, input_shapes
from eapc.tensors import Array, TensorSpec, is_float

logger = logging.getLogger(__name__)

_COUNTS = (64, 256)
_PIXELS = 1 << 20
_TRIALS = 32
_LEAVES = 200
_CHANNEL_CORRELATION = 0.85
_VARIANTS = {"unit normal": (1.0, 0.0), "0 to 1": (0.25, 0.5), "0 to 255": (64.0, 128.0)}


def synthesise(
    model: Model,
    given: InputShapes,
    count: int | None,
    rng: np.random.Generator,
    threads: int = 0,
) -> Dataset:
    """`count` samples for a model's inputs, seeded; `given` shapes hold for dynamic axes.

    Without a count, 64 to 256: large images bring many rows to fit on each.
    Raises DataError where no inputs can be made up that the model accepts.
    """
    shapes = input_shapes(model, given, None)
    count = count or _default_count(shapes.values())
    limits = _integer_limits(model)
    batch = common_batch(model.inputs)
    count = -(-count // (batch or 1)) * (batch or 1)
    full = {
        spec.name: _with_samples(spec, shapes[spec.name], count, batch) for spec in model.inputs
    }
    arrays = {spec.name: _make_input(spec, full[spec.name], limits, rng) for spec in model.inputs}
    made = replace(dataset(arrays, model.inputs, "synthesised inputs"), synthesised=True)
    try:
        return _scaled(model, made, threads)
    except DataError as error:
        raise DataError(
            f"no inputs can be made up for this model: {error}; give --calib"
        ) from error


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
    is_fixed = isinstance(spec.shape[0], int) and spec.shape[0] > 1
    return shape if is_fixed and batch is None else (count, *shape[1:])


def _make_input(
    spec: TensorSpec, full: tuple[int, ...], limits: Mapping[str, int], rng: np.random.Generator
) -> Array:
    if math.prod(full) > 1 << 31:
        raise DataError(f"input '{spec.name}' is too large to make {full} of")
    if is_float(spec.dtype):
        return dead_leaves(full, rng) if _is_image(full[1:]) else _normal(full, rng)
    if spec.dtype.kind in "iu":
        limit = min(limits.get(spec.name, 2), int(np.iinfo(spec.dtype).max))
        return np.asarray(rng.integers(0, limit, full), dtype=spec.dtype)
    if spec.dtype.kind == "b":
        return rng.integers(0, 2, full).astype(np.bool_)
    raise DataError(f"input '{spec.name}' has type {spec.dtype}; give --calib")


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def _is_image(sample: tuple[int, ...]) -> bool:
    """(channels, rows, columns) with few channels and some extent."""
    return len(sample) == 3 and sample[0] <= 4 and min(sample[1:]) >= 8


def dead_leaves(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Images (n, channels, rows, columns) of overlapping shapes; mean 0, variance about 1."""
    images = np.empty(shape, np.float32)
    for image in images:
        _paint(image, rng)
    return images


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
    names = {spec.name for spec in model.inputs}
    for node in model.view.main_nodes:
        if node.op_type != "Gather" or node.domain:
            continue
        source = _through_casts(model, node.input(1))
        table = model.constant_shape(node.input(0))
        if source in names and table:
            rows = table[node.attribute("axis", 0)]
            limits[source] = min(rows, limits.get(source, rows))
    return limits


def _through_casts(model: Model, tensor: str) -> str:
    node = model.view.producer(tensor)
    while node is not None and node.op_type in ("Cast", "Identity", "Reshape", "Unsqueeze"):
        tensor = node.input(0)
        node = model.view.producer(tensor)
    return tensor


# --- scale -----------------------------------------------------------------------------------


def _scaled(model: Model, made: Dataset, threads: int) -> Dataset:
    """Give floating-point inputs the scale that the model seems to expect.

    The first layer tells it: where a BatchNormalization follows, by the variance that it
    expects; where the layer has biases, as the candidate whose responses have the size of
    the biases, since a bias that matters is of the size of what it shifts. Otherwise the
    candidate that gives the most varied outputs is taken.
    """
    trial = made.first(max(_TRIALS, made.fixed_batch or 1))
    if not any(is_float(array.dtype) for array in made.arrays.values()):
        collect_outputs(model, trial, threads)
        return made
    affine = _from_normalization(model, trial, threads)
    if affine is not None:
        return replace(made, affine=affine)
    merits = {name: _merit(model, _with(trial, *pair), threads) for name, pair in _VARIANTS.items()}
    best = max(merits, key=lambda name: merits[name])
    logger.info("synthesised inputs: taken to be '%s'", best)
    return _with(made, *_VARIANTS[best])


def _merit(model: Model, trial: Dataset, threads: int) -> float:
    """How well a scale suits the model, higher is better; comparable within one model."""
    first = _first_convolution(model)
    bias = model.constant(first.input(2)) if first and first.input(2) else None
    if first is None or bias is None or not np.any(bias):
        return _variety(collect_outputs(model, trial, threads))
    response = _tensor_values(model, trial, first.outputs[0], threads)
    deviation = response.std(axis=(0, *range(2, response.ndim)), dtype=np.float64)
    ratio = np.sqrt(np.square(deviation).mean() / np.square(bias.astype(np.float64)).mean())
    return -abs(math.log(ratio)) if ratio > 0 else -math.inf


def _tensor_values(model: Model, data: Dataset, tensor: str, threads: int) -> Array:
    session = Session(with_outputs(model.to_proto(embed=True), [tensor]), threads, optimise=False)
    return np.concatenate([session.run(feed)[tensor] for feed in data.batches(_TRIALS)])


def _with(made: Dataset, scale: float, offset: float) -> Dataset:
    """x -> x * scale + offset."""
    numbers = (np.asarray([value], np.float32) for value in (scale, -offset, 1.0))
    return replace(made, affine=Affine(*numbers))


def _variety(outputs: Outputs) -> float:
    """How much outputs differ between samples, relative to their size; 0 if not finite."""
    scores = []
    for value in outputs.values():
        wide = value.astype(np.float64)
        if value.dtype.kind != "f" or not np.isfinite(wide).all():
            continue
        power = float(np.square(wide).mean())
        scores.append(float(wide.var(axis=0).mean()) / power if power else 0.0)
    return max(scores, default=0.0)


def _from_normalization(model: Model, trial: Dataset, threads: int) -> Affine | None:
    """The scale at which the first layer's outputs have the variance its normalization expects."""
    node = _first_normalization(model)
    if node is None or len(trial.arrays) != 1:
        return None
    expected = model.constant(node.input(4))
    values = _tensor_values(model, trial, node.input(0), threads)
    found = values.var(axis=(0, *range(2, values.ndim)), dtype=np.float64)
    if expected is None or not (found > 0).any():
        return None
    ratio = float(np.median(expected.astype(np.float64)[found > 0] / found[found > 0]))
    if not np.isfinite(ratio) or ratio <= 0:
        return None
    return _with(trial, math.sqrt(ratio), 0.0).affine


def _first_convolution(model: Model) -> Node | None:
    """The only convolution that reads the model's only input."""
    names = [spec.name for spec in model.inputs]
    readers = model.view.consumers(names[0]) if len(names) == 1 else ()
    convolutions = [node for node in readers if node.op_type == "Conv"]
    return convolutions[0] if len(convolutions) == 1 else None


def _first_normalization(model: Model) -> Node | None:
    """A BatchNormalization behind the first convolution."""
    first = _first_convolution(model)
    followers = model.view.consumers(first.outputs[0]) if first else ()
    return next((node for node in followers if node.op_type == "BatchNormalization"), None)
