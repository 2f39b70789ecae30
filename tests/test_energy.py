"""Energies worked out by hand, sums that agree, densities that reach the right operand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import (
    Array,
    chain,
    conv_model,
    gemm_model,
    loaded,
    make_graph,
    make_model,
    normal,
    op,
    scalar,
    value,
)
from onnx import ModelProto, TensorProto

from eapc.data import Dataset, dataset
from eapc.energy import (
    DensityTable,
    EnergyReport,
    estimate,
    node_annotations,
    priced_as,
    priced_at,
    resized,
    work_list,
)
from eapc.errors import ModelError
from eapc.hardware import HardwareModel
from eapc.model import Model, infer_shapes, input_shapes
from eapc.pipeline import Compilation, Conditions, load_passes

CODED = 64 / 3 / 16
"""Words per word of dense weights under Eyeriss's run-length code."""


def price(
    model: Model | ModelProto,
    hardware: HardwareModel,
    densities: DensityTable | None = None,
    batch: int | None = None,
) -> EnergyReport:
    found = model if isinstance(model, Model) else Model.from_proto(model)
    shapes = infer_shapes(found, input_shapes(found, {}, batch))
    table = densities or DensityTable()
    return estimate(found, work_list(found, shapes), hardware, table, batch or 1)


def pointwise(weight: float = 1.0) -> ModelProto:
    """One 1x1 filter over one channel of 2 x 2 words: 4 MACs."""
    return conv_model((1, 1, 2, 2), 1, (1, 1), weight=np.full((1, 1, 1, 1), weight, np.float32))


# --- one convolution by hand -----------------------------------------------------------------


def test_a_convolution_by_hand(eyeriss: HardwareModel) -> None:
    """Prices per word: DRAM 200, buffer 6, network 2, register file 1; a MAC is 1."""
    (node,) = price(pointwise(), eyeriss).nodes
    assert node.macs == node.nonskipped_macs == 4
    # in one strip of two rows: the weight leaves DRAM once and reaches two PEs; ifmap words are
    # read once; psums go to the buffer and back, and cross the network in and out of the PE;
    # ofmap words are written once
    assert node.by_operand == pytest.approx(
        {
            "compute": 4,
            "weights": 200 * CODED + 2 * 2 + 4,
            "ifmap": 4 * 200 + 4 * 6 + 4 * 2 + 4,
            "ofmap": 4 * 200 + 8 * 6 + 8 * 2 + 8,
        }
    )
    assert node.by_level == pytest.approx(
        {
            "mac": 4,
            "dram": (CODED + 4 + 4) * 200,
            "glb": (4 + 8) * 6,
            "network": (2 + 4 + 8) * 2,
            "rf": 16,
        }
    )
    assert node.accesses["glb"].ifmap == 4
    assert node.energy_mac_units == pytest.approx(sum(node.by_level.values()))


def test_zero_weights_skip_all_macs(eyeriss: HardwareModel) -> None:
    """Only pairs of a run and a level remain of the weights: one for 32 zeros."""
    (node,) = price(pointwise(0.0), eyeriss).nodes
    assert (node.nonskipped_macs, node.by_level["mac"], node.by_level["rf"]) == (0, 0, 0)
    assert node.macs == 4
    assert node.by_operand["weights"] == pytest.approx(200 * CODED / 32 + 2 * 2)


def test_an_element_wise_node_by_hand(eyeriss: HardwareModel) -> None:
    model = make_model([op("Relu", "x", "y", name="relu")], {"x": (2, 5)}, ["y"])
    (node,) = price(model, eyeriss).nodes
    assert (node.operations, node.macs) == (10, 0)
    assert node.by_operand == pytest.approx(
        {"compute": 10, "weights": 0, "ifmap": 10 * 206, "ofmap": 10 * 206}
    )


def test_a_fused_node_costs_its_operations(eyeriss: HardwareModel) -> None:
    report = price(chain(["Conv", "Relu"]), eyeriss)
    assert report.by_node["Relu_1"].energy_mac_units == 512
    alone = price(chain(["Conv"]), eyeriss)
    assert report.by_node["Conv_0"].energy_mac_units == alone.nodes[0].energy_mac_units


# --- sums ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
def test_sums_by_operand_and_level_equal_the_total(eyeriss: HardwareModel, batch: int) -> None:
    report = price(
        chain(
            ["Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "Flatten", "Gemm", "Softmax"]
        ),
        eyeriss,
        DensityTable(activations=0.4),
        batch,
    )
    for node in report.nodes:
        assert sum(node.by_operand.values()) == pytest.approx(node.energy_mac_units)
        assert sum(node.by_level.values()) == pytest.approx(node.energy_mac_units)
    assert report.energy_mac_units == pytest.approx(sum(n.energy_mac_units for n in report.nodes))
    assert report.energy_pj == pytest.approx(report.energy_mac_units * 0.83)
    assert report.macs == 8 * 3 * 9 * 64 + 8 * 8 * 9 * 16 + 128 * 5
    assert not report.unmodelled


def test_a_machine_without_absolute_energy(eyeriss: HardwareModel) -> None:
    relative = eyeriss.model_copy(update={"mac_energy_pj": None})
    assert price(pointwise(), relative).energy_pj is None


def test_cycles_bound_the_time_and_static_energy(eyeriss: HardwareModel) -> None:
    leaky = eyeriss.model_copy(update={"static_power_mw": 10.0})
    one, four = (price(gemm_model("N", 64, 32), leaky, batch=n) for n in (1, 4))
    assert one.latency_ms is not None
    assert four.latency_ms is not None
    assert one.latency_ms == sum(n.cycles or 0.0 for n in one.nodes) / 200e3
    assert four.latency_ms < one.latency_ms
    assert one.static_energy_pj == pytest.approx(10e-3 * one.latency_ms * 1e-3 * 1e12)
    stopped = price(gemm_model("N", 64, 32), eyeriss.model_copy(update={"clock_mhz": None}))
    assert (stopped.latency_ms, stopped.static_energy_pj) == (None, None)


def test_a_cell_takes_the_time_of_its_products(eyeriss: HardwareModel) -> None:
    """W reads all five steps at once, R one after another; gates have no timing."""
    weights = {"w": normal((1, 128, 32)), "r": normal((1, 128, 32), 1)}
    inputs, outputs = [value("x", (5, 1, 32))], [value("y", (5, 1, 1, 32))]
    cell = loaded([op("LSTM", "x w r", "y", hidden_size=32)], inputs, outputs, weights)
    step, steps = (
        price(
            loaded(
                [op("MatMul", "x m", "y")], {"x": (1, rows, 32)}, ["y"], {"m": normal((32, 128))}
            ),
            eyeriss,
        )
        .nodes[0]
        .cycles
        for rows in (1, 5)
    )
    found = price(cell, eyeriss).nodes[0]
    assert step is not None
    assert steps is not None
    assert found.cycles is not None
    assert found.cycles == steps + 5 * step
    assert found.cycles * 168 >= found.macs == 2 * 5 * 32 * 128


def test_figures_are_per_inference(eyeriss: HardwareModel) -> None:
    one, four = (price(gemm_model("N", 64, 32), eyeriss, batch=n) for n in (1, 4))
    assert four.macs == one.macs == 64 * 32
    assert four.nonskipped_macs == one.nonskipped_macs
    for operand in ("compute", "ifmap"):
        assert four.nodes[0].by_operand[operand] == one.nodes[0].by_operand[operand]
    # a batch shares the weights that it fetches
    weights = [report.nodes[0].accesses["dram"].weights for report in (one, four)]
    assert weights[1] == pytest.approx(weights[0] / 4)


# --- densities -------------------------------------------------------------------------------


def half_zero(shape: tuple[int, ...]) -> Array:
    weight = normal(shape).reshape(-1)
    weight[::2] = 0
    return weight.reshape(shape)


def test_weights_keep_their_own_zeros(eyeriss: HardwareModel) -> None:
    model = conv_model((1, 4, 6, 6), weight=half_zero((6, 4, 3, 3)))
    report = price(model, eyeriss, DensityTable(activations=0.5))
    (node,) = report.nodes
    assert (node.densities.weights, node.densities.ifmap, node.densities.ofmap) == (0.5, 0.5, 0.5)
    assert node.nonskipped_macs == node.macs / 4
    assert (report.weights, report.nonzero_weights) == (216, 108)


def test_densities_by_tensor(eyeriss: HardwareModel) -> None:
    table = DensityTable({"x": 0.25, "w": 0.75}, activations=0.5, weights=0.1)
    (node,) = price(conv_model(), eyeriss, table).nodes
    assert (node.densities.weights, node.densities.ifmap, node.densities.ofmap) == (0.75, 0.25, 0.5)
    (node,) = price(conv_model(), eyeriss, DensityTable(weights=0.1)).nodes
    assert node.densities.weights == 0.1


def test_the_ofmap_is_what_the_last_fused_node_writes(eyeriss: HardwareModel) -> None:
    table = DensityTable({"y": 0.3, "Conv_0_out": 0.9})
    report = price(chain(["Conv", "Relu"]), eyeriss, table)
    assert report.by_node["Conv_0"].densities.ofmap == 0.3


def test_two_activations_both_have_activation_densities(eyeriss: HardwareModel) -> None:
    model = make_model([op("MatMul", "a b", "y")], {"a": (2, 4), "b": (4, 3)}, ["y"])
    report = price(model, eyeriss, DensityTable({"a": 0.5}, 0.25))
    assert (report.nodes[0].densities.weights, report.nodes[0].densities.ifmap) == (0.25, 0.5)
    assert (report.weights, report.nonzero_weights) == (0, 0)


def test_biases_and_normalisation_are_no_weights(eyeriss: HardwareModel) -> None:
    report = price(chain(["Conv", "BatchNormalization", "Relu", "Flatten", "Gemm"]), eyeriss)
    assert report.weights == 8 * 3 * 9 + 512 * 5


def test_tied_weights_count_once(eyeriss: HardwareModel) -> None:
    nodes = [
        op("MatMul", "x w", "a"),
        op("Transpose", "w", "wt"),
        op("MatMul", "a wt", "b"),
        op("MatMul", "b w", "y"),
    ]
    report = price(loaded(nodes, {"x": (1, 6)}, ["y"], {"w": half_zero((6, 4))}), eyeriss)
    assert (report.weights, report.nonzero_weights) == (24, 12)
    assert [report.by_node[key].densities.weights for key in ("a", "b", "y")] == [0.5] * 3


def branching(outer: Array) -> Model:
    """Both branches multiply by the outer w, one also by an inner weight."""
    nodes = [op("MatMul", "x w", "m"), op("MatMul", "m inner", "t")]
    then = make_graph(nodes, {}, ["t"], {"inner": half_zero((4, 4))})
    other = make_graph([op("MatMul", "x w", "e", name="e")], {}, ["e"])
    node = op("If", "flag", "y", name="if", then_branch=then, else_branch=other)
    inputs = [value("x", (1, 4)), value("flag", [], TensorProto.BOOL)]
    return loaded([node], inputs, [value("y", (1, 4))], {"w": outer})


def test_weights_of_subgraphs(eyeriss: HardwareModel) -> None:
    report = price(branching(normal((4, 4))), eyeriss)
    assert (report.weights, report.nonzero_weights) == (32, 24)
    assert report.by_node["if/then_branch/t"].densities.weights == 0.5
    assert report.by_node["if"].energy_mac_units == 0


def test_subgraphs_see_new_weights(eyeriss: HardwareModel) -> None:
    model = branching(normal((4, 4))).with_weights({"w": np.zeros((4, 4), np.float32)})
    report = price(model, eyeriss)
    assert report.by_node["if/else_branch/e"].densities.weights == 0
    assert (report.weights, report.nonzero_weights) == (32, 8)


def test_quantized_weights_have_zeros(eyeriss: HardwareModel) -> None:
    nodes = [op("DequantizeLinear", "w s z", "d"), op("MatMul", "x d", "y")]
    tensors = {
        "w": np.array([[3, 3], [4, 5]], np.uint8),
        "s": scalar(1),
        "z": scalar(3, np.uint8),
    }
    report = price(loaded(nodes, {"x": (1, 2)}, ["y"], tensors), eyeriss)
    assert (report.weights, report.nonzero_weights) == (4, 2)
    assert report.by_node["d"].energy_mac_units == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(eyeriss: HardwareModel, bad: float) -> None:
    weight = normal((4, 4))
    weight[1, 2] = bad
    model = loaded([op("MatMul", "x w", "y")], {"x": (1, 4)}, ["y"], {"w": weight})
    with pytest.raises(ModelError, match="weights 'w' hold NaN or infinity"):
        price(model, eyeriss)
    with pytest.raises(ModelError, match="weights 'w' hold NaN or infinity"):
        price(branching(weight), eyeriss)


# --- what is not modelled --------------------------------------------------------------------


def test_what_is_unknown_is_listed(eyeriss: HardwareModel) -> None:
    nodes = [op("Mystery", "x", "m", name="odd", domain="acme"), op("Relu", "x", "y", name="relu")]
    report = price(loaded(nodes, {"x": (2,)}, [value("m", None), value("y", (2,))]), eyeriss)
    assert [node.key for node in report.nodes] == ["relu"]
    (missing,) = report.unmodelled
    assert (missing.key, missing.op_type) == ("odd", "Mystery")
    assert "acme" in missing.reason


def test_a_layer_that_no_mapping_fits_is_listed(eyeriss: HardwareModel) -> None:
    glb = eyeriss.memories["glb"].model_copy(update={"size_bytes": 4, "bank_bytes": 2})
    small = eyeriss.model_copy(
        update={"name": "small", "memories": {**eyeriss.memories, "glb": glb}}
    )
    report = price(chain(["Conv", "Relu"], x=(1, 3, 64, 64)), small)
    assert [missing.key for missing in report.unmodelled] == ["Conv_0"]
    assert "no room" in report.unmodelled[0].reason


# --- annotations -----------------------------------------------------------------------------


def test_every_node_is_annotated(eyeriss: HardwareModel) -> None:
    nodes = [
        op("Conv", "x w", "a", name="conv"),
        op("Relu", "a", "r", name="relu"),
        op("Flatten", "r", "f", name="flat"),
        op("Mystery", "f", "y", name="odd", domain="acme"),
    ]
    model = loaded(nodes, {"x": (1, 4, 4, 4)}, [value("y", None)], {"w": half_zero((6, 4, 1, 1))})
    report = price(model, eyeriss)
    notes = node_annotations(report)
    assert notes.keys() == {node.key for node in model.nodes}
    assert notes["odd"] == {"eapc.unmodelled": "no rule for Mystery of domain 'acme'"}
    assert notes["conv"]["eapc.macs"] == "384"
    assert notes["conv"]["eapc.weight_density"] == "0.5"
    energy = report.by_node["conv"].energy_mac_units
    assert float(notes["conv"]["eapc.energy_mac_units"]) == pytest.approx(energy, rel=1e-5)
    assert notes["relu"]["eapc.fused_into"] == "conv"
    assert notes["flat"] == {"eapc.energy_mac_units": "0", "eapc.energy_percent": "0"}
    shares = [float(n["eapc.energy_percent"]) for n in notes.values() if "eapc.unmodelled" not in n]
    assert sum(shares) == pytest.approx(100, abs=0.01)


# --- other weight densities ------------------------------------------------------------------


def test_sparser_weights_cost_less(eyeriss: HardwareModel) -> None:
    model = Model.from_proto(conv_model((1, 16, 12, 12), filters=32))
    (item,) = work_list(model, infer_shapes(model, {"x": (1, 16, 12, 12)}))
    report = price(model, eyeriss)
    energies = [priced_at(item, eyeriss, report, density) for density in (1.0, 0.6, 0.3, 0.0)]
    assert energies == sorted(energies, reverse=True)
    assert energies[0] == report.nodes[0].energy_mac_units
    assert priced_at(item, eyeriss, report, 0.3) == pytest.approx(
        price(model, eyeriss, DensityTable(weights=0.3)).energy_mac_units
    )


def test_weights_never_get_denser(eyeriss: HardwareModel) -> None:
    model = Model.from_proto(conv_model(weight=half_zero((6, 4, 3, 3))))
    (item,) = work_list(model, infer_shapes(model, {"x": (1, 4, 8, 8)}))
    report = price(model, eyeriss)
    assert priced_at(item, eyeriss, report, 0.9) == report.nodes[0].energy_mac_units


def test_a_node_of_other_shapes_keeps_its_densities(eyeriss: HardwareModel) -> None:
    """Half of 4 filters' weights are zero; so are half of 3 filters', for all that is known."""
    model = Model.from_proto(conv_model((1, 4, 8, 8), weight=half_zero((4, 4, 3, 3)), filters=4))
    (item,) = work_list(model, infer_shapes(model, {"x": (1, 4, 8, 8)}))
    report = price(model, eyeriss)
    smaller = resized(item, ((1, 4, 8, 8), (3, 4, 3, 3)), ((1, 3, 6, 6),))
    alone = Model.from_proto(conv_model((1, 4, 8, 8), weight=half_zero((3, 4, 3, 3)), filters=3))
    wanted = price(alone, eyeriss).energy_mac_units
    assert priced_as(smaller, eyeriss, report) == pytest.approx(wanted, rel=1e-9)
    assert priced_as(item, eyeriss, report) == report.nodes[0].energy_mac_units


# --- the pass --------------------------------------------------------------------------------


def annotated(proto: ModelProto, hardware: HardwareModel, **conditions: Any) -> Compilation:
    model = Model.from_proto(proto)
    return run_pass(Compilation(model, hardware, conditions=Conditions(**conditions)))


def run_pass(compilation: Compilation) -> Compilation:
    return load_passes()["annotate-energy"]().run(compilation)


def test_the_pass_reports_and_annotates(eyeriss: HardwareModel) -> None:
    proto = chain(["Conv", "Relu", "Flatten", "Gemm"])
    done = annotated(proto, eyeriss)
    assert done.energy is not None
    assert done.energy.energy_mac_units == price(proto, eyeriss).energy_mac_units
    assert done.model.annotations == node_annotations(done.energy)
    for node in done.model.to_proto().graph.node:
        assert any(entry.key == "eapc.energy_mac_units" for entry in node.metadata_props)


def test_the_pass_follows_batch_shapes_and_densities(eyeriss: HardwareModel) -> None:
    proto = chain(["Conv", "Relu"], x=("N", 3, "H", "W"))
    table = DensityTable(activations=0.5)
    shape = {"x": (6, 3, 8, 8)}
    report = annotated(proto, eyeriss, input_shapes=shape, densities=table).energy
    assert report is not None
    assert (report.batch, report.macs) == (6, 8 * 3 * 9 * 64)
    assert report.nodes[0].densities.ifmap == 0.5
    by_batch = annotated(chain(["Conv", "Relu"]), eyeriss, batch=6, densities=table).energy
    assert by_batch is not None
    assert by_batch.energy_mac_units == report.energy_mac_units


def measured(data: Dataset, hardware: HardwareModel) -> EnergyReport:
    model = Model.from_proto(make_model([op("Relu", "x", "y", name="r")], {"x": ("N", 4)}, ["y"]))
    report = run_pass(Compilation(model, hardware, data)).energy
    assert report is not None
    return report


def test_densities_are_measured_on_data(eyeriss: HardwareModel) -> None:
    x = np.array([[1, -1, 0, 2], [0, -3, 0, -1]], np.float32)
    specs = Model.from_proto(make_model([op("Relu", "x", "y")], {"x": ("N", 4)}, ["y"])).inputs
    data = dataset({"x": x}, specs, "test")
    densities = measured(data, eyeriss).by_node["r"].densities
    assert (densities.ifmap, densities.ofmap) == (5 / 8, 2 / 8)
    invented = measured(replace(data, synthesised=True), eyeriss).by_node["r"].densities
    assert (invented.ifmap, invented.ofmap) == (1, 1)
