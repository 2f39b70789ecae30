"""Kernels of an 8-bit library: sums of MACs, weights, outputs and calls, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import Array, loaded, make_model, normal, op

from eapc.cli import main
from eapc.dataflow import execute
from eapc.dataflow.integer_kernels import kernel_of
from eapc.energy import DensityTable, EnergyReport, estimate, work_list
from eapc.errors import HardwareError
from eapc.hardware import HardwareModel, load_hardware
from eapc.model import Model, infer_shapes, input_shapes
from eapc.workload import (
    BitWidths,
    ConvWorkload,
    LiveShares,
    OperandDensities,
    StreamWorkload,
)

pytestmark = pytest.mark.usefixtures("kept_logging")

M4 = load_hardware("cortex-m4")
NETWORKS = ("ad", "ic", "kws", "vww")


def machine(**fields: Any) -> HardwareModel:
    """A cortex-m4 of 2 cycles a MAC unit, 100 MHz and 50 mW; fields of `machine` may differ."""
    document = M4.model_dump(by_alias=True)
    document |= {"clock_mhz": 100.0, "active_power_mw": 50.0}
    document["machine"] |= {"cycles_per_mac_unit": 2.0} | fields
    return HardwareModel.model_validate(document)


def priced(model: Model, hardware: HardwareModel) -> EnergyReport:
    works = work_list(model, infer_shapes(model, input_shapes(model, {}, None)))
    return estimate(model, works, hardware, DensityTable())


def conv(**sizes: int) -> ConvWorkload:
    given = {"batch": 1, "groups": 1, "filters_per_group": 8, "channels_per_group": 4}
    return ConvWorkload(**(given | {"ofmap_rows": 5, "ofmap_columns": 5} | sizes))  # type: ignore[arg-type]


# --- by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "kind", "units"),
    [
        # 8 * 4 * 9 * 25 MACs, 288 weights, 200 outputs, one call
        ({"filter_rows": 3, "filter_columns": 3}, "convolution", 7200 + 259.2 + 5000 + 500),
        ({}, "pointwise", 800 + 28.8 + 5000 + 500),
        # 8 channels of 9 taps, three units a MAC
        (
            {
                "groups": 8,
                "filters_per_group": 1,
                "channels_per_group": 1,
                "filter_rows": 3,
                "filter_columns": 3,
            },
            "depthwise",
            3 * 1800 + 64.8 + 5000 + 500,
        ),
        ({"ofmap_rows": 1, "ofmap_columns": 1}, "fully_connected", 32 + 28.8 + 200 + 500),
    ],
)
def test_a_layer_is_a_sum(sizes: dict[str, int], kind: str, units: float) -> None:
    work, hardware = conv(**sizes), machine()
    found = execute(work, hardware)
    assert kernel_of(work) == found.mapping == kind
    assert found.compute_mac_units is not None
    weights = found.accesses["flash"].weights * 0.9
    assert found.compute_mac_units + weights == pytest.approx(units)
    assert found.cycles == pytest.approx(2 * units)


def test_a_batch_runs_one_by_one() -> None:
    one, four = (execute(conv(batch=n), machine()).cycles for n in (1, 4))
    assert one is not None
    assert four == pytest.approx(4 * one)


def test_widths_of_operands() -> None:
    narrow, wide, wider = (
        ConvWorkload(**{**vars(conv()), "bits": bits})
        for bits in (BitWidths(weights=4), BitWidths(16, 16, 16), BitWidths(64, 64))
    )
    assert execute(narrow, machine()).accesses["flash"].weights == 32 / 2
    assert execute(narrow, machine()).compute_mac_units == 800 + 25 * 200 + 500
    assert execute(wide, machine()).compute_mac_units == 800 * 1.5 + 25 * 200 + 500
    with pytest.raises(HardwareError, match="has no entry for 64 bits"):
        execute(wider, machine())


def test_dead_shares_are_left_out() -> None:
    live = OperandDensities(live=LiveShares(filters=0.5, weights=0.25))
    work = ConvWorkload(**{**vars(conv()), "densities": live})
    # 800 MACs and 32 weights to a quarter, 200 outputs to a half
    units = 200 + 8 * 0.9 + 25 * 100 + 500
    assert execute(work, machine()).cycles == pytest.approx(2 * units)


@pytest.mark.parametrize(
    ("load", "units"),
    [
        (StreamWorkload(operations=30, ifmap_words=30, ofmap_words=30), 30 + 25 * 30),
        # two operands, each in a scale of its own
        (StreamWorkload(operations=30, ifmap_words=60, ofmap_words=30), 30 + 25 * 60),
        # a mean: only results are brought to a scale
        (StreamWorkload(operations=90, ifmap_words=90, ofmap_words=10), 90 + 25 * 10),
        (StreamWorkload(ifmap_words=30, ofmap_words=30), 30),
        (StreamWorkload(operations=60, ifmap_words=30, ofmap_words=30, requantises=True), 0),
    ],
)
def test_streams(load: StreamWorkload, units: float) -> None:
    found = execute(load, machine())
    assert found.compute_mac_units == units
    assert found.cycles == 2 * units


def test_energy_is_power_times_time() -> None:
    weights: dict[str, Array] = {"w": normal((8, 4, 3, 3))}
    report = priced(
        loaded([op("Conv", "x w", "y")], {"x": (1, 4, 5, 5)}, ["y"], weights), machine()
    )
    units = 8 * 4 * 9 * 9 + 288 * 0.9 + 72 * 25 + 500
    assert report.energy_mac_units == pytest.approx(units)
    assert report.latency_ms == pytest.approx(2 * units / 1e5)
    assert report.energy_pj == pytest.approx(50 * 2 * units / 1e5 * 1e6)  # mW ms are 1e6 pJ
    assert sum(report.nodes[0].by_level.values()) == pytest.approx(units)


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("cortex-m4", {"clock_mhz": None}, "active_power_mw needs clock_mhz"),
        ("cortex-m4", {"mac_energy_pj": 3.0}, "takes the place of mac_energy_pj"),
        ("eyeriss", {"active_power_mw": 3.0}, "a row_stationary machine is not power times time"),
    ],
)
def test_power_has_to_have_an_effect(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HardwareModel.model_validate(load_hardware(name).model_dump(by_alias=True) | changes)


def test_without_power_there_are_cycles_and_no_joules() -> None:
    hardware = HardwareModel.model_validate(
        M4.model_dump(by_alias=True) | {"active_power_mw": None}
    )
    assert hardware.mac_unit_pj is None


def test_a_memory_has_to_have_a_size(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "hwmodels/cortex-m4.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("    size_bytes: 655360\n", ""))
    with pytest.raises(HardwareError, match=r"memories\.sram has no size_bytes"):
        load_hardware(tmp_path / "mine.yaml")


# --- dead channels ---------------------------------------------------------------------------


def chain() -> Model:
    """4 filters over 3 channels, ReLU, depthwise 3x3, 2 filters over 4 channels.

    Filter 0 of the first is zeros, and nobody has a weight for channel 3.
    """
    first, last = np.ones((4, 3, 1, 1), np.float32), np.ones((2, 4, 1, 1), np.float32)
    first[0], last[:, 3] = 0, 0
    weights = {"v": first, "d": np.ones((4, 1, 3, 3), np.float32), "w": last}
    nodes = [
        op("Conv", "x v", "a", name="first"),
        op("Relu", "a", "b", name="relu"),
        op("Conv", "b d", "c", name="depthwise", group=4, pads=[1, 1, 1, 1]),
        op("Conv", "c w", "y", name="last"),
    ]
    return loaded(nodes, {"x": (1, 3, 4, 4)}, ["y"], weights)


def test_filters_of_zeros_and_channels_that_nobody_reads_are_dead() -> None:
    report = priced(chain(), machine())
    found = {key: node.part_densities[0].live for key, node in report.by_node.items() if node.macs}
    assert found == {
        "first": LiveShares(filters=0.5, weights=0.5),
        "depthwise": LiveShares(filters=0.5, weights=0.5),
        "last": LiveShares(filters=1.0, weights=0.5),
    }
    # 16 positions: 2 of 4 filters of 3 weights
    first = 16 * 6 + 0.9 * 6 + 25 * 32 + 500
    assert report.by_node["first"].energy_mac_units == pytest.approx(first)
    assert report.by_node["first"].macs == 16 * 12


@pytest.mark.parametrize(("zero", "share"), [(0, 0.5), (7, 0.75)])
def test_a_quantized_zero_is_its_zero_point(zero: int, share: float) -> None:
    """Of 4 filters two are stored as 0 and one as 7 throughout."""
    stored = np.full((4, 3, 1, 1), 9, np.int8)
    stored[:2], stored[2] = 0, 7
    scale, point = np.float32(0.1), np.int8(zero)
    constants: dict[str, Array] = {"v": stored, "s": np.array(scale), "z": np.array(point)}
    inputs, ones = {"x": (1, 3, 4, 4)}, np.ones((2, 4, 1, 1), np.float32)
    nodes = [
        op("DequantizeLinear", "v s z", "w"),
        op("Conv", "x w", "a", name="first"),
        op("Relu", "a", "b"),
        op("Conv", "b u", "y", name="last"),
    ]
    model = loaded(nodes, inputs, ["y"], {**constants, "u": ones})
    live = priced(model, machine()).by_node["first"].part_densities[0].live
    assert live == LiveShares(filters=share, weights=share)


def test_dead_channels_run_where_the_file_says_so() -> None:
    report = priced(chain(), machine(dead_channels="executed"))
    whole = 16 * 12 + 0.9 * 12 + 25 * 64 + 500
    assert report.by_node["first"].energy_mac_units == pytest.approx(whole)


def test_channels_of_an_output_and_of_other_readers_are_live() -> None:
    weights: dict[str, Array] = {"v": np.ones((4, 3, 1, 1), np.float32)}
    last = np.ones((2, 4, 1, 1), np.float32)
    last[:, 3] = 0
    nodes = [
        op("Conv", "x v", "a", name="first"),
        op("Conv", "a w", "y", name="last"),
        op("ReduceMax", "a", "z", name="other", keepdims=0),
    ]
    shapes = {"x": (1, 3, 4, 4)}
    for outputs in (["y", "z"], ["y", "a"]):
        model = loaded(nodes, shapes, outputs, weights | {"w": last})
        live = priced(model, machine()).by_node["first"].part_densities[0].live
        assert live == LiveShares()


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_zeros_of_weights_in_front_make_no_channel_dead(operator: str) -> None:
    """Column 0 of W is zeros: row 0 of x counts nothing in W @ x, but each column of y does."""
    weight = np.ones((4, 4), np.float32)
    weight[:, 0] = 0
    model = loaded([op(operator, "w x", "y", name="front")], {"x": (4, 4)}, ["y"], {"w": weight})
    node = priced(model, machine()).by_node["front"]
    assert node.part_densities[0].live == LiveShares()
    assert node.densities.weights == 0.75


# --- memory ----------------------------------------------------------------------------------


def test_peak_of_feature_maps_counts_what_later_nodes_still_read() -> None:
    ones = np.ones((2, 2, 1, 1), np.float32)
    nodes = [
        op("Conv", "x v", "a", name="first"),
        op("Conv", "a w", "b", name="second"),
        op("Add", "a b", "y", name="sum"),
    ]
    model = loaded(nodes, {"x": (1, 2, 3, 3)}, ["y"], {"v": ones, "w": ones})
    held = priced(model, machine()).footprint
    assert held is not None
    # maps of 18 bytes: x a; a b; a b y
    assert dict(held.feature_map_bytes) == {"first": 36, "second": 36, "sum": 54}
    assert (held.peak, held.weight_bytes, held.shortfalls) == (("sum", 54), 8, ())


def test_views_and_what_is_fused_take_no_room() -> None:
    weights: dict[str, Array] = {"v": normal((2, 2, 1, 1)), "w": normal((18, 3))}
    nodes = [
        op("Conv", "x v", "a", name="first"),
        op("Relu", "a", "b", name="relu"),
        op("Flatten", "b", "c", name="flat"),
        op("MatMul", "c w", "y", name="last"),
    ]
    held = priced(loaded(nodes, {"x": (1, 2, 3, 3)}, ["y"], weights), machine()).footprint
    assert held is not None
    assert dict(held.feature_map_bytes) == {"first": 36, "last": 21}


def test_what_does_not_fit_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "hwmodels/cortex-m4.yaml").read_text()
    small = text.replace("size_bytes: 2097152", "size_bytes: 20")
    (tmp_path / "mine.yaml").write_text(small.replace("size_bytes: 655360", "size_bytes: 30"))
    weights = {"w": normal((8, 4, 3, 3))}
    nodes = [op("Conv", "x w", "y", name="only")]
    onnx.save(make_model(nodes, {"x": (1, 4, 3, 3)}, ["y"], weights), tmp_path / "net.onnx")
    arguments = ["analyze", str(tmp_path / "net.onnx"), "--hw", str(tmp_path / "mine.yaml")]
    assert main(arguments) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "does not fit this machine: weights take 288 bytes, flash has 20" in table
    assert "feature maps take 44 bytes at 'only', sram has 30" in table
    assert "ms joules" in table
    assert main([*arguments, "--csv", "-"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    cells = dict(zip(heading.split(","), row.split(","), strict=True))
    assert cells["feature_map_bytes"] == "44"
    assert float(cells["latency_ms"]) == pytest.approx(
        1.12 * (288 + 288 * 0.9 + 8 * 25 + 500) / 120e3
    )
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["memory"] == {
        "weight_bytes": 288,
        "peak_feature_map_bytes": 44,
        "peak_at": "only",
        "size_bytes": {"flash": 20, "sram": 30},
        "fits": False,
    }
    assert len(found["warnings"]) == 3  # and one that the validation is of other figures
    node = found["nodes"][0]
    assert node["feature_map_bytes"] == 44
    assert node["latency_ms"] == pytest.approx(node["cycles"] / 120e3)
    assert node["energy_pj"] == pytest.approx(node["latency_ms"] * M4.active_power_mw * 1e6)


# --- measured boards -------------------------------------------------------------------------

ROUND_1_2 = {
    "cortex-m4": (190.086, 6.056, 23.155, 11.245),
    "cortex-m33": (291.589, 9.003, 34.416, 16.870),
    "cortex-m7": (816.004, 24.483, 88.356, 42.009),
}
"""Inferences per second of the four networks in MLPerf Tiny's round 1.2."""


@pytest.mark.parametrize("name", ROUND_1_2)
def test_networks_take_what_boards_take(name: str, shared_data: Path) -> None:
    for network, rate in zip(NETWORKS, ROUND_1_2[name], strict=True):
        path = shared_data / "models" / f"mlperf_tiny_{network}_int8.onnx"
        found = priced(Model.load(path), load_hardware(name)).latency_ms
        assert found == pytest.approx(1000 / rate, rel=0.12), network
