"""eapc profile from model to file, and back through analyze; times are whatever they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from builders import chain, loaded, op, replaceable, save, value
from rich.console import Console

from eapc.cli import main
from eapc.commands.machine_profile import ProfileSettings, machine_yaml, profile
from eapc.commands.preparation import Settings
from eapc.commands.timing import time_nodes
from eapc.errors import DataError
from eapc.hardware import MeasuredMachine, load_machine
from eapc.model import Model
from eapc.profiling import layer_timer
from eapc.progress import Step
from eapc.report.timings import profile_table

QUICK = ProfileSettings(threads=1, repeats=1, minutes=0.0)
OPS = ["Conv", "BatchNormalization", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_timer, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(layer_timer, "_LOOK_SECONDS", 0.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(chain(OPS), tmp_path / "tiny.onnx")


def test_the_machine_says_what_was_measured(model: Path) -> None:
    done = profile(model, ProfileSettings(batch=2, threads=1, repeats=3, minutes=0.0), name="mine")
    machine = done.machine
    assert (machine.name, machine.batch, machine.threads, machine.repeats) == ("mine", 2, 1, 3)
    assert machine.runtime.startswith("onnxruntime ")
    assert machine.cpu
    assert done.missing == ()
    assert done.whole_ms is not None
    assert done.sum_ms >= machine.overhead_ms > 0
    assert all(layer.layer.count("2x") for layer in machine.layers)
    assert load_text(machine_yaml(machine)) == machine


def load_text(text: str) -> MeasuredMachine:
    return MeasuredMachine.model_validate(_tuples(yaml.safe_load(text)))


def _tuples(given: object) -> object:
    if isinstance(given, list):
        return tuple(_tuples(part) for part in given)
    return {k: _tuples(v) for k, v in given.items()} if isinstance(given, dict) else given


def test_a_network_whose_weights_are_inputs_is_covered_and_told(tmp_path: Path) -> None:
    given = save(replaceable(chain(OPS)), tmp_path / "given.onnx")
    done = profile(given, QUICK)
    assert done.missing == ()
    assert any("given=1,2" in layer.layer for layer in done.machine.layers)
    (note,) = done.notes
    console = Console(width=200)
    with console.capture() as capture:
        console.print(profile_table(done, 1.0, tmp_path / "here.yaml", [Path("steps.svg")]))
    assert "steps.svg" in capture.get()
    assert note in " ".join(capture.get().split())
    timing = time_nodes(given, done.machine, Settings(threads=1))
    assert timing.unmodelled == ()
    assert timing.notes == (note,)


def test_all_cores_are_counted(model: Path) -> None:
    assert profile(model, ProfileSettings(repeats=1, minutes=0.0)).machine.threads == os.cpu_count()


def test_a_model_of_integers_has_no_whole() -> None:
    nodes = [op("Cast", "i", "f", to=1), op("Relu", "f", "y", name="relu")]
    whole = loaded(nodes, [value("i", (1, 4), 7)], ["y"])
    done = profile(whole, QUICK)
    assert done.whole_ms is None
    assert "holds int64" in dict(done.missing)["f"]


class StopError(Exception):
    """Raised to end a run in its middle."""


def test_a_killed_run_leaves_parts_that_resume_uses(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "here.yaml"
    left = [8]

    def stop(_: Step) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StopError

    with pytest.raises(StopError):
        profile(model, QUICK, output=output, progress=stop)
    parts = list((tmp_path / "here.yaml.partial").glob("*.part"))
    assert parts
    profile(model, QUICK, output=output, resume=True)
    assert not (tmp_path / "here.yaml.partial").exists()


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_profile_and_analyze(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "here.yaml"
    quick = ("--threads", 1, "--repeats", 1, "--minutes", 0)
    assert command("profile", model, "-o", output, *quick) == 0
    assert "distinct layers" in capsys.readouterr().out
    assert isinstance(load_machine(output), MeasuredMachine)
    assert command("profile", model, "-o", output, *quick) == 2
    assert "--force" in capsys.readouterr().err

    assert command("hw", "validate", output) == 0
    assert "valid" in capsys.readouterr().out
    assert command("hw", "show", output) == 0
    assert yaml.safe_load(capsys.readouterr().out)["kind"] == "measured"
    assert command("hw", "show", output, "--json") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "eapc.measured/1"

    rows = tmp_path / "rows.csv"
    assert command("analyze", model, "--hw", output, "--json", "--csv", rows, "--threads", 1) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["unmodelled"] == []
    assert rows.read_text().count("\n") == 1 + len(Model.load(model).nodes)
    assert command("analyze", model, "--hw", output, "--threads", 1) == 0
    assert "for each run" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["prune", "sweep"])
def test_pruning_by_energy_needs_energies(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "here.yaml"
    output.write_text(machine_yaml(profile(model, QUICK).machine))
    assert command(name, model, "--hw", output, "--target-energy", 0.8) == 2
    error = capsys.readouterr().err
    assert "holds measured latencies and no energies; give a machine" in error


def test_inputs_that_are_too_large_to_be_made_up() -> None:
    large = Model.from_proto(chain(["Relu"], x=(1, 3, 1 << 30, 1 << 30)))
    with pytest.raises(DataError, match="too large to be made up; --input-shape"):
        profile(large)
