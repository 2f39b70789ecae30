"""One file beside several: float, pruned and quantized."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import save
from test_commands_comparison import SETTINGS, network, network_of
from test_commands_planning import DATA
from test_profiling_integer_layers import qoperator, signed
from test_profiling_latency import MODEL

from eapc import compare, compare_all
from eapc.cli import main
from eapc.errors import UsageError
from eapc.model import Model
from eapc.profiling import integer_use
from eapc.quantization import quantize
from eapc.runtime import Engine


def int8() -> Model:
    return quantize(MODEL, DATA, engine=Engine(1)).model


def test_each_stands_beside_the_first() -> None:
    models = [network_of(8), network_of(4), network_of(2)]
    found = compare_all(models, SETTINGS, repeats=5)
    assert [each.after.parameters for each in found] == [7 * 4 + 4 + 3, 7 * 2 + 2 + 3]
    assert all(each.before is found[0].before for each in found)
    alone = compare(models[0], models[2], SETTINGS, latency=False)
    assert found[1].energy_ratio == alone.energy_ratio
    assert found[1].likeness == alone.likeness
    assert found[1].latency is not None
    assert found[0].latency is not None
    assert found[0].latency.before_ms == found[1].latency.before_ms
    with pytest.raises(UsageError, match="two models or more"):
        compare_all(models[:1], SETTINGS)


def test_all_have_to_take_the_same_inputs() -> None:
    with pytest.raises(UsageError, match="compare models of the same inputs"):
        compare_all([network_of(8), network_of(4), MODEL], SETTINGS, latency=False)


def test_nodes_on_integers_are_counted() -> None:
    """Two convolutions, the pooling and the product; the Flatten only moves codes."""
    use = integer_use(int8(), 1)
    assert use.able == {"Conv": 2, "GlobalAveragePool": 1, "Gemm": 1}
    assert use.counts == (4, 4)
    assert str(use) == "2 of 2 Conv, 1 of 1 GlobalAveragePool, 1 of 1 Gemm"
    assert integer_use(MODEL, 1).counts == (0, 0)
    assert integer_use(qoperator(), 1).counts == (2, 2)
    assert str(integer_use(signed(), 1)) == "1 of 1 Gemm"


def test_latency_is_that_of_one_thread_unless_asked() -> None:
    latency = compare(network_of(8), network_of(4), repeats=2).latency
    assert latency is not None
    assert latency.threads == 1


Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs eapc in this process; what it prints."""

    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [save(network(hidden), tmp_path / f"h{hidden}.onnx") for hidden in (8, 4, 2)]


def test_a_table_has_columns_for_each(files: list[Path], run: Run) -> None:
    out = run("compare", *files, "--repeats", "3", "--threads", "1")
    heading = next(line for line in out.splitlines() if line.strip().endswith("ratio"))
    assert heading.split() == ["h8.onnx", "h4.onnx", "ratio", "h2.onnx", "ratio"]
    parameters = next(line for line in out.splitlines() if line.startswith("parameters"))
    assert parameters.split()[1:] == ["67", "35", "52.2%", "19", "28.4%"]


def test_documents_and_rows_have_each(files: list[Path], run: Run) -> None:
    document = json.loads(run("compare", *files, "--no-latency", "--json"))
    assert document["schema"] == "eapc.compare-many/1"
    assert [each["after"]["parameters"] for each in document["compared"]] == [35, 19]
    rows = csv.DictReader(io.StringIO(run("compare", *files, "--no-latency", "--csv", "-")))
    found = {(row["figure"], row["model"]): row for row in rows}
    assert float(found["parameters", "h2.onnx"]["value"]) == 19
    assert float(found["parameters", "h2.onnx"]["ratio"]) == pytest.approx(19 / 67)
    assert float(found["parameters", "h8.onnx"]["ratio"]) == 1


def test_integer_nodes_are_told(tmp_path: Path, run: Run) -> None:
    paths = [save(model.to_proto(embed=True), tmp_path / name) for model, name in (
        (MODEL, "float.onnx"), (int8(), "int8.onnx"))]  # fmt: skip
    np.savez(tmp_path / "d.npz", x=DATA.arrays["x"])
    out = run("compare", *paths, "--calib", tmp_path / "d.npz", "--no-latency")
    row = next(line for line in out.splitlines() if line.startswith("nodes on integers"))
    assert row.split() == ["nodes", "on", "integers", "none", "4", "of", "4"]
    assert "int8.onnx: 2 of 2 Conv" in out
