"""shrink-channels: what is dead goes, outputs stay, the written file is verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Array, ints, normal, op, save
from channel_builders import a_third, feed_of, groups_of, net, outputs_of, silenced
from onnx import NodeProto
from structured_builders import compiled
from test_channels import IMAGE, NETS, gated, plain, residual, weights
from typer.testing import CliRunner

from eapc.channels import dead_channels, remove_channels
from eapc.cli.app import make_app
from eapc.commands.compiler import analyze, run
from eapc.errors import VerificationError
from eapc.model import KeptPart, Model, Origin, infer_shapes, input_shapes
from eapc.pipeline import Compilation
from eapc.runtime import verifier


def dead_in(model: Model) -> dict[str, list[int]]:
    """Dead channels by group, groups without any left out."""
    _, dead = dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))
    return {name: found.tolist() for name, found in dead.items() if len(found)}


def sizes_of(model: Model) -> dict[str, int]:
    """Channels by group, of groups with a choice."""
    return {group.name: group.size for group in groups_of(model).groups if group.size > 1}


def shrunk(model: Model) -> Model:
    return run(model, "shrink-channels").compilation.model


def with_zeros(model: Model, **places: Any) -> Model:
    """The model with zeros at an index (or a tuple of them) of some constants."""
    new: dict[str, Array] = {}
    for name, place in places.items():
        found = model.constants.value(name)
        assert found is not None
        new[name] = found.copy()
        new[name][place] = 0
    return model.with_weights(new)


def behind(nodes: Sequence[NodeProto], **tensors: Array) -> Model:
    """`one` makes 6 channels of which filter 2 is zero; nodes from c to d; `two` reads them."""
    made = [op("Conv", "x w1 b1", "c", "one"), *nodes, op("Conv", "d w2", "y", "two")]
    found = weights(w1=(6, 3, 1, 1), b1=(6,), w2=(4, 6, 1, 1))
    return with_zeros(net(made, IMAGE, {**found, **tensors}), w1=2, b1=2)


# --- what is dead -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_zero_filters_are_found_and_taken_out(name: str) -> None:
    model = NETS[name]()
    groups = groups_of(model)
    gone = a_third(groups)
    quiet = silenced(model, groups, gone)
    assert dead_in(quiet) == {group: channels.tolist() for group, channels in gone.items()}
    smaller = shrunk(quiet)
    left = {g.name: g.size - len(gone[g.name]) for g in groups.groups}
    assert sizes_of(smaller) == {name: size for name, size in left.items() if size > 1}
    feed = feed_of(model)
    wanted, found = outputs_of(quiet, feed)["y"], outputs_of(smaller, feed)["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))


def test_a_channel_that_nothing_reads_is_dead() -> None:
    model = with_zeros(plain(), w2=(slice(None), 4))
    assert dead_in(model) == {"one": [4]}


def test_one_reader_is_enough_to_keep_a_channel() -> None:
    """The trunk of a residual network: `one` and `head` read it."""
    model = with_zeros(residual(), w1=(slice(None), 3))
    assert dead_in(model) == {}
    assert dead_in(with_zeros(model, w3=3)) == {"stem": [3]}


@pytest.mark.parametrize(
    ("node", "is_dead"),
    [
        (op("Relu", "c", "d"), True),
        (op("HardSwish", "c", "d"), True),
        (op("Tanh", "c", "d"), True),
        (op("Sigmoid", "c", "d"), False),  # 0.5
        (op("HardSigmoid", "c", "d"), False),
        (op("Exp", "c", "d"), False),
        (op("Mul", "c vector", "d"), True),
        (op("Add", "c vector", "d"), False),
        (op("Add", "c zero", "d"), True),
        (op("Clip", "c low high", "d"), False),  # 0 becomes 0.1
        (op("AveragePool", "c", "d", kernel_shape=[1, 1]), True),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_zero_behind_an_operator(node: NodeProto, is_dead: bool) -> None:
    tensors = {
        "vector": normal((6, 1, 1)),
        "zero": np.zeros((6, 1, 1), np.float32),
        "low": np.array(0.1, np.float32),
        "high": np.array(1, np.float32),
    }
    assert dead_in(behind([node], **tensors)) == ({"one": [2]} if is_dead else {})


def test_an_offset_below_zero_is_dead_behind_relu() -> None:
    """A normalisation without scale leaves its offset: -1 at channel 1, 1 at channel 4."""
    nodes = [op("BatchNormalization", "c s o m v", "n"), op("Relu", "n", "d")]
    offset = np.array([0.5, -1, 0.5, 0.5, 1, 0.5], np.float32)
    scale = np.array([1, 0, 1, 1, 0, 1], np.float32)
    rest = {"m": normal((6,)), "v": np.ones(6, np.float32)}
    assert dead_in(behind(nodes, s=scale, o=offset, **rest)) == {"one": [1]}


def test_what_only_dead_channels_read_goes_too() -> None:
    """Nothing reads filter 1 of `two`, and only that filter reads channel 4 of `one`."""
    model = plain()
    second = np.array(model.constants.value("w2"))
    second[[0, 2, 3, 4], 4] = 0
    third = np.array(model.constants.value("w3"))
    third[:, 4:8] = 0  # four positions of channel 1
    model = model.with_weights({"w2": second, "w3": third})
    assert dead_in(model) == {"two": [1]}
    assert sizes_of(shrunk(model)) == {"one": 5, "two": 4, "three": 7}


def test_one_channel_stays_where_a_layer_would_be_empty() -> None:
    model = with_zeros(plain(), w2=slice(None))
    assert dead_in(model)["one"] == list(range(6))
    assert "one" not in sizes_of(shrunk(model))
    assert shrunk(model).constants.shape("w1") == (1, 3, 3, 3)


def test_a_dead_branch_vanishes() -> None:
    model = with_zeros(residual(), w2=slice(None))
    smaller = shrunk(model)
    assert smaller.constants.shape("w1") is None
    feed = feed_of(model)
    np.testing.assert_allclose(
        outputs_of(smaller, feed)["y"], outputs_of(model, feed)["y"], rtol=1e-5, atol=1e-6
    )


def test_nothing_dead_changes_nothing() -> None:
    model = gated()
    assert shrunk(model) is model


# --- the written file ---------------------------------------------------------------------------


def check(model: Model, tmp_path: Path) -> None:
    """Save a model through its verifier."""
    model.save(tmp_path / "out.onnx", verifier(model, frozenset(model.weights), None))


def test_a_smaller_file_is_written_and_verified(tmp_path: Path) -> None:
    quiet = with_zeros(plain(), w2=(slice(None), 4))
    path = save(quiet.to_proto(), tmp_path / "in.onnx")
    out = tmp_path / "out.onnx"
    arguments = ["run", str(path), "--pipeline", "shrink-channels", "-o", str(out)]
    done = CliRunner().invoke(make_app(), arguments)
    assert done.exit_code == 0, done.output
    written = Model.load(out)
    assert written.constants.shape("w2") == (5, 5, 3, 3)
    feed = feed_of(quiet)
    np.testing.assert_allclose(
        outputs_of(written, feed)["y"], outputs_of(quiet, feed)["y"], rtol=1e-5, atol=1e-6
    )


def test_a_vanished_branch_is_verified(tmp_path: Path) -> None:
    check(shrunk(with_zeros(residual(), w2=slice(None))), tmp_path)


def test_parts_of_parts_are_verified(tmp_path: Path) -> None:
    model = plain()
    once = remove_channels(model, groups_of(model), {"one": ints(1, 2, 5)})
    twice = remove_channels(once, groups_of(once), {"one": ints(0, 2), "two": ints(3)})
    assert twice.origin is not None
    assert twice.origin.model is model
    assert twice.origin.parts["w2"].indices[1].tolist() == [1, 5]
    check(twice, tmp_path)


def test_weights_that_changed_between_two_cuts_are_verified(tmp_path: Path) -> None:
    model = plain()
    once = remove_channels(model, groups_of(model), {"one": ints(1, 2, 5)})
    new = once.with_weights({"w2": normal((5, 3, 3, 3), 7), "b3": normal((7,), 8)})
    twice = remove_channels(new, groups_of(new), {"two": ints(0, 3)})
    assert twice.origin is not None
    assert twice.origin.new == {"w2", "b3"}
    check(twice, tmp_path)


def forged(model: Model, **changes: object) -> Model:
    """A model cut out of `plain`, with another origin."""
    from dataclasses import replace

    return replace(model, origin=Origin(plain(), **changes))  # type: ignore[arg-type]


def test_a_wrong_part_is_refused(tmp_path: Path) -> None:
    model = plain()
    smaller = remove_channels(model, groups_of(model), {"three": ints(0, 1)})
    assert smaller.origin is not None
    wrong = {**smaller.origin.parts, "b3": KeptPart("b3", {0: ints(0, 2)})}
    with pytest.raises(VerificationError, match="tensor 'b3' is no part of the original's"):
        check(forged(smaller, parts=wrong), tmp_path)


def test_a_foreign_tensor_is_refused(tmp_path: Path) -> None:
    proto = plain().to_proto()
    renamed = {"r1": "other"}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    with pytest.raises(VerificationError, match="tensor 'other' of the smaller model is not"):
        check(forged(Model.from_proto(proto)), tmp_path)


def test_another_output_is_refused(tmp_path: Path) -> None:
    other = net([op("Flatten", "x", "y")], IMAGE, {})
    with pytest.raises(VerificationError, match="other inputs or outputs"):
        check(forged(other), tmp_path)


# --- whole networks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "cifar10_resnet32_bn",
        "cifar10_resnet20_folded",
        "cifar10_resnet20_qdq_int8",
        "cifar10_resnet20_external",
        "imagenet_squeezenet1_1",
        "mnist-8",
        "ultraface_rfb320",
    ],
)
def test_networks_lose_their_dead_channels(name: str, shared_data: Path, tmp_path: Path) -> None:
    lose_a_third(Model.load(shared_data / "models" / f"{name}.onnx"), tmp_path)


def test_the_shipped_network_loses_its_dead_channels(digits: Path, tmp_path: Path) -> None:
    lose_a_third(Model.load(digits), tmp_path)


def lose_a_third(model: Model, tmp_path: Path) -> None:
    """Silence a third of the channels of every group, shrink, write, compare outputs."""
    groups = groups_of(model)
    gone = a_third(groups)
    quiet = silenced(model, groups, gone)
    out = tmp_path / "out.onnx"
    run(quiet, "shrink-channels", output=out)
    written = Model.load(out)
    left, silent = sizes_of(written), {g.name: g.size - len(gone[g.name]) for g in groups.groups}
    is_bounded = any(node.op_type == "QuantizeLinear" for node in model.nodes)
    # within a range some channels never leave its end once others are silent
    assert left.keys() == silent.keys()
    assert all(left[name] <= silent[name] for name in left)
    assert is_bounded or left == silent
    feed = feed_of(model)
    found = outputs_of(written, feed)
    for output, wanted in outputs_of(quiet, feed).items():
        scale = max(float(np.abs(wanted).max()), 1e-30)
        assert float(np.abs(found[output] - wanted).max()) / scale < 1e-5


def test_channels_between_operators_of_other_domains(shared_data: Path) -> None:
    """Pre- and post-processing that onnxruntime alone does not know stays as it is."""
    model = Model.load(shared_data / "models" / "superres_prepost_op18.onnx")
    groups = groups_of(model)
    assert [(group.name, group.size) for group in groups.groups] == [("Conv_2", 64), ("Conv_4", 32)]
    assert "no axis rule for com.microsoft.extensions.DecodeImage" in groups.left_whole.values()
    smaller = remove_channels(model, groups, {"Conv_2": np.arange(40), "Conv_4": np.arange(9)})
    assert smaller.constants.shape("conv3.weight") == (9, 40, 3, 3)


# --- what is told of it -------------------------------------------------------------------------


def told(model: Model, *pipeline: str) -> dict[str, tuple[int, int]]:
    """Channels before and after, by group, as the record has them."""
    text = ", ".join((*pipeline, "shrink-channels"))
    done = compiled(model, text)
    assert sizes_of(done.model) == {
        name: after
        for name, (_, after) in (all_sizes(model) | counts_of(done)).items()
        if after > 1
    }
    return counts_of(done)


def all_sizes(model: Model) -> dict[str, tuple[int, int]]:
    return {group.name: (group.size, group.size) for group in groups_of(model).groups}


def counts_of(done: Compilation) -> dict[str, tuple[int, int]]:
    return {record.name: (record.before, record.after) for record in done.record.groups}


def test_groups_that_lost_channels_are_told() -> None:
    assert told(with_zeros(plain(), w2=(slice(None), 4))) == {"one": (6, 5)}
    assert told(plain()) == {}


def test_channels_that_go_in_a_second_round_are_counted() -> None:
    """As above: filter 1 of `two` goes, and then channel 4 of `one`."""
    model = plain()
    second = np.array(model.constants.value("w2"))
    second[[0, 2, 3, 4], 4] = 0
    third = np.array(model.constants.value("w3"))
    third[:, 4:8] = 0
    assert told(model.with_weights({"w2": second, "w3": third})) == {"one": (6, 5), "two": (5, 4)}


def test_chosen_channels_and_dead_ones_are_counted_together() -> None:
    """By l2 the zero filter 2 is the first to go; the second reader's zeros come on top."""
    model = with_zeros(plain(), w2=(slice(None), [1, 4]), w1=2, b1=2)
    pruned = "prune-channels{fraction=0.17, criterion=l2, include=one}"
    assert told(model, pruned) == {"one": (6, 3)}


def test_a_branch_that_vanished_has_no_channels() -> None:
    done = compiled(with_zeros(residual(), w2=slice(None)), "shrink-channels")
    assert counts_of(done) == {"one": (all_sizes(residual())["one"][0], 0)}


def test_every_channel_of_what_was_in_a_branch_is_counted_out() -> None:
    """`one` and `two` are inside the branch that `three` ends; nothing is left of either."""
    nodes = [
        op("Conv", "x w0", "s", "stem"),
        op("Conv", "s w1 b1", "c1", "one"),
        op("Relu", "c1", "r1"),
        op("Conv", "r1 w2 b2", "c2", "two"),
        op("Relu", "c2", "r2"),
        op("Conv", "r2 w3", "c3", "three"),
        op("Add", "c3 s", "t"),
        op("Conv", "t w4", "y", "head"),
    ]
    shapes = {"w0": (5, 3, 1, 1), "w1": (6, 5, 1, 1), "b1": (6,), "w2": (7, 6, 1, 1), "b2": (7,)}
    made = net(nodes, IMAGE, weights(**shapes, w3=(5, 7, 1, 1), w4=(4, 5, 1, 1)))
    done = compiled(with_zeros(made, w3=slice(None)), "shrink-channels")
    assert counts_of(done) == {"one": (6, 0), "two": (7, 0)}


def test_an_int8_network_loses_what_its_ranges_never_let_through(shared_data: Path) -> None:
    """Depthwise layers among it: 7.49 to 3.73 million MACs, outputs within a step of 1 / 256."""
    model = Model.load(shared_data / "models" / "mlperf_tiny_vww_int8.onnx")
    smaller = shrunk(model)
    assert analyze(model).energy.macs == 7_489_664
    assert analyze(smaller).energy.macs == pytest.approx(3.73e6, rel=2e-3)
    rng = np.random.default_rng(0)
    for _ in range(8):
        feed = {"input_1": rng.uniform(0, 1, (1, 3, 96, 96)).astype(np.float32)}
        (wanted,), (found,) = (outputs_of(each, feed).values() for each in (model, smaller))
        assert float(np.abs(found - wanted).max()) < 1.01 / 256
