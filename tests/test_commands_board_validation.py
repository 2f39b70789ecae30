"""What a fitted board's file says of its own errors, in numbers by hand."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
import pytest
from builders import make_model, normal, op

from eapc.cli import main
from eapc.commands.board_fit import board_yaml, fit_board
from eapc.hardware import load_hardware

pytestmark = pytest.mark.usefixtures("kept_logging")

UNITS = {"a.onnx": 10.0, "b.onnx": 20.0, "c.onnx": 40.0}


def board(folder: Path, columns: str, *rows: str) -> Path:
    """Three networks of one dense convolution each, of other names, and what they took."""
    for place, name in enumerate(UNITS):
        node = op("Conv", "x w", "y", name=f"only{place}")
        tensors = {"w": normal((16 * 2**place, 8, 3, 3))}
        onnx.save(make_model([node], {"x": (1, 8, 9, 9)}, ["y"], tensors), folder / name)
    path = folder / "board.csv"
    path.write_text("\n".join([f"network,{columns}", *rows]) + "\n")
    return path


def test_errors_of_two_networks_by_hand(tmp_path: Path) -> None:
    one = fit_board(board(tmp_path, "ms,microjoules", "a.onnx,1,10"), "cortex-m4")
    assert one.hardware.validation is None
    assert "validation" not in one.hardware.sources
    # the second takes 1.2 times as long as the first tells, at 1.1 times its power
    (counts,) = (network.counts for network in one.networks)
    (tmp_path / "twin.onnx").write_bytes((tmp_path / "a.onnx").read_bytes())
    table = board(tmp_path, "ms,microjoules", "a.onnx,1,10", "twin.onnx,1.2,13.2")
    found = fit_board(table, "cortex-m4").hardware.validation
    assert counts.mac > 0
    assert found is not None
    assert found.energy is not None
    # each predicted from the other: 1.32 and 1 / 1.32, less 1
    assert found.energy.rms == float(f"{math.sqrt((0.32**2 + (1 / 1.32 - 1) ** 2) / 2):.2g}")
    assert (found.energy.rows, found.against) == (2, "measurements")
    assert found.ratio is None  # the same network twice tells nothing of a change


def test_errors_of_ratios_by_hand(tmp_path: Path) -> None:
    fitted = fit_board(board(tmp_path, "ms", "a.onnx,1", "b.onnx,2.5"), "cortex-m4")
    validation = fitted.hardware.validation
    assert validation is not None
    assert validation.ratio is not None
    assert validation.energy is None  # without microjoules the power was not measured
    constants = [1.0, 3.0, 0.9, 25.0]
    one, two = (
        sum(c * k for c, k in zip(n.counts, constants, strict=True)) for n in fitted.networks
    )
    # each from the other's scale: errors r - 1 and 1 / r - 1, whose logarithms lie 2 log r apart
    expected = 2 * abs(math.log(one / two * 2.5))
    assert validation.ratio.rms == float(f"{expected:.2g}")
    assert (validation.ratio.rows, validation.ratio.degrees_of_freedom) == (1, 1)
    assert validation.ratio.of == "pairs of different networks, by their times"


def test_what_is_chosen_is_chosen_without_the_network_that_is_judged(tmp_path: Path) -> None:
    rows = ("a.onnx,10", "b.onnx,17", "c.onnx,60")
    fitted = fit_board(board(tmp_path, "microjoules", *rows), "cortex-m4")
    validation = fitted.hardware.validation
    assert validation is not None
    assert validation.energy is not None
    told = [n.left_out for n in fitted.networks if n.left_out is not None]
    assert validation.energy.rms >= 0.99 * math.sqrt(sum(e * e for e in told) / 3)
    assert validation.ratio is not None
    assert (validation.ratio.rows, validation.ratio.degrees_of_freedom) == (3, 2)


def test_the_file_is_read_with_its_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = board(tmp_path, "ms,microjoules", "a.onnx,1,10", "b.onnx,2.5,24", "c.onnx,4,41")
    written = tmp_path / "mine.yaml"
    assert main(["hw", "fit", str(table), "-o", str(written)]) == 0
    assert "uncertainty" in capsys.readouterr().out
    machine = load_hardware(written)
    assert machine.validation is not None
    assert machine.validation.figures == machine.figures
    assert "each predicted from the others" in machine.sources["validation"]
    assert main(["analyze", str(tmp_path / "a.onnx"), "--hw", str(written)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "on 3 networks, each left out of the fit, as measured" in said
    other = machine.model_copy(update={"active_power_mw": 99.0})
    assert f"figures: {other.figures}" in board_yaml(other)
    assert other.figures != machine.figures
