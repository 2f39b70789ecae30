"""Zeros measured on data: densities, and the MACs without zeros of a whole model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import Array, conv_model, loaded, make_model, normal, op, scalar, value
from onnx import NodeProto, TensorProto
from pruning_builders import Net
from work_builders import items_of

from eapc.data import dataset
from eapc.energy import DensityTable, EnergyReport, estimate, measured_table, priced_at
from eapc.energy.measured_zeros import measure_densities
from eapc.hardware import HardwareModel
from eapc.model import Model
from eapc.workload import MacFractions


def table_of(model: Model, arrays: dict[str, Array]) -> DensityTable:
    return measured_table(model, items_of(model), dataset(arrays, model.inputs, "test"), 1)


def priced(model: Model, table: DensityTable, hardware: HardwareModel) -> EnergyReport:
    return estimate(model, tuple(items_of(model)), hardware, table)


def test_densities_are_fractions_of_non_zeros() -> None:
    nodes = [op("Relu", "x", "a"), op("Neg", "a", "y")]
    x = np.array([[0, 1, -1, 2], [3, 0, 0, -4], [-1, -1, -1, 5]], np.float32)
    net = Net(make_model(nodes, {"x": ("N", 4)}, ["y"]), {"x": x})
    found = measure_densities(net.model, net.data, ["x", "a", "y"], 1)
    assert found == {"x": 0.75, "a": pytest.approx(1 / 3), "y": pytest.approx(1 / 3)}


def test_densities_of_shared_inputs_and_integers() -> None:
    nodes = [op("Gather", "table i", "a"), op("Mul", "a gain", "y")]
    inputs = [value("i", ("N", 2), TensorProto.INT64), value("gain", ())]
    model = loaded(nodes, inputs, ["y"], {"table": np.eye(3, dtype=np.float32)})
    arrays = {"i": np.array([[0, 1], [2, 2]]), "gain": np.array(0.0, np.float32)}
    found = measure_densities(model, dataset(arrays, model.inputs, "t"), ["i", "a", "y", "gain"], 1)
    assert found == {"i": 0.75, "a": pytest.approx(1 / 3), "y": 0, "gain": 0}


# --- counted MACs ------------------------------------------------------------------------------


def half_of_each() -> tuple[Model, dict[str, Array]]:
    """A 1x1 Conv of two channels: weights on the first alone, ifmap words on the second alone."""
    model = Model.from_proto(
        conv_model(("N", 2, 2, 2), 1, (1, 1), weight=np.array([[[[1.0]], [[0.0]]]], np.float32))
    )
    x = np.zeros((3, 2, 2, 2), np.float32)
    x[:, 1] = 1
    return model, {"x": x}


def test_zeros_that_never_meet(eyeriss: HardwareModel) -> None:
    """Both operands are half zero; independent zeros would leave a quarter of the MACs."""
    model, arrays = half_of_each()
    table = table_of(model, arrays)
    assert table.macs == {"conv": MacFractions(0.0, 0.5)}
    counted = priced(model, table, eyeriss).by_node["conv"]
    guessed = priced(model, DensityTable(table.by_tensor), eyeriss).by_node["conv"]
    assert (counted.macs, counted.nonskipped_macs, guessed.nonskipped_macs) == (8, 0, 2)
    assert (counted.by_level["mac"], guessed.by_level["mac"]) == (0, 2)
    assert counted.by_level["rf"] == 0
    assert counted.accesses["dram"] == guessed.accesses["dram"]


def test_a_machine_that_looks_at_the_ifmap_alone(eyeriss: HardwareModel) -> None:
    zeros = eyeriss.zeros.model_copy(update={"skip_mac": "ifmap"})
    machine = eyeriss.model_copy(update={"zeros": zeros})
    model, arrays = half_of_each()
    (node,) = priced(model, table_of(model, arrays), machine).nodes
    assert (node.nonskipped_macs, node.by_level["mac"]) == (0, 4)


def test_borders_are_visited_less_often() -> None:
    """Only the corner word of 3 x 3 is set: 4 of the 9 taps of a padded 3x3 filter read it."""
    model = Model.from_proto(conv_model(("N", 1, 3, 3), 2, (3, 3), pads=[1, 1, 1, 1]))
    x = np.zeros((2, 1, 3, 3), np.float32)
    x[0, 0, 0, 0] = x[1, 0, 0, 0] = 1
    found = table_of(model, {"x": x}).macs["conv"]
    assert (found.both, found.ifmap) == pytest.approx((4 / 81, 4 / 81))


def test_products_of_two_activations_over_several_batches() -> None:
    """Each sample's own zeros meet: sample i has a word in column i % 2 and row i % 3."""
    model = loaded([op("MatMul", "a b", "y", name="m")], {"a": ("N", 1, 6), "b": ("N", 6, 2)}, "y")
    count = 100
    a, b = np.zeros((count, 1, 6), np.float32), np.zeros((count, 6, 2), np.float32)
    for i in range(count):
        a[i, :, i % 2], b[i, i % 3] = 1, 1
    meeting = sum(i % 2 == i % 3 for i in range(count))
    found = table_of(model, {"a": a, "b": b}).macs["m"]
    assert found.both == pytest.approx(2 * meeting / (count * 12))
    assert found.ifmap == pytest.approx(1 / 6)


def test_a_shared_ifmap_is_measured_once_for_all_its_readers() -> None:
    nodes = [
        op("Relu", "x", "a"),
        op("Conv", "a v", "b", name="narrow"),
        op("Conv", "a w", "c", name="wide", pads=[1, 1, 1, 1]),
        op("Concat", "b c", "y", axis=1),
    ]
    tensors = {"v": normal((2, 3, 1, 1)), "w": normal((2, 3, 3, 3))}
    model = loaded(nodes, {"x": ("N", 3, 4, 4)}, ["y"], tensors)
    table = table_of(model, {"x": normal((70, 3, 4, 4), 5)})
    assert table.macs["narrow"].both == pytest.approx(table.by_tensor["a"])
    assert table.macs["wide"].both == table.macs["wide"].ifmap < table.by_tensor["a"]


STORED = np.array([[0, 1], [2, 0]], np.int8).reshape(2, 2, 1, 1)
"""Two 1x1 filters over two channels; 0 is the first one's zero, the second's is 2."""

RIGHT_SET = np.array([[[[0, 0]], [[1, 2]]]], np.float32)
"""Two words in each of two channels, set in the second alone."""


@pytest.mark.parametrize(
    ("node", "kind", "zeros", "both"),
    [
        (op("QLinearConv", "q s z w s t s z", "y", name="c"), TensorProto.UINT8, [0, 2], 4),
        (op("ConvInteger", "q w z t", "y", name="c"), TensorProto.INT32, 0, 2),
        (op("ConvInteger", "q w z", "y", name="c"), TensorProto.INT32, None, 2),
    ],
    ids=["zeros per filter", "one zero", "no zero"],
)
def test_quantized_zeros(node: NodeProto, kind: int, zeros: Any, both: int) -> None:
    """The ifmap's zero is 3. A 0 in the second filter is a zero only where its zero is not 2."""
    tensors: dict[str, Array] = {"s": scalar(1.0), "z": np.array(3, np.uint8), "w": STORED}
    if zeros is not None:
        tensors["t"] = np.array(zeros, np.int8)
    nodes = [op("QuantizeLinear", "x s z", "q"), node]
    model = loaded(nodes, {"x": ("N", 2, 1, 2)}, [value("y", None, kind)], tensors)
    assert table_of(model, {"x": RIGHT_SET}).macs["c"] == MacFractions(both / 8, 4 / 8)


def test_weights_behind_dequantize_are_counted() -> None:
    nodes = [op("DequantizeLinear", "v s t", "w", axis=0), op("Conv", "x w", "y", name="c")]
    tensors: dict[str, Array] = {
        "v": STORED,
        "s": np.ones(2, np.float32),
        "t": np.array([0, 2], np.int8),
    }
    model = loaded(nodes, {"x": ("N", 2, 1, 2)}, ["y"], tensors)
    assert table_of(model, {"x": RIGHT_SET}).macs["c"] == MacFractions(4 / 8, 4 / 8)


def test_other_operators_are_estimated(eyeriss: HardwareModel) -> None:
    nodes = [
        op("Einsum", "x w", "a", name="e", equation="ij,jk->ik"),
        op("Gemm", "a v", "b", name="g"),
        op("Relu", "b", "y", name="r"),
    ]
    model = loaded(nodes, {"x": ("N", 4)}, ["y"], {"w": normal((4, 3)), "v": normal((3, 2))})
    x = normal((8, 4))
    x[:, 0] = 0
    report = priced(model, table_of(model, {"x": x}), eyeriss)
    assert [n.nonskipped_counted for n in report.nodes] == [False, True, None]
    assert report.by_node["e"].nonskipped_macs == 12 * 0.75
    plain = priced(model, DensityTable(), eyeriss)
    assert [n.nonskipped_counted for n in plain.nodes] == [False, False, None]


def test_an_ifmap_that_grows_with_the_batch_is_not_counted() -> None:
    """Samples along a spatial axis: which taps read which words differs from batch to batch."""
    nodes = [
        op("Transpose", "x", "t"),
        op("Unsqueeze", "t axis", "u"),
        op("Conv", "u w", "y", name="c", pads=[1, 1]),
    ]
    tensors = {"axis": np.array([0]), "w": normal((2, 4, 3))}
    model = loaded(nodes, {"x": ("N", 4)}, ["y"], tensors)
    table = table_of(model, {"x": normal((70, 4))})
    assert not table.macs
    assert table.by_tensor["u"] == 1


def test_sparser_weights_scale_what_was_counted(eyeriss: HardwareModel) -> None:
    """Half of the dense weights go, and with them half of the MACs on non-zero words."""
    model = Model.from_proto(conv_model(("N", 4, 6, 6), pads=[1, 1, 1, 1]))
    x = np.maximum(normal((5, 4, 6, 6), 3), 0)
    report = priced(model, table_of(model, {"x": x}), eyeriss)
    (item,) = items_of(model)
    whole, half, none = (priced_at(item, eyeriss, report, d) for d in (1.0, 0.5, 0.0))
    (node,) = report.nodes
    assert whole == node.energy_mac_units
    gone = 0.5 * (node.by_level["mac"] + node.by_level["rf"])
    assert half <= whole - gone
    assert none < half
