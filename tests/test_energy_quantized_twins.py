"""One network in floats, with QuantizeLinear and DequantizeLinear, and with integer operators.

A float file priced at 8 bits and its two quantized twins cost the same, but for named nodes: what
takes real numbers to integers and back, and the last layer, whose result stays a float.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from builders import Array
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from structured_builders import inputs_of
from test_quantization import concat, padded, residual

from eapc.commands import compiler
from eapc.commands.compiler import Settings
from eapc.energy import EnergyReport, GivenBits
from eapc.model import Model
from eapc.quantization import quantize
from eapc.runtime import Engine, optimised_model

SPENDING = ("isca16-baseline", "eyeriss", "nvdla-like", "simba-like")
"""Machines that price accesses and keep no feature map for the next layer."""

TIMED = ("cortex-m4", "ethos-u55-128")
"""Machines whose price of an output has its requantisation."""


@dataclass(frozen=True)
class Twins:
    """The float network with the values of the codes as its weights, and the same on integers."""

    real: Model
    pairs: Model
    integers: Model

    def reports(self, machine: str) -> tuple[EnergyReport, EnergyReport, EnergyReport]:
        """Energies of the three, the float one at 8 bits."""
        given = Settings(hardware=machine, bits="8")
        told = Settings(hardware=machine)
        return (
            compiler.analyze(self.real, given).energy,
            compiler.analyze(self.pairs, told).energy,
            compiler.analyze(self.integers, told).energy,
        )


def twins_of(model: Model) -> Twins:
    done = quantize(model, inputs_of(model, 64), GivenBits(8, 8), Engine(1)).model
    stored: dict[str, Array] = {}
    for name in (name for name in model.constants.stored if name.startswith("w")):
        codes, scale = done.constants[f"{name}@codes"], done.constants[f"{name}@codes@scale"]
        stored[name] = codes * scale.reshape(-1, *(1,) * (codes.ndim - 1))
    run = optimised_model(done.to_proto(embed=True), 1, blocked=False)
    return Twins(model.with_weights(stored), done, Model.from_proto(run))


@pytest.fixture(scope="module")
def twins() -> Twins:
    return twins_of(residual())


def by_node(report: EnergyReport) -> dict[str, float]:
    return {node.key: node.energy_mac_units for node in report.nodes}


def quantizing(report: EnergyReport) -> float:
    """What QuantizeLinear and DequantizeLinear cost."""
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return sum(node.energy_mac_units for node in report.nodes if node.op_type in kinds)


@pytest.mark.parametrize("machine", [*SPENDING, *TIMED, "tpu-v1", "mobile-cpu", "microcontroller"])
def test_twins_have_the_same_macs_and_nothing_unmodelled(twins: Twins, machine: str) -> None:
    reports = twins.reports(machine)
    assert [report.macs for report in reports] == [16448] * 3
    assert [report.unmodelled for report in reports] == [()] * 3


@pytest.mark.parametrize("machine", SPENDING)
def test_pairs_cost_what_floats_of_8_bits_do_but_for_themselves(twins: Twins, machine: str) -> None:
    """The last layer writes 10 or 5 numbers at the machine's word in place of 8 bits."""
    real, pairs, _ = twins.reports(machine)
    before, after = by_node(real), by_node(pairs)
    for name in before.keys() - {"classify"}:
        assert after[name] == pytest.approx(before[name], rel=1e-9), name
    last = after["classify"] - before["classify"]
    assert last == pytest.approx(0, abs=0.02 * before["classify"])
    whole = pairs.energy_mac_units - real.energy_mac_units
    assert whole == pytest.approx(quantizing(pairs) + last, rel=1e-9)


@pytest.mark.parametrize("machine", [*SPENDING, "mobile-cpu", "microcontroller"])
def test_integer_operators_cost_what_pairs_do_but_for_requantisation(
    twins: Twins, machine: str
) -> None:
    """Layers agree; the sum has six operations more per element, and Relu is in the range."""
    _, pairs, integers = twins.reports(machine)
    before, after = by_node(pairs), by_node(integers)
    for name in ("one", "two", "pool", "classify", "x@Q"):
        assert after[name] == pytest.approx(before[name], rel=1e-9), name
    operation = before["relu"] / 256
    assert after["sum"] - before["sum"] == pytest.approx(6 * 256 * operation, rel=1e-9)
    assert "relu" not in after


@pytest.mark.parametrize("machine", TIMED)
def test_machines_that_price_outputs_have_no_price_of_requantisation(
    twins: Twins, machine: str
) -> None:
    """What is left of the differences is Relu, which the integer operators have in their range."""
    real, pairs, integers = twins.reports(machine)
    assert quantizing(pairs) == 0
    assert pairs.energy_mac_units == pytest.approx(real.energy_mac_units, rel=1e-9)
    before, after = by_node(real), by_node(integers)
    for name in ("one", "two", "sum", "pool", "classify"):
        assert after[name] == pytest.approx(before[name], rel=1e-9), name
    left = real.energy_mac_units - integers.energy_mac_units
    assert left == pytest.approx(before["relu"] + before["relu2"], rel=1e-9)


def test_timed_machines_show_requantisation_in_rows_of_its_own(twins: Twins) -> None:
    """A processor spends instructions on it: four per element of each pair that rounds."""
    real, pairs, _ = twins.reports("microcontroller")
    rounds = {name for name, cost in by_node(pairs).items() if cost and "@" in name}
    assert rounds == {f"{name}@{kind}" for name in ("x", "r1", "c2", "r2") for kind in ("Q", "DQ")}
    whole = pairs.energy_mac_units - real.energy_mac_units
    assert whole == pytest.approx(quantizing(pairs), rel=1e-9)


@pytest.mark.parametrize("machine", [*SPENDING, *TIMED])
def test_a_concat_of_one_grid_costs_nothing_in_any_form(machine: str) -> None:
    for report in twins_of(concat()).reports(machine):
        assert by_node(report).get("join", 0) == 0


def test_a_concat_of_integers_keeps_its_operands_on_chip() -> None:
    """As Concat, it reads on behalf of who reads it."""
    _, pairs, integers = twins_of(concat()).reports("tpu-v1")
    before, after = by_node(pairs), by_node(integers)
    for name in ("left", "right", "last"):
        assert after[name] == pytest.approx(before[name], rel=1e-9), name


@pytest.mark.parametrize("machine", SPENDING)
def test_padded_codes_cost_what_padded_floats_do(machine: str) -> None:
    real, pairs, _ = twins_of(padded()).reports(machine)
    before, after = by_node(real), by_node(pairs)
    for name in ("one", "pad"):
        assert after[name] == pytest.approx(before[name], rel=1e-9), name


# --- onnxruntime's own quantizer -----------------------------------------------------------------


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """The inputs that the network is quantized with, one by one."""

    def __init__(self, model: Model) -> None:
        self._left: Iterator[dict[str, Array]] = (
            {"x": row[None]} for row in inputs_of(model, 16).arrays["x"]
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)


@pytest.mark.filterwarnings("ignore")
def test_what_onnxruntime_quantizes_costs_the_same(tmp_path: Path) -> None:
    """On a machine that no zero saves anything: its codes are others."""
    before, after = tmp_path / "float.onnx", tmp_path / "integers.onnx"
    residual().save(before)
    quantize_static(
        before, after, Reader(residual()), quant_format=QuantFormat.QOperator, per_channel=True
    )
    found = Model.load(after)
    assert [n.op_type for n in found.nodes if n.op_type.startswith("QLinear")] == [
        "QLinearConv", "QLinearConv", "QLinearAdd",
    ]  # fmt: skip
    real = compiler.analyze(residual(), Settings(hardware="isca16-baseline", bits="8")).energy
    told = compiler.analyze(found, Settings(hardware="isca16-baseline")).energy
    costs, theirs = by_node(real), by_node(told)
    for name in ("one", "two", "pool", "classify"):
        own = theirs[name if name in theirs else f"{name}_quant"]
        assert own == pytest.approx(costs[name], rel=1e-9), name
    assert told.macs == real.macs
    assert np.isclose(theirs["sum_quant"] - costs["sum"], 6 * 256)
