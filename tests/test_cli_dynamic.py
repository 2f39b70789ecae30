"""The command `eapc dynamic`: its table, its document, its codes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders import make_model, normal, op, save
from onnx import ModelProto
from routing_builders import LEAD, SETTINGS, data, inputs, wide

from eapc import dynamic
from eapc.cli import main


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
