"""prune-channels and what follows it: smaller models that answer as the masked ones did."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
from builders import ints, normal, op
from channel_builders import groups_of, net
from evaluation_builders import relative_output_error
from pruning_builders import NETS, Net, dense, residual, transformer
from structured_builders import MODELS, answers, bytes_of, compiled, estimated
from test_channels import IMAGE, weights
from test_profiling_latency import MODEL, machine

from eapc.data import dataset
from eapc.energy import DensityTable
from eapc.errors import ModelError, PassError, UsageError
from eapc.hardware import load_hardware
from eapc.layers import find_layers
from eapc.model import Model
from eapc.pipeline import Compilation, Conditions, Pipeline, load_passes
from eapc.registry import CRITERIA
from eapc.runtime import Engine

REST = "reconstruct-outputs{keep_mask=true}, shrink-channels"
EYERISS = load_hardware("eyeriss")
UNPRUNABLE = ("tied net", "bfloat16 net", "constants net")
PRUNABLE = [name for name in MODELS if name not in UNPRUNABLE]
HALF = Conditions(engine=Engine(1), densities=DensityTable(activations=0.5))


def then(text: str, compilation: Compilation) -> Compilation:
    return Pipeline.parse(text, load_passes()).run(compilation)


@cache
def masked(name: str, options: str = "fraction=0.4") -> Compilation:
    prune = f"prune-channels{{{options}}}, reconstruct-outputs{{keep_mask=true}}"
    source = NETS[name.removesuffix(" net")]() if name.endswith(" net") else MODELS[name]()
    return compiled(source, prune)


# --- properties of all networks ----------------------------------------------------------------


@pytest.mark.parametrize("options", ["fraction=0.4", "energy=0.6, criterion=l1"])
@pytest.mark.parametrize("name", PRUNABLE)
def test_the_smaller_model_answers_as_the_masked_one(name: str, options: str) -> None:
    before = masked(name, options)
    after = then("shrink-channels", before)
    proto = after.model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ByteSize() < before.model.to_proto().ByteSize()
    assert before.calibration is not None
    wanted = answers(before.model, before.calibration)
    for key, found in answers(after.model, before.calibration).items():
        scale = float(np.abs(wanted[key]).max())
        np.testing.assert_allclose(found, wanted[key], rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("name", PRUNABLE)
def test_a_fraction_of_every_group_goes(name: str) -> None:
    done = masked(name)
    sizes = {group.name: group.size for group in groups_of(done.model.original).groups}
    kept = done.record.channels
    assert kept
    for group, stay in kept.items():
        assert len(stay) == max(1, round(0.6 * sizes[group]))
        assert list(stay) == sorted(set(stay))
    assert set(done.record.layers) == {tied.weight for tied in find_layers(done.model).layers}
    for record in done.record.layers.values():
        assert record.relative_output_error is not None


@pytest.mark.parametrize("options", ["fraction=0.4", "energy=0.6, criterion=l1"])
@pytest.mark.parametrize("name", PRUNABLE)
def test_the_counts_that_are_told_are_the_files(name: str, options: str) -> None:
    whole = masked(name, options)
    done = then("shrink-channels", whole)
    told = {record.name: record for record in done.record.groups}
    checked = 0
    for group in groups_of(whole.model).groups:
        after = told[group.name].after if group.name in told else group.size
        for cut in group.slices:
            before = whole.model.constants.shape(cut.tensor)
            if before and not cut.reader and before[cut.axis] == cut.indices.size:
                now = done.model.constants.shape(cut.tensor)
                assert (now[cut.axis] if now else 0) == after * cut.width
                checked += 1
    assert checked


@pytest.mark.parametrize("name", ["residual", "transformer", "branches"])
@pytest.mark.parametrize(
    "options", ["fraction=0.4", "fraction=0.4, criterion=random", "energy=0.7"]
)
def test_the_same_seed_gives_the_same_bytes(name: str, options: str) -> None:
    one, two = (compiled(NETS[name](), f"prune-channels{{{options}}}, {REST}") for _ in range(2))
    assert bytes_of(one.model) == bytes_of(two.model)


def test_another_seed_draws_other_channels() -> None:
    text = "prune-channels{fraction=0.4, criterion=random}"
    one, two = (compiled(residual(), text, Conditions(engine=Engine(1, s))) for s in (1, 2))
    assert one.record.channels != two.record.channels


@pytest.mark.parametrize("name", ["residual", "transformer", "branches", "old"])
def test_the_input_is_never_changed(name: str) -> None:
    net = NETS[name]()
    model, before = net.model, net.proto.SerializeToString()
    start = Compilation(model, EYERISS, net.data, Conditions(engine=Engine(1)))
    then(f"prune-channels{{energy=0.7}}, {REST}", start)
    assert net.proto.SerializeToString() == before
    assert model.weights == {}


@pytest.mark.parametrize("options", ["fraction=0", "energy=1", "fraction=0, criterion=l1"])
@pytest.mark.parametrize("name", ["residual", "transformer", "branches"])
def test_nothing_asked_changes_nothing(name: str, options: str) -> None:
    net = NETS[name]()
    done = compiled(net, f"prune-channels{{{options}}}, {REST}")
    assert bytes_of(done.model) == bytes_of(net.model)
    assert {len(stay) for stay in done.record.channels.values()} == {
        group.size for group in groups_of(net.model).groups
    }


def test_reconstruction_makes_up_for_channels() -> None:
    net = dense()
    zeroed = compiled(net, "prune-channels{fraction=0.4}")
    original = answers(net.model, net.data)
    errors = [
        relative_output_error(original, answers(done.model, net.data))
        for done in (masked("dense net"), zeroed)
    ]
    assert errors[0] < 0.5 * errors[1]


# --- budgets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0.9, 0.7, 0.5])
@pytest.mark.parametrize("name", ["residual", "dense", "branches", "projected"])
def test_an_energy_budget_is_kept(name: str, budget: float) -> None:
    done = compiled(NETS[name](), f"prune-channels{{energy={budget}}}, {REST}", HALF)
    whole = estimated(NETS[name]().model).energy_mac_units
    assert 0 < estimated(done.model).energy_mac_units <= budget * whole * (1 + 1e-9)


def test_a_plan_is_made_once_and_serves_every_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled(residual(), "prune-channels{energy=0.9}")
    dense_again = first.with_model(first.model.original)
    monkeypatch.setattr(
        "eapc.passes.prune_channels.Survey", lambda *_: pytest.fail("curves are measured again")
    )
    again = then("prune-channels{energy=0.6}", dense_again)
    assert again.record.channel_plan is first.record.channel_plan
    direct = first.record.channel_plan
    assert direct is not None
    assert {k: len(v) for k, v in again.record.channels.items()} == direct.counts(0.6)


def test_another_criterion_takes_another_plan() -> None:
    first = compiled(residual(), "prune-channels{energy=0.9}")
    dense_again = first.with_model(first.model.original)
    again = then("prune-channels{energy=0.6, criterion=l1}", dense_again)
    alone = compiled(residual(), "prune-channels{energy=0.6, criterion=l1}")
    assert again.record.channels == alone.record.channels


def test_a_latency_budget_ends_on_a_step() -> None:
    rng = np.random.default_rng(0)
    source = Net(MODEL.to_proto(), {"x": rng.normal(size=(16, 3, 8, 8)).astype(np.float32)})
    timed = machine(inputs=(16, 32))
    start = Compilation(MODEL, EYERISS, source.data, Conditions(engine=Engine(1)), measured=timed)
    done = then("prune-channels{latency=0.9}", start)
    plan = done.record.channel_plan
    assert plan is not None
    assert plan.allowed == {"Conv_0": (16,), "Conv_2": (16,)}
    assert {len(stay) for stay in done.record.channels.values()} == {16, 32}
    guessed = then("prune-channels{latency=0.9}", replace(start, measured=machine()))
    assert guessed.record.channel_plan is not None
    assert guessed.record.channel_plan.allowed == {"Conv_0": (), "Conv_2": ()}
    with pytest.raises(PassError, match="latency is measured: `eapc profile"):
        compiled(source, "prune-channels{latency=0.9}")


def test_latency_after_energy_takes_another_plan() -> None:
    rng = np.random.default_rng(0)
    source = Net(MODEL.to_proto(), {"x": rng.normal(size=(16, 3, 8, 8)).astype(np.float32)})
    timed = machine(inputs=(16, 32))
    start = Compilation(MODEL, EYERISS, source.data, Conditions(engine=Engine(1)), measured=timed)
    first = then("prune-channels{energy=0.9}", start)
    again = then("prune-channels{latency=0.9}", first.with_model(MODEL))
    assert again.record.channel_plan is not None
    assert again.record.channel_plan.whole_cost == pytest.approx(9.5)


# --- channels that are dead on the calibration inputs -------------------------------------------


def dying(dead: int = 4) -> Net:
    """Of 6 channels the last few are never active: their offsets are far below zero."""
    nodes = [
        op("Conv", "x w1 b1", "c", "one"),
        op("Relu", "c", "r"),
        op("Conv", "r w2 b2", "d", "two"),
        op("Relu", "d", "s"),
        op("Conv", "s w3", "y", "three"),
    ]
    shapes = {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (8, 6, 3, 3), "b2": (8,), "w3": (4, 8, 1, 1)}
    found = weights(**shapes)
    found["b1"][6 - dead :] = -1000
    return Net(net(nodes, IMAGE, found).to_proto(), {"x": normal((24, *IMAGE[1:]), 3, 1.0)})


@pytest.mark.parametrize(("fraction", "left"), [(0.5, 3), (0.17, 5)])
def test_only_chosen_channels_go(fraction: float, left: int) -> None:
    """Dead ones cost nothing and go first; those that are left over stay in the file."""
    done = compiled(dying(), f"prune-channels{{fraction={fraction}, include=one}}, {REST}")
    assert done.model.constants.shape("w1") == (left, 3, 1, 1)
    (record,) = done.record.groups
    assert (record.name, record.before, record.after) == ("one", 6, left)
    offsets = done.model.constants.value("b1")
    assert offsets is not None
    assert np.count_nonzero(offsets > -1000) == 2  # both live ones


def test_weights_of_dead_inputs_stay_as_trained() -> None:
    """Channels 3, 4 and 5 of `one` are the first to go; the data say nothing of channel 2."""
    source = dying()
    done = compiled(source, f"prune-channels{{fraction=0.5, include=one}}, {REST}")
    before, after = (m.constants.value("w2") for m in (source.model, done.model))
    assert before is not None
    assert after is not None
    (place,) = np.flatnonzero(np.asarray(done.model.constants.value("b1")) <= -1000)
    dead = [i for i in range(2, 6) if np.allclose(after[:, place], before[:, i], rtol=1e-5)]
    assert len(dead) == 1


def test_zeroing_still_takes_weights_of_dead_inputs_first() -> None:
    """216 of 432 weights go, 288 are of dead channels: most of the others stay, and no more go.

    In one more input than these 24 a dead channel may be alive, so a weight of the smallest goes.
    """
    done = compiled(dying(), "prune-weights{sparsity=0.5, include=two}, reconstruct-outputs")
    kept = done.model.constants.value("w2")
    assert kept is not None
    assert np.count_nonzero(kept[:, :2]) > 0.85 * kept[:, :2].size
    assert np.count_nonzero(kept) == 216


def test_a_latency_goal_leaves_every_count_on_a_step() -> None:
    """Of 32 filters 17 are zero in the file: without them 15 would be left, which is no step."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 3, 8, 8)).astype(np.float32)
    silent = {name: np.array(MODEL.constants[name]) for name in ("Conv_0.weight", "Conv_0.bias")}
    for array in silent.values():
        array[:17] = 0
    bare = Model.from_proto(MODEL.with_weights(silent).to_proto())
    start = Compilation(
        bare,
        EYERISS,
        Net(bare.to_proto(), {"x": images}).data,
        Conditions(engine=Engine(1)),
        measured=machine(inputs=(16, 32)),
    )
    done = then(f"prune-channels{{latency=0.9, criterion=l2}}, {REST}", start)
    assert sorted(record.after for record in done.record.groups) == [16, 32]
    assert {group.size for group in groups_of(done.model).groups} == {16, 32}


# --- shapes that only data tell ----------------------------------------------------------------


def open_sided() -> Net:
    """Height and width are open, but the classifier fixes them."""
    nodes = [
        op("Conv", "x w1 b1", "c", "one", pads=[1, 1, 1, 1]),
        op("Relu", "c", "r"),
        op("Flatten", "r", "f"),
        op("Gemm", "f w2", "y", "two"),
    ]
    made = net(nodes, ("N", 3, "h", "w"), weights(w1=(6, 3, 3, 3), b1=(6,), w2=(6 * 16, 4)))
    return Net(made.to_proto(), {"x": normal((24, 3, 4, 4), 3, 1.0)})


def test_open_axes_follow_the_data_all_the_way() -> None:
    done = compiled(open_sided(), f"prune-channels{{fraction=0.5}}, {REST}")
    assert done.model.constants.shape("w1") == (3, 3, 3, 3)
    assert done.model.constants.shape("w2") == (3 * 16, 4)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "pruned"),
    [
        ("include=stem", {"stem"}),
        ("include=conv*", {"stem", "conv1"}),  # conv2 makes the stem's channels, too
        ("include=conv1", {"conv1"}),
        ("exclude=conv1", {"stem"}),
        ("exclude=conv2", {"conv1"}),
        ("include=Conv, exclude=stem", {"conv1"}),
        ("exclude=fc", {"stem", "conv1"}),  # it makes none, and may be named all the same
        ("exclude=s", {"stem", "conv1"}),  # an Add
        ("exclude=Gemm", {"stem", "conv1"}),  # neither does an operator
    ],
)
def test_groups_go_by_the_nodes_that_make_them(options: str, pruned: set[str]) -> None:
    done = compiled(residual(), f"prune-channels{{fraction=0.5, criterion=l1, {options}}}, {REST}")
    left = {"stem": 4 if "stem" in pruned else 8, "conv1": 4 if "conv1" in pruned else 8}
    assert {group.name: group.size for group in groups_of(done.model).groups} == left


def test_what_kept_its_channels_is_said_after_zeros_too() -> None:
    first = compiled(residual(), f"prune-channels{{fraction=0.5}}, {REST}")
    second = then("prune-weights{sparsity=0.5}, reconstruct-outputs", first)
    assert first.record.skipped
    assert second.record.skipped == first.record.skipped


@pytest.mark.parametrize("by", ["obs", "nuclear", "activation"])
def test_channels_without_an_axis_of_inputs(by: str) -> None:
    """Behind the Squeeze channels are the only axis."""
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("GlobalAveragePool", "c", "p"),
        op("Squeeze", "p", "f"),
        op("MatMul", "f w2", "h", "two"),
        op("Relu", "h", "r"),
        op("MatMul", "r w3", "y", "three"),
    ]
    model = net(nodes, [1, 3, 4, 4], weights(w1=(8, 3, 1, 1), w2=(8, 10), w3=(10, 4)))
    images = dataset({"x": normal((12, 3, 4, 4))}, model.inputs, "here")
    compilation = Compilation(model, EYERISS, images, Conditions(engine=Engine(1)))
    done = then(f"prune-channels{{fraction=0.5, criterion={by}}}, {REST}", compilation)
    assert {group.name: group.size for group in groups_of(done.model).groups} == {
        "one": 4,
        "two": 5,
    }


@pytest.mark.parametrize("options", ["include=fc", "include=stam", "exclude=stam"])
def test_names_that_mean_nothing_are_refused(options: str) -> None:
    with pytest.raises(
        PassError, match=r"means no channels that can be taken out; near it: .*stem"
    ):
        compiled(residual(), f"prune-channels{{fraction=0.5, {options}}}")


def test_nothing_to_prune() -> None:
    with pytest.raises(PassError, match="taken out: all that could are excluded") as caught:
        compiled(residual(), "prune-channels{fraction=0.5, exclude=*}")
    assert isinstance(caught.value.__cause__, ModelError)
    lone = net([op("Conv", "x w1", "y", "one")], IMAGE, weights(w1=(4, 3, 1, 1)))
    with pytest.raises(
        PassError, match=r"taken out: their channels reach the output 'y' \('one'\)"
    ):
        compiled(lone, "prune-channels{fraction=0.5}")


def test_what_keeps_most_layers_whole_is_named() -> None:
    """Two layers of a trunk are normalised over their channels; one writes the output."""
    nodes = [
        op("MatMul", "x w0", "s", "stem"),
        op("MatMul", "s w1", "a", "mix"),
        op("Add", "s a", "t"),
        op("LayerNormalization", "t g", "n", "norm"),
        op("MatMul", "n w2", "y", "head"),
    ]
    given = weights(w0=(4, 6), w1=(6, 6), w2=(6, 3), g=(6,))
    trunk = net(nodes, ("N", 4), given)
    said = r"LayerNormalization 'norm' mixes their channels \('stem' and 1 more like it\)"
    with pytest.raises(PassError, match=said):
        compiled(trunk, "prune-channels{fraction=0.5}")


def test_layers_that_keep_their_channels_are_listed() -> None:
    done = compiled(residual(), "prune-channels{fraction=0.5, criterion=l1}")
    assert [(skip.name, skip.reason) for skip in done.record.skipped] == [
        ("fc", "their channels reach the output 'y'")
    ]


def test_a_group_of_one_channel_is_left_alone() -> None:
    """Of three channels the first two are read by another layer as well."""
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Slice", "c zero two axis", "d"),
        op("Conv", "d w2", "e", "two"),
        op("Conv", "c w3", "f", "three"),
        op("Add", "e f", "y"),
    ]
    ends = {"zero": ints(0), "two": ints(2), "axis": ints(1)}
    model = net(
        nodes, IMAGE, {**weights(w1=(3, 3, 1, 1), w2=(5, 2, 1, 1), w3=(5, 3, 1, 1)), **ends}
    )
    assert {group.name: group.size for group in groups_of(model).groups} == {"one": 2, "one#2": 1}
    assert set(compiled(model, "prune-channels{fraction=0.5}").record.channels) == {"one"}


# --- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("fraction=0.5, criterion=best", "unknown criterion 'best'; choose from obs, hessian"),
        ("criterion=l1", "give either fraction or energy or latency"),
        ("fraction=0.5, energy=0.5", "give either fraction or energy or latency"),
        ("energy=0.5, latency=0.5", "give either fraction or energy or latency"),
        ("fraction=1", r"fraction must be in \[0, 1\), got 1"),
        ("fraction=-0.1", r"fraction must be in \[0, 1\), got -0.1"),
        ("fraction=nan", r"fraction must be in \[0, 1\), got nan"),
        ("energy=0", r"a budget must be in \(0, 1\], got 0"),
        ("latency=1.5", r"a budget must be in \(0, 1\], got 1.5"),
    ],
)
def test_options_are_checked(options: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Pipeline.parse(f"prune-channels{{{options}}}", load_passes())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_criteria_that_need_data_say_so(criterion: str) -> None:
    (step,) = Pipeline.parse(
        f"prune-channels{{fraction=0.5, criterion={criterion}}}", load_passes()
    ).passes
    start = Compilation(residual().model, EYERISS)
    assert step.needs_calibration == CRITERIA[criterion].needs_data
    if not CRITERIA[criterion].needs_data:
        assert step.run(start).record.channels["stem"]
    else:
        with pytest.raises(UsageError, match=f"criterion {criterion} looks at calibration data"):
            step.run(start)


def test_a_budget_needs_data() -> None:
    start = Compilation(transformer().model, EYERISS)
    with pytest.raises(PassError, match="looks at calibration data; there is none"):
        then("prune-channels{energy=0.5, criterion=l1}", start)


def test_records_are_those_of_the_smaller_layers() -> None:
    done: Model = (after := then("shrink-channels", masked("dense net"))).model
    for weight, record in after.record.layers.items():
        value = done.constants.value(weight)
        assert value is not None
        assert record.weights == value.size
        assert record.nonzero_weights == np.count_nonzero(value)
    assert after.record.channels == {}
    assert after.record.channel_plan is None


def test_a_profile_of_another_network_is_refused() -> None:
    rng = np.random.default_rng(0)
    source = Net(MODEL.to_proto(), {"x": rng.normal(size=(16, 3, 8, 8)).astype(np.float32)})
    timed = machine(without="Conv")
    start = Compilation(MODEL, EYERISS, source.data, Conditions(engine=Engine(1)), measured=timed)
    with pytest.raises(PassError, match=r"2 layers of .* are not in the profile"):
        then("prune-channels{latency=0.9}", start)


# --- what a layer is fitted on ------------------------------------------------------------------


def test_channels_that_went_ask_for_no_rows() -> None:
    """40 images of 8 x 8 pixels; half of 8 channels are left, which nine taps read each."""
    layers = masked("residual net", "fraction=0.5").record.layers.values()
    found = {record.name: (record.rows, record.inputs) for record in layers}
    pixels = 40 * 8 * 8
    assert found == {
        "stem": (pixels, 3 * 9),
        "conv1": (pixels, 4 * 9),
        "conv2": (pixels, 4 * 9),
        "fc": (40, 4),
    }
