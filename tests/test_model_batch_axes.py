"""The axis of inferences is found where the graph tells it: time is no batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Array, Axis, ints, make_graph, make_model, normal, op, value
from onnx import GraphProto, ModelProto, TensorProto, helper

import eapc
from eapc.data import DataFiles, Dataset, load_data
from eapc.errors import UsageError
from eapc.model import (
    Model,
    batch_of,
    infer_shapes,
    input_shapes,
    require_one_batch,
    sample_axes,
)
from eapc.synthesis import synthesise

HIDDEN = 32
FEATURES = 64


def two_ways(steps: Axis, batch: Axis) -> ModelProto:
    """A bidirectional LSTM over x (steps, batch, 64), and a layer on its last states."""
    nodes = [
        op("LSTM", "x w r", "all last", "lstm", hidden_size=HIDDEN, direction="bidirectional"),
        op("Transpose", "last", "t", perm=[1, 0, 2]),
        op("Reshape", "t flat", "f"),
        op("MatMul", "f v", "y", "head"),
    ]
    tensors = {
        "w": normal((2, 4 * HIDDEN, FEATURES)),
        "r": normal((2, 4 * HIDDEN, HIDDEN), 1),
        "v": normal((2 * HIDDEN, 10), 2),
        "flat": ints(-1, 2 * HIDDEN),
    }
    return make_model(nodes, {"x": (steps, batch, FEATURES)}, ["y"], tensors)


def with_states(batch: Axis, states: tuple[Axis, Axis, Axis]) -> ModelProto:
    """A GRU of two layers behind a Transpose: x (batch, 20, 64), states (2, batch, 32)."""
    nodes = [
        op("Transpose", "x", "xt", perm=[1, 0, 2]),
        op("Split", "h0", "ha hb", axis=0),
        op("GRU", "xt w r - - ha", "y1 -", "first", hidden_size=HIDDEN),
        op("Squeeze", "y1 one", "s1"),
        op("GRU", "s1 u r - - hb", "y2 h2", "second", hidden_size=HIDDEN),
        op("Squeeze", "y2 one", "s2"),
        op("MatMul", "s2 v", "p"),
        op("Transpose", "p", "y", perm=[1, 0, 2]),
    ]
    tensors = {
        "w": normal((1, 3 * HIDDEN, FEATURES)),
        "u": normal((1, 3 * HIDDEN, HIDDEN), 3),
        "r": normal((1, 3 * HIDDEN, HIDDEN), 1),
        "v": normal((HIDDEN, 10), 2),
        "one": ints(1),
    }
    shapes = {"x": (batch, 20, FEATURES), "h0": states}
    return make_model(nodes, shapes, ["y", "h2"], tensors)


def attention(steps: Axis, batch: Axis, swap: bool) -> ModelProto:
    """Self-attention of four heads over x: (steps, batch, 32), or with the batch in front."""
    first = [steps, batch] if swap else [batch, steps]
    heads, back = (ints(0, -1, 4, 8), ints(0, 0, 32))
    to_front, to_end, from_front = (
        ([1, 2, 0, 3], [1, 2, 3, 0], [2, 0, 1, 3])
        if swap
        else ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    nodes = [
        *(op("MatMul", f"x {name}", f"{name}x", name) for name in "qkv"),
        *(op("Reshape", f"{name}x heads", f"{name}h") for name in "qkv"),
        op("Transpose", "qh", "qt", perm=to_front),
        op("Transpose", "kh", "kt", perm=to_end),
        op("Transpose", "vh", "vt", perm=to_front),
        op("MatMul", "qt kt", "scores"),
        op("Softmax", "scores", "p", axis=-1),
        op("MatMul", "p vt", "o"),
        op("Transpose", "o", "ot", perm=from_front),
        op("Reshape", "ot back", "j"),
        op("MatMul", "j w", "y", "out"),
    ]
    weights = {name: normal((32, 32), i) for i, name in enumerate("qkvw")}
    return make_model(nodes, {"x": (*first, 32)}, ["y"], {**weights, "heads": heads, "back": back})


def axes(proto: ModelProto) -> dict[str, int]:
    return {spec.name: spec.batch_axis for spec in Model.from_proto(proto).inputs}


@pytest.mark.parametrize("steps", [100, "seq", "a"])
@pytest.mark.parametrize("batch", [1, 4, "batch", None])
def test_time_comes_first_in_a_cell(steps: Axis, batch: Axis) -> None:
    assert axes(two_ways(steps, batch)) == {"x": 1}


def test_a_cell_with_the_batch_first_tells_so() -> None:
    node = op("GRU", "x w r", "y", hidden_size=4, layout=1)
    tensors = {"w": normal((1, 12, 5)), "r": normal((1, 12, 4))}
    assert axes(make_model([node], {"x": ("a", "b", 5)}, ["y"], tensors)) == {"x": 0}


@pytest.mark.parametrize("batch", [1, 4, "batch", None])
def test_states_have_their_batch_behind_the_layers(batch: Axis) -> None:
    assert axes(with_states(batch, (2, batch, HIDDEN))) == {"x": 0, "h0": 1}


@pytest.mark.parametrize("sizes", [("s", "n"), (24, 1), (24, "n"), ("s", 4), (24, 4)])
def test_attention_tells_what_it_runs_along(sizes: tuple[Axis, Axis]) -> None:
    assert axes(attention(*sizes, swap=True)) == {"x": 1}
    assert axes(attention(*sizes, swap=False)) == {"x": 0}


def test_images_and_vectors_have_their_batch_in_front() -> None:
    nodes = [op("MatMul", "x w", "p"), op("Softmax", "p", "y")]
    assert axes(make_model(nodes, {"x": ("s", 8)}, ["y"], {"w": normal((8, 4))})) == {"x": 0}


def test_names_tell_where_nothing_mixes() -> None:
    nodes = [op("MatMul", "x w", "p"), op("Softmax", "p", "y")]
    tensors = {"w": normal((8, 4))}
    assert axes(make_model(nodes, {"x": ("seq_len", "batch", 8)}, ["y"], tensors)) == {"x": 1}
    assert axes(make_model(nodes, {"x": ("batch", "seq_len", 8)}, ["y"], tensors)) == {"x": 0}


def test_batch_scales_the_axis_of_the_batch() -> None:
    """2 directions * 100 steps * 4 gates * 32 * (64 + 32) = 2,457,600, and a head of 640."""
    model = Model.from_proto(two_ways(100, 1))
    assert input_shapes(model, {}, 4) == {"x": (100, 4, 64)}
    assert batch_of(model.inputs, {"x": (100, 4, 64)}) == 4
    one, four = (eapc.analyze(model, eapc.Settings(batch=batch)).energy for batch in (1, 4))
    assert one.macs == four.macs == 2_457_600 + 640
    assert (one.batch, four.batch) == (1, 4)


def test_open_time_is_no_batch() -> None:
    assert input_shapes(Model.from_proto(two_ways("seq", "batch")), {}, 3)["x"] == (64, 3, 64)


def test_states_grow_with_the_batch() -> None:
    for batch in ("batch", 1):
        model = Model.from_proto(with_states(batch, (2, batch, HIDDEN)))
        assert input_shapes(model, {}, 4) == {"x": (4, 20, 64), "h0": (2, 4, HIDDEN)}
    fixed = Model.from_proto(with_states("batch", (2, 1, HIDDEN)))
    assert input_shapes(fixed, {}, 4)["h0"] == (2, 4, HIDDEN)


def test_outputs_have_their_samples_where_they_grow() -> None:
    assert sample_axes(Model.from_proto(with_states("batch", (2, "batch", HIDDEN)))) == {"h2": 1}
    assert sample_axes(Model.from_proto(attention("s", "n", swap=True))) == {"y": 1}
    assert sample_axes(Model.from_proto(two_ways("s", "n"))) == {}


def test_one_batch_is_given() -> None:
    model = Model.from_proto(with_states("batch", (2, "other", HIDDEN)))
    given = {"x": (2, 20, FEATURES), "h0": (2, 4, HIDDEN)}
    require_one_batch(model, given | {"h0": (2, 2, HIDDEN)}, 2)
    require_one_batch(model, given | {"h0": (2, 1, HIDDEN)}, None)
    with pytest.raises(UsageError, match="--input-shape: 'x' has a batch of 2 and 'h0' one of 4"):
        require_one_batch(model, given, None)
    with pytest.raises(UsageError, match="--batch 8: 'x' has a batch of 2 by --input-shape"):
        eapc.analyze(model, eapc.Settings(batch=8, input_shapes={"x": (2, 20, FEATURES)}))


def test_a_batch_in_name_only_is_refused() -> None:
    """A Reshape to [1, 8] behind x ["batch", 8] fits one inference, whatever is asked for."""
    nodes = [op("Reshape", "x one", "r", "view"), op("MatMul", "r w", "y", "out")]
    tensors = {"one": ints(1, 8), "w": normal((8, 4))}
    model = Model.from_proto(make_model(nodes, {"x": ("batch", 8)}, ["y"], tensors))
    assert eapc.analyze(model, eapc.Settings(batch=1)).energy.unmodelled == ()
    with pytest.raises(UsageError, match=r"--batch 2: '.*' fits a batch of 1 alone; leave --batch"):
        eapc.analyze(model, eapc.Settings(batch=2))


# --- data ----------------------------------------------------------------------------------------


def loaded(model: Model, folder: Path, **arrays: Array) -> Dataset:
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    return load_data(DataFiles(folder / "data.npz"), model.inputs)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_either_layout_of_data_is_read(tmp_path: Path, batch: Axis) -> None:
    """Samples first, as the network has it, and feed by feed: the same 6 inferences."""
    model = Model.from_proto(two_ways(100, batch))
    samples = normal((6, 100, 64))
    for given in (samples, samples.transpose(1, 0, 2), samples[:, :, None]):
        data = loaded(model, tmp_path, x=given)
        assert len(data) == 6
        feeds = list(data.batches(1))
        assert [feed["x"].shape for feed in feeds] == [(100, 1, 64)] * 6
        np.testing.assert_array_equal(feeds[4]["x"][:, 0], samples[4])


def test_one_sequence_is_one_sample(tmp_path: Path) -> None:
    model = Model.from_proto(two_ways("seq", 1))
    assert len(loaded(model, tmp_path, x=normal((50, 1, 64)))) == 1


def test_other_inputs_tell_the_layout(tmp_path: Path) -> None:
    model = Model.from_proto(two_ways("seq", "batch"))
    given = normal((50, 7, 64))
    assert len(loaded(model, tmp_path, x=given)) == 50
    assert len(loaded(model, tmp_path, x=given, y=np.zeros(7, np.int64))) == 7


def test_made_up_inputs_fit() -> None:
    for proto in (with_states("batch", (2, "batch", HIDDEN)), two_ways(100, 4)):
        model = Model.from_proto(proto)
        data = synthesise(model, {}, 8, np.random.default_rng(0))
        assert len(data) == 8
        feed = next(data.batches(2))
        batch = batch_of(model.inputs, {name: x.shape for name, x in feed.items()})
        assert {name: x.shape for name, x in feed.items()} == input_shapes(model, {}, batch)


def test_shapes_of_a_batch_are_those_fed() -> None:
    model = Model.from_proto(with_states("batch", (2, "batch", HIDDEN)))
    data = synthesise(model, {}, 8, np.random.default_rng(0))
    assert data.shapes(3) == {"x": (3, 20, 64), "h0": (2, 3, HIDDEN)}
    assert infer_shapes(model, data.shapes(3)).main("h2") == (1, 3, HIDDEN)


def test_a_network_led_by_time_is_pruned(tmp_path: Path) -> None:
    """Its error on inputs of its own is small, and the file answers any batch."""
    path, out = tmp_path / "m.onnx", tmp_path / "o.onnx"
    Model.from_proto(with_states("batch", (2, "batch", HIDDEN))).save(path)
    eapc.prune(path, eapc.Settings(samples=32), goal=eapc.Sparsity(0.3), output=out)
    assert Model.load(out).inputs == Model.load(path).inputs
    assert value("x", ("batch", 20, 64)) in Model.load(out).view.proto.graph.input


def scanned(shape: tuple[Axis, ...], states: Axis, axis: int | None = None) -> ModelProto:
    """x through a Scan whose state s (states, 4) takes up x's slice times w, step by step."""
    nodes = [
        op("MatMul", "x_in w", "p"),
        op("Add", "s_in p", "s_out"),
        op("Identity", "s_out", "out"),
    ]
    fed = [value("s_in", (states, 4)), value("x_in", ("n", 6))]
    given = [value("s_out", (states, 4)), value("out", (states, 4))]
    body = make_graph(nodes, fed, given, {"w": normal((6, 4))})
    along: dict[str, Any] = {} if axis is None else {"scan_input_axes": [axis]}
    node = op("Scan", "s0 x", "last y", body=body, num_scan_inputs=1, **along)
    inputs = {"s0": (states, 4), "x": shape}
    return make_model([node], inputs, [value("last", (states, 4)), value("y", None)], {})


@pytest.mark.parametrize("batch", [1, 4, "batch"])
@pytest.mark.parametrize("steps", [7, "steps"])
def test_a_scan_goes_along_time(steps: Axis, batch: Axis) -> None:
    """The states tell which axis is the batch."""
    assert axes(scanned((steps, batch, 6), batch)) == {"s0": 0, "x": 1}


@pytest.mark.parametrize("batch", [1, 4])
def test_a_scan_is_one_inference_of_all_its_steps(batch: int) -> None:
    """7 slices, each with 6 * 4 MACs."""
    energy = eapc.analyze(Model.from_proto(scanned((7, batch, 6), batch))).energy
    assert (energy.batch, energy.macs) == (batch, 7 * 6 * 4)


def test_a_scan_along_another_axis_has_its_batch_in_front() -> None:
    assert axes(scanned(("batch", 7, 6), "batch", axis=1)) == {"s0": 0, "x": 0}


def chosen(batch: Axis) -> ModelProto:
    """A GRU in each branch of an If; another If within takes one of two states (2, batch, 32)."""

    def state(prefix: str, layer: str) -> GraphProto:
        nodes = [
            op("Gather", f"h0 {layer}", f"{prefix}g", axis=0),
            op("Unsqueeze", f"{prefix}g front", f"{prefix}u"),
        ]
        return make_graph(nodes, {}, [f"{prefix}u"])

    def branch(prefix: str) -> GraphProto:
        states = {
            "then_branch": state(f"{prefix}t", "first"),
            "else_branch": state(f"{prefix}e", "second"),
        }
        nodes = [
            helper.make_node("If", ["flag"], [f"{prefix}s"], f"{prefix}if", **states),
            op("Transpose", "x", f"{prefix}x", perm=[1, 0, 2]),
            op("GRU", f"{prefix}x w r - - {prefix}s", f"{prefix}y", hidden_size=HIDDEN),
        ]
        return make_graph(nodes, {}, [f"{prefix}y"])

    branches = {"then_branch": branch("t"), "else_branch": branch("e")}
    tensors = {
        "w": normal((1, 3 * HIDDEN, FEATURES)),
        "r": normal((1, 3 * HIDDEN, HIDDEN), 1),
        "front": ints(0),
        "first": np.array(0),
        "second": np.array(1),
    }
    inputs = [
        value("x", (batch, 20, FEATURES)),
        value("h0", (2, batch, HIDDEN)),
        value("flag", (), TensorProto.BOOL),
    ]
    node = helper.make_node("If", ["flag"], ["y"], "if", **branches)
    return make_model([node], inputs, ["y"], tensors)


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_cells_in_branches_tell_which_axis_is_the_batch(batch: Axis) -> None:
    assert axes(chosen(batch)) == {"x": 0, "h0": 1, "flag": 0}
