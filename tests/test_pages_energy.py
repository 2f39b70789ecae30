"""Charts and the page of an analysis: their numbers, and that they hold to themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from builders import conv_model, make_model, op
from page_builders import rows_of, seen

from eapc.commands.compiler import Analysis, analyze
from eapc.commands.preparation import Settings
from eapc.dataflow import Accesses
from eapc.energy import EnergyReport, NodeEnergy, Unmodelled
from eapc.hardware import HardwareModel, load_hardware
from eapc.model import Model
from eapc.pages import Chart
from eapc.pages.analysis_page import analysis_page
from eapc.pages.energy_charts import GROUPINGS, LARGEST, STACKS, energy_bars, energy_chart
from eapc.pages.memory_chart import (
    bytes_per_second,
    macs_per_byte,
    macs_per_second,
    memory_chart,
    peak_macs_per_second,
)
from eapc.workload import OperandDensities

EYERISS = load_hardware("eyeriss")


def a_node(key: str, energy: float, op_type: str = "Conv", macs: float = 0.0) -> NodeEnergy:
    """A tenth of the energy is compute, the rest weights from DRAM, at 200 MAC units a word."""
    words = 0.9 * energy / 200
    return NodeEnergy(
        key=key,
        name=key,
        op_type=op_type,
        energy_mac_units=energy,
        macs=macs,
        nonskipped_macs=macs,
        operations=0.0,
        densities=OperandDensities(),
        by_operand={"compute": 0.1 * energy, "weights": 0.9 * energy, "ifmap": 0.0, "ofmap": 0.0},
        by_level={"mac": 0.1 * energy, "dram": 0.9 * energy, "glb": 0.0, "network": 0.0, "rf": 0.0},
        accesses={"dram": Accesses(weights=words)},
        cycles=macs / 10 if macs else None,
    )


def a_report(*nodes: NodeEnergy, hardware: HardwareModel = EYERISS) -> EnergyReport:
    return EnergyReport(hardware, 1, nodes, (), weights=100, nonzero_weights=50)


REPORT = a_report(
    a_node("stage1/a", 1000.0, macs=500.0),
    a_node("stage1/b", 3000.0, macs=1000.0),
    a_node("stage2/a", 500.0, "Gemm", macs=50.0),
    a_node("last", 500.0, "Relu"),
)


def amounts(chart: Chart) -> dict[tuple[str, str], float]:
    values = chart.spec["data"]["values"]
    return {(value["bar"], value["part"]): value["amount"] for value in values}


def test_bars_are_the_nodes_by_energy() -> None:
    found = amounts(energy_chart(REPORT, "node", "operand"))
    order = ["stage1/b", "stage1/a", "stage2/a", "last"]
    assert list(dict.fromkeys(bar for bar, _ in found)) == order
    assert found["stage1/b", "compute"] == pytest.approx(300)
    assert found["stage1/b", "weights"] == pytest.approx(2700)
    assert ("stage1/b", "ifmap") not in found


def test_blocks_and_operators_are_sums_of_their_nodes() -> None:
    blocks = {bar.name: bar.total for bar in energy_bars(REPORT, "block", "memory level")}
    assert blocks == pytest.approx({"stage1": 4000, "stage2": 500, "last": 500})
    operators = {bar.name: bar.parts["dram"] for bar in energy_bars(REPORT, "operator", STACKS[1])}
    assert operators == pytest.approx({"Conv": 3600, "Gemm": 450, "Relu": 450})


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("stack", STACKS)
def test_bars_come_to_the_total(grouping: str, stack: str, digits: Path) -> None:
    report = analyze(digits).energy
    bars = energy_bars(report, grouping, stack)  # type: ignore[arg-type]
    assert sum(bar.total for bar in bars) == pytest.approx(report.energy_mac_units)


def test_the_axis_tells_what_has_no_bar() -> None:
    report = a_report(*(a_node(f"n{i}", 100.0) for i in range(LARGEST)), a_node("x", 50.0))
    chart = energy_chart(report, "node", "operand")
    assert len({bar for bar, _ in amounts(chart)}) == LARGEST
    title = chart.spec["encoding"]["x"]["axis"]["title"]
    assert title == ["energy, MAC units", "1 other node: 50, 1.6% of all"]  # 50 of 3,050


def test_bars_too_short_to_be_seen_are_left_out() -> None:
    report = a_report(a_node("a", 10_000.0), a_node("b", 5.1), a_node("c", 4.9))
    assert {bar for bar, _ in amounts(energy_chart(report, "node", "operand"))} == {"a", "b"}


def test_a_roofline_is_of_macs_over_bytes_and_time() -> None:
    node = REPORT.nodes[1]  # 2,700 MAC units are 13.5 words of 16 bits; 10 MACs a cycle at 200 MHz
    assert macs_per_byte(node, EYERISS) == pytest.approx(1000 / 27)
    assert macs_per_second(node, EYERISS) == pytest.approx(2e9)
    points = memory_chart(REPORT).spec["layer"][-1]["data"]["values"]
    assert [point["operator"] for point in points] == ["Conv", "Conv", "Gemm"]
    assert points[0]["x"] == pytest.approx(1000 / 27)


def test_the_roof_is_what_a_machine_can_do_at_most() -> None:
    assert peak_macs_per_second(EYERISS) == 12 * 14 * 200e6
    assert bytes_per_second(EYERISS) is None
    memories = {**EYERISS.memories}
    memories["dram"] = memories["dram"].model_copy(update={"bits_per_cycle": 64})
    narrow = EYERISS.model_copy(update={"memories": memories})
    assert bytes_per_second(narrow) == 8 * 200e6
    report = a_report(REPORT.nodes[1], hardware=narrow)
    corners = memory_chart(report).spec["layer"][0]["data"]["values"]
    knee = 12 * 14 * 200e6 / (8 * 200e6)  # 21 MACs a byte
    assert corners[1] == {"x": knee, "y": 12 * 14 * 200e6}
    assert corners[0]["y"] == pytest.approx(corners[0]["x"] * 8 * 200e6)


def test_without_time_memory_stands_against_compute() -> None:
    timeless = EYERISS.model_copy(update={"clock_mhz": None})
    chart = memory_chart(a_report(*REPORT.nodes, hardware=timeless))
    assert chart.title == "energy of memory against energy of compute"
    points = chart.spec["layer"][-1]["data"]["values"]
    assert (points[0]["x"], points[0]["y"]) == pytest.approx((300, 2700))


# --- the page --------------------------------------------------------------------------------


def test_a_page_holds_every_node(digits: Path) -> None:
    analysis = analyze(digits)
    page = seen(analysis_page(analysis).html())
    rows = rows_of(page, "node")
    assert {row[0] for row in rows} == {node.key for node in analysis.energy.nodes}
    energies = [row[2][1] for row in rows]
    assert energies == sorted(energies, reverse=True)
    assert sum(energies) == pytest.approx(analysis.energy.energy_mac_units, rel=1e-5)
    (drawing,) = [data for data in page.data if "lines" in data]
    names = {node[4].split("\n")[0] for node in drawing["nodes"]}
    assert names == {node.key for node in analysis.model.nodes}


def test_a_page_stands_alone(digits: Path) -> None:
    html = analysis_page(analyze(digits)).html()
    page = seen(html)
    fetched = [*page.attributes("src"), *page.attributes("href"), *page.attributes("xlink:href")]
    assert all(target.startswith(("#", "data:,")) for target in fetched)
    assert not re.search(r"url\((?!#)|@import|\bfetch\(|XMLHttpRequest|import\(", html)
    identities = page.attributes("id")
    assert len(identities) == len(set(identities))
    pictures = [found for tag, found in page.elements if tag == "svg"]
    assert pictures
    assert all(found.get("role") == "img" and found.get("aria-label") for found in pictures)


HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&\u2028'


def test_names_out_of_a_file_are_text() -> None:
    nodes = [op("Relu", "x", "y", name=HOSTILE), op("Foo", "y", "z", name="<b>", domain="odd")]
    model = make_model(nodes, {"x": (1, 4)}, ["z"])
    model.opset_import.add(domain="odd", version=1)
    html = analysis_page(analyze(Model.from_proto(model)), ["<i>warned</i>"]).html()
    page = seen(html)
    assert not [tag for tag, _ in page.elements if tag in ("img", "b", "i")]
    assert not page.attributes("onerror")
    assert html.count("<script") == html.count("</script>")
    assert "<i>warned</i>" in page.text
    names = [row[0] for data in page.data if "columns" in data for row in data["rows"]]
    assert {name[:20] for name in names} == {HOSTILE[:20], "<b>"}


def test_a_page_says_why_nodes_have_no_figure(digits: Path) -> None:
    analysis = analyze(digits)
    missing = Unmodelled("odd", "odd", "Foo", "no rule for Foo")
    energy = EnergyReport(EYERISS, 1, analysis.energy.nodes[1:], (missing,), 1, 1)
    page = seen(analysis_page(Analysis(analysis.model, energy, 0)).html())
    tables = [data for data in page.data if data.get("columns") == ["node", "operator", "reason"]]
    assert tables[0]["rows"] == [["odd", "Foo", "no rule for Foo"]]
    assert "Not modelled: 1 node" in page.text
    drawing = next(data for data in page.data if "lines" in data)
    assert min(node[2] for node in drawing["nodes"]) == -1  # a box without a figure


def test_an_analysis_of_nothing_is_a_page_too() -> None:
    model = Model.from_proto(make_model([op("Identity", "x", "y")], {"x": (1, 4)}, ["y"]))
    missing = Unmodelled("y", "", "Identity", "unknown")
    energy = EnergyReport(EYERISS, 1, (), (missing,), 0, 0)
    assert "unknown" in analysis_page(Analysis(model, energy, 0)).html()


def test_a_page_names_the_file_of_its_machine() -> None:
    analysis = analyze(Model.from_proto(conv_model()), Settings(hardware="tpu-v1"))
    text = seen(analysis_page(analysis).html()).text
    source = analysis.energy.hardware.source
    assert source is not None
    assert str(source) in text


def test_a_page_tells_what_would_save_most(digits: Path) -> None:
    settings = Settings(hardware="tpu-v1")
    analysis = analyze(digits, settings)
    text = seen(analysis_page(analysis, settings=settings).html()).text
    assert "What would save most" in text
    for saving in analysis.savings:
        assert saving.change in text
    assert "--hw tpu-v1" in text
