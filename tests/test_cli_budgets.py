"""Budgets: what may be typed, what is said where one is exceeded, and exit code 4."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from builders import gemm_model, make_model, normal, op, save
from measured_builders import measured_machine

from eapc.cli import main
from eapc.commands.budgets import CostLimits, Spending, read_limit, read_ratio
from eapc.commands.compiler import Settings, analyze
from eapc.errors import UsageError

pytestmark = pytest.mark.usefixtures("kept_logging", "folder")

GEMM = "gemm.onnx"
MAC_UNITS = 1.9 * 40 + 25 * 4 + 500
"""Of the Gemm on a Cortex-M4: 10 inputs and 4 outputs (docs/microcontrollers.md)."""

PJ = MAC_UNITS * 41.7 * 1.12 / 120 * 1e3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a network."""
    monkeypatch.chdir(tmp_path)
    save(gemm_model(bias=False), tmp_path / GEMM)
    return tmp_path


def partly_modelled(path: Path) -> Path:
    """The same network with an operator that nobody knows behind."""
    nodes = [op("Gemm", "x w", "h", name="gemm"), op("Odd", "h", "y", name="odd", domain="own")]
    return save(make_model(nodes, {"x": (1, 10)}, ["y"], {"w": normal((10, 4))}), path)


def document_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


# --- what may be typed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit", "unit"),
    [
        ("0.8mJ", 8e8, "pJ"),
        ("12 uJ", 12e6, "pJ"),
        ("12\u00b5J", 12e6, "pJ"),
        ("12\u03bcJ", 12e6, "pJ"),
        ("1e3nJ", 1e6, "pJ"),
        (".5pJ", 0.5, "pJ"),
        ("2J", 2e12, "pJ"),
        ("31M", 31e6, "MAC units"),
        ("31 MMAC", 31e6, "MAC units"),
        ("1.5G MAC units", 1.5e9, "MAC units"),
        ("500 MAC", 500.0, "MAC units"),
        ("90%", 0.9, "of the baseline"),
        ("90 %", 0.9, "of the baseline"),
    ],
)
def test_energies(text: str, limit: float, unit: str) -> None:
    found = read_limit("--max-energy", "energy", text)
    assert found.limit == pytest.approx(limit)
    assert (found.unit, found.text) == (unit, text)


@pytest.mark.parametrize(
    ("text", "limit"), [("5ms", 5.0), ("800 us", 0.8), ("2s", 2000.0), ("100ns", 1e-4)]
)
def test_latencies(text: str, limit: float) -> None:
    found = read_limit("--max-latency", "latency", text)
    assert found.limit == pytest.approx(limit)
    assert found.unit == "ms"


@pytest.mark.parametrize(
    "text", ["", "0.9", "mJ", "5kWh", "-1mJ", "0mJ", "1mj", "nan", "5ms", "1e999J"]
)
def test_what_is_no_energy_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--max-energy: expected .*, got '"):
        read_limit("--max-energy", "energy", text)


@pytest.mark.parametrize(("text", "limit"), [("1.0", 1.0), ("90%", 0.9), ("1.05", 1.05)])
def test_ratios(text: str, limit: float) -> None:
    assert read_ratio("--max-energy-ratio", "energy", text).limit == pytest.approx(limit)


@pytest.mark.parametrize("text", ["", "x", "0", "1mJ", "-1"])
def test_what_is_no_ratio_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--max-energy-ratio: expected"):
        read_ratio("--max-energy-ratio", "energy", text)


# --- analyze -----------------------------------------------------------------------------


def test_within(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", GEMM, "--hw", "cortex-m4", "--max-energy", "676 MAC"]) == 0
    captured = capsys.readouterr()
    assert re.search(r"budget +--max-energy 676 MAC: 676 MAC units, within", captured.out)
    assert captured.err == ""


def test_exceeded(capsys: pytest.CaptureFixture[str]) -> None:
    """676 MAC units of 389.2 pJ are 0.2631 uJ, which is 31.5 % above 0.2 uJ."""
    assert pytest.approx(0.26310e6, rel=1e-4) == PJ
    assert main(["analyze", GEMM, "--hw", "cortex-m4", "--max-energy", "0.2uJ"]) == 4
    captured = capsys.readouterr()
    said = "--max-energy 0.2uJ: 263 nJ, which is 31.5% above"
    assert captured.err == f"eapc: {GEMM}: {said}\n"
    assert f"budget       {said}" in captured.out
    assert "uncertainty" in captured.out  # the report is whole


def test_latency(capsys: pytest.CaptureFixture[str]) -> None:
    """676 MAC units of 1.12 cycles at 120 MHz are 6.31 us."""
    arguments = ["analyze", GEMM, "--hw", "cortex-m4", "--max-latency"]
    assert main([*arguments, "6.4us"]) == 0
    assert main([*arguments, "6.3us"]) == 4
    assert "6.31 µs, which is 0.1% above" in capsys.readouterr().err


def test_both_exceeded_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["analyze", GEMM, "--hw", "cortex-m4", "--max-energy", "338 MAC"]
    assert main([*arguments, "--max-latency", "3us"]) == 4
    energy = "--max-energy 338 MAC: 676 MAC units, which is 100.0% above"
    latency = "--max-latency 3us: 6.31 µs, which is 110.3% above"
    assert capsys.readouterr().err == f"eapc: {GEMM}: {energy}, {latency}\n"


def test_a_percentage_of_a_baseline(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The baseline has 8 outputs: 1.9 * 80 + 25 * 8 + 500 = 852 MAC units; 676 are 79.3 %."""
    save(gemm_model(outputs=8, bias=False), folder / "old.onnx")
    arguments = ["analyze", GEMM, "--hw", "cortex-m4", "--baseline", "old.onnx", "--max-energy"]
    assert main([*arguments, "80%"]) == 0
    assert re.search(r"baseline +old.onnx: 852 MAC units, 332 nJ", capsys.readouterr().out)
    assert main([*arguments, "70%", "--json"]) == 4
    captured = capsys.readouterr()
    assert captured.err == f"eapc: {GEMM}: --max-energy 70%: 79.3%, which is 13.3% above\n"
    found = document_of(captured.out)
    assert found["is_within"] is False
    (budget,) = found["budget"]
    assert budget["value"] == pytest.approx(MAC_UNITS / 852)
    assert (budget["limit"], budget["unit"], budget["asked"]) == (
        pytest.approx(0.7),
        "ratio",
        "70%",
    )
    assert found["baseline"]["energy_mac_units"] == pytest.approx(852)
    assert found["baseline"]["model"] == "old.onnx"


def test_the_same_network_takes_all_of_it() -> None:
    assert main(["analyze", GEMM, "--max-energy", "100%", "--baseline", GEMM]) == 0


def test_without_a_budget_json_has_nulls(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", GEMM, "--json"]) == 0
    found = document_of(capsys.readouterr().out)
    assert (found["budget"], found["baseline"], found["is_within"]) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-energy", "90%"], "--max-energy 90%: of what? give --baseline old.onnx"),
        (["--baseline", GEMM], "--baseline: goes with a percentage"),
        (["--max-energy", "1mJ", "--baseline", GEMM], "--baseline: goes with a percentage"),
        (["--max-energy", "0.9"], "got '0.9'"),
        (["--max-energy", "1mJ", "--hw", "pj.yaml"], "priced in MAC units, its file has no"),
        (["--max-latency", "1ms", "--hw", "pj.yaml"], "energies and no time"),
    ],
)
def test_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    shipped = (Path(__file__).parents[1] / "hwmodels" / "isca16-baseline.yaml").read_text()
    lines = re.sub(r"(?m)^(mac_energy_pj|clock_mhz|static_power_mw):.*\n", "", shipped)
    kept = re.sub(r"(?m)^  (mac_energy_pj|clock_mhz|static_power_mw):(.*\n)(    .*\n)*", "", lines)
    (folder / "pj.yaml").write_text(kept)
    assert main(["analyze", GEMM, *options]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_a_missing_baseline_is_an_error_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", GEMM, "--max-energy", "90%", "--baseline", "none.onnx"]) == 3
    assert "none.onnx" in capsys.readouterr().err


def test_nodes_without_a_model_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    partly_modelled(folder / "part.onnx")
    arguments = ["analyze", "part.onnx", "--max-energy", "100%", "--baseline", GEMM]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "covers modelled nodes only: 1 of 2 nodes of part.onnx are not modelled" in said
    assert "part.onnx leaves out 1 of 2 nodes, gemm.onnx 0 of 1: the ratio is unfair" in said


def test_no_budget_holds_where_nothing_is_modelled() -> None:
    """Nothing modelled takes no energy, which is below any budget."""
    unknown = Spending("odd.onnx", "here", {"MAC units": 0.0}, 0, 3)
    gate = CostLimits.read("1M", None).check(unknown)
    assert not gate.is_within
    assert math.isnan(gate.checks[0].value)
    assert CostLimits.read("1M", None).check(replace(unknown, unmodelled=0)).is_within


def test_a_machine_that_times_nothing_has_no_latency() -> None:
    untimed = Spending("net.onnx", "here", {"MAC units": 5.0}, 1, 0)
    with pytest.raises(UsageError, match="here times no node of net"):
        CostLimits.read(None, "1ms").check(untimed)


def test_a_measured_machine_has_no_energies() -> None:
    with pytest.raises(UsageError, match="measured latencies and no energies"):
        CostLimits.read("1mJ", None).require_units(measured_machine())
    CostLimits.read(None, "1ms").require_units(measured_machine())


def test_spending_is_what_analyze_says(digits: Path) -> None:
    energy = analyze(digits, Settings(hardware="cortex-m4")).energy
    found = Spending.of("digits", energy)
    assert found.amounts == {
        "MAC units": energy.energy_mac_units,
        "pJ": energy.energy_pj,
        "ms": energy.latency_ms,
    }


# --- compare -----------------------------------------------------------------------------


COMPARE = ("--hw", "cortex-m4", "--no-latency", "--samples", "4")


@pytest.fixture
def more(folder: Path) -> Path:
    """A second file of the network, and one that multiplies its outputs too."""
    save(gemm_model(bias=False), folder / "same.onnx")
    model = gemm_model(bias=False)
    twice = make_model(
        [*model.graph.node, op("Mul", "y two", "z", name="twice")],
        {"x": (1, 10)},
        ["z"],
        {"w": normal((4, 10)), "two": normal((4,))},
    )
    twice.graph.output[0].name = "y"
    for node in twice.graph.node:
        renamed = {"y": "h", "z": "y"}
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.input[:] = [renamed.get(name, name) for name in node.input]
    onnx.checker.check_model(twice)
    return save(twice, folder / "more.onnx")


@pytest.mark.usefixtures("more")
def test_ratios_hold_each_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", GEMM, "same.onnx", *COMPARE, "--max-energy-ratio", "1.0"]) == 0
    assert "--max-energy-ratio 1.0: 100.0%, within" in capsys.readouterr().out
    files = [GEMM, "same.onnx", "more.onnx"]
    assert main(["compare", *files, *COMPARE, "--max-energy-ratio", "1.0", "--json"]) == 4
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]
    assert re.fullmatch(
        r"eapc: more.onnx: --max-energy-ratio 1.0: 10\d.\d%, which is .* above", last
    )
    found = document_of(captured.out)
    assert [each["is_within"] for each in found["compared"]] == [True, False]


def test_a_latency_fails_only_where_it_is_surely_above(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", GEMM, GEMM, "--samples", "4", "--repeats", "20", "--max-latency-ratio"]
    assert main([*arguments, "20"]) == 0
    assert main([*arguments, "0.05"]) == 4
    assert "--max-latency-ratio 0.05" in capsys.readouterr().err


def test_latency_that_is_not_measured_is_no_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", GEMM, GEMM, *COMPARE, "--max-latency-ratio", "1.0"]) == 2
    assert "--max-latency-ratio: --no-latency leaves latency out" in capsys.readouterr().err
