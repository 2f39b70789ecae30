"""Inputs made up for a model that comes without data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import Array, ints, loaded, make_graph, make_model, normal, op, value
from onnx import TensorProto
from pruning_builders import NETS, images, residual, transformer

from eapc import Settings, prune
from eapc.data import Dataset, dataset
from eapc.errors import EapcError
from eapc.goals import Sparsity
from eapc.model import Model
from eapc.runtime import collect_outputs
from eapc.synthesis import synthesise
from eapc.synthesis.inputs import dead_leaves


def made(model: Model, count: int | None = 20, seed: int = 0, **given: tuple[int, ...]) -> Dataset:
    return synthesise(model, given, count, np.random.default_rng(seed), 1)


def fed(data: Dataset, name: str = "x") -> Array:
    return np.concatenate([feed[name] for feed in data.batches(64)])


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_network_gets_inputs_that_run(name: str) -> None:
    model = NETS[name]().model
    data = made(model)
    assert data.synthesised
    assert len(data) == 20
    assert np.isfinite(collect_outputs(model, data, 1)["y"]).all()


def test_the_seed_decides() -> None:
    model = residual().model
    one, two, other = (fed(made(model, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_without_a_count_there_are_enough() -> None:
    assert 64 <= len(made(residual().model, None)) <= 256


def test_images_look_alike_at_any_zoom() -> None:
    x = dead_leaves((24, 3, 32, 32), np.random.default_rng(0))
    assert abs(float(x.mean())) < 0.3
    assert 0.5 < float(x.std()) < 1.5
    spectrum = np.abs(np.fft.fft2(x))[:, :, 0, 1:13].mean((0, 1))
    slope = np.polyfit(np.log(np.arange(1, 13)), np.log(spectrum), 1)[0]
    assert -1.6 < slope < -0.6
    steps = np.abs(np.diff(x, axis=-1)).mean()
    assert steps < 0.5 * np.abs(x[..., ::-1] - x).mean()


def test_dynamic_axes_take_the_given_sizes() -> None:
    nodes = [op("Relu", "x", "y")]
    model = loaded(nodes, {"x": ("N", 3, "H", "W")}, ["y"])
    assert fed(made(model, x=(1, 3, 9, 12))).shape == (20, 3, 9, 12)
    assert fed(made(model)).shape == (20, 3, 64, 64)


def test_token_ids_stay_below_their_table() -> None:
    data = made(transformer().model, 200)
    ids = fed(data, "tokens")
    assert (ids.min(), ids.max()) == (0, 19)


def test_the_smallest_table_counts_and_casts_are_seen_through() -> None:
    nodes = [
        op("Cast", "i", "i32", to=TensorProto.INT32),
        op("Gather", "small i32", "a"),
        op("Gather", "large i", "b", axis=1),
        op("Unsqueeze", "i one", "i3"),
        op("Transpose", "b", "bt", perm=[1, 2, 0]),
        op("Add", "a bt", "y"),
    ]
    given = {"small": normal((5, 3)), "large": normal((3, 9)), "one": ints(2)}
    model = loaded(nodes, [value("i", ("N", 4), TensorProto.INT64)], ["y"], given)
    assert fed(made(model, 200), "i").max() == 4


def test_arithmetic_before_a_table_is_seen_through() -> None:
    """What tf.gather becomes: negative ids count from the end of a table of five rows."""
    nodes = [
        op("Less", "i zero", "below"),
        op("Add", "i rows", "wrapped"),
        op("Where", "below wrapped i", "ids"),
        op("Gather", "table ids", "y"),
    ]
    given = {"table": normal((5, 3)), "zero": ints(0), "rows": ints(5)}
    model = loaded(nodes, [value("i", ("N", 4), TensorProto.INT64)], ["y"], given)
    data = made(model, 200)
    assert fed(data, "i").max() == 4
    assert data.notes == ()


def test_integers_of_an_unknown_range_are_named() -> None:
    nodes = [op("Cast", "i", "f", to=TensorProto.FLOAT), op("MatMul", "f w", "y")]
    inputs = [value("i", ("N", 4), TensorProto.INT32)]
    data = made(loaded(nodes, inputs, ["y"], {"w": normal((4, 2))}))
    assert data.notes == (
        "input 'i' is filled with 0 and 1, as nothing in the graph tells the range of its values;"
        " --calib sets them",
    )


def test_ids_of_a_short_type_do_not_overflow() -> None:
    nodes = [op("Cast", "i", "j", to=TensorProto.INT32), op("Gather", "t j", "y")]
    inputs = [value("i", ("N", 4), TensorProto.INT8)]
    model = loaded(nodes, inputs, ["y"], {"t": normal((1000, 2))})
    ids = fed(made(model, 200), "i")
    assert ids.min() >= 0
    assert ids.dtype == np.int8


def test_masks_and_flags() -> None:
    nodes = [op("Where", "m x zero", "y")]
    inputs = [value("m", ("N", 4), TensorProto.BOOL), value("x", ("N", 4))]
    data = made(loaded(nodes, inputs, ["y"], {"zero": np.zeros(1, np.float32)}))
    assert fed(data, "m").dtype == np.bool_
    assert set(np.unique(fed(data, "m"))) == {False, True}


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_a_fixed_batch_is_filled(batch: int) -> None:
    model = Model.from_proto(residual(batch=batch).proto)
    data = made(model)
    assert data.fixed_batch == batch
    assert data.usable == len(data) == max(20, batch)
    assert collect_outputs(model, data, 1)["y"].shape == (data.usable, 5)


def test_inputs_without_a_batch_axis() -> None:
    nodes = [
        op("Mul", "x gain", "a"),
        op("ReduceSum", "state", "s", keepdims=0),
        op("Add", "a s", "y"),
    ]
    model = loaded(nodes, {"x": ("N", 4), "gain": (), "state": (2, 1, 3)}, ["y"])
    data = made(model)
    assert data.shared["state"].shape == (2, 1, 3)
    assert data.shared["gain"].shape == ()


def test_images_differ_in_contrast_and_brightness() -> None:
    x = dead_leaves((64, 1, 16, 16), np.random.default_rng(0))
    contrasts = x.std(axis=(1, 2, 3))
    assert np.quantile(contrasts, 0.9) > 2 * np.quantile(contrasts, 0.1)


def roughness(x: Array) -> float:
    """What neighbours (n, rows, ...) differ by, against what mirrored pixels do."""
    return float(np.abs(np.diff(x, axis=1)).mean() / np.abs(x[:, ::-1] - x).mean())


@pytest.mark.parametrize("shape", [("N", 16, 16, 3), ("N", 3, 16, 16)])
def test_every_scale_comes_as_images_and_as_white_noise(shape: tuple[int | str, ...]) -> None:
    """Independent pixels differ by what any two do; in images neighbours are alike."""
    data = made(loaded([op("Relu", "x", "y")], {"x": shape}, ["y"]), 60)
    assert data.kinds is not None
    x = np.moveaxis(fed(data), shape.index(3), -1)
    found = {name: roughness(x[data.kinds == kind]) for kind, name in enumerate(data.kind_names)}
    assert len(found) == 6
    for name, rough in found.items():
        assert 0.85 < rough < 1.15 if "white noise" in name else rough < 0.5


def test_doubles_and_halves_have_their_type() -> None:
    for kind, dtype in ((TensorProto.DOUBLE, np.float64), (TensorProto.FLOAT16, np.float16)):
        model = loaded(
            [op("Neg", "x", "y")], [value("x", ("N", 4), kind)], [value("y", None, kind)]
        )
        assert fed(made(model)).dtype == dtype


# --- refusals --------------------------------------------------------------------------------


def refused(model: Model, **given: Any) -> str:
    with pytest.raises(EapcError) as caught:
        made(model, **given)
    assert caught.value.exit_code in (2, 3)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_models_that_inputs_cannot_be_made_up_for() -> None:
    text = [value("x", ("N", 2), TensorProto.STRING)]
    strings = loaded([op("Identity", "x", "y")], text, [value("y", None, TensorProto.STRING)])
    assert "give --calib" in refused(strings)
    assert "too large" in refused(loaded([op("Neg", "x", "y")], {"x": ("N", 1 << 31)}, ["y"]))
    custom = make_model([op("Nope", "x", "y", domain="my.own")], {"x": ("N", 4)}, ["y"])
    assert "onnxruntime" in refused(Model.from_proto(custom))
    reshape = loaded([op("Reshape", "x s", "y")], {"x": ("N", 7)}, ["y"], {"s": ints(5, -1)})
    assert "--calib gives real ones" in refused(reshape, count=3)


@pytest.mark.parametrize("is_recurrent", [True, False])
def test_states_whose_batch_is_not_told_are_named(is_recurrent: bool) -> None:
    """h (2, "n", 4) is read in a branch alone, so that nothing tells what its axes count."""
    then = make_graph([op("ReduceSum", "h", "t", keepdims=0)], {}, ["t"])
    other = make_graph([op("ReduceMax", "h", "e", keepdims=0)], {}, ["e"])
    cell = [op("LSTM", "x w r", "s", "cell", hidden_size=4)] if is_recurrent else []
    nodes = [
        *cell,
        op("If", "yes", "c", "if", then_branch=then, else_branch=other),
        op("Add", f"{'s' if is_recurrent else 'x'} c", "y"),
    ]
    tensors = {"w": normal((1, 16, 3)), "r": normal((1, 16, 4)), "yes": np.array(True)}
    kept = tensors if is_recurrent else {"yes": tensors["yes"]}
    x = (5, "N", 3) if is_recurrent else ("N", 5, 3)
    model = loaded(nodes, {"x": x, "h": (2, "n", 4)}, ["y"], kept)
    named = [note for note in made(model).notes if "does not tell which of its axes" in note]
    assert [note[: len("input 'h'")] for note in named] == ["input 'h'"] * is_recurrent


def reflecting(margin: int) -> Model:
    """y = w * x padded by as many steps as `margin` at the end, mirrored: it takes more of them."""
    nodes = [op("Pad", "x pads", "padded", mode="reflect"), op("Conv", "padded w", "y")]
    constants = {"pads": ints(0, 0, 0, 0, 0, margin), "w": normal((4, 2, 3))}
    return loaded(nodes, {"x": ("batch", 2, "steps")}, ["y"], constants)


@pytest.mark.parametrize(("margin", "size"), [(63, 64), (64, 128), (300, 512)])
def test_open_axes_are_doubled_till_the_model_runs(margin: int, size: int) -> None:
    model = reflecting(margin)
    assert made(model).arrays["x"].shape == (20, 2, size)
    result = prune(model, Settings(samples=8, threads=1), goal=Sparsity(0.5))
    said = f"axis 2 of input 'x' is dynamic and taken to be {size}; --input-shape sets it"
    assert said in result.assumed


def test_open_axes_do_not_grow_without_end() -> None:
    with pytest.raises(EapcError, match=r"no inputs can be made up .*--input-shape"):
        made(reflecting(5000))
    with pytest.raises(EapcError, match="no inputs can be made up"):
        made(reflecting(300), x=(1, 2, 100))


def test_shapes_that_do_not_fit_are_refused() -> None:
    assert "axis 1" in refused(residual().model, x=(1, 4, 8, 8))
    assert images().shape[1] == 3


# --- images of bytes -----------------------------------------------------------------------------


def byte_network(shape: tuple[int | str, ...]) -> Model:
    """Channels last, cast and turned to one image in front of a convolution."""
    last = [len(shape) - 1, *range(len(shape) - 1)]
    nodes = [
        op("Cast", "rgb", "f", to=TensorProto.FLOAT),
        op("Transpose", "f", "t", perm=last if len(shape) == 3 else [0, 3, 1, 2]),
        op("Unsqueeze" if len(shape) == 3 else "Identity", "t z" if len(shape) == 3 else "t", "i"),
        op("Conv", "i w", "y", name="conv"),
    ]
    given = {"w": normal((4, 3, 3, 3)), "z": ints(0)}
    return loaded(nodes, [value("rgb", shape, TensorProto.UINT8)], ["y"], given)


@pytest.mark.parametrize("shape", [("height", "width", 3), ("N", "height", "width", 3)])
def test_images_of_bytes_fill_their_range(shape: tuple[int | str, ...]) -> None:
    """One image without a batch goes in at a time; half of them are noise."""
    data = made(byte_network(shape), 20)
    assert data.arrays["rgb"].shape == (20, 64, 64, 3)
    assert data.arrays["rgb"].dtype == np.uint8
    assert data.arrays["rgb"].min() < 30
    assert data.arrays["rgb"].max() > 225
    assert data.origin.startswith("values 0 to 255, as images and as white noise in turn")
    feed = next(data.batches(4))["rgb"]
    assert feed.shape == ((64, 64, 3) if len(shape) == 3 else (4, 64, 64, 3))


def test_a_network_of_single_images_is_pruned_with_data_and_without() -> None:
    model = byte_network(("height", "width", 3))
    for calibration in (None, made(model, 20)):
        settings = Settings(calibration=calibration, threads=1, samples=20)
        done = prune(model, settings, goal=Sparsity(0.5))
        assert done.sparsity == pytest.approx(0.5, abs=0.02)
        assert (done.layers[0].rows or 0) > 100
    photographs = np.zeros((5, 30, 20, 3), np.uint8)
    one, many = (dataset({"rgb": x}, model.inputs, "here") for x in (photographs[0], photographs))
    assert (len(one), len(many), many.shapes(9)["rgb"]) == (1, 5, (30, 20, 3))
