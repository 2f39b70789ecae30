"""Data in memory, as people have it, become named arrays: whole arrays, or feeds one by one.

Nothing here imports the library that a tensor is of: what has `__array__` or `numpy()` is an array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np

from eapc.data.arrays import common_batch, dataset, is_shared, match_inputs
from eapc.data.datasets import LABELS, Dataset
from eapc.errors import ArgumentError, DataError
from eapc.model import Array, TensorSpec, is_single_image

FORMS = (
    "an array, a dict of arrays by name, a tuple (inputs, labels), or an iterable of these, such "
    "as a list, a generator or a DataLoader"
)
"""What data in memory may be, for messages."""


class CalibrationDataReader(Protocol):
    """onnxruntime's protocol: one feed per call, None at the end."""

    def get_next(self) -> dict[str, Array] | None:
        """The next feed: input name to array with a leading batch axis."""


class Arraylike(Protocol):
    """An array or tensor of any library that numpy can read."""

    def __array__(self, *arguments: Any, **options: Any) -> Any: ...


InMemory = CalibrationDataReader | Arraylike | Mapping[str, Any] | Iterable[Any]
"""`FORMS`, or an onnxruntime CalibrationDataReader."""


def from_reader(reader: CalibrationDataReader, specs: Sequence[TensorSpec]) -> Dataset:
    """Collect every feed of a CalibrationDataReader."""
    return gather(reader, specs).dataset(specs)


@dataclass(frozen=True)
class NamedArrays:
    """Named arrays; with `are_samples` samples are along the first axis of all that have any."""

    arrays: Mapping[str, Array]
    origin: str
    are_samples: bool = False

    def dataset(self, specs: Sequence[TensorSpec], samples: int | None = None) -> Dataset:
        """The first `samples` as a dataset for a model; DataError where they do not fit it."""
        return dataset(self.arrays, specs, self.origin, self.are_samples).first(samples)


class Remembered:
    """Data in memory that is read once, so that a generator serves a command that reads twice.

    A later reading of more samples than the first one took does not get them. Messages call the
    data by its `name`.
    """

    def __init__(self, source: InMemory, name: str = "data") -> None:
        self._source, self._name = source, name
        self._gathered: NamedArrays | None = None

    def named(self, specs: Sequence[TensorSpec], samples: int | None) -> NamedArrays:
        """As `gather`, the first time."""
        if self._gathered is None:
            self._gathered = gather(self._source, specs, samples, self._name)
        return self._gathered


def gather(
    source: InMemory,
    specs: Sequence[TensorSpec],
    samples: int | None = None,
    name: str = "data",
) -> NamedArrays:
    """Read data in memory for a model with the given inputs; see docs/python.md for its forms.

    Whole arrays may be laid out as in files; items of an iterable are single samples, or batches
    as the model is fed them. Of an iterable no more is taken than `samples` need. Raises
    ArgumentError for what is no data and DataError for data that does not fit, calling it `name`.
    """
    if is_reader(source):
        return _collected(_dicts(source), specs, samples, "data reader")
    if isinstance(source, Mapping | tuple) or is_array(source):
        return NamedArrays(_named(source, specs, name), name)
    if not is_data(source):
        raise ArgumentError(f"{name}: expected {FORMS}, got {kind_of(source)}")
    return _collected(_items(source), specs, samples, name)


def is_data(source: object) -> TypeGuard[InMemory]:
    """Whether this can be data in memory, as far as its type tells."""
    if isinstance(source, str | bytes | bytearray):
        return False
    is_sequence = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    return hasattr(source, "__iter__") or is_sequence or is_array(source) or is_reader(source)


def is_reader(source: object) -> TypeGuard[CalibrationDataReader]:
    """Whether this is a CalibrationDataReader."""
    return callable(getattr(source, "get_next", None))


def is_array(value: object) -> bool:
    """Whether this is an array or a tensor, of whatever library."""
    is_tensor = hasattr(value, "detach") or hasattr(value, "__array_interface__")
    return is_tensor or hasattr(value, "__array__")


def kind_of(value: object) -> str:
    """The name of a value's type, for messages."""
    return type(value).__name__


def array_of(value: Any, where: str) -> Array:
    """The array of a tensor, an array or nested numbers; DataError where there is none.

    Tensors are taken off their graph and device; types that numpy lacks become float32.
    """
    for step in ("detach", "cpu"):
        value = getattr(value, step)() if hasattr(value, step) else value
    try:
        try:
            array = np.asarray(value)
        except TypeError:
            if not hasattr(value, "float"):
                raise
            array = np.asarray(value.float())
    except Exception as error:  # whatever the library of a tensor raises
        reason = " ".join(str(error).split())
        raise DataError(
            f"{where}: {kind_of(value)} cannot be read as an array: {reason}"
        ) from error
    if array.dtype.kind in "OUS":
        raise ArgumentError(f"{where}: expected numbers, got {kind_of(value)} of {array.dtype}")
    return array


# --- parts by name -------------------------------------------------------------------------------


def _named(item: Any, specs: Sequence[TensorSpec], where: str) -> dict[str, Array]:
    """Arrays by name of a dict, of one array, or of inputs in the model's order and labels."""
    if isinstance(item, Mapping):
        return {str(name): array_of(part, f"{where}: '{name}'") for name, part in item.items()}
    if isinstance(item, tuple) or (isinstance(item, list) and any(map(_is_part, item))):
        return _by_position(item, specs, where)
    return _by_position((item,), specs, where)


def _is_part(value: object) -> bool:
    return is_array(value) or isinstance(value, Mapping | tuple)


def _by_position(parts: Sequence[Any], specs: Sequence[TensorSpec], where: str) -> dict[str, Array]:
    names, first = [spec.name for spec in specs], parts[0] if parts else None
    is_nested = isinstance(first, Mapping) or (len(names) > 1 and isinstance(first, tuple | list))
    if len(parts) == 2 and is_nested:
        return {**_named(first, specs, where), LABELS: array_of(parts[1], f"{where}: labels")}
    if len(parts) not in (len(names), len(names) + 1):
        listed = ", ".join(names)
        expected = f"expected the inputs {listed}" if len(names) > 1 else f"expected input {listed}"
        said = f"{expected}, and labels where there are any, got {len(parts)} arrays"
        raise DataError(f"{where}: {said}; a dict names them")
    pairs = zip((*names, LABELS), parts, strict=False)
    return {name: array_of(part, f"{where}: '{name}'") for name, part in pairs}


# --- item by item --------------------------------------------------------------------------------


def _items(source: Any) -> Iterator[Any]:
    if hasattr(source, "__iter__"):
        yield from source
        return
    for place in range(len(source)):  # torch's data sets of known length are no iterables
        yield source[place]


def _dicts(reader: CalibrationDataReader) -> Iterator[Mapping[str, Any]]:
    while (feed := reader.get_next()) is not None:
        if not isinstance(feed, Mapping):
            raise DataError("data reader: expected a dict of the same inputs from every call")
        yield feed


def _collected(
    items: Iterable[Any], specs: Sequence[TensorSpec], samples: int | None, origin: str
) -> NamedArrays:
    """All items put together, as far as `samples` need."""
    feeds: list[dict[str, Array]] = []
    found = 0
    for item in items:
        where = f"{origin}: item {len(feeds)}"
        if isinstance(item, str | bytes) or hasattr(item, "__fspath__"):
            raise ArgumentError(f"{where}: expected arrays, got {kind_of(item)}")
        feed, size = _feed(_named(item, specs, where), specs, where)
        if feeds and feed.keys() != feeds[0].keys():
            raise DataError(f"{origin}: expected the same inputs in every item")
        feeds.append(feed)
        found += size
        if samples is not None and found >= samples:
            break
    if not feeds:
        raise DataError(f"{origin}: gave no inputs; a generator gives them once")
    return NamedArrays(_joined_all(feeds, specs, origin), origin, are_samples=True)


def _feed(
    named: Mapping[str, Array], specs: Sequence[TensorSpec], where: str
) -> tuple[dict[str, Array], int]:
    """A batch as the model is fed it, and its samples; a single sample becomes a batch of one."""
    names = {given: name for name, given in match_inputs(named, specs, where).items()}
    parts = {names.get(name, name): part for name, part in named.items()}
    batch = common_batch(specs)
    by_name = {spec.name: spec for spec in specs if spec.shape}
    sampled = {n: s for n, s in by_name.items() if not is_shared(s, parts[n], batch)}
    if sampled and all(parts[name].ndim == _rank(spec) - 1 for name, spec in sampled.items()):
        return {name: _as_batch(part, sampled.get(name)) for name, part in parts.items()}, 1
    sizes = [_size(parts[name], spec) for name, spec in sampled.items()]
    return parts, min(sizes, default=1)


def _rank(spec: TensorSpec) -> int:
    """Axes of a batch: those of the input, and one more where it is a single image."""
    return len(spec.shape) + is_single_image(spec)


def _size(array: Array, spec: TensorSpec) -> int:
    axis = 0 if is_single_image(spec) else spec.batch_axis
    return array.shape[axis] if axis < array.ndim else 1


def _as_batch(part: Array, spec: TensorSpec | None) -> Array:
    axis = 0 if spec is None or is_single_image(spec) else spec.batch_axis
    return np.expand_dims(part, axis)


def _joined_all(
    feeds: Sequence[Mapping[str, Array]], specs: Sequence[TensorSpec], origin: str
) -> dict[str, Array]:
    """Each name's parts along the axis of samples, which comes first."""
    batch, by_name = common_batch(specs), {spec.name: spec for spec in specs}
    arrays = {}
    for name in feeds[0]:
        parts, spec = [feed[name] for feed in feeds], by_name.get(name)
        if spec and all(is_shared(spec, part, batch) for part in parts):
            arrays[name] = _the_same(name, parts, origin)
            continue
        axis = spec.batch_axis if spec and not is_single_image(spec) else 0
        in_front = [np.moveaxis(a, axis, 0) if axis < a.ndim else a for a in parts]
        arrays[name] = _joined(name, in_front, origin)
    return arrays


def _the_same(name: str, parts: Sequence[Array], origin: str) -> Array:
    if not all(np.array_equal(part, parts[0]) for part in parts):
        raise DataError(f"{origin}: '{name}' has no batch axis and must be the same every time")
    return parts[0]


def _joined(name: str, parts: Sequence[Array], origin: str) -> Array:
    try:
        return np.concatenate(parts)
    except ValueError as error:
        shapes = sorted({part.shape for part in parts})
        said = f"{origin}: shapes {shapes} of '{name}' do not go together"
        hint = "; inputs and labels are a tuple, and a list is one of samples or batches"
        raise DataError(said + hint * (len(parts) == 2)) from error
