"""Every layer form is a faithful matrix view of its operator, as onnxruntime computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import loaded, normal, op
from onnx import NodeProto

from eapc.layers.forms import LAYER_FORMS, LayerForm, UnsupportedLayerError, form_of
from eapc.model import Array
from eapc.operators import operators
from eapc.runtime import Session

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    # name: shape of x, shape of w, attributes
    "1d": ((2, 4, 11), (6, 4, 3), {}),
    "1d strided dilated": ((2, 4, 17), (6, 2, 3), {"strides": [2], "dilations": [3], "group": 2}),
    "1x1": ((3, 5, 4, 4), (7, 5, 1, 1), {}),
    "padded": ((2, 3, 7, 5), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "asymmetric pads": ((2, 3, 7, 5), (4, 3, 3, 2), {"pads": [2, 0, 1, 3], "strides": [2, 1]}),
    "grouped": ((2, 6, 6, 6), (4, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ((2, 5, 6, 6), (5, 1, 3, 3), {"group": 5, "strides": [2, 2]}),
    "depthwise multiplier": ((2, 3, 6, 6), (6, 1, 3, 3), {"group": 3}),
    "dilated": ((1, 2, 12, 12), (3, 2, 3, 2), {"dilations": [2, 4], "strides": [3, 2]}),
    "same upper": ((2, 3, 8, 7), (4, 3, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "same lower": ((2, 3, 8, 7), (4, 3, 4, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
    "same stride over kernel": ((1, 2, 9, 9), (3, 2, 1, 2), {"auto_pad": "SAME_UPPER"}),
    "valid": ((2, 3, 8, 7), (4, 3, 3, 3), {"auto_pad": "VALID", "strides": [2, 2]}),
    "3d": (
        (2, 4, 5, 6, 7),
        (6, 2, 2, 3, 1),
        {"group": 2, "pads": [0, 1, 2, 1, 0, 1], "strides": [1, 2, 3]},
    ),
}

TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 4, 5, 6), (4, 3, 3, 2), {}),
    "1d": ((2, 4, 9), (4, 3, 4), {"strides": [2], "pads": [1, 1]}),
    "strided": ((2, 4, 5, 6), (4, 3, 2, 2), {"strides": [2, 2]}),
    "stride over kernel": ((2, 4, 5, 4), (4, 3, 2, 1), {"strides": [3, 2]}),
    "grouped": ((2, 4, 5, 6), (4, 3, 3, 3), {"group": 2, "strides": [2, 1], "pads": [1, 1, 1, 1]}),
    "depthwise": ((1, 4, 5, 5), (4, 1, 4, 4), {"group": 4, "strides": [2, 2], "pads": [1] * 4}),
    "dilated": ((2, 2, 5, 5), (2, 3, 3, 2), {"dilations": [2, 3], "strides": [2, 1]}),
    "asymmetric": ((2, 2, 6, 6), (2, 3, 3, 3), {"pads": [0, 2, 1, 0], "strides": [2, 2]}),
    "output padding": (
        (2, 2, 4, 5),
        (2, 3, 3, 3),
        {"output_padding": [1, 0], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "pads past the window": ((1, 2, 6, 6), (2, 3, 2, 1), {"pads": [2, 1, 1, 2], "strides": [2, 3]}),
    "3d": ((1, 2, 3, 4, 3), (2, 2, 2, 3, 2), {"strides": [1, 2, 2], "pads": [0, 1, 0, 0, 1, 1]}),
}

DENSE: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "Gemm": ("Gemm", (5, 7), (7, 4), {}),
    "Gemm transB": ("Gemm", (5, 7), (4, 7), {"transB": 1}),
    "Gemm transA": ("Gemm", (7, 5), (7, 4), {"transA": 1}),
    "Gemm both": ("Gemm", (7, 5), (4, 7), {"transA": 1, "transB": 1, "alpha": 0.3}),
    "Gemm alpha": ("Gemm", (5, 7), (7, 4), {"alpha": -2.5}),
    "MatMul rank 1": ("MatMul", (7,), (7, 4), {}),
    "MatMul rank 2": ("MatMul", (5, 7), (7, 4), {}),
    "MatMul rank 3": ("MatMul", (2, 3, 7), (7, 4), {}),
    "MatMul rank 4": ("MatMul", (2, 3, 5, 7), (7, 1), {}),
    "stack of one": ("MatMul", (2, 3, 7), (1, 7, 4), {}),
    "stack of one, deeper than its input": ("MatMul", (3, 7), (1, 1, 7, 4), {}),
    "stack": ("MatMul", (3, 5, 7), (3, 7, 4), {}),
    "stack of a batch": ("MatMul", (2, 3, 5, 7), (3, 7, 4), {}),
    "stack of a batch of batches": ("MatMul", (2, 2, 3, 5, 7), (3, 7, 4), {}),
    "stack on one matrix": ("MatMul", (5, 7), (3, 7, 4), {}),
    "stack on a stack of one": ("MatMul", (2, 1, 5, 7), (3, 7, 4), {}),
    "stack on a vector": ("MatMul", (7,), (3, 7, 4), {}),
    "stacks of two axes": ("MatMul", (2, 3, 5, 7), (2, 3, 7, 4), {}),
    "ones among the axes in front": ("MatMul", (2, 3, 5, 7), (2, 1, 7, 4), {}),
    "ones on both sides": ("MatMul", (1, 3, 5, 7), (2, 1, 7, 4), {}),
    "one in front": ("MatMul", (2, 3, 5, 7), (1, 3, 7, 4), {}),
}


def assert_form_is_the_operator(node: NodeProto, x: Array, weight: Array) -> None:
    model = loaded([node], {"x": x.shape}, ["y"], {"w": weight})
    y = Session(model.to_proto()).run({"x": x})["y"]
    form = form_of(model.nodes[0], weight.shape)
    matrix = form.to_matrix(weight)
    for rows in (np.arange(form.row_count(y.shape)), some_rows(form, y)):
        inputs = form.inputs(x, y.shape, rows)
        outputs = form.outputs(y, rows)
        assert inputs.dtype == outputs.dtype == np.float32
        assert outputs.shape == (matrix.shape[0], len(rows), matrix.shape[1])
        np.testing.assert_allclose(inputs @ matrix.swapaxes(1, 2), outputs, rtol=1e-4, atol=1e-4)
    assert y.size == form.row_count(y.shape) * matrix.shape[0] * matrix.shape[1]
    back = form.to_weight(matrix)
    assert back.shape == weight.shape
    np.testing.assert_allclose(back, weight, rtol=1e-6)
    if node.op_type != "Gemm":
        np.testing.assert_array_equal(back, weight)


def some_rows(form: LayerForm, y: Array) -> Array:
    count = form.row_count(y.shape)
    return np.random.default_rng(3).permutation(count)[: max(1, count // 3)]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str) -> None:
    x, w, attributes = CONVOLUTIONS[name]
    assert_form_is_the_operator(op("Conv", "x w", "y", **attributes), normal(x), normal(w, 1))


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution(name: str) -> None:
    x, w, attributes = TRANSPOSED[name]
    node = op("ConvTranspose", "x w", "y", **attributes)
    assert_form_is_the_operator(node, normal(x), normal(w, 1))


@pytest.mark.parametrize("name", DENSE)
def test_dense(name: str) -> None:
    op_type, x, w, attributes = DENSE[name]
    assert_form_is_the_operator(op(op_type, "x w", "y", **attributes), normal(x), normal(w, 1))


def test_a_stack_of_matrices_by_hand() -> None:
    """Two matrices of 2 inputs and 1 output: y[b, g, r] = x[b, g, r, 0] w0 + x[b, g, r, 1] w1."""
    model = loaded([op("MatMul", "x w", "y")], {"x": (1, 2, 2, 2)}, ["y"])
    form = form_of(model.nodes[0], (2, 2, 1))
    weight = np.array([[[1], [2]], [[3], [4]]], np.float32)
    np.testing.assert_array_equal(form.to_matrix(weight), [[[1, 2]], [[3, 4]]])
    np.testing.assert_array_equal(form.to_weight(form.to_matrix(weight)), weight)
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    y = np.array([[[[2], [8]], [[32], [46]]]], np.float32)
    assert (form.groups, form.row_count(y.shape), form.channel_shape) == (2, 2, (2, 1, 1))
    second = np.array([1])
    np.testing.assert_array_equal(form.inputs(x, y.shape, second), [[[2, 3]], [[6, 7]]])
    np.testing.assert_array_equal(form.outputs(y, second), [[[8]], [[46]]])


@pytest.mark.parametrize("seed", range(30))
def test_random_stacks_of_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    front = rng.integers(1, 4, int(rng.integers(0, 4)))
    x, w = (np.where(rng.random(front.size) < 0.5, front, 1) for _ in range(2))
    rows, inputs, outputs = (int(size) for size in rng.integers(1, 6, 3))
    drop = int(rng.integers(0, front.size + 1))
    shapes = ((*x.tolist()[drop:], rows, inputs), (*w.tolist(), inputs, outputs))
    if seed % 2:
        shapes = ((*x.tolist(), rows, inputs), (*w.tolist()[drop:], inputs, outputs))
    assert_form_is_the_operator(op("MatMul", "x w", "y"), normal(shapes[0]), normal(shapes[1], 1))


def random_convolution(rng: np.random.Generator) -> tuple[NodeProto, Array, Array]:
    rank, group = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2, 3]))
    kernel = rng.integers(1, 4, rank)
    dilations, strides = rng.integers(1, 3, rank), rng.integers(1, 4, rank)
    channels, filters = (int(n) * group for n in rng.integers(1, 4, 2))
    size = (kernel - 1) * dilations + 1 + rng.integers(0, 5, rank)
    pads = rng.integers(0, 3, 2 * rank)
    node = op(
        "Conv",
        "x w",
        "y",
        group=group,
        dilations=dilations.tolist(),
        strides=strides.tolist(),
        pads=pads.tolist(),
    )
    shape = (int(rng.integers(1, 4)), channels, *size.tolist())
    return node, normal(shape), normal((filters, channels // group, *kernel.tolist()), 1)


@pytest.mark.parametrize("seed", range(40))
def test_random_convolutions(seed: int) -> None:
    assert_form_is_the_operator(*random_convolution(np.random.default_rng(seed)))


def random_transposed(rng: np.random.Generator) -> tuple[NodeProto, Array, Array]:
    rank, group = int(rng.integers(1, 3)), int(rng.choice([1, 2]))
    kernel, strides = rng.integers(1, 5, rank), rng.integers(1, 4, rank)
    dilations = rng.integers(1, 3, rank)
    channels, filters = int(rng.integers(1, 4)) * group, int(rng.integers(1, 4))
    size = rng.integers(9, 12, rank)  # enough for outputs to be left, whatever the pads
    extent = (kernel - 1) * dilations + 1
    pads = np.concatenate([rng.integers(0, extent + 1), rng.integers(0, extent + 1)])
    extra = np.minimum(rng.integers(0, 3, rank), strides - 1)  # onnxruntime's limit
    node = op(
        "ConvTranspose",
        "x w",
        "y",
        group=group,
        strides=strides.tolist(),
        dilations=dilations.tolist(),
        pads=pads.tolist(),
        output_padding=extra.tolist(),
    )
    return (
        node,
        normal((2, channels, *size.tolist())),
        normal((channels, filters, *kernel.tolist()), 1),
    )


@pytest.mark.parametrize("seed", range(40))
def test_random_transposed_convolutions(seed: int) -> None:
    assert_form_is_the_operator(*random_transposed(np.random.default_rng(seed)))


def test_float16_activations_and_weights_become_float32() -> None:
    node = op("Conv", "x w", "y", pads=[1, 1, 1, 1])
    model = loaded([node], {"x": (1, 2, 4, 4)}, ["y"], {"w": normal((3, 2, 3, 3))})
    form = form_of(model.nodes[0], (3, 2, 3, 3))
    rows = np.arange(4)
    assert form.to_matrix(normal((3, 2, 3, 3)).astype(np.float16)).dtype == np.float32
    x, y = normal((1, 2, 4, 4)).astype(np.float16), normal((1, 3, 4, 4)).astype(np.float16)
    assert form.inputs(x, y.shape, rows).dtype == np.float32
    assert form.outputs(y, rows).dtype == np.float32


@pytest.mark.parametrize(
    ("op_type", "weight_shape", "attributes", "reason"),
    [
        ("Gemm", (3, 4), {"alpha": 0.0}, "alpha is 0"),
        ("MatMul", (3,), {}, "rank 1, expected 2 or more"),
        ("ConvTranspose", (2, 3, 3, 3), {"auto_pad": "SAME_UPPER"}, "automatic padding"),
        ("ConvTranspose", (2, 3, 3, 3), {"output_shape": [9, 9]}, "output_shape"),
    ],
)
def test_what_has_no_form(
    op_type: str, weight_shape: tuple[int, ...], attributes: dict[str, Any], reason: str
) -> None:
    model = loaded([op(op_type, "x w", "y", **attributes)], {"x": None}, ["y"])  # type: ignore[dict-item]
    with pytest.raises(UnsupportedLayerError, match=reason):
        form_of(model.nodes[0], weight_shape)


def test_every_operator_with_weights_has_a_form() -> None:
    assert {row.kind for row in operators() if row.weights} == LAYER_FORMS.keys()
