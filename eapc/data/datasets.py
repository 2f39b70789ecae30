"""Calibration and evaluation inputs, and how a model is fed them: a `Dataset`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from eapc.data.scaling import Affine
from eapc.errors import DataError
from eapc.model import Array, TensorSpec, is_float, is_single_image

LABELS = "y"
"""The name of the array of labels."""


@dataclass(frozen=True)
class Dataset:
    """Samples for each input of a model, as stored; they become what it is fed in batches.

    `arrays` holds (n, ...) per sampled input; `shared` holds inputs that every run gets
    whole; `labels` is (n,) integers or None; `fixed_batch` is the model's own batch size
    where it cannot be chosen. `origin` says of made-up inputs what their values are, and why;
    where they are of several kinds, `kinds` (n,) numbers those of each, in ascending order, and
    `kind_names` says which they are: they are fed, weighed and judged apart. `notes` are sentences
    on single values that were made up; `is_guesswork` says that no range of any value is known.
    `classes` names the labels where that is known; `unlabelled` says why images have none.
    `extras` are arrays that are no input, as stored: (n, ...), or numbers; `faults` says by name
    why another such array, or y as labels, is of no use.
    """

    specs: Mapping[str, TensorSpec]
    arrays: Mapping[str, Array]
    shared: Mapping[str, Array]
    labels: Array | None = None
    affine: Affine | None = None
    fixed_batch: int | None = None
    synthesised: bool = False
    origin: str = ""
    kinds: Array | None = None
    classes: tuple[str, ...] = ()
    unlabelled: str = ""
    extras: Mapping[str, Array] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    kind_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_guesswork: bool = False

    def __len__(self) -> int:
        return min(len(array) for array in self.arrays.values())

    @property
    def are_alike(self) -> bool:
        """Whether all samples are the same but for rounding: there is nothing to learn from them.

        A single one is no such case: a layer may still read many patches of it.
        """
        if len(self) < 2:
            return False
        zeroed = self.affine is not None and not np.any(self.affine.scale)
        return zeroed or all(map(_are_alike, self.arrays.values()))

    @property
    def constant_inputs(self) -> list[str]:
        """Inputs that are the same for all samples, of which there are several."""
        return [name for name, array in self.arrays.items() if len(self) > 1 and _are_alike(array)]

    @property
    def distinct(self) -> int:
        """How many samples differ from each other, all inputs together."""
        rows = zip(*self.arrays.values(), strict=False)
        return len({_digest(row) for row in rows})

    def take(self, indices: slice | Array) -> Dataset:
        """The samples of a slice or an index array."""
        arrays = {name: array[indices] for name, array in self.arrays.items()}
        extras = {n: a[indices] if a.ndim else a for n, a in self.extras.items()}
        labels, kinds = (
            None if each is None else each[indices] for each in (self.labels, self.kinds)
        )
        return replace(self, arrays=arrays, labels=labels, kinds=kinds, extras=extras)

    def without(self, indices: slice | Array) -> Dataset:
        """All other samples."""
        return self.take(np.delete(np.arange(len(self)), indices))

    def first(self, count: int | None) -> Dataset:
        """The first `count` samples, or all of them; DataError where that is no batch."""
        if count is None:
            return self
        taken = self.take(slice(0, count))
        if not taken.usable:
            raise DataError(f"{len(taken)} samples do not fill the model's batch")
        return taken

    def of_classes(self, classes: Sequence[int]) -> Dataset:
        """The samples of some classes, labelled by their places in this list.

        Raises DataError where there are no labels, or none of these classes.
        """
        labels = self.require_labels()
        chosen = np.flatnonzero(np.isin(labels, classes))
        taken = self.take(chosen)
        if not taken.usable:
            found = f"{len(chosen)} of {len(labels)} labels are of the classes kept"
            raise DataError(f"{found}, {shortened(classes)}: too few to run")
        places = {number: place for place, number in enumerate(classes)}
        renumbered = np.asarray([places[int(label)] for label in labels[chosen]], labels.dtype)
        extras = {**taken.extras, LABELS: renumbered} if LABELS in taken.extras else taken.extras
        known = max(classes) < len(self.classes)
        names = tuple(self.classes[number] for number in classes) if known else ()
        return replace(taken, labels=renumbered, extras=extras, classes=names)

    def split(self, fraction: float) -> tuple[Dataset, Dataset]:
        """(most samples, the rest): evenly spaced ones make up about `fraction` in the rest.

        The rest holds a whole batch at least; DataError where that leaves nothing.
        """
        if not self.can_spare(fraction):
            raise DataError(f"{len(self)} samples are too few to keep some out of the fit")
        step = self._step(fraction)
        apart = np.arange(len(self)) % step == step - 1
        return self.take(np.flatnonzero(~apart)), self.take(np.flatnonzero(apart))

    def can_spare(self, fraction: float) -> bool:
        """Whether `split` leaves a whole batch at least on either side."""
        apart, batch = len(self) // self._step(fraction), self.fixed_batch or 1
        return min(apart, len(self) - apart) >= batch

    def _step(self, fraction: float) -> int:
        """One sample of how many is set apart."""
        return max(2, min(round(1 / fraction), len(self) // (self.fixed_batch or 1)))

    @property
    def unusable_labels(self) -> str:
        """What is wrong with the labels that the data have; empty where they are right or none."""
        return self.faults.get(LABELS, "")

    def require_labels(self, purpose: str = "evaluation") -> Array:
        """The labels; DataError where there are none, or y holds something else."""
        if self.labels is None and self.unlabelled:
            raise DataError(f"{purpose} images have no labels: {self.unlabelled}")
        if self.labels is None:
            missing = f"{purpose} data has no labels: add an integer array y, one per sample"
            raise DataError(self.unusable_labels or missing)
        return self.labels

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Feeds of up to `size` samples, or of the model's own batch where that is fixed.

        Where the batch is fixed, samples that do not fill one are left out; where it is not, all
        samples of a feed are of one kind.
        """
        for rows in self._slices(size):
            yield {**{name: self._feed(name, rows) for name in self.arrays}, **self.shared}

    def fed(self, size: int) -> Iterator[dict[str, Array]]:
        """The `batches` without `shared`, samples along the first axis of each array.

        Where an input is one image, a feed has no such axis.
        """
        single = {name for name in self.arrays if is_single_image(self.specs[name])}
        for feed in self.batches(size):
            yield {
                n: feed[n][None]
                if n in single
                else np.moveaxis(feed[n], self.specs[n].batch_axis, 0)
                for n in self.arrays
            }

    def kinds_by_batch(self, size: int) -> list[tuple[int, ...]]:
        """The kinds of samples in each of the `batches`."""
        kinds = np.zeros(len(self), np.intp) if self.kinds is None else self.kinds
        return [tuple(np.unique(kinds[rows]).tolist()) for rows in self._slices(size)]

    def _slices(self, size: int) -> Iterator[slice]:
        size, end = self.fixed_batch or size, self.usable
        cuts = [0, end]
        if self.kinds is not None and not self.fixed_batch:
            cuts[1:1] = (np.flatnonzero(np.diff(self.kinds[:end])) + 1).tolist()
        for first, last in pairwise(cuts):
            for start in range(first, last, size):
                yield slice(start, min(start + size, last))

    @property
    def usable(self) -> int:
        """Samples that `batches` yields in all."""
        return len(self) - (len(self) % self.fixed_batch if self.fixed_batch else 0)

    def _feed(self, name: str, rows: slice) -> Array:
        spec = self.specs[name]
        x = np.asarray(self.arrays[name][rows.start if is_single_image(spec) else rows])
        x = np.moveaxis(x, 0, spec.batch_axis) if spec.batch_axis else x
        if not is_float(spec.dtype):
            return np.ascontiguousarray(x, spec.dtype)
        wide = np.float64 if spec.dtype == np.float64 else np.float32
        with np.errstate(over="ignore", invalid="ignore"):  # `dataset` refuses what overflows
            x = x.astype(wide, copy=False)
            if self.affine is not None:
                x = self.affine.apply(x)
            return np.ascontiguousarray(x.astype(spec.dtype, copy=False))

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Shape of every input at a batch size."""
        batch = self.fixed_batch or batch
        sampled = {
            name: array.shape[1:]
            if is_single_image(self.specs[name])
            else self.specs[name].batched(array.shape[1:], batch)
            for name, array in self.arrays.items()
        }
        return {**sampled, **{name: array.shape for name, array in self.shared.items()}}


_SHOWN = 5


def shortened(numbers: Sequence[int]) -> str:
    """`3, 17, 42`; of a long list the first ones."""
    return ", ".join(map(str, numbers[:_SHOWN])) + ", ..." * (len(numbers) > _SHOWN)


def _digest(sample: Iterable[Array]) -> bytes:
    whole = hashlib.blake2b(digest_size=16)
    for array in sample:
        whole.update(array.tobytes())
    return whole.digest()


_ROUNDING = 1e-5


def _are_alike(x: Array) -> bool:
    """Whether no sample differs from the first, numbers by more than rounding of the largest."""
    if not is_float(x.dtype):
        return all(np.array_equal(x[0], row) for row in x)
    first = x[0].astype(np.float64)
    room = _ROUNDING * np.abs(first).max(initial=0)
    return all(np.abs(row - first).max(initial=0) <= room for row in x)
