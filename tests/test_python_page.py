"""The blocks of docs/python.md and docs/passes.md, run as they stand on the digits network."""

from __future__ import annotations

import re
import shutil
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eapc
from eapc.api import functions
from eapc.commands.compiler import Analysis
from eapc.goals import Pruned

PROJECT = Path(__file__).parents[1]
_NUMBERED = re.compile(r"# (\d+): ")


@cache
def blocks(page: str) -> list[str]:
    """The indented blocks of a page; one that starts with a number begins anew."""
    found: list[list[str]] = [[]]
    for line in (PROJECT / "docs" / page).read_text().splitlines():
        if line.startswith("    ") or (not line and found[-1]):
            if _NUMBERED.match(line.strip()):
                found.append([])
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [textwrap.dedent("\n".join(lines)).strip() + "\n" for lines in found if lines]


def numbered() -> dict[int, str]:
    """The ways to call analyze and prune by number."""
    pairs = ((_NUMBERED.match(block), block) for block in blocks("python.md"))
    return {int(match[1]): block for match, block in pairs if match}


def others() -> list[str]:
    return [block for block in blocks("python.md") if not _NUMBERED.match(block)]


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is known where a block stands, in a folder with the page's files."""
    monkeypatch.chdir(tmp_path)
    for source, name in (
        ("digits.onnx", "model.onnx"),
        ("digits_calibration.npz", "calib.npz"),
        ("digits_eval.npz", "val.npz"),
    ):
        shutil.copy(PROJECT / "models" / source, tmp_path / name)
    known: dict[str, Any] = {}
    execute("import eapc\nfrom pathlib import Path\n", known)
    execute(next(block for block in others() if "stored" in block), known)
    return known


def execute(block: str, known: dict[str, Any]) -> None:
    if "import torch" in block:
        pytest.importorskip("torch", reason="torch is not installed: pip install torch")
    if "to_dataframe" in block:
        pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    exec(compile(block, "python.md", "exec"), known)  # noqa: S102 (the page's own code)


def test_there_are_twenty_ways() -> None:
    assert list(numbered()) == list(range(1, 21))
    assert sum("eapc.analyze(" in block for block in numbered().values()) == 7
    assert sum("eapc.prune(" in block for block in numbered().values()) == 13


@pytest.mark.parametrize("number", range(1, 21))
def test_a_way_to_call(number: int, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[Any] = []

    def watched(function: Any) -> Any:
        def called(*arguments: Any, **options: Any) -> Any:
            results.append(function(*arguments, **options))
            return results[-1]

        return called

    monkeypatch.setattr("eapc.analyze", watched(functions.analyze))
    monkeypatch.setattr("eapc.prune", watched(functions.prune))
    execute(numbered()[number], names)
    assert results
    for result in results:
        assert isinstance(result, Analysis if number <= 7 else Pruned)
        if isinstance(result, Analysis):
            assert result.energy.energy_mac_units > 0
            continue
        data = result.compilation.calibration
        assert data is not None
        assert not data.synthesised
        assert result.goal_met
        assert result.energy_ratio < 0.9


def test_the_other_blocks_follow_each_other(names: dict[str, Any]) -> None:
    for block in others()[2:]:
        if "to_dataframe" not in block:
            execute(block, names)
    saved = eapc.Model.load("pruned.onnx")
    assert saved.weights == {}
    for name in (weights := names["pruned"].model.weights):
        np.testing.assert_array_equal(saved.constants[name], weights[name])
    assert Path("pruned.json").read_text().startswith('{\n  "schema": "eapc.prune/1"')
    assert {row.name for row in names["swept"].rows} == {"--sparsity 0.9", "--sparsity 0.8"}
    assert sorted(path.name for path in Path().glob("model.*.onnx")) == [
        "model.sparsity-0.5.onnx",
        "model.target-energy-0.8.onnx",
    ]
    assert len(names["ran"].compilation.record.layers) > 5


def test_the_first_block(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    execute(others()[0], names)
    assert Path("out.onnx").is_file()
    assert capsys.readouterr().out.splitlines()[-1].endswith("goal met")


def test_rows_as_a_frame(names: dict[str, Any]) -> None:
    execute(next(block for block in others() if "to_dataframe" in block), names)
    assert len(names["frame"]) == 21


def test_a_pass_of_ones_own_runs_as_it_is(names: dict[str, Any]) -> None:
    found = blocks("passes.md")
    at = next(i for i, block in enumerate(found) if "class ClipWeights" in block)
    for block in found[at : at + 2]:
        execute(block, names)
    ran = names["ran"]
    assert ran.pipeline == "annotate-energy, clip-weights{limit=0.5}"
    assert Path("clipped.onnx").is_file()
    weights = [ran.model.constants[name] for name in ran.model.weights]
    assert weights
    assert max(abs(each).max() for each in weights) == 0.5
