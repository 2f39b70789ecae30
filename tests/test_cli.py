"""The command line: what it prints where, its exit codes, one line per error, no file left."""

import csv
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from builders import gemm_model
from pruning_builders import plain
from threadpoolctl import threadpool_limits

import eapc
from eapc.cli import main
from eapc.cli.options import read_input_shapes
from eapc.cli.session import begin
from eapc.commands.arguments import read_size
from eapc.errors import UsageError
from eapc.hardware import shipped_hardware
from eapc.registry import METHODS
from eapc.solvers import PATTERNS

MODELS = Path(__file__).parents[1] / "models"
DIGITS = MODELS / "digits.onnx"
CALIBRATION = MODELS / "digits_calibration.npz"
EVALUATION = MODELS / "digits_eval.npz"
UNIFORM = "annotate-energy, prune-weights{sparsity=0.5}, reconstruct-outputs, annotate-energy"
APART = f"hold-out-inputs{{fraction=0.125}}, {UNIFORM}"
BLAS_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


Argument = str | Path | int


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Cli:
    """Runs eapc in this process, in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.folder = folder

    def __call__(self, *arguments: Argument) -> Result:
        code = main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return Result(code, captured.out, captured.err)

    def refuses(self, code: int, *arguments: Argument) -> str:
        """Run what must fail with one line on stderr and leave no file; gives the line."""
        before = files_of(self.folder)
        result = self(*arguments)
        assert (result.code, result.out) == (code, "")
        assert result.err.startswith("eapc: ")
        assert result.err.endswith("\n")
        assert result.err.count("\n") == 1
        assert files_of(self.folder) == before
        return result.err


def files_of(folder: Path) -> dict[str, bytes]:
    """Name and content of every file, hidden ones included."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} | {
        path.name: b"folder" for path in folder.iterdir() if path.is_dir()
    }


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cli]:
    monkeypatch.chdir(tmp_path)
    for name in BLAS_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    logger = logging.getLogger("eapc")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    with threadpool_limits(1):  # matrices this small gain nothing from threads
        yield Cli(capsys, tmp_path)
    for name in BLAS_SETTINGS:
        os.environ.pop(name, None)
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture
def data() -> dict[str, Any]:
    """The arrays of a small calibration file for digits, to be spoilt."""
    with np.load(CALIBRATION) as content:
        arrays = {name: content[name] for name in content.files}
    return {**arrays, "x": arrays["x"][:64], "y": arrays["y"][:64]}


def subprocess_of(*arguments: Argument, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "eapc.cli", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


# --- help, version, what is imported ---------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["-h"]]
    + [
        [c, "--help"]
        for c in (
            *("analyze", "prune", "sweep", "dynamic", "compare", "profile", "run", "passes"),
            *("hw", "data"),
        )
    ],
)
def test_help_is_printed(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert (result.code, result.err) == (0, "")
    assert "Usage: eapc" in result.out


def test_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"eapc {eapc.__version__}\n", "")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, eapc, eapc.cli; eapc.cli.main(['prune', '--help']); "
        "print([m for m in ('numpy', 'onnx', 'onnxruntime', 'scipy', 'yaml', 'eapc.commands') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_is_this_function() -> None:
    (script,) = entry_points(group="console_scripts", name="eapc")
    assert script.load() is main


# --- analyze ---------------------------------------------------------------------------------


def test_analyze_prints_a_table(cli: Cli) -> None:
    result = cli("analyze", DIGITS)
    assert (result.code, result.err) == (0, "")
    model = onnx.load(DIGITS)
    assert all(node.name in result.out for node in model.graph.node)
    assert "…" not in result.out
    assert "\x1b" not in result.out
    assert result.out == cli("analyze", DIGITS).out


def test_analyze_prints_one_document(cli: Cli) -> None:
    result = cli("analyze", DIGITS, "--calib", CALIBRATION, "--samples", 32, "--json")
    document = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert document["schema"] == "eapc.analyze/1"
    assert document["totals"]["unmodelled_nodes"] == 0
    energies = [node["energy_mac_units"] for node in document["nodes"]]
    assert document["totals"]["energy_mac_units"] == pytest.approx(sum(energies))
    assert min(node["ifmap_density"] for node in document["nodes"]) < 1
    assert {node["nonskipped_counted"] for node in document["nodes"]} == {True, None}
    studied = cli("analyze", DIGITS, "--calib", CALIBRATION, "--density", "0.5", "--json")
    nodes = json.loads(studied.out)["nodes"]
    assert {node["nonskipped_counted"] for node in nodes} == {False, None}


def test_analyze_takes_batch_shape_density_and_machine(cli: Cli) -> None:
    def totals(*options: str | int) -> Any:
        return json.loads(cli("analyze", DIGITS, "--json", *options).out)["totals"]

    plain = totals()
    assert totals("--batch", 4)["energy_mac_units"] < plain["energy_mac_units"]
    assert totals("--input-shape", "image:4,1,8,8") == totals("--batch", 4)
    assert totals("--density", "0.5")["nonskipped_macs"] < plain["nonskipped_macs"]
    assert totals("--hw", "eyeriss-jssc2017")["energy_pj"] is None
    assert totals("--hw", "eyeriss.yaml") == plain
    (cli.folder / "d.yaml").write_text("activations: 0.5\n")
    assert totals("--density", "d.yaml") == totals("--density", "0.5")


def test_analyze_writes_rows_and_an_annotated_model(cli: Cli) -> None:
    result = cli("analyze", DIGITS, "--csv", "nodes.csv", "--annotate", "out.onnx")
    assert (result.code, result.err) == (0, "")
    assert [line.split()[1] for line in result.out.splitlines() if line.startswith("written")] == [
        "nodes.csv",
        "out.onnx",
    ]
    rows = list(csv.DictReader(io.StringIO((cli.folder / "nodes.csv").read_text())))
    assert len(rows) == len(onnx.load(DIGITS).graph.node)
    (props, *_) = [node.metadata_props for node in onnx.load("out.onnx").graph.node]
    assert "eapc.energy_mac_units" in {entry.key for entry in props}


def test_analyze_puts_rows_on_stdout(cli: Cli) -> None:
    result = cli("analyze", DIGITS, "--csv", "-")
    assert len(list(csv.reader(io.StringIO(result.out)))) == 1 + len(onnx.load(DIGITS).graph.node)
    cli.refuses(2, "analyze", DIGITS, "--csv", "-", "--json")


def test_analyze_at_other_widths(cli: Cli) -> None:
    def energy(*options: str) -> float:
        found = json.loads(cli("analyze", DIGITS, "--json", *options).out)
        return float(found["totals"]["energy_mac_units"])

    assert energy("--bits", "weights=8,activations=8") < energy("--bits", "weights=8") < energy()
    assert energy("--bits", "8") == energy("--bits", "weights=8,activations=8")
    assert "--bits" in cli.refuses(2, "analyze", DIGITS, "--bits", "eight")


def test_widths_that_a_machine_does_not_know_are_refused(cli: Cli) -> None:
    said = cli.refuses(2, "analyze", DIGITS, "--hw", "cortex-m4", "--bits", "weights=5")
    assert said == "eapc: --bits: cortex-m4 knows weights of 4 and 8 bits, not 5\n"
    options = ("--hw", "cortex-m4", "--bits", "weights=4,activations=6", "-o", "out.onnx")
    said = cli.refuses(2, "prune", DIGITS, *options)
    assert said == "eapc: --bits: cortex-m4 knows activations of 8 and 16 bits, not 6\n"
    assert not (cli.folder / "out.onnx").exists()


@pytest.mark.parametrize("option", ["--csv", "--annotate"])
def test_analyze_overwrites_only_when_told_to(cli: Cli, option: str) -> None:
    (cli.folder / "out").write_text("old")
    assert "--force" in cli.refuses(2, "analyze", DIGITS, option, "out")
    assert cli("analyze", DIGITS, option, "out", "--force").code == 0
    assert (cli.folder / "out").read_bytes() != b"old"


@pytest.mark.parametrize("option", ["--csv", "--annotate"])
def test_analyze_never_writes_to_its_input(cli: Cli, option: str) -> None:
    (cli.folder / "m.onnx").write_bytes(DIGITS.read_bytes())
    cli.refuses(2, "analyze", "m.onnx", option, "m.onnx", "--force")


# --- prune and run ---------------------------------------------------------------------------


def prune_options(*more: Argument) -> list[Argument]:
    return ["prune", DIGITS, "--calib", CALIBRATION, "--samples", 80, "--threads", 1, *more]


def test_prune_writes_a_model_and_reports(cli: Cli) -> None:
    result = cli(*prune_options("--sparsity", "0.5", "--eval", EVALUATION, "-o", "out.onnx"))
    assert (result.code, result.err) == (0, "")
    assert "top-1 accuracy on 597 inputs" in result.out
    assert "out.onnx" in result.out
    onnx.checker.check_model("out.onnx")
    assert [path.name for path in cli.folder.iterdir()] == ["out.onnx"]


def test_prune_prints_one_document(cli: Cli) -> None:
    result = cli(*prune_options("--target-energy", "0.6", "-o", "out.onnx", "--json"))
    document = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert document["schema"] == "eapc.prune/1"
    assert document["goal_met"] is True
    assert document["energy_ratio"] <= 0.6 * 1.01
    assert document["output"] == "out.onnx"
    assert {layer["name"] for layer in document["layers"]} >= {"stem", "classifier"}
    again = json.loads(
        cli(*prune_options("--target-energy", "0.6", "-o", "two.onnx", "--json")).out
    )
    assert (cli.folder / "two.onnx").read_bytes() == (cli.folder / "out.onnx").read_bytes()
    assert again["layers"] == document["layers"]


def test_prune_works_as_typed(cli: Cli) -> None:
    (cli.folder / "m.onnx").write_bytes(DIGITS.read_bytes())
    result = cli("prune", "m.onnx", "--sparsity", "0.5", "--samples", 80, "--json")
    document = json.loads(result.out)
    assert result.code == 0
    assert result.err.startswith("eapc: warning: ")
    assert (cli.folder / "m.pruned.onnx").is_file()
    assert document["synthesised"] is True
    assert document["synthesised_inputs"] == "unit normal by BatchNormalization statistics"
    assert f"80 inputs were made up: {document['synthesised_inputs']}; " in result.err
    assert len(document["warnings"]) == 1
    assert (document["agreement"]["samples"], document["agreement_fitted"]) == (10, False)
    quiet = cli("prune", "m.onnx", "--sparsity", "0.5", "--samples", 80, "-q", "--force", "--json")
    assert (quiet.code, quiet.err) == (0, "")
    assert json.loads(quiet.out)["warnings"] == document["warnings"]


def test_a_goal_out_of_reach_is_reported_and_written(cli: Cli) -> None:
    result = cli(*prune_options("--target-energy", "0.01", "-o", "out.onnx", "--json"))
    document = json.loads(result.out)
    assert result.code == 4
    assert (document["goal_met"], bool(document["reason"])) == (False, True)
    warned, said = result.err.splitlines()
    assert warned.startswith("eapc: warning: --target-energy 0.01 is not met, and the outputs are ")
    assert said.startswith("eapc: goal not met: ")
    assert (cli.folder / "out.onnx").is_file()


def test_a_dry_run_prints_the_plan(cli: Cli) -> None:
    result = cli(*prune_options("--sparsity", "0.5", "--dry-run", "-o", "out.onnx"))
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(APART + "\n")
    assert "expected energy" in result.out
    options = ("--sparsity", "0.5", "--dry-run", "-o", "out.onnx", "--json")
    document = json.loads(cli(*prune_options(*options)).out)
    assert (document["schema"], document["pipeline"]) == ("eapc.plan/1", APART)
    assert [layer["sparsity"] for layer in document["layers"]] == [
        pytest.approx(0.5, abs=0.01) for _ in range(7)
    ]
    spent = [document[when]["energy_mac_units"] for when in ("before", "after")]
    assert document["energy_ratio"] == pytest.approx(spent[1] / spent[0])
    assert document["before"]["nonzero_weights"] > document["after"]["nonzero_weights"]
    assert not any(cli.folder.iterdir())
    cli.refuses(3, *prune_options("--dry-run", "--eval", "missing.npz"))
    (cli.folder / "out.onnx").write_text("old")
    cli.refuses(2, *prune_options("--dry-run", "-o", "out.onnx"))


def test_a_dry_run_says_which_channels_would_go(cli: Cli) -> None:
    options = ("--structured", "--sparsity", "0.5", "--dry-run")
    said = cli(*prune_options(*options)).out
    assert "channels made by" in said
    assert "weights zeroed by magnitude" not in said
    groups = json.loads(cli(*prune_options(*options, "--json")).out)["channels"]
    assert groups
    assert all(group["after"] == round(group["before"] / 2) for group in groups)


def test_a_dry_run_of_an_energy_goal_shares_it_out(cli: Cli) -> None:
    options = ("--target-energy", "0.8", "--dry-run", "--json")
    document = json.loads(cli(*prune_options(*options)).out)
    assert document["energy_ratio"] == pytest.approx(0.8, abs=0.05)
    assert len({round(layer["sparsity"], 2) for layer in document["layers"]}) > 2
    searched = cli(*prune_options("--min-agreement", "0.9", "--dry-run"))
    assert "the budget is searched" in searched.out
    assert json.loads(cli(*prune_options("--dry-run", "--json")).out)["energy_ratio"] is None
    assert not any(cli.folder.iterdir())


def test_a_drop_is_decided_on_half_of_the_evaluation_inputs(cli: Cli) -> None:
    options = ("--max-drop", "0.02", "--eval", EVALUATION, "-o", "out.onnx", "--json")
    result = cli(*prune_options(*options))
    document = json.loads(result.out)
    decided, other = document["decided"], document["accuracy"]
    lost = round(298 * (other["before"] - other["after"]))
    assert document["confirmed"] is (lost <= 0.02 * 298)
    assert result.code == (0 if document["confirmed"] else 4)
    assert result.err.startswith("" if document["confirmed"] else "eapc: goal not confirmed: on ")
    assert 0 < document["confidence"] < 1
    assert (decided["samples"], other["samples"]) == (299, 298)
    assert round(299 * (decided["before"] - decided["after"])) <= 0.02 * 299
    assert document["energy_ratio"] < 0.6
    assert document["lowest_energy_ratio"] < document["energy_ratio"]


@pytest.mark.parametrize("goal", [(), ("--target-energy", "0.5")])
def test_confidence_refines_one_goal(cli: Cli, goal: tuple[str, ...]) -> None:
    said = cli.refuses(2, *prune_options(*goal, "--confidence", "0.9"))
    assert "--confidence: goes with --max-drop" in said
    assert "0.5 to less than 1" in cli.refuses(
        2, *prune_options("--max-drop", "0.1", "--confidence", "1", "--eval", EVALUATION)
    )


def test_a_drop_needs_labels(cli: Cli, data: dict[str, Any]) -> None:
    for more in ((), ("--dry-run",)):
        said = cli.refuses(2, *prune_options("--max-drop", "0.01", "-o", "out.onnx", *more))
        assert "--eval" in said
    np.savez(cli.folder / "bare.npz", **spoilt(data, "no labels"))
    assert "labels" in cli.refuses(3, *prune_options("--max-drop", "0.01", "--eval", "bare.npz"))


def test_spoilt_outputs_are_one_warning(cli: Cli) -> None:
    result = cli(*prune_options("--sparsity", "0.99", "-o", "out.onnx", "--json"))
    assert result.code == 0
    assert result.err.startswith("eapc: warning: --sparsity 0.99 spoils the outputs: ")
    assert result.err.count("\n") == 1
    assert len(json.loads(result.out)["warnings"]) == 1


# --- compare ---------------------------------------------------------------------------------


def test_compare_prints_both(cli: Cli) -> None:
    options = ("--eval", EVALUATION, "--threads", 1, "--repeats", 2, "--csv", "c.csv")
    result = cli("compare", DIGITS, DIGITS, *options)
    assert (result.code, result.err) == (0, "")
    for said in ("parameters", "modelled energy", "measured latency", "top-1", "1 thread,"):
        assert said in result.out
    rows = {r["figure"]: r for r in csv.DictReader(io.StringIO((cli.folder / "c.csv").read_text()))}
    assert rows["energy_mac_units"]["ratio"] == "1.0"
    assert result.out.count("\n") <= 20


def test_compare_prints_one_document(cli: Cli) -> None:
    options = ("--calib", CALIBRATION, "--samples", 60, "--no-latency", "--json")
    document = json.loads(cli("compare", DIGITS, DIGITS, *options).out)
    assert document["schema"] == "eapc.compare/1"
    assert document["measured_latency"] is None
    assert document["likeness"] == {"metric": "top-1 agreement", "value": 1.0, "samples": 60}
    analysed = cli("analyze", DIGITS, "--calib", CALIBRATION, "--samples", 60, "--json")
    assert document["before"]["modelled"] == json.loads(analysed.out)["totals"]
    assert cli("compare", DIGITS, DIGITS, *options[:-1], "--csv", "-").out.startswith("figure,")


def test_models_of_other_inputs_are_not_compared(cli: Cli) -> None:
    (cli.folder / "other.onnx").write_bytes(gemm_model().SerializeToString())
    assert "same inputs and outputs" in cli.refuses(2, "compare", DIGITS, "other.onnx")


# --- sweep -----------------------------------------------------------------------------------


def sweep_options(*more: Argument) -> list[Argument]:
    return ["sweep", DIGITS, "--calib", CALIBRATION, "--samples", 80, "--threads", 1, *more]


def test_sweep_prints_a_row_per_value(cli: Cli) -> None:
    result = cli(*sweep_options("--sparsity", "0.5,0.25", "--eval", EVALUATION, "--csv", "s.csv"))
    assert (result.code, result.err) == (0, "")
    for value in ("0.5", "0.25"):
        assert f"--sparsity {value} " in result.out
    rows = list(csv.DictReader(io.StringIO((cli.folder / "s.csv").read_text())))
    assert [row["value"] for row in rows] == ["0.5", "0.25"]
    assert [path.name for path in cli.folder.iterdir()] == ["s.csv"]


def test_sweep_prints_one_document_and_tells_of_goals_not_met(cli: Cli) -> None:
    (cli.folder / "models").mkdir()
    net = plain()
    (cli.folder / "net.onnx").write_bytes(net.proto.SerializeToString())
    np.savez(cli.folder / "data.npz", x=net.arrays["x"])
    options: list[Argument] = ["sweep", "net.onnx", "--calib", "data.npz", "--threads", 1]
    options += ["--target-energy", "0.8, 0.01", "--json", "-o", "models"]
    result = cli(*options)
    document = json.loads(result.out)
    warned, said = result.err.splitlines()
    assert (result.code, said) == (4, "eapc: goals not met: --target-energy 0.01")
    assert warned.startswith("eapc: warning: --target-energy 0.01 is not met, and the outputs are ")
    assert document["schema"] == "eapc.sweep/1"
    assert [row["goal_met"] for row in document["rows"]] == [True, False]
    assert {Path(row["output"]).name for row in document["rows"]} == {
        path.name for path in (cli.folder / "models").iterdir()
    }
    again = json.loads(cli(*options, "--force").out)
    for document_ in (document, again):
        for row in document_["rows"]:
            del row["seconds"]
    assert again["rows"] == document["rows"]


def test_sweep_puts_rows_on_stdout(cli: Cli) -> None:
    result = cli(*sweep_options("--sparsity", "0.5", "--csv", "-"))
    assert (result.code, result.err) == (0, "")
    (row,) = csv.DictReader(io.StringIO(result.out))
    assert (row["goal"], row["agreement_fitted"]) == ("sparsity", "False")
    assert row["agreement_samples"] == "10"


def test_sweep_takes_what_prune_takes(cli: Cli) -> None:
    (cli.folder / "half.yaml").write_text("Conv: 0.5\n")
    (cli.folder / "most.yaml").write_text("Conv: 0.9\n")
    files = ("--densities", "half.yaml, most.yaml")
    options = (*files, "--method", "wanda", "--exclude", "Gemm", "--memory", "1GB", "--json")
    rows = json.loads(cli(*sweep_options(*options)).out)["rows"]
    assert [(row["goal"], row["value"]) for row in rows] == [
        ("densities", "half.yaml"),
        ("densities", "most.yaml"),
    ]
    assert rows[0]["energy_ratio"] < rows[1]["energy_ratio"] < 1
    fixed = cli(*sweep_options("--sparsity", "0.5", "--pattern", "2:4", "--json"))
    assert json.loads(fixed.out)["rows"][0]["goal_met"]


def test_a_pipeline_tells_of_an_energy_out_of_reach(cli: Cli) -> None:
    common = ("run", DIGITS, "--calib", CALIBRATION, "--samples", 40, "--threads", 1, "--json")
    pruned = "annotate-energy, prune-weights{energy=0.01}"
    priced = cli(*common, "--pipeline", f"{pruned}, annotate-energy")
    found = re.fullmatch(
        r"eapc: warning: energy=0\.01 is out of reach: the network still takes (0\.\d{3}) of the "
        r"energy\n",
        priced.err,
    )
    assert priced.code == 0
    assert found
    document = json.loads(priced.out)
    dense = json.loads(cli("analyze", *common[1:]).out)
    ratio = document["totals"]["energy_mac_units"] / dense["totals"]["energy_mac_units"]
    assert float(found[1]) == pytest.approx(ratio, abs=6e-4)
    assert document["warnings"] == [priced.err.removeprefix("eapc: warning: ").strip()]
    assert "takes about 0." in cli(*common, "--pipeline", pruned).err
    within = cli(*common, "--pipeline", "prune-weights{energy=0.9}")
    assert (within.code, within.err) == (0, "")


OPTIONS: list[list[Argument]] = [
    ["--pattern", "2:4", "--method", "sparsegpt", "--exclude", "Gemm"],
    ["--sparsity", "0.6", "--pattern", "kernel", "--include", "*conv*", "--thorough"],
    ["--target-energy", "0.8", "--order", "uniform", "--method", "wanda"],
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_printed_pipeline_reproduces_the_file(cli: Cli, options: list[Argument]) -> None:
    pruned = cli(*prune_options(*options, "-o", "pruned.onnx", "--json"))
    text = json.loads(pruned.out)["pipeline"]
    common: list[Argument] = [DIGITS, "--calib", CALIBRATION, "--samples", 80, "--threads", 1]
    assert cli("run", *common, "--pipeline", text, "-o", "ran.onnx").code == 0
    assert (cli.folder / "ran.onnx").read_bytes() == (cli.folder / "pruned.onnx").read_bytes()


def test_help_lists_the_choices(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = cli("prune", "--help").out
    orders = ("shared", "energy", "uniform")
    assert all(name in said for name in (*METHODS, *PATTERNS, *orders))


def test_run_does_what_prune_does(cli: Cli) -> None:
    common: list[Argument] = [DIGITS, "--calib", CALIBRATION, "--samples", 80, "--threads", 1]
    ran = cli("run", *common, "--pipeline", APART, "-o", "ran.onnx", "--json")
    document = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert (document["schema"], document["pipeline"]) == ("eapc.run/1", APART)
    cli("prune", *common, "--sparsity", "0.5", "-o", "pruned.onnx")
    assert (cli.folder / "ran.onnx").read_bytes() == (cli.folder / "pruned.onnx").read_bytes()


def test_run_without_an_output_writes_nothing(cli: Cli) -> None:
    result = cli("run", DIGITS, "--pipeline", "prune-weights{sparsity=0.5}")
    assert (result.code, result.err) == (0, "")
    assert "unknown: end the pipeline in annotate-energy" in result.out
    assert not any(cli.folder.iterdir())


# --- listings --------------------------------------------------------------------------------


def test_passes_lists_every_pass(cli: Cli) -> None:
    result = cli("passes")
    assert (result.code, result.err) == (0, "")
    for name in ("annotate-energy", "prune-weights", "reconstruct-outputs", "sparsity"):
        assert name in result.out


def test_hw_list_names_every_machine(cli: Cli) -> None:
    result = cli("hw", "list")
    assert (result.code, result.err) == (0, "")
    names = [line.split()[0] for line in result.out.splitlines()]
    assert names == list(shipped_hardware())


def test_hw_show_prints_a_file_to_start_from(cli: Cli) -> None:
    shown = cli("hw", "show", "eyeriss")
    assert (shown.code, shown.err) == (0, "")
    (cli.folder / "mine.yaml").write_text(shown.out)
    documents = [cli("hw", "show", name, "--json").out for name in ("mine.yaml", "eyeriss")]
    assert documents[0] == documents[1]
    assert json.loads(documents[0])["schema"] == "eapc.hardware/1"
    assert "102 kB" in cli("hw", "show", "mine.yaml").out


def test_hw_validate_sums_a_valid_file_up(cli: Cli) -> None:
    (cli.folder / "mine.yaml").write_text(cli("hw", "show", "tpu-v1").out)
    result = cli("hw", "validate", "mine.yaml")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("mine.yaml: valid\n\ntpu-v1: ")
    assert "systolic, 8-bit words, 1 MAC unit is 0.3 pJ" in result.out
    assert "accumulators" in result.out


def test_hw_validate_tells_what_is_wrong_in_one_line(cli: Cli) -> None:
    text = cli("hw", "show", "tpu-v1").out.replace("array_rows: 256", "array_rows: none")
    (cli.folder / "mine.yaml").write_text(text)
    result = cli("hw", "validate", "mine.yaml")
    assert (result.code, result.out) == (3, "")
    assert result.err.count("\n") == 1
    assert "machine.array_rows: expected a positive integer, got 'none'" in result.err


# --- usage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "nothing"),
        (["hw"], "missing command"),
        (["analyze"], "MODEL"),
        (["analyze", DIGITS, "--bach", "2"], "--bach"),
        (["analyze", DIGITS, "--batch", "0"], "--batch"),
        (["analyze", DIGITS, "--batch", "two"], "--batch"),
        (["analyze", DIGITS, "--samples", "0"], "--samples"),
        (["analyze", DIGITS, "--threads", "-1"], "--threads"),
        (["analyze", DIGITS, "--seed", "-1"], "--seed"),
        (["analyze", DIGITS, "--density", "1.5"], "--density"),
        (["analyze", DIGITS, "--density", "nan"], "--density"),
        (["analyze", DIGITS, "--density", "no.yaml"], "no.yaml"),
        (["analyze", DIGITS, "--input-shape", "image"], "NAME:1,3,224,224"),
        (["analyze", DIGITS, "--input-shape", "nobody:1,1,8,8"], "nobody"),
        (["analyze", DIGITS, "--csv", "no/such.csv"], "no such folder"),
        (["prune", DIGITS, "--sparsity", "1"], "--sparsity"),
        (["prune", DIGITS, "--sparsity", "-0.1"], "--sparsity"),
        (["prune", DIGITS, "--sparsity", "nan"], "--sparsity"),
        (["prune", DIGITS, "--target-energy", "0"], "--target-energy"),
        (["prune", DIGITS, "--target-energy", "1.1"], "--target-energy"),
        (["prune", DIGITS, "--min-agreement", "2"], "--min-agreement"),
        (["prune", DIGITS, "--sparsity", "0.5", "--target-energy", "0.5"], "one goal"),
        (["prune", DIGITS, "-o", "no/such.onnx"], "no such folder"),
        (["prune", DIGITS, "--max-drop", "1"], "--max-drop"),
        (["prune", DIGITS, "--max-drop", "0.1", "--sparsity", "0.5"], "one goal"),
        (["sweep", DIGITS], "--target-energy"),
        (["sweep", DIGITS, "--sparsity", "0.5,x"], "'x'"),
        (["sweep", DIGITS, "--sparsity", ""], "expected numbers"),
        (["sweep", DIGITS, "--sparsity", "0.5,1"], "--sparsity"),
        (["sweep", DIGITS, "--sparsity", "0.5,0.50"], "twice"),
        (["sweep", DIGITS, "--sparsity", "0.5", "--target-energy", "0.5"], "one goal"),
        (["sweep", DIGITS, "--max-drop", "0.01,0.02"], "--eval"),
        (["sweep", DIGITS, "--sparsity", "0.5", "-o", "none"], "no such folder"),
        (["sweep", DIGITS, "--sparsity", "0.5", "--csv", "-", "--json"], "stdout"),
        (["sweep", DIGITS, "--sparsity", "0.5", "--resume"], "needs -o FOLDER"),
        (["sweep", DIGITS, "--sparsity", "0.5,0.6", "--pattern", "2:4"], "sparsity of 0.5"),
        (["sweep", DIGITS, "--target-energy", "0.5", "--pattern", "2:4"], "give --sparsity 0.5"),
        (["sweep", DIGITS, "--sparsity", "0.5", "--order", "energy"], "energy budget"),
        (["sweep", DIGITS, "--densities", "a.yaml", "--sparsity", "0.5"], "one goal"),
        (["sweep", DIGITS, "--densities", "no.yaml"], "no.yaml: cannot be read"),
        (["sweep", DIGITS, "--sparsity", "0.5", "--csv", "no/such.csv"], "no such folder"),
        (["compare", DIGITS], "AFTER"),
        (["compare", DIGITS, DIGITS, "--json", "--csv", "-"], "stdout"),
        (["compare", DIGITS, DIGITS, "--no-latency", "--repeats", "3"], "--no-latency"),
        (["compare", DIGITS, DIGITS, "--repeats", "0"], "--repeats"),
        (["compare", DIGITS, DIGITS, "--csv", "no/such.csv"], "no such folder"),
        (["prune", DIGITS, "--method", "best"], "choose from admm, eap"),
        (["prune", DIGITS, "--pattern", "4:2"], "1 <= N < M"),
        (["prune", DIGITS, "--pattern", "4:4"], "1 <= N < M, such as 2:4"),
        (["prune", DIGITS, "--memory", "0"], "above 0, such as 2GB"),
        (["prune", DIGITS, "--pattern", "2:4", "--sparsity", "0.6"], "sparsity of 0.5"),
        (["prune", DIGITS, "--pattern", "2:4", "--target-energy", "0.6"], "--sparsity 0.5"),
        (["prune", DIGITS, "--order", "any", "--target-energy", "0.6"], "shared, energy, uniform"),
        (["prune", DIGITS, "--order", "energy", "--sparsity", "0.6"], "energy budget"),
        (["prune", DIGITS, "--thorough", "--method", "wanda"], "thorough"),
        (["prune", DIGITS, "--include", "nobody"], "near it"),
        (["prune", DIGITS, "--densities", "no.yaml"], "no.yaml: cannot be read"),
        (["prune", DIGITS, "--densities", "no.yaml", "--sparsity", "0.5"], "one goal"),
        (["run", DIGITS], "--pipeline"),
        (["run", DIGITS, "--pipeline", "prune-everything"], "prune-everything"),
        (["run", DIGITS, "--pipeline", "prune-weights{much=1}"], "much"),
        (["run", DIGITS, "--pipeline", "prune-weights{sparsity=2}"], "sparsity"),
        (["run", DIGITS, "--pipeline", ""], "empty"),
    ],
)
def test_wrong_usage_is_told_in_one_line(cli: Cli, arguments: list[str | Path], said: str) -> None:
    assert said in cli.refuses(2, *arguments)


@pytest.mark.parametrize(
    ("texts", "shapes"),
    [
        (None, {}),
        (["x:1,3,8,8"], {"x": (1, 3, 8, 8)}),
        (["a:0:1, 2", "b:7"], {"a:0": (1, 2), "b": (7,)}),
    ],
)
def test_input_shapes_are_read(texts: list[str] | None, shapes: dict[str, Any]) -> None:
    assert read_input_shapes(texts) == shapes


@pytest.mark.parametrize("text", ["x", ":1,2", "x:", "x:1,,2", "x:1,-2", "x:0", "x:1.5", "x:²"])
def test_bad_input_shapes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--input-shape"):
        read_input_shapes([text])
    with pytest.raises(UsageError, match="twice"):
        read_input_shapes(["x:1", "x:1"])


# --- bad inputs ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["analyze", "prune"])
@pytest.mark.parametrize("content", [b"", b"no model\n", DIGITS.read_bytes()[:200_000], None])
def test_models_that_are_none(cli: Cli, command: str, content: bytes | None) -> None:
    if content is not None:
        (cli.folder / "bad.onnx").write_bytes(content)
    assert "bad.onnx" in cli.refuses(3, command, "bad.onnx")


def test_a_folder_is_no_model(cli: Cli) -> None:
    cli.refuses(3, "analyze", cli.folder)


def test_hardware_that_is_unknown_or_wrong(cli: Cli) -> None:
    assert "eyeriss" in cli.refuses(3, "analyze", DIGITS, "--hw", "eyeris")
    assert "eyeriss" in cli.refuses(3, "hw", "show", "eyeris")
    text = cli("hw", "show", "eyeriss").out
    wrong = text.replace("size_bytes: 102400", "size_bytes: -4")
    line = 1 + wrong[: wrong.index("size_bytes: -4")].count("\n")
    (cli.folder / "mine.yaml").write_text(wrong)
    said = cli.refuses(3, "analyze", DIGITS, "--hw", "mine.yaml")
    assert f"mine.yaml:{line}: memories.glb.size_bytes" in said
    (cli.folder / "torn.yaml").write_text("schema: [\n")
    assert "torn.yaml:" in cli.refuses(3, "prune", DIGITS, "--hw", "torn.yaml")


def spoilt(data: dict[str, Any], how: str) -> dict[str, Any]:
    x = data["x"]
    match how:
        case "shape":
            return {**data, "x": x[:, :, :4]}
        case "rank":
            return {**data, "x": x[0]}
        case "nan":
            return {**data, "x": np.full(x.shape, np.nan, np.float32)}
        case "text":
            return {**data, "x": np.full(x.shape, "a")}
        case "counts":
            return {**data, "y": data["y"][:-1]}
        case "labels":
            return {**data, "y": data["y"] + 7}
        case "negative labels":
            return {**data, "y": data["y"] - 7}
        case "no labels":
            return {name: array for name, array in data.items() if name != "y"}
        case "empty":
            return {**data, "x": x[:0], "y": data["y"][:0]}
        case "nothing":
            return {}
        case "std":
            return {**data, "std": np.float32(0)}
        case _:
            raise ValueError(how)


@pytest.mark.parametrize(
    "how", ["shape", "rank", "nan", "text", "counts", "empty", "nothing", "std"]
)
def test_calibration_data_that_does_not_fit(cli: Cli, data: dict[str, Any], how: str) -> None:
    np.savez(cli.folder / "bad.npz", **spoilt(data, how))
    assert "bad.npz" in cli.refuses(3, "analyze", DIGITS, "--calib", "bad.npz")
    cli.refuses(3, "prune", DIGITS, "--calib", "bad.npz", "--sparsity", "0.5", "-o", "out.onnx")


@pytest.mark.parametrize("how", ["labels", "negative labels", "no labels"])
def test_evaluation_data_that_does_not_fit(cli: Cli, data: dict[str, Any], how: str) -> None:
    np.savez(cli.folder / "bad.npz", **spoilt(data, how))
    said = cli.refuses(
        3, *prune_options("--eval", "bad.npz", "--sparsity", "0.5", "-o", "out.onnx")
    )
    assert "label" in said


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_data_files_that_are_none(cli: Cli, content: bytes | None) -> None:
    if content is not None:
        (cli.folder / "bad.npz").write_bytes(content)
    assert "bad.npz" in cli.refuses(3, "analyze", DIGITS, "--calib", "bad.npz")


def test_outputs_that_must_not_be_written(cli: Cli) -> None:
    (cli.folder / "m.onnx").write_bytes(DIGITS.read_bytes())
    (cli.folder / "old.onnx").write_text("old")
    (cli.folder / "folder").mkdir()
    run = ("run", "m.onnx", "--pipeline", "annotate-energy")
    for command in (("prune", "m.onnx", "--sparsity", "0.5"), run):
        assert "--force" in cli.refuses(2, *command, "-o", "old.onnx")
        assert "input" in cli.refuses(2, *command, "-o", "m.onnx", "--force")
        assert "folder" in cli.refuses(2, *command, "-o", "folder", "--force")


def test_a_model_with_nothing_to_prune(cli: Cli) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "net", [value], [result])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), "relu.onnx")
    said = cli.refuses(3, "prune", "relu.onnx", "--sparsity", "0.5", "-q")
    assert "nothing to prune" in said


# --- the process -----------------------------------------------------------------------------


def test_internal_errors_are_one_line_and_show_tracebacks_when_asked(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("two\nlines \x1b[31m")

    monkeypatch.setattr("eapc.commands.compiler.analyze", fail)
    said = cli.refuses(1, "analyze", DIGITS)
    assert said.startswith("eapc: internal error: RuntimeError: two lines �[31m")
    result = cli("analyze", DIGITS, "--debug")
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err


def test_verification_failures_have_their_own_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise eapc.VerificationError("output 'y' holds NaN")

    monkeypatch.setattr("eapc.commands.compiler.prune", fail)
    assert "NaN" in cli.refuses(5, *prune_options())


@pytest.mark.usefixtures("cli")
def test_verbosity(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("eapc.somewhere")
    said = {}
    for name, options in {
        "quiet": (0, True, False),
        "normal": (0, False, False),
        "verbose": (1, False, False),
        "more": (2, False, False),
    }.items():
        warnings = begin(*options)
        for level in ("debug", "info", "warning", "error"):
            getattr(logger, level)(level)
        assert warnings == ["warning", "error"]
        said[name] = capsys.readouterr().err.splitlines()
    assert said["quiet"] == ["eapc: error: error"]
    assert said["normal"] == ["eapc: warning: warning", *said["quiet"]]
    assert said["verbose"] == ["eapc: info", *said["normal"]]
    assert said["more"] == ["eapc: debug", *said["verbose"]]


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5 GiB", 3 << 29), ("800m", 8 * 10**8), ("64", 64)],
)
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 PB", "two", "0", "0.1B"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        read_size(text)


def test_threads_reach_blas(cli: Cli) -> None:
    begin()
    assert not any(name in os.environ for name in BLAS_SETTINGS)
    assert cli("analyze", DIGITS, "--threads", 1, "--json").code == 0
    assert {os.environ.pop(name) for name in BLAS_SETTINGS} == {"1"}


@pytest.mark.parametrize(("said", "shown"), [("Unable to allocate 8 TiB", " (Unable"), ("", ";")])
def test_memory_that_runs_out_is_no_bug(
    said: str, shown: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: object) -> None:
        raise MemoryError(said)

    monkeypatch.setattr("eapc.commands.compiler.analyze", exhaust)
    told = cli.refuses(3, "analyze", DIGITS)
    assert f"memory ran out{shown}" in told
    assert "fewer --samples" in told


def test_interrupts_are_quiet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eapc.commands.compiler.analyze", interrupt)
    assert cli("analyze", DIGITS) == (130, "", "")


def test_an_interrupted_process_leaves_what_it_finished(tmp_path: Path) -> None:
    process = subprocess_of(*prune_options("-o", "out.onnx", "-v"), cwd=tmp_path)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert {path.name for path in tmp_path.iterdir()} <= {"out.onnx.partial"}


def test_a_poor_encoding_is_no_error() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = subprocess_of("analyze", DIGITS, env=environment)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.isascii()
    assert "MAC units" in out


def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "eapc.cli", "hw", "show", "eyeriss"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


def test_a_full_disk_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "eapc.cli", "hw", "show", "eyeriss"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in cli("passes").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in cli("passes").out


def test_the_demo_script_shows_and_writes() -> None:
    script = (MODELS / "demo.sh").read_text()
    subprocess.run(["bash", "-n", MODELS / "demo.sh"], check=True)
    for file in (DIGITS, CALIBRATION, EVALUATION):
        assert f"models/{file.name}" in script
