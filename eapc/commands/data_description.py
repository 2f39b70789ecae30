"""What a network will see of data on disk, and whether it fits the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eapc.classes import class_map
from eapc.commands.data_checks import other_classes, scores_of
from eapc.commands.preparation import load_dataset, open_axes
from eapc.data import (
    Affine,
    DataFiles,
    Dataset,
    Preprocessing,
    is_image_folder,
    load_without_model,
    preprocessing_of,
    shortened,
)
from eapc.errors import DataError
from eapc.model import Array, InputShapes, Model
from eapc.scale import scale_misfit
from eapc.showing import Shown

_AT_ONCE = 32

_FEW_CHANNELS = 4


@dataclass(frozen=True)
class ValueRange:
    """Least, largest and mean value and the standard deviation, of a channel or of all."""

    least: float
    largest: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class FedInput:
    """An input as the network is fed it.

    `shape` starts with the number of samples, but for inputs that every run gets whole
    (`is_shared`). `stored` is the type on disk. `channel_axis` is where `ranges` are per channel;
    without it there is one range of all values.
    """

    name: str
    dtype: str
    stored: str
    shape: tuple[int, ...]
    is_shared: bool
    channel_axis: int | None
    ranges: tuple[ValueRange, ...]


@dataclass(frozen=True, repr=False)
class DataDescription(Shown):
    """Data as a network sees it, or, where there is none that it fits, as it is stored.

    `labels` counts samples by label, `unlabelled` says why images have none. `misfit` says why
    the data does not fit the model; `findings` what looks wrong where it does.
    """

    path: Path
    samples: int
    inputs: tuple[FedInput, ...]
    affine: Affine | None
    preprocessing: Preprocessing | None
    labels: Mapping[int, int] | None
    classes: tuple[str, ...]
    unlabelled: str
    are_alike: bool
    model: Model | None = None
    misfit: str = ""
    findings: tuple[str, ...] = ()


def describe_data(
    source: str | Path | DataFiles,
    model: str | Path | Model | None = None,
    *,
    samples: int | None = None,
    input_shapes: InputShapes | None = None,
) -> DataDescription:
    """Describe data on disk as a model sees it, or without a model as it is stored.

    Data that does not fit the model is described as it is stored, with `misfit`. Raises DataError
    for data that fits no model: missing, unreadable, not finite.
    """
    files = source if isinstance(source, DataFiles) else DataFiles(source)
    if model is None:
        data = load_without_model(files, samples)
        return _described(files, data, findings=tuple(_faults(None, data)))
    loaded = model if isinstance(model, Model) else Model.load(model)
    try:
        axes = open_axes(loaded, input_shapes or {})
        data = load_dataset(files, loaded.inputs, samples, axes)
    except DataError as error:
        stored = load_without_model(files, samples)
        return _described(files, stored, model=loaded, misfit=str(error))
    return _described(files, data, model=loaded, findings=findings(loaded, data))


# --- what suits a model ----------------------------------------------------------------------


def findings(model: Model, data: Dataset) -> tuple[str, ...]:
    """What about data that fits a model looks wrong for it: what each of `CHECKS` says."""
    return tuple(line for check in CHECKS for line in check(model, data))


def _alike(model: Model, data: Dataset) -> Iterator[str]:  # noqa: ARG001
    if data.are_alike:
        yield "all inputs are the same: there is nothing to learn from them"


def _labels(model: Model, data: Dataset) -> Iterator[str]:
    kept = class_map(model)
    if kept is not None:
        yield from _of_others(kept.classes, data)
        return
    if said := other_classes(model, data):
        yield said
    scores = scores_of(model, data)
    if data.labels is not None and scores is not None and (largest := data.labels.max()) >= scores:
        yield f"labels go up to {largest}, and the model tells {scores} classes, from 0"


def _of_others(classes: Sequence[int], data: Dataset) -> Iterator[str]:
    """Labels of classes that a network was cut off from; they count as in the uncut network."""
    if data.labels is None:
        return
    others = int(np.count_nonzero(~np.isin(data.labels, classes)))
    if others:
        said = f"{others} of {len(data)} labels are of classes that the network was not cut to"
        yield f"{said}; it has {shortened(classes)}"


def _faults(model: Model | None, data: Dataset) -> Iterable[str]:  # noqa: ARG001
    return data.faults.values()


def _scale(model: Model, data: Dataset) -> Iterator[str]:
    if misfit := scale_misfit(model, data):
        yield misfit.said


CHECKS: tuple[Callable[[Model, Dataset], Iterable[str]], ...] = (_alike, _labels, _faults, _scale)
"""Each gives a line for whatever looks wrong."""


# --- figures -------------------------------------------------------------------------------------


def _described(files: DataFiles, data: Dataset, **more: Any) -> DataDescription:
    path = Path(files.path)
    is_images = is_image_folder(path)
    counts = None if data.labels is None else np.unique_counts(data.labels)
    return DataDescription(
        path=path,
        samples=len(data),
        inputs=tuple(_inputs(data)),
        affine=data.affine if any(data.specs[name].is_float for name in data.arrays) else None,
        preprocessing=preprocessing_of(path, files.preprocessing) if is_images else None,
        labels=counts and dict(zip(counts.values.tolist(), counts.counts.tolist(), strict=True)),
        classes=data.classes,
        unlabelled=data.unlabelled,
        are_alike=data.are_alike,
        **more,
    )


def _inputs(data: Dataset) -> Iterator[FedInput]:
    for name, array in data.arrays.items():
        affine = data.affine if data.specs[name].is_float else None
        axis = _channel_axis(array.shape, affine)
        ranges = _ranges((feed[name] for feed in data.fed(_AT_ONCE)), axis)
        dtypes = data.specs[name].dtype.name, array.dtype.name
        yield FedInput(name, *dtypes, array.shape, False, axis, ranges)
    for name, array in data.shared.items():
        dtypes = data.specs[name].dtype.name, array.dtype.name
        yield FedInput(name, *dtypes, array.shape, True, None, _ranges([array], None))


def _channel_axis(shape: Sequence[int], affine: Affine | None) -> int | None:
    """Where the channels of images are, or those that are scaled by numbers of their own."""
    if affine is not None and 1 < affine.channels <= _FEW_CHANNELS:
        return affine.channel_axis(tuple(shape))
    if len(shape) != 4:
        return None
    return next((axis for axis in (1, 3) if shape[axis] <= _FEW_CHANNELS), None)


def _ranges(parts: Iterable[Array], axis: int | None) -> tuple[ValueRange, ...]:
    """A range per index of the axis, or one of all; parts are joined by Chan et al. (1979)."""
    least: Any = np.inf
    largest: Any = -np.inf
    mean: Any = 0.0
    squares: Any = 0.0
    count = 0
    for part in parts:
        x = np.moveaxis(part, axis, 0) if axis is not None else part[None]
        x = x.reshape(len(x), -1).astype(np.float64)
        least, largest = np.minimum(least, x.min(1)), np.maximum(largest, x.max(1))
        added = x.shape[1]
        offset = x.mean(1) - mean
        squares = squares + x.var(1) * added + offset**2 * count * added / (count + added)
        count += added
        mean = mean + offset * added / count
    deviation = np.sqrt(squares / max(count, 1))
    columns = (np.atleast_1d(each).tolist() for each in (least, largest, mean, deviation))
    return tuple(ValueRange(*row) for row in zip(*columns, strict=True))
