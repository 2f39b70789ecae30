"""Dynamic networks the whole way: known routing, given networks, ratios, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Array, Axis, make_model, normal, op, save
from measured_builders import measured_machine
from onnx import ModelProto, numpy_helper
from routing_builders import answers, by_hand, convolutional, doubts, images, lead, linear

from eapc import DynamicNetwork, dynamic
from eapc.cli import main
from eapc.commands.compiler import analyze
from eapc.commands.preparation import Settings
from eapc.data import Dataset, dataset
from eapc.errors import DataError, EapcError, ModelError, UsageError
from eapc.model import Model
from eapc.routing import split

SETTINGS = Settings(threads=1)
LEAD = lead()


def wide(hidden: int = 8, batch: Axis = "N") -> Model:
    """Scores (x1, 0) by way of hidden layers that cost more."""
    up, down = np.zeros((2, hidden), np.float32), np.zeros((hidden, 2), np.float32)
    up[1, 0] = down[0, 0] = 1
    nodes = [op("MatMul", "x up", "h"), op("MatMul", "h down", "y")]
    return Model.from_proto(make_model(nodes, {"x": (batch, 2)}, ["y"], {"up": up, "down": down}))


def inputs(samples: int = 400, hard: float = 0.25) -> Array:
    """(samples, 2): x0 about 3 or -3 and of the sign of x1, but 0.05 of any sign where hard."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1, 1], samples)
    is_hard = np.arange(samples) % round(1 / hard) == 0
    sure = sign * rng.uniform(2, 4, samples)
    x0 = np.where(is_hard, rng.choice([-0.05, 0.05], samples), sure)
    return np.column_stack([x0, sign]).astype(np.float32)


def data(x: Array, labelled: bool = True) -> Dataset:
    more = {"y": (x[:, 1] <= 0).astype(np.int64)} if labelled else {}
    return dataset({"x": x, **more}, wide().inputs, "here")


def made(labelled: bool = True, **asked: Any) -> DynamicNetwork:
    given = {"mild": wide(), "aggressive": LEAD, "evaluation": data(inputs(), labelled)}
    return dynamic(wide(16), SETTINGS, **{**given, **asked})


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


# --- the command ---------------------------------------------------------------------------------


class Folder:
    """Three networks and data in files, and the command on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, model in (("net", wide(64)), ("mild", wide(32)), ("aggressive", LEAD)):
            save(model.to_proto(), folder / f"{name}.onnx")
        x = inputs()
        np.savez(folder / "eval.npz", x=x, y=(x[:, 1] <= 0).astype(np.int64), scale=1.0)

    def path(self, name: str) -> Path:
        return self.folder / name

    def run(self, *more: str, model: str = "net.onnx", **changed: str) -> int:
        options = {"mild": "mild.onnx", "aggressive": "aggressive.onnx", "eval": "eval.npz"}
        arguments = ["dynamic", str(self.path(model)), "--threads", "1", *more]
        for option, value in {**options, **changed}.items():
            is_file = value.endswith((".onnx", ".npz"))
            arguments += [f"--{option}", str(self.path(value)) if is_file else value]
        return main(arguments)


@pytest.fixture
def folder(tmp_path: Path, kept_logging: None) -> Folder:  # noqa: ARG001
    return Folder(tmp_path)


def test_the_table_says_share_energy_and_verdict(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.run("--max-drop", "0.02") == 0
    out = capsys.readouterr().out
    assert "`eapc prune --structured --zeros --max-drop 0.02` makes one network" in out
    for said in ("dynamic, expected", "sent on", "95 % confidence", "verdict", "mild.onnx, mild"):
        assert said in out
    assert folder.path("net.dynamic.onnx").is_file()


def test_the_document_has_everything(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.run("--json", "--max-drop", "0", "-o", str(folder.path("d.onnx"))) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "eapc.dynamic/1"
    expected = found["expected_energy"]
    parts = (expected[name]["energy_mac_units"] for name in ("first", "second"))
    first, second = parts
    assert expected["energy_mac_units"] == first + found["share"]["value"] * second
    low, high = found["share"]["interval_95"]
    assert low < found["share"]["value"] < high
    assert found["samples"] == {"fit": 120, "threshold": 120, "judging": 160}
    assert found["accuracy"]["after"] == 1.0
    assert len(found["networks"]) == 3
    assert main(["analyze", str(folder.path("d.onnx")), "--json"]) == 0
    analysed = json.loads(capsys.readouterr().out)
    assert analysed["totals"]["energy_mac_units"] == pytest.approx(expected["energy_mac_units"])


def test_a_drop_that_is_missed_has_its_code(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = wide().to_proto()
    proto.graph.node[1].output[0] = "n"
    proto.graph.node.append(op("Neg", "n", "y"))
    save(proto, folder.path("wrong.onnx"))
    assert folder.run("--max-drop", "0", mild="wrong.onnx") == 4
    assert "eapc: --max-drop 0 not met: " in capsys.readouterr().err
    assert folder.path("net.dynamic.onnx").is_file()


def test_an_analysis_takes_a_share(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.run("--max-drop", "0", "-o", str(folder.path("d.onnx")))
    capsys.readouterr()
    assert main(["analyze", str(folder.path("d.onnx")), "--share", "0.5"]) == 0
    assert "50 % of the inputs are taken to be sent on, as --share says" in capsys.readouterr().out


# --- refused -------------------------------------------------------------------------------------


def other_network(kind: str) -> ModelProto:
    """A network that cannot stand for the others, and why."""
    weight = normal((2, 2))
    nodes = [op("MatMul", "x w", "y")]
    if kind == "other input":
        return make_model([op("MatMul", "z w", "y")], {"z": ("N", 2)}, ["y"], {"w": weight})
    if kind == "other classes":
        return make_model(nodes, {"x": ("N", 2)}, ["y"], {"w": normal((2, 3))})
    if kind == "two outputs":
        return make_model(
            [*nodes, op("Relu", "y", "z")], {"x": ("N", 2)}, ["y", "z"], {"w": weight}
        )
    if kind == "one score":
        return make_model(nodes, {"x": ("N", 2)}, ["y"], {"w": normal((2, 1))})
    if kind == "old":
        return make_model(nodes, {"x": ("N", 2)}, ["y"], {"w": weight}, opset=9, ir_version=4)
    if kind == "newer":
        return make_model(nodes, {"x": ("N", 2)}, ["y"], {"w": weight}, opset=18)
    made = dynamic(
        wide(16), SETTINGS, mild=wide(), aggressive=LEAD, evaluation=data(inputs()), max_drop=0.5
    )
    return made.model.to_proto()


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("other input", 2, "has input 'x'"),
        ("other classes", 2, "output 'y' is"),
        ("two outputs", 3, "has 2 outputs, y, z; a dynamic network takes one"),
        ("one score", 3, "takes scores of (samples, two or more classes)"),
        ("old", 3, "opset 9 has no ScatterND"),
        ("newer", 3, "the opset of domain 'ai.onnx' is 18"),
        ("dynamic", 3, "is a dynamic network already"),
    ],
)
def test_networks_that_cannot_stand_for_each_other(
    folder: Folder, capsys: pytest.CaptureFixture[str], kind: str, code: int, said: str
) -> None:
    save(other_network(kind), folder.path("other.onnx"))
    refused(folder, capsys, code, said, mild="other.onnx")


def refused(
    folder: Folder,
    capsys: pytest.CaptureFixture[str],
    code: int,
    said: str,
    *more: str,
    **changed: str,
) -> None:
    """One line, the exit code, and nothing written."""
    before = sorted(folder.folder.iterdir())
    assert folder.run(*more, **changed) == code
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if not line.startswith("eapc: warning")]
    assert len(lines) == 1
    assert said in lines[0]
    assert shown.out == ""
    assert sorted(folder.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"mild": "0.4", "aggressive": "0.6"}, 2, "--mild 0.4 is not above --aggressive 0.6"),
        ({"mild": "0.4", "aggressive": "0.4"}, 2, "--mild 0.4 is not above"),
        ({"mild": "1.5"}, 2, "--mild: expected a fraction of the energy in (0, 1], got 1.5"),
        ({"aggressive": "0"}, 2, "--aggressive: expected a fraction"),
        ({"mild": "nan"}, 2, "--mild: expected a fraction"),
        ({"mild": "gone"}, 2, "--mild: expected a fraction such as 0.7 or a file, got 'gone'"),
        ({"mild": "aggressive.onnx", "aggressive": "mild.onnx"}, 2, "has to take more than"),
        ({"mild": "mild.onnx", "aggressive": "mild.onnx"}, 2, "has to take more than"),
        ({"max-drop": "1"}, 2, "--max-drop: expected a fraction in [0, 1), got 1.0"),
        ({"max-drop": "-0.1"}, 2, "--max-drop: expected a fraction"),
        ({"output": "mild.onnx"}, 2, "mild.onnx"),
        ({"model": "gone.onnx"}, 3, "gone.onnx: cannot be read"),
        ({"eval": "gone.npz"}, 3, "gone.npz"),
    ],
)
def test_what_is_refused(
    folder: Folder,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    code: int,
    said: str,
) -> None:
    refused(folder, capsys, code, said, **changed)


def test_evaluation_inputs_are_needed(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dynamic", str(folder.path("net.onnx"))]) == 2
    assert capsys.readouterr().err.startswith("eapc: --eval: is needed")


def test_data_that_do_not_do(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    x = inputs()
    y = (x[:, 1] <= 0).astype(np.int64)
    np.savez(folder.path("few.npz"), x=x[:50], y=y[:50], scale=1.0)
    refused(folder, capsys, 3, "50 inputs are too few", eval="few.npz")
    np.savez(folder.path("far.npz"), x=x, y=y + 5, scale=1.0)
    refused(folder, capsys, 3, "out of range: 2 classes", eval="far.npz")
    np.savez(folder.path("wrong.npz"), x=x, y=1 - y, scale=1.0)
    refused(folder, capsys, 3, "the original gets none of the inputs right", eval="wrong.npz")
    np.savez(folder.path("real.npz"), x=x, y=y + 0.5, scale=1.0)
    refused(folder, capsys, 3, "y", eval="real.npz")


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
