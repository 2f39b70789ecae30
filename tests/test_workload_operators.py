"""One workload rule per operator, in numbers worked out by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from builders import (
    Array,
    constant_node,
    conv_model,
    ints,
    loaded,
    make_model,
    normal,
    op,
    value,
)
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from work_builders import Sizes, conv_of, items_of, reason_of, stream_of, work_of_node

import eapc
from eapc.workload import ConvWorkload, StreamWorkload, Work
from eapc.workload.operators import WORKLOAD_RULES
from eapc.workload.rules import workload_rule

# --- Conv ------------------------------------------------------------------------------------


def test_conv() -> None:
    layer = conv_of(conv_model((2, 4, 8, 8), filters=6))
    assert layer == ConvWorkload(2, 1, 6, 4, 6, 6, 3, 3)
    assert layer.macs == 2 * 6 * 4 * 9 * 36


def test_conv_with_groups_and_strides() -> None:
    layer = conv_of(conv_model((1, 4, 9, 7), filters=6, group=2, strides=[2, 3]))
    assert layer == ConvWorkload(1, 2, 3, 2, 4, 2, 3, 3, stride_rows=2, stride_columns=3)
    assert layer.macs == 6 * 2 * 9 * 8


def test_depthwise_conv() -> None:
    layer = conv_of(conv_model((1, 4, 8, 8), filters=4, group=4))
    assert (layer.groups, layer.filters_per_group, layer.channels_per_group) == (4, 1, 1)


def test_conv_with_padding() -> None:
    layer = conv_of(conv_model((1, 4, 8, 8), pads=[1, 1, 1, 1]))
    assert (layer.ofmap_rows, layer.ifmap_rows) == (8, 10)
    # 2 of the 24 (position, tap) pairs of each axis fall on padding
    assert layer.unpadded_fraction == pytest.approx((22 / 24) ** 2)
    assert layer.nonskipped_macs == pytest.approx(layer.macs * (22 / 24) ** 2)


def test_conv_with_uneven_padding() -> None:
    layer = conv_of(conv_model((1, 4, 4, 4), pads=[2, 0, 0, 0]))
    assert (layer.ofmap_rows, layer.ofmap_columns) == (4, 2)
    assert layer.unpadded_fraction == pytest.approx(9 / 12)


def test_conv_with_dilation() -> None:
    layer = conv_of(conv_model((1, 4, 9, 9), dilations=[2, 3]))
    assert (layer.ofmap_rows, layer.ofmap_columns) == (5, 3)
    assert (layer.dilation_rows, layer.dilation_columns, layer.ifmap_rows) == (2, 3, 9)


@pytest.mark.parametrize(("auto_pad", "begin"), [("SAME_UPPER", 0), ("SAME_LOWER", 1)])
def test_conv_with_automatic_padding(auto_pad: str, begin: int) -> None:
    """Size 4, three taps, stride 2: one word of padding, at the end or at the beginning."""
    layer = conv_of(conv_model((1, 4, 4, 4), auto_pad=auto_pad, strides=[2, 2]))
    explicit = conv_model((1, 4, 4, 4), pads=[begin, begin, 1 - begin, 1 - begin], strides=[2, 2])
    assert layer == conv_of(explicit)
    assert layer.unpadded_fraction == pytest.approx((5 / 6) ** 2)


def test_conv_without_automatic_padding() -> None:
    assert conv_of(conv_model(auto_pad="VALID")) == conv_of(conv_model())


def test_conv_along_one_axis() -> None:
    layer = conv_of(conv_model((2, 4, 16), kernel=(5,), pads=[2, 2], strides=[2]))
    assert layer == ConvWorkload(
        2, 1, 6, 4, 1, 8, 1, 5, stride_columns=2, unpadded_fraction=layer.unpadded_fraction
    )
    assert layer.unpadded_fraction == pytest.approx(37 / 40)


def test_conv_in_three_dimensions() -> None:
    layer = conv_of(conv_model((2, 4, 5, 8, 8), kernel=(3, 3, 3), pads=[1, 0, 0, 1, 0, 0]))
    assert layer.macs == 2 * 6 * 4 * 27 * 5 * 6 * 6
    assert (layer.batch, layer.channels_per_group) == (10, 12)
    assert layer.unpadded_fraction == pytest.approx(13 / 15)


def test_conv_over_four_axes_is_not_modelled() -> None:
    model = conv_model((1, 4, 3, 3, 3, 3), kernel=(1, 1, 1, 1))
    assert items_of(model)[0].reason == "4 spatial axes"


def test_the_tensors_of_a_conv() -> None:
    (item,) = items_of(conv_model(bias=True))
    assert (item.work.parts[0].weights, item.work.ifmap, item.ofmap) == ("w", "x", "y")


# --- ConvTranspose ---------------------------------------------------------------------------


def transposed(x: tuple[int, ...], w: tuple[int, ...], **attributes: Any) -> list[ConvWorkload]:
    node = op("ConvTranspose", "x w", "y", **attributes)
    found = work_of_node(node, {"x": x}, {"w": normal(w)}).workloads
    return [layer for layer in found if isinstance(layer, ConvWorkload)]


def test_conv_transpose_of_one_phase() -> None:
    (layer,) = transposed((1, 4, 5, 5), (4, 3, 3, 3))
    assert layer == ConvWorkload(1, 1, 3, 4, 7, 7, 3, 3)


def test_phases_of_equal_size_are_filters_of_one_convolution() -> None:
    """Stride 2, four taps: each of the four phases has 2 x 2 taps and half the positions."""
    (layer,) = transposed((1, 4, 5, 5), (4, 3, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1])
    assert layer == ConvWorkload(1, 1, 12, 4, 5, 5, 2, 2)


def test_phases_of_different_sizes() -> None:
    """Stride 2, three taps: phases of two taps and of one."""
    layers = transposed(
        (1, 4, 5, 5), (4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    )
    assert sorted((n.filter_rows, n.filter_columns, n.filters_per_group) for n in layers) == [
        (1, 1, 3),
        (1, 2, 3),
        (2, 1, 3),
        (2, 2, 3),
    ]
    assert sum(layer.macs for layer in layers) == 3 * 4 * 25 * 9


def test_conv_transpose_with_groups() -> None:
    (layer,) = transposed((2, 4, 5, 5), (4, 3, 2, 2), strides=[2, 2], group=2)
    assert layer == ConvWorkload(2, 2, 12, 2, 5, 5, 1, 1)


def test_conv_transpose_with_stride_beyond_the_kernel() -> None:
    """Outputs that no tap reaches cost nothing."""
    (layer,) = transposed((1, 4, 5, 5), (4, 3, 1, 1), strides=[3, 3])
    assert layer.macs == 3 * 4 * 25


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "extra"),
    [(5, 3, 2, (1, 1), 0), (5, 3, 2, (0, 1), 0), (4, 5, 3, (2, 1), 1), (6, 4, 3, (1, 0), 2)],
)
def test_positions_of_each_phase_follow_the_padding(
    size: int, kernel: int, stride: int, pads: tuple[int, int], extra: int
) -> None:
    layers = transposed(
        (1, 1, size), (1, 1, kernel), strides=[stride], pads=pads, output_padding=[extra]
    )
    output = (size - 1) * stride + kernel + extra - sum(pads)
    taps = range(kernel)
    expected = sum(
        (position + pads[0] - tap) % stride == 0
        for position, tap in itertools.product(range(output), taps)
    )
    assert sum(layer.macs for layer in layers) == expected


def test_conv_transpose_with_automatic_padding() -> None:
    explicit = transposed((1, 2, 5), (2, 2, 3), strides=[2], pads=[0, 1])
    assert transposed((1, 2, 5), (2, 2, 3), strides=[2], auto_pad="SAME_UPPER") == explicit


def test_conv_transpose_with_dilation() -> None:
    (layer,) = transposed((1, 4, 5, 5), (4, 3, 3, 3), dilations=[2, 2])
    assert layer.macs == 3 * 4 * 9 * 81
    node = op("ConvTranspose", "x w", "y", dilations=[2, 2], strides=[2, 2])
    tensors = {"w": normal((4, 3, 3, 3))}
    assert reason_of(node, {"x": (1, 4, 5, 5)}, tensors) == "dilation together with stride"


def test_conv_transpose_in_three_dimensions_is_not_modelled() -> None:
    node = op("ConvTranspose", "x w", "y")
    tensors = {"w": normal((4, 3, 1, 1, 1))}
    assert reason_of(node, {"x": (1, 4, 5, 5, 5)}, tensors) == "3 spatial axes"


# --- matrix products -------------------------------------------------------------------------


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm(trans_a: int, trans_b: int) -> None:
    x = (10, 3) if trans_a else (3, 10)
    w = (7, 10) if trans_b else (10, 7)
    node = op("Gemm", "x w", "y", transA=trans_a, transB=trans_b)
    work = work_of_node(node, {"x": x}, {"w": normal(w)})
    assert work.workloads == (ConvWorkload(3, 1, 7, 10, 1, 1),)
    assert (work.parts[0].weights, work.ifmap, work.ofmap) == ("w", "x", "y")


def test_gemm_with_weights_in_front() -> None:
    node = op("Gemm", "w x", "y", transB=1)
    work = work_of_node(node, {"x": (3, 10)}, {"w": normal((7, 10))})
    assert work.workloads == (ConvWorkload(3, 1, 7, 10, 1, 1),)
    assert (work.parts[0].weights, work.ifmap) == ("w", "x")


def test_gemm_of_two_activations() -> None:
    work = work_of_node(op("Gemm", "a b", "y"), {"a": (3, 10), "b": (10, 7)})
    assert (work.parts[0].weights, work.ifmap) == ("b", "a")


@pytest.mark.parametrize(
    ("x", "w", "expected"),
    [
        ((3, 10), (10, 7), ConvWorkload(3, 1, 7, 10, 1, 1)),
        ((10,), (10, 7), ConvWorkload(1, 1, 7, 10, 1, 1)),
        ((3, 10), (10,), ConvWorkload(3, 1, 1, 10, 1, 1)),
        ((2, 5, 10), (10, 7), ConvWorkload(2, 1, 7, 10, 5, 1)),
        ((2, 4, 5, 10), (10, 7), ConvWorkload(8, 1, 7, 10, 5, 1)),
        ((2, 5, 10), (1, 10, 7), ConvWorkload(2, 1, 7, 10, 5, 1)),
        ((2, 5, 10), (2, 10, 7), ConvWorkload(1, 2, 7, 10, 5, 1)),
        ((5, 10), (2, 10, 7), ConvWorkload(1, 2, 7, 10, 5, 1)),
        ((4, 1, 5, 10), (3, 10, 7), ConvWorkload(4, 3, 7, 10, 5, 1)),
        ((2, 3, 5, 10), (2, 1, 10, 7), ConvWorkload(3, 2, 7, 10, 5, 1)),
    ],
)
def test_matmul(x: tuple[int, ...], w: tuple[int, ...], expected: ConvWorkload) -> None:
    work = work_of_node(op("MatMul", "x w", "y"), {"x": x}, {"w": normal(w)})
    assert work.workloads == (expected,)
    assert (work.parts[0].weights, work.ifmap) == ("w", "x")
    stack = np.broadcast_shapes(x[:-2], w[:-2])
    rows = x[-2] if len(x) > 1 else 1
    columns = w[-1] if len(w) > 1 else 1
    assert expected.macs == int(np.prod(stack)) * rows * 10 * columns


@pytest.mark.parametrize("w", [(7, 10), (1, 7, 10)])
def test_matmul_with_weights_in_front(w: tuple[int, ...]) -> None:
    work = work_of_node(op("MatMul", "w x", "y"), {"x": (2, 10, 5)}, {"w": normal(w)})
    assert work.workloads == (ConvWorkload(2, 1, 7, 10, 5, 1),)
    assert (work.parts[0].weights, work.ifmap) == ("w", "x")


def test_stacks_of_matrices_in_front() -> None:
    """Three matrices of 7 outputs and 10 inputs, each for 5 columns of 2 samples."""
    work = work_of_node(op("MatMul", "w x", "y"), {"x": (2, 3, 10, 5)}, {"w": normal((3, 7, 10))})
    assert work.workloads == (ConvWorkload(2, 3, 7, 10, 5, 1),)
    assert (work.parts[0].weights, work.ifmap) == ("w", "x")
    assert (work.workloads[0].macs, work.workloads[0].weight_words) == (2 * 3 * 7 * 10 * 5, 210)


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_operands_of_a_product_that_do_not_fit_are_told(operator: str) -> None:
    model = make_model(
        [op("Reshape", "x to", "flat"), op(operator, "flat w", "y")],
        {"x": (16, 3, 4)},
        ("y",),
        {"to": ints(1, -1), "w": normal((12, 5))},
    )
    said = "inner sizes 192 and 12 of its operands differ"
    assert [item.reason for item in items_of(model)] == ["", said]


def test_matmul_of_two_activations() -> None:
    """Attention scores: 2 sequences, 4 heads, 5 tokens."""
    work = work_of_node(op("MatMul", "q k", "y"), {"q": (2, 4, 5, 16), "k": (2, 4, 16, 5)})
    assert work.workloads == (ConvWorkload(1, 8, 5, 16, 5, 1),)
    assert (work.parts[0].weights, work.ifmap) == ("k", "q")


@pytest.mark.parametrize(
    ("equation", "x", "w", "expected"),
    [
        ("bi,io->bo", (3, 10), (10, 7), ConvWorkload(1, 1, 7, 10, 3, 1)),
        ("bhqd,bhkd->bhqk", (2, 4, 5, 16), (2, 4, 6, 16), ConvWorkload(1, 8, 6, 16, 5, 1)),
        ("i,j->ij", (3,), (4,), ConvWorkload(1, 1, 4, 1, 3, 1)),
        ("ij,jk", (3, 4), (4, 5), ConvWorkload(1, 1, 5, 4, 3, 1)),
        ("...i,ij->...j", (2, 3, 8), (8, 5), ConvWorkload(1, 1, 5, 8, 6, 1)),
        ("...ij,...jk", (2, 3, 4), (2, 4, 5), ConvWorkload(1, 2, 5, 4, 3, 1)),
        ("b...i,...i->b...", (2, 3, 8), (1, 8), ConvWorkload(1, 3, 1, 8, 2, 1)),
    ],
)
def test_einsum(
    equation: str, x: tuple[int, ...], w: tuple[int, ...], expected: ConvWorkload
) -> None:
    node = op("Einsum", "x w", "y", equation=equation)
    work = work_of_node(node, {"x": x}, {"w": normal(w)})
    assert work.workloads == (expected,)
    assert (work.parts[0].weights, work.ifmap) == ("w", "x")


def test_einsum_with_weights_in_front() -> None:
    node = op("Einsum", "w x", "y", equation="oi, bi -> bo")
    work = work_of_node(node, {"x": (3, 10)}, {"w": normal((7, 10))})
    assert work.workloads == (ConvWorkload(1, 1, 7, 10, 3, 1),)
    assert (work.parts[0].weights, work.ifmap) == ("w", "x")


@pytest.mark.parametrize("equation", ["ij->ji", "i,i,i->i"])
def test_other_forms_of_einsum_are_not_modelled(equation: str) -> None:
    count = equation.count(",") + 1
    names = " ".join("abc"[:count])
    inputs: Sizes = dict.fromkeys(names.split(), (3, 3) if "j" in equation else (3,))
    assert "Einsum of the form" in reason_of(op("Einsum", names, "y", equation=equation), inputs)


# --- operators that stream -------------------------------------------------------------------


def test_element_wise_operators_read_each_operand_at_its_own_size() -> None:
    both = stream_of(op("Add", "a b", "y"), {"a": (2, 3, 4), "b": (3, 1)})
    assert both == StreamWorkload(24, ifmap_words=27, ofmap_words=24)
    scaled = stream_of(op("Mul", "a s", "y"), {"a": (2, 3, 4)}, {"s": normal((4,))})
    assert scaled == StreamWorkload(24, ifmap_words=24, weight_words=4, ofmap_words=24)


@pytest.mark.parametrize(
    ("op_type", "each"),
    [("Relu", 1), ("Sigmoid", 1), ("Softmax", 3), ("HardSwish", 3), ("Gelu", 3)],
)
def test_activation_functions(op_type: str, each: int) -> None:
    found = stream_of(op(op_type, "x", "y"), {"x": (2, 5)})
    assert found == StreamWorkload(10 * each, ifmap_words=10, ofmap_words=10)


def test_batch_normalization() -> None:
    tensors = {name: normal((3,)) for name in ("s", "b", "m")} | {"v": np.ones(3, np.float32)}
    found = stream_of(op("BatchNormalization", "x s b m v", "y"), {"x": (2, 3, 4)}, tensors)
    assert found == StreamWorkload(48, ifmap_words=24, weight_words=12, ofmap_words=24)


def test_layer_normalization() -> None:
    tensors = {"s": normal((4,)), "b": normal((4,))}
    found = stream_of(op("LayerNormalization", "x s b", "y"), {"x": (2, 3, 4)}, tensors)
    assert found == StreamWorkload(7 * 24, ifmap_words=24, weight_words=8, ofmap_words=24)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
def test_pooling(op_type: str) -> None:
    node = op(op_type, "x", "y", kernel_shape=[3, 2], strides=[2, 2])
    found = stream_of(node, {"x": (1, 4, 7, 8)})
    assert found == StreamWorkload(6 * 4 * 3 * 4, ifmap_words=224, ofmap_words=48)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pooling(op_type: str) -> None:
    found = stream_of(op(op_type, "x", "y"), {"x": (2, 4, 7, 7)})
    assert found == StreamWorkload(392, ifmap_words=392, ofmap_words=8)


def test_reductions_do_not_read_their_axes() -> None:
    node = op("ReduceMean", "x axes", "y", keepdims=0)
    found = stream_of(node, {"x": (2, 3, 4)}, {"axes": ints(1)})
    assert found == StreamWorkload(24, ifmap_words=24, ofmap_words=8)


def test_local_response_normalization() -> None:
    found = stream_of(op("LRN", "x", "y", size=5), {"x": (1, 8, 3, 3)})
    assert found == StreamWorkload(7 * 72, ifmap_words=72, ofmap_words=72)


@pytest.mark.parametrize(
    ("node", "tensors"),
    [
        (op("Reshape", "x s", "y"), {"s": ints(4, 6)}),
        (op("Flatten", "x", "y"), {}),
        (op("Squeeze", "x a", "y"), {"a": ints(0)}),
        (op("Unsqueeze", "x a", "y"), {"a": ints(0)}),
        (op("Identity", "x", "y"), {}),
        (op("Dropout", "x", "y"), {}),
        (op("Concat", "x x", "y", axis=1), {}),
        (op("Split", "x", "y z", axis=1, num_outputs=2), {}),
        (op("Slice", "x a b", "y"), {"a": ints(0), "b": ints(1)}),
        (op("Shape", "x", "y"), {}),
    ],
    ids=lambda part: part.op_type if isinstance(part, onnx.NodeProto) else "",
)
def test_views_cost_nothing(node: onnx.NodeProto, tensors: dict[str, Array]) -> None:
    assert work_of_node(node, {"x": (1, 4, 6)}, tensors).workloads == ()


def test_copies_move_the_words_of_their_output() -> None:
    turned = stream_of(op("Transpose", "x", "y", perm=[1, 0]), {"x": (3, 4)})
    assert turned == StreamWorkload(ifmap_words=12, ofmap_words=12)
    padded = stream_of(op("Pad", "x p", "y"), {"x": (3, 4)}, {"p": ints(1, 0, 1, 0)})
    assert padded == StreamWorkload(ifmap_words=20, ofmap_words=20)


def test_an_embedding_reads_the_rows_it_needs() -> None:
    nodes = [op("Gather", "table ids", "y")]
    tensors = {"table": normal((1000, 16))}
    inputs = [value("ids", (2, 5), TensorProto.INT64)]
    (item,) = items_of(loaded(nodes, inputs, ["y"], tensors))
    assert item.work.workloads == (StreamWorkload(weight_words=160, ofmap_words=160),)


def test_constants_are_worked_out_before_anything_runs() -> None:
    nodes = [
        op("Range", "zero four one", "r"),
        op("Cast", "r", "f", to=TensorProto.FLOAT),
        op("Mul", "f f", "s"),
        op("Add", "x s", "y"),
    ]
    tensors = {"zero": np.int64(0), "four": np.int64(4), "one": np.int64(1)}
    model = loaded(nodes, {"x": (4,)}, ["y"], {k: np.asarray(v) for k, v in tensors.items()})
    works = items_of(model)
    assert [bool(item.work.workloads) for item in works] == [False, False, False, True]
    assert works[-1].work.workloads == (
        StreamWorkload(4, ifmap_words=4, weight_words=4, ofmap_words=4),
    )


def test_shape_arithmetic_costs_nothing() -> None:
    nodes = [
        op("Shape", "x", "s"),
        op("Gather", "s zero", "n"),
        op("Mul", "n two", "m"),
        op("Concat", "m rest", "t", axis=0),
        op("Reshape", "x t", "y"),
    ]
    tensors = {"zero": ints(0), "two": ints(2), "rest": ints(-1)}
    works = items_of(loaded(nodes, {"x": ("N", 4)}, ["y"], tensors))
    assert not any(item.work.workloads or item.reason for item in works)


# --- what cannot be told ---------------------------------------------------------------------


def test_unknown_operators_say_so() -> None:
    nodes = [op("Frobnicate", "x", "y", domain="acme")]
    (item,) = items_of(loaded(nodes, {"x": (1,)}, [value("y", (1,))]))
    assert item.reason == "no rule for Frobnicate of domain 'acme'"
    node = op("NonMaxSuppression", "boxes scores", "y")
    assert (
        reason_of(node, {"boxes": (1, 2, 4), "scores": (1, 1, 2)})
        == "no rule for NonMaxSuppression"
    )


def test_an_operator_name_of_another_domain_has_no_rule() -> None:
    nodes = [op("Conv", "x w", "y", domain="acme")]
    model = loaded(nodes, {"x": (1, 1, 3, 3)}, [value("y", None)], {"w": normal((1, 1, 3, 3))})
    assert items_of(model)[0].reason == "no rule for Conv of domain 'acme'"


def test_unknown_shapes_say_so() -> None:
    nodes = [op("Mystery", "x", "m", domain="acme"), op("Relu", "m", "y"), op("Conv", "m w", "z")]
    outputs = [value("y", None), value("z", None)]
    model = loaded(nodes, {"x": (1,)}, outputs, {"w": normal((1, 1, 3, 3))})
    reasons = [item.reason for item in items_of(model)]
    assert reasons[1:] == ["shape of the output is unknown", "shape of input 0 is unknown"]


def test_malformed_operands_say_so() -> None:
    node = op("Einsum", "x w", "y", equation="ij,jk->ik")
    assert "operands are malformed" in reason_of(node, {"x": (1, 2, 3), "w": (3, 4)})


def test_an_operator_has_one_rule() -> None:
    with pytest.raises(ValueError, match="operator Conv has a workload rule already"):
        workload_rule("Conv")(lambda _: Work())


def test_every_rule_is_for_an_operator_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    standard = {name for name in WORKLOAD_RULES if "." not in name}
    assert standard - known <= {"Swish", "RMSNormalization", "SimplifiedLayerNormalization"}


def test_macs_are_those_of_the_reference_implementation() -> None:
    """Ones convolved with ones: the sum of all outputs counts the taps on real words."""
    model = conv_model(
        (1, 4, 7, 6), filters=2, group=2, weight=np.ones((2, 2, 3, 3), np.float32),
        pads=[1, 2, 0, 1], strides=[2, 1], dilations=[1, 2],
    )  # fmt: skip
    (result,) = ReferenceEvaluator(model).run(None, {"x": np.ones((1, 4, 7, 6), np.float32)})
    assert conv_of(model).nonskipped_macs == pytest.approx(float(np.sum(result)))


def test_a_constant_node_is_a_weight() -> None:
    nodes = [constant_node("w", normal((4, 3))), op("MatMul", "x w", "y")]
    item = items_of(make_model(nodes, {"x": (2, 4)}, ["y"]))[-1]
    assert item.work.parts[0].weights == "w"


def test_a_kernel_larger_than_its_map_is_no_work() -> None:
    """No count is negative: what onnx infers then is a size below zero."""
    nodes = [op("Conv", "x w", "y")]
    tensors = {"w": np.ones((2, 1, 3, 9), np.float32)}
    model = eapc.Model.from_proto(make_model(nodes, {"x": (1, 1, 8, 1)}, ["y"], tensors))
    report = eapc.analyze(model).energy
    assert report.macs == 0
    assert report.energy_mac_units == 0
    (entry,) = report.unmodelled
    assert entry.reason == (
        "its kernel spans 9 along axis 3, where its input has 1 with padding; see --input-shape"
    )


def test_a_pooling_window_larger_than_its_map() -> None:
    """Of 4 + 1 rows, 3 taps two apart span 5 and fit; 3 columns need 5."""
    pool = op("MaxPool", "x", "y", kernel_shape=[3, 3], dilations=[2, 2], pads=[0, 0, 1, 0])
    assert reason_of(pool, {"x": (1, 1, 4, 3)}) == (
        "its kernel spans 5 along axis 3, where its input has 3 with padding; see --input-shape"
    )


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"group": 7}, "its weights' 6 channels do not divide into 7 groups"),
        ({"group": 2}, "its input has 4 channels, its weights 8"),
        ({"kernel_shape": [5, 5]}, "kernel_shape is [5, 5], its weights' kernel is [3, 3]"),
    ],
)
def test_attributes_that_contradict_the_weights(attributes: dict[str, Any], reason: str) -> None:
    proto = make_model(
        [op("Conv", "x w", "y", **attributes)],
        {"x": (1, 4, 8, 8)},
        [value("y", (1, 6, 6, 6))],
        {"w": normal((6, 4, 3, 3))},
    )
    assert items_of(proto)[0].reason == reason


def test_transposed_convolutions_are_held_against_their_weights() -> None:
    """w (C, M/g, kernel): its first axis is the input's channels."""
    proto = make_model(
        [op("ConvTranspose", "x w", "y", group=3)],
        {"x": (1, 4, 8)},
        [value("y", (1, 6, 10))],
        {"w": normal((4, 2, 3))},
    )
    assert items_of(proto)[0].reason == "its weights' 4 channels do not divide into 3 groups"
