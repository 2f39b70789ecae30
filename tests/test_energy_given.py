"""`--density`: a number or a YAML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from eapc.energy import DensityTable, read_densities
from eapc.errors import UsageError


def written(folder: Path, text: str) -> Path:
    path = folder / "densities.yaml"
    path.write_text(text)
    return path


def refusal(density: str | float | Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_densities(density)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_means_measure() -> None:
    assert read_densities(None) is None


@pytest.mark.parametrize("density", ["0.25", 0.25, ".25"])
def test_a_number_is_for_activations(density: str | float) -> None:
    table = read_densities(density)
    assert table == DensityTable(activations=0.25)
    assert table.activation("any") == 0.25
    assert table.weight("w", own=0.7) == 0.7


@pytest.mark.parametrize("density", ["1.5", "-0.1", "nan", 2, "inf"])
def test_a_number_out_of_range(density: str | float) -> None:
    assert "--density: expected a fraction from 0 to 1" in refusal(density)


def test_a_file_names_tensors_and_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "activations: 0.5\nweights: 0.3\nx: 1\nconv.weight: 0.1\n7: 0.2\n")
    table = read_densities(path)
    assert table == DensityTable({"x": 1.0, "conv.weight": 0.1, "7": 0.2}, 0.5, 0.3)
    assert [table.activation(name) for name in ("x", "7", "other")] == [1, 0.2, 0.5]
    assert table.weight("conv.weight", own=0.7) == 0.1
    assert table.weight("other.weight", own=0.7) == 0.3


def test_defaults_of_a_file(tmp_path: Path) -> None:
    table = read_densities(str(written(tmp_path, "x: 0.5\n")))
    assert table is not None
    assert (table.activations, table.weights) == (1.0, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x: 1.5\n", "x: expected a fraction from 0 to 1, got 1.5"),
        ("x: dense\n", "x: expected a fraction from 0 to 1, got 'dense'"),
        ("x: true\n", "x: expected a fraction from 0 to 1, got True"),
        ("x: [0.5]\n", "x: expected a fraction from 0 to 1, got [0.5]"),
        ("x: .nan\n", "x: expected a fraction from 0 to 1, got nan"),
        ("", "expected a mapping of tensor names to densities"),
        ("- 0.5\n", "expected a mapping of tensor names to densities"),
        ("x: [", "not a YAML file"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert reason in message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    assert "not a YAML file" in refusal(path)


def test_neither_a_number_nor_a_file(tmp_path: Path) -> None:
    assert refusal("half") == "--density: 'half' is neither a number nor a readable file"
    assert "neither a number nor a readable file" in refusal(tmp_path)
