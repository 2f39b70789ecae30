"""Dynamic networks from Python: known routing, given networks, ratios, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_model, normal, op
from measured_builders import measured_machine
from onnx import ModelProto, numpy_helper
from routing_builders import (
    LEAD,
    SETTINGS,
    answers,
    by_hand,
    convolutional,
    data,
    doubts,
    images,
    inputs,
    linear,
    made,
    wide,
)

from eapc import dynamic
from eapc.commands.compiler import analyze
from eapc.data import dataset
from eapc.energy import GivenBits
from eapc.errors import DataError, EapcError, ModelError, UsageError
from eapc.model import Model
from eapc.routing import split

# --- known by hand -------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [True, False])
def test_the_hard_quarter_goes_to_the_mild_network(labelled: bool) -> None:
    """Alone the first network has half of the hard quarter wrong; without labels it is the same."""
    done = made(labelled, max_drop=0.0)
    assert done.parts == (120, 120, 160)
    assert done.aggressive.judged.after == pytest.approx(0.875, abs=0.05)
    assert done.judged.after == done.judged.before == 1.0
    assert done.judged.metric == ("top-1" if labelled else "top-1 agreement")
    assert done.share == pytest.approx(0.25, abs=0.05)
    low, high = done.share_interval
    assert low < 0.25 < high
    assert done.shortfall == ""


def test_expected_energy_by_hand() -> None:
    """E = E_first + share * E_second, over the original's; MACs: 4 + share * 32."""
    done = made(max_drop=0.0)
    first, second = done.first.energy_mac_units, done.second.energy_mac_units
    dense = analyze(wide(16), SETTINGS).energy.energy_mac_units
    assert done.energy_mac_units == first + done.share * second
    assert done.energy_ratio == pytest.approx((first + done.share * second) / dense)
    assert (done.first.macs, done.second.macs) == (4, 32)
    assert first > done.aggressive.energy.energy_mac_units  # the selector costs something
    assert second >= done.mild.energy.energy_mac_units
    priced = analyze(done.model, SETTINGS).energy
    assert priced.energy_mac_units == pytest.approx(done.energy_mac_units)


def test_of_a_batch_the_energy_is_that_of_the_analysis() -> None:
    """Of 8 inputs about a quarter share the weights of the second network."""
    settings = replace(SETTINGS, batch=8)
    given: dict[str, Any] = {"mild": wide(), "aggressive": LEAD, "evaluation": data(inputs())}
    done = dynamic(wide(16), settings, max_drop=0.0, **given)
    at_two = analyze(wide(), replace(SETTINGS, batch=2)).energy.energy_mac_units
    assert done.second.batch == 2
    assert done.second.energy_mac_units > at_two
    assert done.mild.energy.energy_mac_units < at_two
    priced = analyze(done.model, settings).energy.energy_mac_units
    assert priced == pytest.approx(done.energy_mac_units)


def test_a_larger_drop_sends_on_fewer() -> None:
    shares = [made(max_drop=drop).share for drop in (0.0, 0.5)]
    assert shares[0] > shares[1] == 0.0


def test_a_single_network_that_is_better_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """At half of the answers the first network keeps the drop alone."""
    done = made(max_drop=0.5)
    assert done.best_single is done.aggressive
    assert done.single_is_better
    assert done.verdict.startswith("one network is better: ")
    assert done.verdict in caplog.text
    assert done.rival == ""
    strict = made(max_drop=0.0, mild=wide(14))
    assert strict.best_single is strict.mild
    assert strict.single_is_better == (
        strict.mild.energy.energy_mac_units <= strict.energy_mac_units
    )


def test_a_drop_out_of_reach_is_told() -> None:
    """The second network has every answer wrong, so that nothing is gained."""
    proto = wide().to_proto()
    proto.graph.node.append(op("Neg", "n", "y"))
    proto.graph.node[1].output[0] = "n"
    done = made(mild=Model.from_proto(proto), max_drop=0.0)
    assert not done.cut.is_kept
    assert done.shortfall.startswith("not met: ")
    assert "points are lost at best on the 120 inputs that choose" in done.shortfall


def test_the_file_answers_as_its_parts_do(tmp_path: Path) -> None:
    out = tmp_path / "dynamic.onnx"
    done = made(max_drop=0.0, output=out)
    assert done.output == out
    x = inputs(97)
    hard = doubts(LEAD, x) >= done.cut.value
    assert 0 < hard.sum() < 97
    assert np.allclose(answers(Model.load(out), x), by_hand(LEAD, wide(), x, hard), atol=1e-5)


def test_no_part_that_judges_decides() -> None:
    """Other inputs in it change nothing but the figures on them."""
    given = data(inputs())
    rows = split(given)
    x = given.arrays["x"].copy()
    x[rows.judge, 0] = 0.01
    done, changed = made(), made(evaluation=replace(given, arrays={"x": x}))
    assert changed.cut == done.cut
    assert changed.selection == done.selection
    assert (changed.best_single and changed.best_single.source) == (
        done.best_single and done.best_single.source
    )
    assert changed.share == 1.0


# --- batches -------------------------------------------------------------------------------------


def test_a_batch_of_one_in_the_file_is_routed_whole() -> None:
    done = dynamic(
        wide(16, 1),
        SETTINGS,
        mild=wide(8, 1),
        aggressive=linear(np.array([[1, 0], [0, 0]]), 1),
        evaluation=dataset(
            {"x": inputs(), "y": (inputs()[:, 1] <= 0).astype(np.int64)}, wide(8, 1).inputs, "here"
        ),
        max_drop=0.0,
    )
    assert done.one_by_one
    assert done.judged.after == 1.0
    assert not any(node.op_type == "ScatterND" for node in done.model.nodes)


def test_a_batch_open_in_name_only_is_routed_whole() -> None:
    """A Reshape to one row behind an input of any number of rows."""
    networks = [
        Model.from_proto(convolutional(seed, reshape=(1, 6), classes=2)) for seed in (0, 10)
    ]
    x = images(120)
    dense = Model.from_proto(convolutional(10, classes=2))
    labels = answers(dense, x).argmax(axis=1)
    given = dataset({"x": x, "y": labels}, networks[0].inputs, "here")
    heavier = Model.from_proto(heavy(10))
    done = dynamic(
        heavier, SETTINGS, mild=heavier, aggressive=networks[0], evaluation=given, max_drop=0.0
    )
    assert done.one_by_one
    assert done.judged.after == 1.0


def heavy(seed: int) -> ModelProto:
    """The same answers for more energy, one by one."""
    proto = convolutional(seed, reshape=(1, 6), classes=2)
    eye = np.zeros((2, 2, 3, 3), np.float32)
    eye[0, 0, 1, 1] = eye[1, 1, 1, 1] = 1
    proto.graph.initializer.append(numpy_helper.from_array(eye, "eye"))
    proto.graph.node.insert(0, op("Conv", "x eye", "same", name="same", pads=[1, 1, 1, 1]))
    proto.graph.node[1].input[0] = "same"
    return proto


# --- ratios --------------------------------------------------------------------------------------


def test_ratios_are_reached_by_pruning() -> None:
    """Nothing is measured of the networks but what they take."""
    original = Model.from_proto(convolutional(0))
    x = images(200)
    labels = answers(original, x).argmax(axis=1)
    given = dataset({"x": x, "y": labels}, original.inputs, "here")
    calibration = dataset({"x": images(64, 7)}, original.inputs, "here")
    settings = replace(SETTINGS, calibration=calibration)
    done = dynamic(original, settings, mild=0.9, aggressive=0.6, evaluation=given, max_drop=0.3)
    sources = [each.source for each in done.singles]
    assert sources[:3] == ["the original", "pruned to 0.9", "pruned to 0.6"]
    assert done.has_rival == (len(sources) == 4)
    for level, ratio in ((done.mild, 0.9), (done.aggressive, 0.6)):
        assert done.ratio(level.energy.energy_mac_units) == pytest.approx(ratio, abs=0.06)


def test_one_network_of_the_same_energy_is_the_rival() -> None:
    """Where no network at hand is better, one is pruned to what the dynamic one takes."""
    original = Model.from_proto(convolutional(0))
    given = dataset({"x": images(300)}, original.inputs, "here")
    calibration = dataset({"x": images(64, 7)}, original.inputs, "here")
    settings = replace(SETTINGS, calibration=calibration)
    done = dynamic(original, settings, mild=1, aggressive=0.4, evaluation=given, max_drop=0.02)
    assert done.has_rival
    rival = done.singles[-1]
    assert rival.source == f"pruned to {done.energy_ratio:.4g}"
    assert rival.energy.energy_mac_units <= 1.01 * done.energy_mac_units
    assert done.rival == ""
    assert done.single_is_better == (
        rival.chosen.is_within(0.02) and rival.energy.energy_mac_units <= done.energy_mac_units
    )


def test_a_file_and_a_ratio_go_together_and_inputs_to_fit_may_be_made_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = Model.from_proto(convolutional(0))
    given = dataset({"x": images(200)}, original.inputs, "here")
    done = dynamic(
        original, SETTINGS, mild=original, aggressive=0.6, evaluation=given, max_drop=0.1
    )
    assert done.mild.model is original
    assert done.aggressive.source == "pruned to 0.6"
    assert "no calibration data" in caplog.text


def test_the_original_may_be_the_mild_network() -> None:
    original = Model.from_proto(convolutional(0))
    given = dataset({"x": images(120)}, original.inputs, "here")
    calibration = dataset({"x": images(64, 7)}, original.inputs, "here")
    settings = replace(SETTINGS, calibration=calibration)
    done = dynamic(original, settings, mild=1, aggressive=0.6, evaluation=given, max_drop=0.1)
    assert done.mild.source == "the original"
    assert len(done.singles) == 2 + done.has_rival


def test_without_networks_a_pair_is_chosen() -> None:
    original = Model.from_proto(convolutional(0))
    given = dataset({"x": images(200)}, original.inputs, "here")
    settings = replace(SETTINGS, calibration=dataset({"x": images(64, 7)}, original.inputs, "here"))
    done = dynamic(original, settings, evaluation=given, max_drop=0.05)
    energies = [level.energy.energy_mac_units for level in (done.mild, done.aggressive)]
    assert energies[0] > energies[1]
    assert len(done.singles) > 3


# --- refused -------------------------------------------------------------------------------------


def test_a_batch_of_eight_is_refused() -> None:
    networks = [wide(hidden, 8) for hidden in (16, 8)]
    first = linear(np.array([[1, 0], [0, 0]]), 8)
    given = dataset({"x": inputs()}, first.inputs, "here")
    with pytest.raises(ModelError, match="the batch is fixed at 8"):
        dynamic(networks[0], SETTINGS, mild=networks[1], aggressive=first, evaluation=given)


def test_a_state_that_is_fed_is_refused() -> None:
    """A recurrent network gives its state back: two outputs."""
    nodes = [op("MatMul", "x w", "s"), op("Add", "s h", "y"), op("Identity", "y", "next")]
    proto = make_model(nodes, {"x": ("N", 2), "h": (1, 2)}, ["y", "next"], {"w": normal((2, 2))})
    with pytest.raises(ModelError, match="has 2 outputs, y, next"):
        dynamic(Model.from_proto(proto), SETTINGS, evaluation=data(inputs()))


def test_an_input_without_samples_is_refused() -> None:
    nodes = [op("MatMul", "x w", "s"), op("Add", "s h", "y")]
    proto = make_model(nodes, {"x": ("N", 2), "h": (2,)}, ["y"], {"w": normal((2, 2))})
    model = Model.from_proto(proto)
    given = dataset({"x": inputs(), "h": np.zeros(2, np.float32)}, model.inputs, "here")
    with pytest.raises(EapcError, match="h"):
        dynamic(model, SETTINGS, mild=0.9, aggressive=0.5, evaluation=given)


def test_measured_machines_have_no_energies() -> None:
    machine = measured_machine()
    settings = replace(SETTINGS, hardware=machine)
    with pytest.raises(UsageError, match="holds measured latencies and no energies"):
        dynamic(wide(16), settings, evaluation=data(inputs()))


def test_too_few_inputs_are_refused() -> None:
    with pytest.raises(DataError, match="99 inputs are too few"):
        made(evaluation=data(inputs(99)))


# --- quantized networks ---------------------------------------------------------------------------


def test_both_levels_are_quantized_and_priced_so() -> None:
    """The original of opset 11 is raised, so that it may be a level too; the selector is float."""
    original = Model.from_proto(convolutional(0, opset=11))
    given = dataset({"x": images(200)}, original.inputs, "here")
    settings = replace(SETTINGS, calibration=dataset({"x": images(64, 7)}, original.inputs, "here"))
    options: dict[str, Any] = {"evaluation": given, "max_drop": 0.3, "bits": GivenBits(4, 8)}
    done = dynamic(original, settings, mild=0.5, aggressive=0.3, **options)
    for level, ratio in ((done.mild, 0.5), (done.aggressive, 0.3)):
        assert "QuantizeLinear" in {node.op_type for node in level.model.nodes}
        assert done.ratio(level.energy.energy_mac_units) <= ratio
    priced = analyze(done.model, settings).energy.energy_mac_units
    assert priced == pytest.approx(done.energy_mac_units)
    assert done.second.energy_mac_units == pytest.approx(
        done.mild.energy.energy_mac_units, rel=0.15
    )


def test_bits_need_a_network_that_is_pruned() -> None:
    with pytest.raises(UsageError, match=r"^--bits: both networks are given"):
        made(bits=GivenBits(8, 8))
