"""--energy of compare and profile: without a meter, and with one that counts processor time."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from builders import chain, op, save, value
from measured_builders import measured_machine
from meter_builders import of_this_process
from rich.console import Console
from test_profiling_latency import MODEL, machine
from test_report import rendered, row_of
from test_report_comparisons import COMPARED

from eapc import compare
from eapc.cli import main
from eapc.commands.machine_profile import machine_yaml
from eapc.commands.preparation import Settings
from eapc.commands.timing import time_nodes
from eapc.commands.turns import RuntimeEnergy
from eapc.errors import HardwareError
from eapc.hardware import MeasuredMachine, MeasuredPower, Metered, load_machine
from eapc.profiling import Ratio, joules, layer_timer
from eapc.report.comparisons import comparison_csv, comparison_document, comparison_table
from eapc.report.documents import to_json
from eapc.report.layout import UNLIMITED
from eapc.report.timings import machine_summary, timing_document, timing_table

OPS = ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


def spread(median: float, low: float, high: float) -> Metered:
    return Metered(median=median, low=low, high=high)


POWER = MeasuredPower(
    meter="RAPL (package-0)",
    network="tiny",
    idle_w=spread(8.0, 7.5, 8.5),
    active_w=spread(20.0, 19.0, 22.0),
    inference_j=spread(0.2, 0.19, 0.21),
    inference_ms=19.0,
)
METERED = RuntimeEnergy(
    meter="RAPL (package-0)",
    before_j=spread(0.002, 0.0019, 0.0021),
    after_j=spread(0.0011, 0.001, 0.0012),
    ratio=Ratio(0.55, 0.5, 0.6),
    idle_w=spread(8.0, 7.5, 8.5),
    batch=4,
    threads=1,
    rounds=10,
    window_s=0.2512,
)


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(chain(OPS), tmp_path / "tiny.onnx")


@pytest.fixture
def metered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A meter for the command line, and windows as short as it needs."""
    monkeypatch.setattr("eapc.profiling.open_meter", of_this_process)
    monkeypatch.setattr(joules, "_LEAST_SECONDS", 0.01)
    monkeypatch.setattr(joules, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(layer_timer, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(layer_timer, "_LOOK_SECONDS", 0.0)


# --- no meter -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compare", "profile"])
def test_energy_without_the_extra_is_one_line(
    name: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "zeus.device.cpu", None)
    more = (model,) if name == "compare" else ("-o", tmp_path / "here.yaml")
    assert command(name, model, *more, "--energy") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert 'pip install "eapc[energy]"' in said.err
    assert list(tmp_path.iterdir()) == [model]


def test_no_library_is_needed_without_the_option(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zeus.device.cpu", None)
    assert command("compare", model, model, "--no-latency", "--json", "--samples", 8) == 0
    assert json.loads(capsys.readouterr().out)["measured_energy"] is None


# --- compare -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("metered")
def test_compare_measures_joules(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The meter takes 20 W more while the processor works: a run's joules follow its time."""
    quick = ("--threads", 1, "--repeats", 5, "--batch", 2, "--samples", 8)
    assert command("compare", model, model, "--energy", "--json", *quick) == 0
    document = json.loads(capsys.readouterr().out)
    measured, latency = document["measured_energy"], document["measured_latency"]
    assert measured["meter"] == "a made-up meter"
    assert (measured["batch"], measured["threads"], measured["rounds"]) == (2, 1, 10)
    expected_j = 20 * latency["before_ms"] / 1e3
    assert expected_j / 3 < measured["before_j"]["median"] < 3 * expected_j
    assert set(measured["idle_w"]) == {"median", "low", "high"}
    assert "measured_energy_j" in document["ratios"]


@pytest.mark.usefixtures("metered")
def test_joules_need_no_latency(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compare", model, model, "--energy", "--no-latency", "--samples", 8) == 0
    text = capsys.readouterr().out
    assert "measured latency" not in text
    assert "measured energy above idle" in text


@pytest.mark.usefixtures("metered")
def test_a_meter_of_ones_own_is_read(model: Path) -> None:
    """Each second 6 J while idling, and 6 J more for each second of the processor."""
    own = replace(of_this_process(idle_w=6.0, above_w=6.0), name="mine")
    settings = Settings(threads=1, samples=8)
    found = compare(model, model, settings, latency=False, meter=own).metered
    assert found is not None
    assert found.meter == "mine"
    assert found.idle_w.median == pytest.approx(6, rel=0.2)
    assert found.before_j.median > 0


def test_measured_and_modelled_ratios_stand_side_by_side() -> None:
    text = rendered(comparison_table(replace(COMPARED, metered=METERED), UNLIMITED))
    row = row_of(text, "measured energy above idle")
    assert row == "measured energy above idle 2.00 mJ 1.10 mJ 55.0%".split()
    assert "RAPL (package-0), 1 thread, batch 4: 2.00 mJ (1.90 mJ to 2.10 mJ) and" in text
    assert "above 8.00 W (7.50 W to 8.50 W) of idling; medians of 10 rounds" in text
    assert "measured 55.0%, 50.0% to 60.0% with 95 % confidence; modelled for" in text
    assert "0.25 s and longer" in text
    assert "the rest measured on this computer" in text


def test_joules_in_the_document_and_the_rows() -> None:
    compared = replace(COMPARED, metered=METERED)
    document = json.loads(to_json(comparison_document(compared)))
    measured = document["measured_energy"]
    assert measured["before_j"] == {"median": 0.002, "low": 0.0019, "high": 0.0021}
    assert measured["ratio"] == {"median": 0.55, "low": 0.5, "high": 0.6}
    assert document["ratios"]["measured_energy_j"] == 0.55
    rows = {row["figure"]: row for row in csv.DictReader(io.StringIO(comparison_csv(compared)))}
    assert rows["measured_energy_j"]["after"] == "0.0011"
    assert rows["measured_energy_j"]["ratio"] == "0.55"


def test_a_ratio_to_what_may_be_nothing_is_not_told() -> None:
    idle = replace(METERED, before_j=spread(0.0001, -0.0001, 0.0003), ratio=None)
    compared = replace(COMPARED, metered=idle)
    text = rendered(comparison_table(compared, UNLIMITED))
    assert row_of(text, "measured energy above idle")[-1] == "-"
    assert "not known, before takes too little above idling" in text
    assert "-100 µJ to 300 µJ" in text
    document = json.loads(to_json(comparison_document(compared)))
    assert document["ratios"]["measured_energy_j"] is None
    assert document["measured_energy"]["ratio"] is None
    rows = {row["figure"]: row for row in csv.DictReader(io.StringIO(comparison_csv(compared)))}
    assert rows["measured_energy_j"]["ratio"] == ""


# --- profile and analyze -----------------------------------------------------------------------


@pytest.mark.usefixtures("metered")
def test_profile_writes_the_power_that_analyze_reads(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "here.yaml"
    quick = ("--threads", 1, "--repeats", 1, "--minutes", 0, "--batch", 2)
    assert command("profile", model, "-o", output, "--energy", *quick) == 0
    assert "active power" in capsys.readouterr().out
    power = yaml.safe_load(output.read_text())["power"]
    assert power["meter"] == "a made-up meter"
    assert 1 < power["active_w"]["median"] < 25
    read = load_machine(output)
    assert isinstance(read, MeasuredMachine)
    assert read.power is not None
    assert command("analyze", model, "--hw", output, "--json", "--threads", 1) == 0
    totals = json.loads(capsys.readouterr().out)["totals"]
    share = totals["latency_ms"] / power["inference_ms"]
    assert totals["energy_pj"] == pytest.approx(
        1e12 * share * power["inference_j"]["median"], rel=1e-4
    )
    assert command("hw", "show", output) == 0
    assert command("prune", model, "--hw", output, "--target-energy", 0.8) == 2


@pytest.mark.usefixtures("metered")
def test_what_is_not_run_as_a_whole_is_not_metered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from builders import make_model

    nodes = [op("Cast", "i", "f", to=1), op("Relu", "f", "y", name="relu")]
    whole = save(make_model(nodes, [value("i", (1, 4), 7)], ["y"]), tmp_path / "whole.onnx")
    assert command("profile", whole, "-o", tmp_path / "here.yaml", "--energy") == 3
    assert "leave out --energy" in capsys.readouterr().err


def test_a_file_without_power_has_no_such_key() -> None:
    assert "power" not in machine_yaml(measured_machine())


def test_energy_goes_with_time() -> None:
    """0.2 J (0.19 J to 0.21 J) in 19 ms: half of it in 9.5 ms."""
    timing = time_nodes(MODEL, machine().model_copy(update={"power": POWER}), Settings(threads=1))
    assert timing.latency_ms == 9.5
    energy = timing.energy_j
    assert energy is not None
    assert energy.model_dump() == pytest.approx({"median": 0.1, "low": 0.095, "high": 0.105})
    totals = timing_document(timing)["totals"]
    assert totals["energy_pj"] == pytest.approx(0.1e12)
    assert (totals["energy_pj_low"], totals["energy_pj_high"]) == pytest.approx(
        (0.095e12, 0.105e12)
    )
    console = Console(width=200)
    with console.capture() as capture:
        console.print(timing_table(timing, 200))
    assert "100 mJ (95.0 mJ to 105 mJ) above idle" in " ".join(capture.get().split())
    assert "as tiny took by RAPL (package-0)" in " ".join(capture.get().split())


def test_a_machine_with_power_in_brief() -> None:
    lines = machine_summary(measured_machine(power=POWER))
    assert "active power: 20.0 W (19.0 W to 22.0 W) above idle" in lines
    assert "energy: 200 mJ (190 mJ to 210 mJ) per inference, above idle" in lines


def test_bounds_that_do_not_hold_the_median_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "here.yaml"
    text = machine_yaml(measured_machine(power=POWER))
    path.write_text(text.replace("low: 19.0", "low: 21.0"))
    with pytest.raises(HardwareError, match="low, median and high have to grow"):
        load_machine(path)
