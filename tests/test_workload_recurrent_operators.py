"""Recurrent cells: products, steps and gates, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Array, loaded, normal, op, value
from onnx import NodeProto, TensorProto
from work_builders import items_of, work_of_node

from eapc.dataflow import execute
from eapc.energy import DensityTable, EnergyReport, estimate, work_list
from eapc.energy.worklist import activation_tensors
from eapc.hardware import HardwareModel
from eapc.model import Model, infer_shapes, input_shapes
from eapc.workload import ConvWorkload, StreamWorkload, Work

STEPS, BATCH, INPUT, HIDDEN = 5, 2, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def tensors_of(op_type: str, directions: int = 1) -> dict[str, Array]:
    rows = GATES[op_type] * HIDDEN
    return {
        "w": normal((directions, rows, INPUT)),
        "r": normal((directions, rows, HIDDEN), 1),
        "b": normal((directions, 2 * rows), 2),
        "p": normal((directions, 3 * HIDDEN), 3),
    }


def cell(op_type: str, inputs: str = "x w r b", outputs: str = "y", **more: Any) -> NodeProto:
    return op(op_type, inputs, outputs, hidden_size=HIDDEN, **more)


def work(node: NodeProto, directions: int = 1) -> Work:
    tensors = tensors_of(node.op_type, directions)
    x = (BATCH, STEPS, INPUT) if node.attribute and _layout(node) else (STEPS, BATCH, INPUT)
    return work_of_node(node, {"x": x}, {n: tensors[n] for n in tensors if n in node.input})


def _layout(node: NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "layout"), 0)


def macs(found: Work) -> int:
    return sum(part.workload.macs * int(part.times) for part in found.parts)


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layout", [0, 1])
def test_macs_of_a_cell(op_type: str, directions: int, layout: int) -> None:
    direction = "bidirectional" if directions == 2 else "forward"
    found = work(cell(op_type, direction=direction, layout=layout), directions)
    units = directions * STEPS * BATCH * GATES[op_type] * HIDDEN
    assert macs(found) == units * (INPUT + HIDDEN)


def test_the_parts_of_an_lstm() -> None:
    from_inputs, from_state, gates = work(cell("LSTM")).parts
    # one product over all steps, and one product per step
    assert (from_inputs.workload, from_inputs.times) == (ConvWorkload(2, 1, 16, 3, 5, 1), 1)
    assert (from_state.workload, from_state.times) == (ConvWorkload(2, 1, 16, 4, 1, 1), 5)
    assert (from_inputs.weights, from_inputs.ifmap) == ("w", "x")
    assert (from_state.weights, from_state.ifmap) == ("r", "y")
    # per unit and step 4 gates of two additions and a function; c = f c + i g; h = o tanh(c)
    assert gates.workload == StreamWorkload(8 * 17, ifmap_words=8 * 5, ofmap_words=8 * 2)
    assert (gates.times, gates.ofmap) == (5, "y")


def test_both_directions_read_the_inputs_once() -> None:
    from_inputs, from_state, _ = work(cell("GRU", direction="bidirectional"), 2).parts
    assert from_inputs.workload == ConvWorkload(2, 1, 2 * 12, 3, 5, 1)
    assert from_state.workload == ConvWorkload(2, 2, 12, 4, 1, 1)


@pytest.mark.parametrize(("op_type", "operations"), [("LSTM", 17), ("GRU", 14), ("RNN", 3)])
def test_operations_of_the_gates(op_type: str, operations: int) -> None:
    gates = work(cell(op_type)).parts[-1].workload
    assert isinstance(gates, StreamWorkload)
    assert gates.operations == BATCH * HIDDEN * operations


def test_peepholes_add_to_three_gates() -> None:
    gates = work(cell("LSTM", "x w r b - - - p")).parts[-1].workload
    assert isinstance(gates, StreamWorkload)
    assert gates.operations == BATCH * HIDDEN * (17 + 6)


def test_the_last_state_alone_may_be_the_result() -> None:
    node = cell("GRU", "x w r", "all last")
    node.output[0] = ""
    (item,) = items_of(
        loaded(
            [node],
            {"x": (STEPS, BATCH, INPUT)},
            [value("last", None)],
            {name: tensors_of("GRU")[name] for name in ("w", "r")},
        )
    )
    assert (item.work.ofmap, item.ofmap) == ("last", "last")


def priced(model: Model, hardware: HardwareModel) -> EnergyReport:
    works = work_list(model, infer_shapes(model, input_shapes(model, {}, None)))
    return estimate(model, works, hardware, DensityTable())


def lstm(w: Array, r: Array) -> Model:
    return loaded([cell("LSTM", "x w r")], {"x": (STEPS, 1, INPUT)}, ["y"], {"w": w, "r": r})


def test_both_weights_have_densities_of_their_own(eyeriss: HardwareModel) -> None:
    w, r = tensors_of("LSTM")["w"], tensors_of("LSTM")["r"].copy()
    r[..., ::2] = 0
    report = priced(lstm(w, r), eyeriss)
    (node,) = report.nodes
    assert [own.weights for own in node.part_densities] == [1, 0.5, 1]
    # words fetched: 48 of W once, 64 of R in each of five steps
    assert node.densities.weights == pytest.approx((48 + 5 * 32) / (48 + 5 * 64))
    assert node.nonskipped_macs == STEPS * 16 * (INPUT + HIDDEN / 2)
    assert (report.weights, report.nonzero_weights) == (48 + 64, 48 + 32)


def test_recurrent_weights_are_fetched_at_every_step(eyeriss: HardwareModel) -> None:
    tensors = tensors_of("LSTM")
    model = lstm(tensors["w"], tensors["r"])
    (node,) = priced(model, eyeriss).nodes
    once = execute(ConvWorkload(1, 1, 16, 3, 5, 1), eyeriss).accesses["dram"].weights
    step = execute(ConvWorkload(1, 1, 16, 4, 1, 1), eyeriss).accesses["dram"].weights
    assert node.accesses["dram"].weights == pytest.approx(once + STEPS * step)


def test_every_tensor_of_a_cell_is_measured() -> None:
    tensors = tensors_of("LSTM")
    works = tuple(items_of(lstm(tensors["w"], tensors["r"])))
    assert set(activation_tensors(works)) == {"x", "w", "r", "y"}


def test_a_cell_over_no_steps_costs_nothing(eyeriss: HardwareModel) -> None:
    tensors = tensors_of("RNN")
    weights = {name: tensors[name] for name in ("w", "r")}
    model = loaded([cell("RNN", "x w r")], {"x": (0, 1, INPUT)}, ["y"], weights)
    assert priced(model, eyeriss).energy_mac_units == 0


@pytest.mark.parametrize(("samples", "cells"), [(512, 1), (256, 2)])
def test_silero_vad_has_no_unknown_cell(
    shared_data: Path, eyeriss: HardwareModel, samples: int, cells: int
) -> None:
    """One network per sampling rate; that of 8 kHz takes frames of 256 samples alone."""
    model = Model.load(shared_data / "models" / "silero_vad.onnx")
    shapes = infer_shapes(model, {"input": (1, samples), "state": (2, 1, 128), "sr": ()})
    report = estimate(model, work_list(model, shapes), eyeriss, DensityTable())
    macs = [node.macs for node in report.nodes if node.op_type == "LSTM" and node.macs]
    assert macs == [4 * 128 * (128 + 128)] * cells
    assert bool(report.unmodelled) == (samples == 512)


def test_the_element_type_of_a_cell_is_no_matter() -> None:
    tensors = {n: a.astype(np.float16) for n, a in tensors_of("RNN").items() if n in "wr"}
    inputs = [value("x", (STEPS, BATCH, INPUT), TensorProto.FLOAT16)]
    outputs = [value("y", None, TensorProto.FLOAT16)]
    (item,) = items_of(loaded([cell("RNN", "x w r")], inputs, outputs, tensors))
    assert not item.reason
