"""Data in memory: every form of the same inputs becomes the same dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

from eapc.data import NamedArrays, Remembered, dataset, from_reader, gather
from eapc.errors import ArgumentError, DataError
from eapc.model import Array, TensorSpec

FLOAT = np.dtype(np.float32)
X = TensorSpec("x", FLOAT, ("N", 2, 3))
MASK = TensorSpec("mask", FLOAT, ("N", 4))
STEPS = TensorSpec("steps", FLOAT, (5, "N", 3), 1)
IMAGE = TensorSpec("image", np.dtype(np.uint8), ("height", "width", 3))

x = np.arange(36, dtype=np.float32).reshape(6, 2, 3)
mask = np.arange(24, dtype=np.float32).reshape(6, 4)
y = np.arange(6)


class Tensor:
    """What a tensor of torch has that numpy reads it by, gradients and all."""

    def __init__(self, array: Array, is_detached: bool = False, is_known: bool = True) -> None:
        self.array, self.is_detached, self.is_known = array, is_detached, is_known

    def detach(self) -> Tensor:
        return Tensor(self.array, True, self.is_known)

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self.array, self.is_detached)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        if not self.is_detached:
            raise RuntimeError("call detach() first")
        if not self.is_known:
            raise TypeError("numpy has no such type")
        return self.array


class MapStyle:
    """A data set as torch has it: a length and items, and no iterator."""

    def __len__(self) -> int:
        return len(x)

    def __getitem__(self, place: int) -> tuple[Array, int]:
        return x[place], int(y[place])


class Loader:
    """A loader of batches of (inputs, labels), lists as torch makes them."""

    def __iter__(self) -> Iterator[list[Tensor]]:
        for start in (0, 4):
            yield [Tensor(x[start : start + 4]), Tensor(y[start : start + 4])]


class Reader:
    def __init__(self, feeds: list[Any]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Any:
        return next(self.feeds, None)


LABELLED: dict[str, Callable[[], Any]] = {
    "dict": lambda: {"x": x, "y": y},
    "a dict of another name": lambda: {"images": x, "y": y},
    "tuple": lambda: (x, y),
    "tuple of a dict": lambda: ({"x": x}, y),
    "tensors": lambda: (Tensor(x), Tensor(y)),
    "nested lists": lambda: (x.tolist(), y.tolist()),
    "samples": lambda: list(zip(x, y, strict=True)),
    "dicts of samples": lambda: [{"x": a, "y": b} for a, b in zip(x, y, strict=True)],
    "dicts of batches": lambda: [{"x": x[:1], "y": y[:1]}, {"x": x[1:], "y": y[1:]}],
    "generator": lambda: (pair for pair in zip(x, y, strict=True)),
    "batches of one": lambda: [(x[i : i + 1], y[i : i + 1]) for i in range(6)],
    "loader": Loader,
    "map-style data set": MapStyle,
    "reader": lambda: Reader([{"x": x[:2], "y": y[:2]}, {"x": x[2:], "y": y[2:]}]),
}


@pytest.mark.parametrize("form", LABELLED)
def test_labelled_inputs(form: str) -> None:
    data = gather(LABELLED[form](), [X]).dataset([X])
    np.testing.assert_array_equal(data.arrays["x"], x)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5]


UNLABELLED: dict[str, Callable[[], Any]] = {
    "array": lambda: x,
    "tensor": lambda: Tensor(x),
    "of a type numpy lacks": lambda: Tensor(x, is_known=False),
    "list of arrays": lambda: list(x),
    "list of batches": lambda: [x[:4], x[4:]],
    "a sample and a batch": lambda: [x[0], x[1:]],
    "list of numbers": x.tolist,
}


@pytest.mark.parametrize("form", UNLABELLED)
def test_inputs_alone(form: str) -> None:
    data = gather(UNLABELLED[form](), [X]).dataset([X])
    np.testing.assert_array_equal(data.arrays["x"], x)
    assert data.labels is None


@pytest.mark.parametrize(
    "source",
    [
        (x, mask),
        {"x": x, "mask": mask},
        list(zip(x, mask, strict=True)),
        [{"x": a, "mask": b} for a, b in zip(x, mask, strict=True)],
        [(x[:3], mask[:3]), (x[3:], mask[3:])],
    ],
)
def test_several_inputs(source: Any) -> None:
    data = gather(source, [X, MASK]).dataset([X, MASK])
    np.testing.assert_array_equal(data.arrays["x"], x)
    np.testing.assert_array_equal(data.arrays["mask"], mask)
    assert data.labels is None


@pytest.mark.parametrize(
    "source",
    [(x, mask, y), ((x, mask), y), [((a, b), c) for a, b, c in zip(x, mask, y, strict=True)]],
)
def test_several_inputs_and_labels(source: Any) -> None:
    data = gather(source, [X, MASK]).dataset([X, MASK])
    np.testing.assert_array_equal(data.arrays["mask"], mask)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_batches_as_the_network_has_them() -> None:
    """Batches of (steps, n, features) and samples of (steps, features) are the same samples."""
    samples = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    batches = [np.moveaxis(samples[:3], 0, 1), np.moveaxis(samples[3:], 0, 1)]
    for source in (batches, list(samples)):
        data = gather(source, [STEPS]).dataset([STEPS])
        np.testing.assert_array_equal(data.arrays["steps"], samples)


@pytest.mark.parametrize("is_reader", [True, False])
def test_single_images_stay_apart(is_reader: bool) -> None:
    images = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    if is_reader:
        data = from_reader(Reader([{"image": image} for image in images]), [IMAGE])
    else:
        data = gather(list(images), [IMAGE]).dataset([IMAGE])
    np.testing.assert_array_equal(data.arrays["image"], images)


def test_no_more_is_taken_than_is_asked_for() -> None:
    taken = []

    def endless() -> Iterator[Array]:
        for place in count():
            taken.append(place)
            yield x[:4]

    assert len(gather(endless(), [X], 6).dataset([X], 6)) == 6
    assert taken == [0, 1]


def test_a_generator_serves_two_readings() -> None:
    source = Remembered(row for row in x)
    first, second = (source.named([X], None).dataset([X]) for _ in range(2))
    np.testing.assert_array_equal(first.arrays["x"], second.arrays["x"])
    assert len(second) == 6


def test_messages_call_data_by_its_name() -> None:
    with pytest.raises(DataError, match="evaluation: array for input 'x' has shape"):
        Remembered(x[0], "evaluation").named([X], None).dataset([X])
    with pytest.raises(DataError, match="evaluation: item 0: expected input x"):
        Remembered([(x, y, y)], "evaluation").named([X], None)


def test_whole_arrays_are_as_in_a_file() -> None:
    found = gather({"x": x, "y": y, "scale": np.float32(2)}, [X])
    assert isinstance(found, NamedArrays)
    data, stored = found.dataset([X]), dataset(found.arrays, [X], "file")
    assert data.affine is not None
    np.testing.assert_array_equal(next(data.batches(9))["x"], next(stored.batches(9))["x"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (3, "data: expected an array, a dict of arrays by name, .*, got int"),
        ("name", "expected an array.*got str"),
        (["a.png"], "item 0: expected arrays, got str"),
        ({"x": ["a"]}, "data: 'x': expected numbers, got list of <U1"),
        ([None], "item 0: 'x': expected numbers, got NoneType of object"),
    ],
)
def test_what_is_no_data(source: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said) as caught:
        gather(source, [X])
    assert isinstance(caught.value, ArgumentError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "specs", "said"),
    [
        ([], [X], "data: gave no inputs"),
        ((x, y, mask), [X], "expected input x, and labels where there are any, got 3 arrays"),
        (x, [X, MASK], "expected the inputs x, mask, and labels .*, got 1 arrays; a dict"),
        ([{"x": x[0]}, {"x": x[0], "y": 1}], [X], "expected the same inputs in every item"),
        ([x[:2], x[:, :1]], [X], "shapes .* of 'x' do not go together"),
        ([x, y], [X], "do not go together; inputs and labels are a tuple"),
        (iter(()), [X], "data: gave no inputs; a generator gives them once"),
        ([[1.0], [1.0, 2.0]], [X], "the input has 3 axes"),
        (([[1.0], [1.0, 2.0]], y), [X], "list cannot be read as an array"),
        ((x[0], y), [X], r"has shape \(2, 3\), the input has 3 axes"),
    ],
)
def test_data_that_does_not_fit(source: Any, specs: list[TensorSpec], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        gather(source, specs).dataset(specs)
    assert "\n" not in str(caught.value)
