"""Calibration data: what is accepted, what it becomes, and one line for what is wrong."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from eapc.data import Dataset, dataset, from_reader, load_data
from eapc.errors import DataError
from eapc.model import Array, TensorSpec

Axes = Sequence[int | str | None]


def spec(name: str, shape: Axes, dtype: Any = np.float32) -> TensorSpec:
    return TensorSpec(name, np.dtype(dtype), tuple(shape))


IMAGE = spec("image", ("N", 3, 4, 5))
ROWS = spec("rows", ("N", 4))
TOKENS = spec("tokens", ("N", 6), np.int64)


def images(count: int = 5, dtype: Any = np.uint8) -> Array:
    return np.arange(count * 60).reshape(count, 3, 4, 5).astype(dtype)


def rows(count: int = 5) -> Array:
    return np.linspace(-1, 1, count * 4, dtype=np.float32).reshape(count, 4)


def made(arrays: Mapping[str, Array], *specs: TensorSpec) -> Dataset:
    return dataset(arrays, specs, "here")


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def whole(data: Dataset, name: str, size: int = 2) -> Array:
    return np.concatenate([feed[name] for feed in data.batches(size)])


class Reader:
    """Hands out feeds one by one."""

    def __init__(self, feeds: Sequence[Any]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Any:
        return next(self._feeds, None)


# --- what is accepted ------------------------------------------------------------------------


def test_one_array_of_any_name_serves_one_input() -> None:
    for name in ("x", "image", "anything"):
        data = made({name: images()}, IMAGE)
        np.testing.assert_array_equal(whole(data, "image"), images().astype(np.float32))
        assert whole(data, "image").dtype == np.float32


@pytest.mark.parametrize("labels", [np.arange(5)[:, None], np.array([0, 1, 1, 0, 1]) == 1])
def test_labels_in_a_column_or_as_booleans(labels: Array) -> None:
    data = dataset({"x": rows(), "y": labels}, (ROWS,), "test")
    assert data.require_labels().tolist() == labels.astype(int).ravel().tolist()
    with pytest.raises(DataError, match="no labels"):
        dataset({"x": rows()}, (ROWS,), "test").require_labels()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array(1), "labels y must be integers"),
        (np.ones((5, 2), int), "labels y must be integers"),
        (np.ones(5), "labels y must be integers"),
        (-np.arange(5), "hold -4; classes count from 0"),
        (np.full(5, 2**63, np.uint64), "labels y"),
    ],
)
def test_what_is_no_label_is_refused_where_labels_are_needed(labels: Array, said: str) -> None:
    data = made({"x": rows(), "y": labels}, ROWS)
    assert data.labels is None
    with pytest.raises(DataError, match=f"here: .*{said}"):
        data.require_labels()
    np.testing.assert_array_equal(data.extras["y"], labels)


def test_arrays_that_are_no_input_come_along() -> None:
    boxes, y = np.arange(40.0).reshape(5, 2, 4), np.arange(5, dtype=np.uint8)[:, None]
    given = {"rows": rows(), "boxes": boxes, "y": y, "limit": np.array(3), "mean": np.array(1.0)}
    data = made(given, ROWS)
    assert list(data.extras) == ["boxes", "y", "limit"]
    taken = data.take(np.array([3, 1]))
    np.testing.assert_array_equal(taken.extras["boxes"], boxes[[3, 1]])
    assert taken.extras["y"].tolist() == [[3], [1]]
    assert taken.extras["y"].dtype == np.uint8
    assert taken.extras["limit"] == 3
    assert taken.require_labels().tolist() == [3, 1]


def test_an_input_may_serve_under_two_names() -> None:
    x = rows()
    data = made({"rows": x, "target": x}, ROWS)
    assert data.extras["target"] is x


def test_a_folder_may_hold_more_than_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", rows())
    np.save(tmp_path / "tags.npy", np.arange(10).reshape(5, 2))
    data = load_data(tmp_path, [ROWS]).take(slice(3, None))
    assert data.extras["tags"].tolist() == [[6, 7], [8, 9]]


def test_arrays_of_another_length_are_left_out_and_named() -> None:
    data = made({"rows": rows(), "boxes": np.ones((4, 2))}, ROWS)
    assert not data.extras
    assert data.faults == {"boxes": "here: 'boxes' has 4 rows for 5 samples"}


def test_labels_and_scaling_come_along(tmp_path: Path) -> None:
    path = npz(
        tmp_path / "data.npz",
        x=images(),
        y=np.arange(5, dtype=np.uint8),
        scale=np.float32(1 / 255),
        mean=np.array([0.1, 0.2, 0.3]),
        std=np.array([0.5, 0.25, 0.125]),
    )
    data = load_data(path, [IMAGE])
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels, np.arange(5))
    assert data.labels.dtype == np.int64
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.25, 0.125])
    expected = (images() / 255 - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(whole(data, "image"), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["scale", "mean", "std"])
def test_one_number_or_one_per_channel(name: str) -> None:
    for value in (np.array(2.0), np.array([2.0]), np.array([[[1.0]], [[2.0]], [[4.0]]])):
        data = made({"x": images(), name: value}, IMAGE)
        number = np.broadcast_to(value.ravel(), 3)[:, None, None]
        x = images().astype(np.float32)
        expected = {"scale": x * number, "mean": x - number, "std": x / number}[name]
        np.testing.assert_allclose(whole(data, "image"), expected, rtol=1e-6)


def test_channels_last() -> None:
    x = images().transpose(0, 2, 3, 1)
    data = made({"x": x, "mean": np.array([1.0, 2, 3])}, spec("image", ("N", 4, 5, 3)))
    np.testing.assert_allclose(whole(data, "image"), x - np.array([1.0, 2, 3]))


def test_channels_first_win_where_both_fit() -> None:
    x = np.zeros((2, 3, 4, 3), np.float32)
    data = made({"x": x, "mean": np.array([1.0, 2, 3])}, spec("image", ("N", 3, 4, 3)))
    np.testing.assert_allclose(whole(data, "image")[0, :, 0, 0], [-1, -2, -3])


def test_scaling_of_rows_and_of_single_numbers() -> None:
    data = made({"x": rows(), "mean": np.arange(4.0)}, ROWS)
    np.testing.assert_allclose(whole(data, "rows"), rows() - np.arange(4), rtol=1e-6)
    data = made({"x": np.arange(3.0), "mean": np.array(1.0)}, spec("v", ("N",)))
    np.testing.assert_allclose(whole(data, "v"), [-1, 0, 1])


def test_several_inputs_by_name() -> None:
    data = made({"tokens": np.ones((5, 6), np.int32), "rows": rows()}, ROWS, TOKENS)
    assert len(data) == 5
    feeds = list(data.batches(2))
    assert [len(feed["rows"]) for feed in feeds] == [2, 2, 1]
    assert feeds[0]["tokens"].dtype == np.int64


@pytest.mark.parametrize("name", ["y", "scale", "mean", "std"])
def test_an_input_may_be_called_like_a_reserved_array(name: str) -> None:
    data = made({name: rows()}, spec(name, ("N", 4)))
    np.testing.assert_array_equal(whole(data, name), rows())
    assert data.labels is None
    assert data.affine is None
    both = made({name: rows(), "rows": rows()}, spec(name, ("N", 4)), ROWS)
    assert set(both.arrays) == {name, "rows"}


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_feeds_have_the_type_of_the_input(dtype: Any) -> None:
    data = made({"x": rows(), "scale": np.array(0.5)}, spec("rows", ("N", 4), dtype))
    assert whole(data, "rows").dtype == np.dtype(dtype)


def test_double_inputs_keep_their_digits() -> None:
    x = 1 + np.arange(8).reshape(2, 4) * 1e-12
    data = made({"x": x}, spec("rows", ("N", 4), np.float64))
    np.testing.assert_array_equal(whole(data, "rows"), x)


def test_integer_inputs_are_never_scaled() -> None:
    data = made({"x": np.full((3, 6), 7, np.uint8), "scale": np.array(2.0)}, TOKENS)
    assert set(whole(data, "tokens").ravel()) == {7}


def test_shared_inputs_go_into_every_feed() -> None:
    inputs = (ROWS, spec("rate", (), np.int64), spec("state", (2, 1, 3)))
    state = np.ones((2, 1, 3), np.float32)
    data = made({"rows": rows(), "rate": np.array(16000), "state": state}, *inputs)
    assert (len(data), data.fixed_batch) == (5, 1)
    feeds = list(data.batches(4))
    assert len(feeds) == 5
    assert feeds[3]["rate"].shape == ()
    np.testing.assert_array_equal(feeds[3]["state"], state)
    assert data.shapes(7) == {"rows": (1, 4), "rate": (), "state": (2, 1, 3)}


def test_a_scalar_input_leaves_the_batch_free() -> None:
    data = made({"rows": rows(), "rate": np.array(16000)}, ROWS, spec("rate", (), np.int64))
    assert data.fixed_batch is None


@pytest.mark.parametrize("count", [4, 8, 11])
def test_a_fixed_batch_is_fed_in_slices(count: int) -> None:
    data = made({"x": rows(count), "y": np.arange(count)}, spec("rows", (4, 4)))
    assert (len(data), data.usable, data.fixed_batch) == (count, count // 4 * 4, 4)
    assert [len(feed["rows"]) for feed in data.batches(100)] == [4] * (count // 4)


def test_a_fixed_batch_of_several_inputs_that_fill_it_once() -> None:
    inputs = (spec("a", (4, 2)), spec("b", (4, 3)))
    data = made({"a": np.ones((4, 2)), "b": np.ones((4, 3))}, *inputs)
    assert (len(data), data.fixed_batch) == (4, 4)


def test_a_folder_of_npy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", rows())
    np.save(tmp_path / "y.npy", np.arange(5))
    data = load_data(tmp_path, [ROWS])
    np.testing.assert_array_equal(whole(data, "rows"), rows())
    assert data.labels is not None


def test_a_reader_is_collected() -> None:
    data = from_reader(Reader([{"rows": rows(2)}, {"rows": rows(3)}]), [ROWS])
    assert len(data) == 5


def test_a_reader_may_give_more_than_inputs() -> None:
    feeds = [{"rows": rows(n), "boxes": np.full((n, 2, 4), n)} for n in (2, 3)]
    data = from_reader(Reader(feeds), [ROWS])
    assert data.extras["boxes"][:, 0, 0].tolist() == [2, 2, 3, 3, 3]


def test_a_reader_may_repeat_what_has_no_batch() -> None:
    feed = {"rows": rows(1), "rate": np.array(8000), "state": np.ones((2, 1, 3), np.float32)}
    inputs = [ROWS, spec("rate", (), np.int64), spec("state", (2, 1, 3))]
    data = from_reader(Reader([feed] * 3), inputs)
    assert len(data) == 3
    assert data.shared["state"].shape == (2, 1, 3)


def test_taking_and_splitting_samples() -> None:
    data = made({"x": rows(10), "y": np.arange(10)}, ROWS)
    most, apart = data.split(0.2)
    assert most.labels is not None
    assert apart.labels is not None
    assert apart.labels.tolist() == [4, 9]
    assert most.labels.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    np.testing.assert_array_equal(apart.arrays["rows"], rows(10)[[4, 9]])
    assert data.without(slice(0, None, 3)).labels.tolist() == [1, 2, 4, 5, 7, 8]  # type: ignore[union-attr]
    assert len(data.first(3)) == 3
    assert data.first(None) is data


def test_samples_of_some_classes_are_labelled_by_their_places() -> None:
    """Of labels 2 0 1 2 0 those of (2, 0) stay; 2 is now 0, and 0 is 1."""
    arrays = {"x": np.arange(5.0)[:, None], "y": np.array([2, 0, 1, 2, 0]), "w": np.arange(5)}
    data = dataset(arrays, [TensorSpec("x", np.dtype(np.float32), ("N", 1))], "here")
    data = replace(data, classes=("cat", "dog", "cow"))
    kept = data.of_classes((2, 0))
    assert kept.arrays["x"].ravel().tolist() == [0, 1, 3, 4]
    assert kept.require_labels().tolist() == [0, 1, 0, 1]
    assert kept.extras["y"].tolist() == [0, 1, 0, 1]
    assert kept.extras["w"].tolist() == [0, 1, 3, 4]
    assert kept.classes == ("cow", "cat")
    assert data.require_labels().tolist() == [2, 0, 1, 2, 0]


def test_no_sample_of_some_classes_is_said() -> None:
    spec = TensorSpec("x", np.dtype(np.float32), (2, 1))
    data = dataset({"x": np.arange(4.0)[:, None], "y": np.array([2, 0, 1, 2])}, [spec], "here")
    with pytest.raises(DataError, match="0 of 4 labels are of the classes kept, 5, 6: too few"):
        data.of_classes((5, 6))
    with pytest.raises(DataError, match="1 of 4 labels are of the classes kept, 0, 7: too few"):
        data.of_classes((0, 7))
    assert len(data.of_classes((0, 1))) == 2


def test_every_feed_holds_one_kind() -> None:
    data = made({"x": rows(7)}, spec("x", ("N", 4)))
    data = replace(data, kinds=np.array([0, 0, 0, 1, 1, 1, 2]), kind_names=("a", "b", "c"))
    assert [len(feed["x"]) for feed in data.batches(2)] == [2, 1, 2, 1, 1]
    assert data.kinds_by_batch(2) == [(0,), (0,), (1,), (1,), (2,)]
    np.testing.assert_array_equal(whole(data, "x"), rows(7))
    fixed = replace(data, fixed_batch=2)
    assert fixed.kinds_by_batch(9) == [(0,), (0, 1), (1,)]
    assert replace(data, kinds=None).kinds_by_batch(4) == [(0,), (0,)]


def test_what_was_given_is_never_written_to() -> None:
    x = rows()
    x.setflags(write=False)
    data = made({"x": x, "mean": np.array(1.0)}, ROWS)
    whole(data, "rows")[...] = 0
    np.testing.assert_array_equal(x, rows())


# --- what is wrong ---------------------------------------------------------------------------

NAN = np.array([[np.nan, 0, 0, 0]], np.float32)
BAD: dict[str, tuple[dict[str, Array], tuple[TensorSpec, ...], str]] = {
    "wrong rank": ({"x": rows()}, (IMAGE,), r"has shape \(5, 4\), the input has 4 axes"),
    "wrong axis": ({"x": rows()}, (spec("x", ("N", 3)),), r"shape \(5, 4\), axis 1 must be 3"),
    "text": ({"x": np.array([["a", "b"]])}, (ROWS,), "has type <U1, expected numbers"),
    "complex": ({"x": np.ones((2, 4), complex)}, (ROWS,), "has type complex128"),
    "no samples": ({"x": rows(0)}, (ROWS,), "is empty"),
    "NaN": ({"x": NAN}, (ROWS,), "holds NaN or infinity"),
    "bfloat16 NaN": ({"x": NAN.astype(ml_dtypes.bfloat16)}, (ROWS,), "holds NaN or infinity"),
    "infinity": ({"x": np.full((2, 4), -np.inf)}, (ROWS,), "holds NaN or infinity"),
    "too large": ({"x": np.full((1, 4), 1e300)}, (ROWS,), "infinity once scaled, as float32"),
    "too large for half": (
        {"x": np.full((1, 4), 1e5)},
        (spec("x", ("N", 4), np.float16),),
        "infinity once scaled, as float16",
    ),
    "overflow": ({"x": np.full((1, 6), 300)}, (spec("t", ("N", 6), np.uint8),), "fit into uint8"),
    "negative": ({"x": np.full((1, 6), -1)}, (spec("t", ("N", 6), np.uint64),), "into uint64"),
    "huge unsigned": ({"x": np.full((1, 6), 2**63, np.uint64)}, (TOKENS,), "fit into int64"),
    "floats for tokens": ({"x": np.ones((1, 6))}, (TOKENS,), "the input takes int64"),
    "ambiguous": ({"a": rows(), "b": rows()}, (ROWS,), "found a, b; name the input's 'rows'"),
    "only labels": ({"y": np.arange(3)}, (ROWS,), "found none"),
    "nothing": ({}, (ROWS,), "found none"),
    "missing input": (
        {"rows": rows()},
        (ROWS, TOKENS),
        r"no array for input 'tokens' \(found rows",
    ),
    "nothing for two": ({}, (ROWS, TOKENS), "found nothing"),
    "counts": (
        {"rows": rows(3), "tokens": np.ones((4, 6), np.int64)},
        (ROWS, TOKENS),
        "different numbers of samples",
    ),
    "label count": ({"x": rows(), "y": np.arange(4)}, (ROWS,), "different numbers of samples"),
    "std 0": (
        {"x": rows(), "std": np.array([1, 0, 1, 1])},
        (ROWS,),
        "std must be finite and not 0",
    ),
    "std that is 0 as float32": ({"x": rows(), "std": np.array(1e-60)}, (ROWS,), "std must be"),
    "mean NaN": ({"x": rows(), "mean": np.array(np.nan)}, (ROWS,), "mean must be finite"),
    "mean too large": ({"x": rows(), "mean": np.array(1e300)}, (ROWS,), "mean must be finite"),
    "no mean": ({"x": rows(), "mean": np.zeros(0)}, (ROWS,), "mean"),
    "mean in words": ({"x": rows(), "mean": np.array("imagenet")}, (ROWS,), "mean"),
    "mean of no axis": ({"x": images(), "mean": np.ones(7)}, (IMAGE,), "no channel axis"),
    "two lengths": (
        {"x": images(), "mean": np.ones(3), "std": np.ones(5)},
        (IMAGE,),
        "mean|std",
    ),
    "unfilled batch": ({"x": rows(3)}, (spec("x", (4, 4)),), "3 samples do not fill"),
    "only scalars": ({"x": np.array(1.0)}, (spec("x", ()),), "no input has a leading axis"),
    "scalar for a vector": ({"x": np.array(1.0)}, (spec("x", (3,)),), r"shape \(\)"),
    "vector for a scalar": (
        {"r": np.ones(3), "rows": rows()},
        (ROWS, spec("r", ())),
        r"shape \(3,\), the input has 0 axes",
    ),
    "scaling that overflows": (
        {"x": rows(), "scale": np.array(3e38), "std": np.array(1e-30)},
        (ROWS,),
        "NaN or infinity",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays(name: str) -> None:
    arrays, inputs, message = BAD[name]
    with pytest.raises(DataError) as caught:
        made(arrays, *inputs)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def one_line(source: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_data(source, [ROWS])
    text = str(caught.value)
    assert text.startswith(str(source))
    assert "\n" not in text
    return text


def test_bad_files(tmp_path: Path) -> None:
    assert "no such file" in one_line(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("not\na zip\n")
    assert "cannot be read" in one_line(tmp_path / "text.npz")
    (tmp_path / "nothing.npz").write_bytes(b"")
    assert "cannot be read" in one_line(tmp_path / "nothing.npz")
    whole_file = npz(tmp_path / "cut.npz", x=rows(100))
    whole_file.write_bytes(whole_file.read_bytes()[:500])
    assert "cannot be read" in one_line(whole_file)
    np.save(tmp_path / "single.npy", rows())
    assert "expected an .npz file or a folder" in one_line(tmp_path / "single.npy")
    (tmp_path / "folder").mkdir()
    assert "holds no .npy, JPEG or PNG files" in one_line(tmp_path / "folder")


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    path = tmp_path / "text.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "no array")
    assert "its member 'x' is no array" in one_line(path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"x": rows()}))
    assert "cannot be read" in one_line(tmp_path / "pickle.npz")
    path = npz(tmp_path / "objects.npz", x=np.array([{}, None], object))
    assert "cannot be read" in one_line(path)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "x.npy", np.array([{}, None], object))
    assert "cannot be read" in one_line(tmp_path / "folder")


@pytest.mark.parametrize(
    "feeds",
    [
        [],
        [{"rows": rows(1)}, {}],
        [{"rows": rows(1)}, {"rows": np.ones((1, 5), np.float32)}],
        [{"wrong": rows(1), "x": rows(1)}],
        [{"rows": rows(1)}, {"rows": np.float32(1)}],
        [[rows(1)]],
    ],
)
def test_bad_readers(feeds: list[Any]) -> None:
    with pytest.raises(DataError) as caught:
        from_reader(Reader(feeds), [ROWS])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "fixed"), [(0, None), (3, 4)])
def test_taking_too_few_samples(count: int, fixed: int | None) -> None:
    data = made({"x": rows(8)}, spec("rows", (fixed or "N", 4)))
    with pytest.raises(DataError, match="samples"):
        data.first(count)


@pytest.mark.parametrize(("count", "fixed"), [(1, None), (7, 4), (4, 4)])
def test_splitting_too_few_samples(count: int, fixed: int | None) -> None:
    data = made({"x": rows(count)}, spec("rows", (fixed or "N", 4)))
    with pytest.raises(DataError, match="too few"):
        data.split(0.2)


@pytest.mark.parametrize(("count", "fixed"), [(2, None), (4, None), (8, 4), (12, 4), (13, 4)])
def test_splitting_few_samples_keeps_whole_batches(count: int, fixed: int | None) -> None:
    most, apart = made({"x": rows(count)}, spec("rows", (fixed or "N", 4))).split(0.2)
    assert apart.usable == (fixed or 1)
    assert most.usable
    assert len(most) + len(apart) == count


def test_samples_that_differ_by_rounding_are_alike() -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(1, 8)), 30, axis=0).astype(np.float32)
    specs = [TensorSpec("x", np.dtype(np.float32), ("N", 8))]
    near = x + np.float32(1e-7) * np.arange(30, dtype=np.float32)[:, None]
    assert dataset({"x": x}, specs, "test").are_alike
    assert dataset({"x": near}, specs, "test").are_alike
    apart = x + np.float32(1e-3) * np.arange(30, dtype=np.float32)[:, None]
    assert not dataset({"x": apart}, specs, "test").are_alike
    assert not dataset({"x": x[:1]}, specs, "test").are_alike
