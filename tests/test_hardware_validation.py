"""What files say of their own errors: read, checked, bound to their figures, computed anew."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eapc.cli import main
from eapc.errors import HardwareError
from eapc.hardware import HardwareModel, load_hardware, shipped_hardware
from eapc.hardware.schema import parse_machine

PROJECT = Path(__file__).parents[1]
EYERISS = (PROJECT / "hwmodels" / "eyeriss.yaml").read_text()
HELD = {"eyeriss", "eyeriss-jssc2017", "isca16-baseline", "cortex-m4", "cortex-m33", "cortex-m7"}


def parsed(text: str) -> HardwareModel:
    machine = parse_machine(text.encode(), "m.yaml")
    assert isinstance(machine, HardwareModel)
    return machine


def changed(old: str, new: str) -> str:
    assert EYERISS.count(old) == 1
    return EYERISS.replace(old, new)


def test_shipped_files_say_what_they_were_held_against(caplog: pytest.LogCaptureFixture) -> None:
    known = {name: load_hardware(name).validation for name in shipped_hardware()}
    against = {name: validation.against for name, validation in known.items() if validation}
    assert against.keys() == HELD
    measured = {name for name, kind in against.items() if kind == "measurements"}
    assert measured == {"eyeriss-jssc2017", "cortex-m4", "cortex-m33", "cortex-m7"}
    assert not caplog.records


def test_figures_of_another_machine_take_no_errors_with_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    price = "  dram:\n    energy_mac_units_per_word: 200"
    text = changed(price, price.replace("200", "100"))
    with caplog.at_level(logging.WARNING, "eapc"):
        assert parsed(text).validation is None
    (record,) = caplog.records
    line = 1 + text[: text.index("\nvalidation:")].count("\n") + 1
    said = record.getMessage()
    assert said.startswith(f"m.yaml:{line}: validation: left out, as the file's figures (sha256-")
    assert said.endswith("are not those that it belongs to; remove it")


@pytest.mark.usefixtures("kept_logging")
def test_a_command_tells_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine, model = tmp_path / "mine.yaml", PROJECT / "models" / "digits.onnx"
    machine.write_text(changed("mac_energy_pj: 0.83\n", "mac_energy_pj: 0.9\n"))
    assert main(["analyze", str(model), "--hw", str(machine)]) == 0
    told = capsys.readouterr()
    assert told.err.count("validation: left out") == 1
    assert "unknown: not held against measurements" in told.out


def test_names_and_texts_are_no_figures(caplog: pytest.LogCaptureFixture) -> None:
    machine = parsed(EYERISS.replace("name: eyeriss\n", "name: mine\n", 1))
    assert machine.validation == load_hardware("eyeriss").validation
    assert machine.figures == load_hardware("eyeriss").figures
    assert not caplog.records


def test_a_validation_without_a_mark_is_taken_as_it_is() -> None:
    mark = next(line for line in EYERISS.splitlines() if line.startswith("  figures: "))
    other = changed(f"{mark}\n", "").replace("mac_energy_pj: 0.83", "mac_energy_pj: 0.5", 1)
    validation = parsed(other).validation
    assert validation is not None
    assert validation.energy is not None
    assert validation.energy.rows == 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    rows: 3\n    of: whole", "    rows: 0\n    of: whole", "rows: expected a positive"),
        ("degrees_of_freedom: 2", "degrees_of_freedom: 4", "degrees_of_freedom exceed the 3 rows"),
        ("against: published estimates", "against: a hunch", "against"),
    ],
)
def test_what_is_wrong_with_a_validation(old: str, new: str, said: str) -> None:
    with pytest.raises(HardwareError) as caught:
        parsed(changed(old, new))
    assert said in str(caught.value)
    assert str(caught.value).startswith("m.yaml:")


def test_a_validation_says_something() -> None:
    start, end = EYERISS.index("validation:\n"), EYERISS.index("sources:\n")
    text = f"{EYERISS[:start]}validation:\n  against: measurements\n{EYERISS[end:]}"
    with pytest.raises(HardwareError, match="give energy, ratio or both, or leave validation out"):
        parsed(text)


@pytest.mark.usefixtures("kept_logging")
def test_the_summary_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "validate", "tpu-v1"]) == 0
    said = capsys.readouterr().out
    assert "uncertainty of energies: unknown: not held against measurements" in said


def test_files_have_the_figures_that_the_rows_come_to(shared_data: Path) -> None:
    """If this fails: put the lines that the command prints into the files."""
    if not (shared_data / "references").is_dir():
        pytest.skip(f"no references in {shared_data}; set EAPC_DATA")
    command = [sys.executable, str(PROJECT / "benchmarks/hardware_validation.py")]
    environment = {**os.environ, "EAPC_DATA": str(shared_data)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"# hwmodels/{name}.yaml" in done.stdout for name in HELD)
