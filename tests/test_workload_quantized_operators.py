"""Quantized operators: their work, the widths they imply, their zeros."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import Array, chain, conv_model, loaded, normal, op, scalar, value
from onnx import NodeProto, TensorProto, helper, numpy_helper
from work_builders import items_of

from eapc.data import dataset
from eapc.dataflow import execute
from eapc.dataflow.execution import mac_energy
from eapc.energy import (
    DensityTable,
    EnergyReport,
    GivenBits,
    NodeWork,
    estimate,
    read_bits,
    work_list,
)
from eapc.energy.measured_zeros import measure_densities
from eapc.errors import HardwareError, UsageError
from eapc.hardware import HardwareModel
from eapc.model import Model, infer_shapes, input_shapes, zero_points
from eapc.model.tensors import type_bits
from eapc.pipeline import Compilation, load_passes
from eapc.workload import BitWidths, ConvWorkload, StreamWorkload, Work

SCALES: dict[str, Array] = {
    "s": scalar(0.1),
    "z": scalar(3, np.uint8),
    "zw": scalar(0, np.int8),
    "w": np.arange(-72, 72, dtype=np.int8).reshape(4, 4, 3, 3),
    "m": np.arange(-16, 16, dtype=np.int8).reshape(4, 8),
}
ORT = "com.microsoft"


def quantized(
    node: NodeProto, x: tuple[int, ...], kind: int = TensorProto.UINT8, **more: Array
) -> NodeWork:
    result = onnx.ValueInfoProto(name="y")
    model = loaded([node], [value("x", x, kind)], [result], {**SCALES, **more}, opset=20)
    (item,) = items_of(model)
    assert not item.reason
    return item


# --- multiply and accumulate -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "ofmap_bits"),
    [(op("QLinearConv", "x s z w s zw s z", "y"), 8), (op("ConvInteger", "x w z zw", "y"), 32)],
)
def test_convolutions_of_integers(node: NodeProto, ofmap_bits: int) -> None:
    item = quantized(node, (1, 4, 8, 8))
    bits = BitWidths(8, 8, ofmap_bits)
    assert item.work.workloads == (ConvWorkload(1, 1, 4, 4, 6, 6, 3, 3, bits=bits),)
    assert (item.work.parts[0].weights, item.work.ifmap) == ("w", "x")


@pytest.mark.parametrize(
    ("node", "ofmap_bits"),
    [
        (op("QLinearMatMul", "x s z m s zw s z", "y"), 8),
        (op("MatMulInteger", "x m z zw", "y"), 32),
        (op("MatMulIntegerToFloat", "x m s s z zw", "y", domain=ORT), None),
        (op("QGemm", "x s z m s zw - s z", "y", domain=ORT), 8),
    ],
)
def test_products_of_integers(node: NodeProto, ofmap_bits: int | None) -> None:
    item = quantized(node, (5, 4))
    bits = BitWidths(8, 8, ofmap_bits)
    assert item.work.workloads == (ConvWorkload(5, 1, 8, 4, 1, 1, bits=bits),)


def test_a_product_that_quantizes_as_it_goes() -> None:
    node = op("DynamicQuantizeMatMul", "x m s zw", "y", domain=ORT)
    (load,) = quantized(node, (5, 4), TensorProto.FLOAT).work.workloads
    assert load == ConvWorkload(5, 1, 8, 4, 1, 1, bits=BitWidths(weights=8))


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_a_few_bits(bits: int) -> None:
    """K = 32 rows of N = 6 columns, packed in blocks of 32."""
    node = op("MatMulNBits", "x q t", "y", domain=ORT, K=32, N=6, bits=bits, block_size=32)
    packed = np.zeros((6, 1, 4 * bits), np.uint8)
    item = quantized(node, (2, 3, 32), TensorProto.FLOAT, q=packed, t=normal((6,)))
    expected = ConvWorkload(2, 1, 6, 32, 3, 1, bits=BitWidths(weights=bits))
    assert item.work.workloads == (expected,)


# --- streams ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (op("QLinearAdd", "x s z x s z s z", "y", domain=ORT), (7 * 64, 128, 64)),
        (op("QLinearSigmoid", "x s z s z", "y", domain=ORT), (5 * 64, 64, 64)),
        (op("QLinearGlobalAveragePool", "x s z s z", "y", domain=ORT), (64 + 4 * 4, 64, 4)),
        (op("QLinearConcat", "s z x t z x s z", "y", domain=ORT, axis=1), (512, 128, 128)),
        (
            op(
                "QLinearAveragePool", "x s z s z", "y",
                domain=ORT, kernel_shape=[2, 2], strides=[2, 2],
            ),
            (64, 64, 16),
        ),
    ],
    ids=lambda part: part.op_type if isinstance(part, NodeProto) else "",
)  # fmt: skip
def test_streams_of_integers(node: NodeProto, expected: tuple[int, int, int]) -> None:
    (load,) = quantized(node, (1, 4, 4, 4)).work.workloads
    assert isinstance(load, StreamWorkload)
    assert (load.operations, load.ifmap_words, load.ofmap_words) == expected


def test_joining_codes_of_one_grid_moves_nothing() -> None:
    """As Concat: whoever makes the operands writes them where they are to be."""
    node = op("QLinearConcat", "s z x s z x u z", "y", domain=ORT, axis=1)
    item = quantized(node, (1, 4, 4, 4), u=SCALES["s"].copy())
    assert item.work.workloads == ()


def test_operations_of_requantisation_are_told_apart() -> None:
    """Six of QLinearAdd's seven take its operands to real numbers and its result back."""
    node = op("QLinearAdd", "x s z x s z s z", "y", domain=ORT)
    (load,) = quantized(node, (1, 4, 4, 4)).work.workloads
    assert isinstance(load, StreamWorkload)
    assert (load.requantising, load.computing) == (6 * 64, 64)


def test_quantizing_on_the_fly_reads_and_writes() -> None:
    node = op("DynamicQuantizeLinear", "x", "y t u")
    (load,) = quantized(node, (2, 8), TensorProto.FLOAT).work.workloads
    assert load == StreamWorkload(64, ifmap_words=16, ofmap_words=16, bits=BitWidths(ofmap=8))


# --- quantize and dequantize -----------------------------------------------------------------


def qdq(weights: Array | TensorProto, zero: str = "zw") -> Model:
    """x is quantized; Conv between DequantizeLinear nodes; Relu; the result quantized."""
    nodes = [
        op("QuantizeLinear", "x s z", "xq", name="xq"),
        op("DequantizeLinear", "xq s z", "xd", name="xd"),
        op("DequantizeLinear", f"v s {zero}", "wd", name="wd"),
        op("Conv", "xd wd", "a", name="conv"),
        op("Relu", "a", "r", name="relu"),
        op("QuantizeLinear", "r s z", "rq", name="rq"),
        op("DequantizeLinear", "rq s z", "y", name="rd"),
    ]
    tensors: dict[str, Any] = {**SCALES, "v": weights}
    return loaded(nodes, {"x": (1, 4, 8, 8)}, ["y"], tensors, opset=21)


def conv_bits(model: Model, given: GivenBits | None = None) -> BitWidths:
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    works = {item.node.key: item for item in work_list(model, shapes, given)}
    (load,) = works["conv"].work.workloads
    return load.bits


def test_widths_reach_the_layer_between_quantizers() -> None:
    assert conv_bits(qdq(SCALES["w"])) == BitWidths(8, 8, 8)


def test_four_bits() -> None:
    values = helper.make_tensor("v", TensorProto.INT4, (4, 4, 3, 3), [0] * 144)
    four = helper.make_tensor("zw", TensorProto.INT4, (), [0])
    model = qdq(values, "")
    assert conv_bits(model) == BitWidths(4, 8, 8)
    assert type_bits(numpy_helper.to_array(four).dtype) == 4


def test_floating_point_is_as_wide_as_the_machine() -> None:
    for proto in (conv_model(), chain(["Conv", "Relu"])):
        assert {load.bits for item in items_of(proto) for load in item.work.workloads} == {
            BitWidths()
        }


def test_a_dequantized_tensor_is_read_as_integers() -> None:
    """It is read twice, so it is not fused; it moves nothing of its own all the same."""
    nodes = [
        op("DequantizeLinear", "x s z", "d", name="d"),
        op("Relu", "d", "r", name="r"),
        op("Neg", "d", "y", name="n"),
    ]
    model = loaded(nodes, [value("x", (2, 4), TensorProto.UINT8)], ["y", "r"], SCALES)
    loads = {item.node.key: item.work.workloads[0] for item in items_of(model)}
    assert loads["d"] == StreamWorkload(16, bits=BitWidths(ifmap=8, ofmap=8), requantises=True)
    assert loads["n"] == StreamWorkload(8, ifmap_words=8, ofmap_words=8, bits=BitWidths(ifmap=8))


# --- given widths ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, GivenBits()),
        ("weights=8,activations=4", GivenBits(8, 4)),
        (" 8 ", GivenBits(8, 8)),
        (" activations = 16 ", GivenBits(None, 16)),
    ],
)
def test_given_widths(text: str | None, expected: GivenBits) -> None:
    assert read_bits(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0", "8.5", "weights=x", "psums=8", "weights=0", "weights=65", "weights=8,weights=4"],
)
def test_widths_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="--bits"):
        read_bits(text)


def test_given_widths_come_first() -> None:
    model = qdq(SCALES["w"])
    assert conv_bits(model, GivenBits(weights=4)) == BitWidths(4, 8, 8)
    assert conv_bits(model, GivenBits(activations=16)) == BitWidths(8, 16, 16)
    assert conv_bits(model, GivenBits(activations=16, by_tensor=(("y", 6),))) == BitWidths(8, 16, 6)


def test_two_activations_have_the_width_of_activations() -> None:
    model = loaded([op("MatMul", "a b", "y")], {"a": (2, 4), "b": (4, 3)}, ["y"])
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    (item,) = work_list(model, shapes, GivenBits(weights=2, activations=8))
    assert item.work.workloads[0].bits == BitWidths(8, 8, 8)


def test_a_priced_node_has_the_bits_of_its_widest_part(eyeriss: HardwareModel) -> None:
    """Widths that nobody gave are those of the machine's word."""
    model = qdq(SCALES["w"])
    works = work_list(model, infer_shapes(model, input_shapes(model, {}, None)))
    conv = next(item for item in works if item.node.key == "conv")
    (part,) = conv.work.parts
    wide = replace(part, workload=replace(part.workload, bits=BitWidths(4, None, 32)))
    twofold = replace(conv, work=Work((part, wide)))
    found = [estimate(model, (item,), eyeriss, DensityTable()).nodes for item in (conv, twofold)]
    assert [nodes[0].bits for nodes in found] == [BitWidths(8, 8, 8), BitWidths(8, 16, 32)]


# --- what widths cost ------------------------------------------------------------------------


def test_accesses_follow_the_width_of_their_operand(eyeriss: HardwareModel) -> None:
    """Psums keep 16 bits; what is written in the end has 8."""
    plain = ConvWorkload(1, 1, 8, 8, 6, 6, 3, 3)
    narrow = ConvWorkload(1, 1, 8, 8, 6, 6, 3, 3, bits=BitWidths(4, 8, 8))
    before, after = execute(plain, eyeriss).accesses, execute(narrow, eyeriss).accesses
    for level, words in before.items():
        assert after[level].weights == words.weights / 4
        assert after[level].ifmap == words.ifmap / 2
        assert after[level].ofmap == words.ofmap / (2 if level == "dram" else 1)


def test_a_wide_result_has_wide_psums(eyeriss: HardwareModel) -> None:
    load = ConvWorkload(1, 1, 8, 8, 6, 6, 3, 3, bits=BitWidths(ofmap=32))
    plain = execute(ConvWorkload(1, 1, 8, 8, 6, 6, 3, 3), eyeriss)
    wide = execute(load, eyeriss)
    assert all(wide.accesses[k].ofmap == 2 * plain.accesses[k].ofmap for k in plain.accesses)


def test_streams_scale_at_every_level(eyeriss: HardwareModel) -> None:
    load = StreamWorkload(5, ifmap_words=10, ofmap_words=10, bits=BitWidths(ifmap=8, ofmap=4))
    words = execute(load, eyeriss).accesses["glb"]
    assert (words.ifmap, words.ofmap) == (5, 2.5)


def test_macs_cost_the_geometric_mean_of_both_widths(eyeriss: HardwareModel) -> None:
    load = ConvWorkload(1, 1, 8, 8, 1, 1, bits=BitWidths(4, 16))
    assert execute(load, eyeriss).mac_bits == 8
    assert mac_energy(8, eyeriss) == 0.278
    assert mac_energy(None, eyeriss) == mac_energy(16, eyeriss) == 1


def test_widths_beyond_the_table(eyeriss: HardwareModel) -> None:
    """Narrower operands run on the narrowest multiplier; wider ones on none."""
    assert mac_energy(2, eyeriss) == mac_energy(4, eyeriss)
    with pytest.raises(HardwareError, match="mac_energy_mac_units_by_bits"):
        mac_energy(64, eyeriss)


def price(model: Model, hardware: HardwareModel, given: GivenBits | None = None) -> EnergyReport:
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    return estimate(model, work_list(model, shapes, given), hardware, DensityTable())


def test_layers_too_wide_for_the_machine_are_listed(eyeriss: HardwareModel) -> None:
    model = Model.from_proto(conv_model())
    (missing,) = price(model, eyeriss, GivenBits(64, 64)).unmodelled
    assert "64 bits" in missing.reason


def test_a_quantized_network_costs_what_given_widths_do(
    shared_data: Path, eyeriss: HardwareModel
) -> None:
    """ResNet-20 in 8 bits by its own nodes, and the float network priced in 8 bits."""
    folder = shared_data / "models"
    own = price(Model.load(folder / "cifar10_resnet20_qdq_int8.onnx"), eyeriss)
    floats = Model.load(folder / "cifar10_resnet20_bn.onnx")
    given = price(floats, eyeriss, GivenBits(8, 8))
    assert not own.unmodelled
    assert own.energy_mac_units == pytest.approx(given.energy_mac_units, rel=0.02)
    assert own.energy_mac_units < 0.6 * price(floats, eyeriss).energy_mac_units


# --- zeros -----------------------------------------------------------------------------------


def test_zero_points_of_weights(eyeriss: HardwareModel) -> None:
    """One per filter: the four filters are all 0, 1, 2 and 3, and zero is 0, 1, 0 and 0."""
    weights = np.repeat(np.arange(4, dtype=np.int8), 36).reshape(4, 4, 3, 3)
    zeros = np.array([0, 1, 0, 0], np.int8)
    node = op("QLinearConv", "x s z v s t s z", "y", name="conv")
    model = loaded(
        [node],
        [value("x", (1, 4, 8, 8), TensorProto.UINT8)],
        [value("y", None, TensorProto.UINT8)],
        {**SCALES, "v": weights, "t": zeros},
    )
    report = price(model, eyeriss)
    assert (report.weights, report.nonzero_weights) == (144, 72)


@pytest.mark.parametrize("turned", [0, 1])
def test_zero_points_of_columns(eyeriss: HardwareModel, turned: int) -> None:
    """Columns of 0, 1 and 2, of which the last has its zero at 2."""
    weights = np.repeat(np.arange(3, dtype=np.int8)[None], 5, 0)
    node = op("QGemm", "x s z v s t - s z", "y", domain=ORT, transB=turned)
    model = loaded(
        [node],
        [value("x", (2, 5), TensorProto.UINT8)],
        [value("y", None, TensorProto.UINT8)],
        {**SCALES, "v": weights.T if turned else weights, "t": np.array([0, 0, 2], np.int8)},
    )
    report = price(model, eyeriss)
    assert (report.weights, report.nonzero_weights) == (15, 5)


def test_zeros_of_quantized_activations_are_measured_against_their_zero_point() -> None:
    nodes = [op("DynamicQuantizeLinear", "x", "q t u"), op("MatMulInteger", "q m u", "y")]
    model = loaded(nodes, {"x": ("N", 4)}, [value("y", None, TensorProto.INT32)], SCALES, opset=13)
    x = np.array([[-1, 0, 0, 3]], np.float32)  # zero is 64 of 255
    data = dataset({"x": x}, model.inputs, "test")
    zeros = {name: zero.tensor for node in model.nodes for name, zero in zero_points(node).items()}
    assert zeros["q"] == "u"
    assert measure_densities(model, data, ["q"], 1, zeros) == {"q": 0.5}
    assert measure_densities(model, data, ["q"], 1) == {"q": 0.75}


def test_densities_of_a_quantized_layer_on_data(eyeriss: HardwareModel) -> None:
    """Weights with a zero point per filter keep the zeros that are counted in the file."""
    nodes = [op("QuantizeLinear", "x s z", "q"), op("QLinearConv", "q s z v c t s z", "y")]
    tensors = {
        **SCALES,
        "v": np.repeat(np.arange(4, dtype=np.int8), 36).reshape(4, 4, 3, 3),
        "c": np.full(4, 0.1, np.float32),
        "t": np.zeros(4, np.int8),
    }
    outputs = [value("y", None, TensorProto.UINT8)]
    model = loaded(nodes, {"x": (1, 4, 8, 8)}, outputs, tensors)
    x = normal((4, 4, 8, 8))
    x[:, :2] = 0
    compilation = Compilation(model, eyeriss, dataset({"x": x}, model.inputs, "test"))
    report = load_passes()["annotate-energy"]().run(compilation).energy
    assert report is not None
    densities = report.by_node["y"].densities
    assert densities.weights == 0.75
    assert 0.4 < densities.ifmap < 0.5  # half are zeros, and small ones round to zero


def test_onnxruntime_reads_the_operators_the_same_way() -> None:
    """The places of the operands are those of onnx's own schemas."""
    for name in ("QLinearConv", "QLinearMatMul"):
        inputs = [formal.name for formal in onnx.defs.get_schema(name, 21).inputs]
        assert [i for i, n in enumerate(inputs) if n.endswith("zero_point")] == [2, 5, 7]
