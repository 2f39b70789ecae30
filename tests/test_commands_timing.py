"""analyze on a measured machine: nodes, totals and their three forms."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from builders import chain
from measured_builders import measured_machine
from rich.console import Console
from test_profiling_latency import MODEL, machine

from eapc.commands.preparation import Settings
from eapc.commands.timing import Timing, time_nodes
from eapc.errors import UsageError
from eapc.model import Model
from eapc.report.timings import machine_summary, timing_csv, timing_document, timing_table

SETTINGS = Settings(threads=1)


def timing(without: str = "none") -> Timing:
    return time_nodes(MODEL, machine(without), SETTINGS)


def test_the_total_is_the_sum_and_the_overhead() -> None:
    found = timing()
    assert found.latency_ms == 0.5 + 2 + 2 + 2 + 2 + 1
    assert [node.key for node in found.nodes] == [node.key for node in MODEL.nodes]
    conv = found.nodes[2]
    assert (conv.latency_ms, conv.in_channels, conv.out_channels) == (2, 32, 32)
    assert found.nodes[3].fused_into == "Conv_2"
    assert found.notes[0].startswith("measured with onnxruntime 0; fusions are those of ")


def test_a_batch_is_shared_out() -> None:
    other = time_nodes(MODEL, measured_machine(batch=4), SETTINGS)
    assert other.batch == 4
    assert other.latency_ms == 0.5 / 4
    assert all("batch 4" in entry.reason for entry in other.unmodelled)


def test_the_document_has_latencies_and_no_energies() -> None:
    document = timing_document(timing("Gemm"))
    assert document["schema"] == "eapc.analyze/1"
    assert document["totals"]["energy_mac_units"] is None
    assert document["totals"]["latency_ms"] == 8.5
    assert document["nodes"][0]["latency_ms"] == 2
    assert document["nodes"][0]["energy_mac_units"] is None
    assert document["unmodelled"][0]["key"] == "Gemm_6"


def test_rows_agree_with_the_document() -> None:
    found = timing("Gemm")
    rows = list(csv.DictReader(io.StringIO(timing_csv(found))))
    assert [row["key"] for row in rows] == [*(n.key for n in found.nodes), "Gemm_6"]
    assert "energy_mac_units" not in rows[0]
    assert sum(float(row["latency_ms"] or 0) for row in rows) + 0.5 == found.latency_ms
    assert "profile this model" in rows[-1]["unmodelled"]


@pytest.mark.parametrize("width", [80, 10_000])
def test_the_table_names_nodes_and_what_is_missing(width: int) -> None:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(timing_table(timing("Gemm"), width, [Path("rows.csv")]))
    text = capture.get()
    assert "8.5 ms" in text
    assert "32 > 32" in text
    assert "Gemm_6" in text
    assert "rows.csv" in text


def test_annotations_reach_the_file(tmp_path: Path) -> None:
    timing("Gemm").save(tmp_path / "out.onnx")
    nodes = Model.load(tmp_path / "out.onnx").view.proto.graph.node
    notes = [{entry.key: entry.value for entry in node.metadata_props} for node in nodes]
    assert notes[0] == {"eapc.latency_ms": "2"}
    assert notes[1] == {"eapc.latency_ms": "0", "eapc.fused_into": "Conv_0"}
    assert "profile this model" in notes[-1]["eapc.unmodelled"]


@pytest.mark.parametrize(
    "settings",
    [Settings(density=0.5), Settings(bits="weights=8"), Settings(calibration=Path("x.npz"))],
)
def test_options_about_energies_are_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="decides about energies"):
        time_nodes(Model.from_proto(chain(["Relu"])), machine(), settings)


def test_a_machine_in_brief() -> None:
    lines = machine_summary(machine())
    assert lines[0] == "here: a machine of a test"
    assert lines[-1] == "5 layers at 16 channel counts, steps of 16 input and 16 output channels"
