"""Weights behind Identity, Transpose, Reshape, Cast and DequantizeLinear."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from builders import Array, constant_node, ints, loaded, normal, op, scalar, value
from onnx import NodeProto, TensorProto, helper

from eapc.model import (
    Model,
    WeightSource,
    all_finite,
    as_seen,
    as_stored,
    count_nonzero,
    find_weights,
    obstacle,
    seen_shapes,
    weights_stored,
)
from eapc.runtime import Session, with_outputs


def behind(nodes: list[NodeProto], root: Array, **tensors: Array) -> tuple[Model, WeightSource]:
    """A model that multiplies x by `seen`, which `nodes` make out of `root`."""
    nodes = [*nodes, op("MatMul", "x seen", "y", name="layer")]
    initializers = {"root": root, **tensors}
    model = loaded(nodes, {"x": (1, 4)}, [value("y", None)], initializers, opset=21)
    source = find_weights(model, "seen")
    assert source is not None
    return model, source


def quantized(root: Array, zero: Array, **attributes: Any) -> tuple[int, int]:
    """(non-zero, all) elements of a quantized weight."""
    scale = np.ones(zero.shape, np.float32)
    node = op("DequantizeLinear", "root scale zero", "seen", **attributes)
    return count_nonzero(*behind([node], root, scale=scale, zero=zero))


def test_a_plain_weight_is_its_own_source() -> None:
    model = loaded([op("MatMul", "x w", "y")], {"x": (1, 4)}, ["y"], {"w": normal((4, 3))})
    source = find_weights(model, "w")
    assert source == WeightSource("w", "w")
    assert obstacle(model, source) == ""
    assert seen_shapes(model, source) == [(4, 3)]


def test_activations_are_no_weights() -> None:
    nodes = [op("Relu", "x", "a"), op("Transpose", "a", "t"), op("MatMul", "t w", "y")]
    model = loaded(nodes, {"x": (4, 4)}, ["y"], {"w": normal((4, 3))})
    for name in ("x", "a", "t", "y", "none"):
        assert find_weights(model, name) is None


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Identity", "root", "seen")],
        [op("Transpose", "root", "seen")],
        [op("Transpose", "root", "seen", perm=[1, 0])],
        [op("Reshape", "root target", "seen")],
        [op("Transpose", "root", "t"), op("Identity", "t", "i"), op("Reshape", "i target", "seen")],
        [op("Reshape", "root tall", "t"), op("Transpose", "t", "seen", perm=[1, 2, 0])],
    ],
    ids=lambda nodes: " ".join(node.op_type for node in nodes),
)
def test_values_go_there_and_back(nodes: list[NodeProto]) -> None:
    root = normal((6, 4))
    model, source = behind(nodes, root, target=ints(4, -1), tall=ints(3, 2, 4))
    assert obstacle(model, source) == ""
    seen = as_seen(model, source)
    assert seen_shapes(model, source)[-1] == seen.shape
    assert np.array_equal(as_stored(model, source, seen), root)
    assert as_stored(model, source, seen).flags.c_contiguous
    assert source.root == "root"
    assert [node.op_type for node in source.chain] == [node.op_type for node in nodes]


def test_reshape_copies_axes_of_size_zero() -> None:
    model, source = behind(
        [op("Reshape", "root target", "seen")], normal((4, 6)), target=ints(0, -1)
    )
    assert as_seen(model, source).shape == (4, 6)


def test_new_values_of_the_model_are_seen() -> None:
    model, source = behind([op("Transpose", "root", "seen")], normal((3, 4)))
    changed = model.with_weights({"root": np.zeros((3, 4), np.float32)})
    assert not as_seen(changed, source).any()
    assert count_nonzero(changed, source) == (0, 12)


def test_what_stands_in_the_way_of_new_values() -> None:
    dequantize = [op("DequantizeLinear", "root scale", "seen")]
    tiny = np.ones((4, 3), ml_dtypes.float8_e4m3fn)
    assert "type float8" in obstacle(*behind(dequantize, tiny, scale=scalar(1)))
    wide = np.ones((4, 3), np.int8)
    endless = obstacle(*behind(dequantize, wide, scale=scalar(np.inf)))
    assert endless == "weights have scales that are no finite numbers; quantize them anew"
    cast = [op("Cast", "root", "seen", to=TensorProto.FLOAT)]
    assert "type int64" in obstacle(*behind(cast, np.ones((4, 3), np.int64)))
    there = op("Cast", "root", "whole", to=TensorProto.INT32)
    back = op("Cast", "whole", "seen", to=TensorProto.FLOAT)
    assert "cast to integers" in obstacle(*behind([there, back], normal((4, 3))))
    computed = [op("NonZero", "x", "size"), op("Reshape", "root size", "seen")]
    assert "computed shape" in obstacle(*behind(computed, normal((4, 3))))


def cast(read: str, made: str, dtype: int) -> NodeProto:
    return op("Cast", read, made, to=dtype)


CHAINS: dict[str, tuple[list[NodeProto], Array]] = {
    "float16": ([cast("root", "seen", TensorProto.FLOAT)], normal((4, 3)).astype(np.float16)),
    "bfloat16": (
        [cast("root", "seen", TensorProto.FLOAT)],
        normal((4, 3)).astype(ml_dtypes.bfloat16),
    ),
    "double": ([cast("root", "seen", TensorProto.FLOAT)], normal((4, 3)).astype(np.float64)),
    "there and back": (
        [cast("root", "half", TensorProto.FLOAT16), cast("half", "seen", TensorProto.FLOAT)],
        normal((4, 3)),
    ),
    "between views": (
        [
            op("Transpose", "root", "t"),
            cast("t", "c", TensorProto.FLOAT),
            op("Unsqueeze", "c front", "u"),
            op("Squeeze", "u front", "s"),
            op("Identity", "s", "i"),
            op("Reshape", "i size", "seen"),
        ],
        normal((3, 4)).astype(np.float16),
    ),
    "flattened": (
        [op("Flatten", "root", "f"), cast("f", "seen", TensorProto.FLOAT)],
        normal((4, 3, 1)).astype(np.float16),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_new_values_go_back_through_casts_and_views(name: str) -> None:
    """Read by onnxruntime as the layer reads them, and in the type in which they were stored."""
    nodes, root = CHAINS[name]
    model, source = behind(nodes, root, front=ints(0), size=ints(4, 3))
    assert obstacle(model, source) == ""
    proto = with_outputs(model.to_proto(), ["seen"])
    seen = Session(proto, 1, optimise=False).run({"x": np.zeros((1, 4), np.float32)})["seen"]
    np.testing.assert_array_equal(as_seen(model, source), seen)
    assert as_seen(model, source).dtype == np.float32
    back = weights_stored(model, source, seen)
    assert back.dtype == root.dtype
    changed = model.with_weights({"root": back})
    np.testing.assert_array_equal(as_seen(changed, source), seen)


def test_zeros_stay_what_they_are_and_nothing_is_infinite() -> None:
    """float16 has 2^-24 as the smallest and 65504 as the largest number."""
    nodes, root = CHAINS["float16"]
    model, source = behind(nodes, root)
    wanted = np.zeros((4, 3), np.float32)
    wanted[0] = [1e-9, -1e-30, 1e9]
    wanted[1] = [-np.inf, 3.0, 0.0]
    stored = weights_stored(model, source, wanted)
    assert stored[:2].tolist() == [[2.0**-24, -(2.0**-24), 65504.0], [-65504.0, 3.0, 0.0]]
    assert np.count_nonzero(stored) == 5


def test_what_casts_on_the_way_would_lose_is_kept() -> None:
    """Stored as float32, but read through float16."""
    nodes, root = CHAINS["there and back"]
    model, source = behind(nodes, root)
    wanted = np.zeros((4, 3), np.float32)
    wanted[0] = [1e-9, 1e9, 0.1]
    stored = weights_stored(model, source, wanted)
    assert stored[0].tolist() == [2.0**-24, 65504.0, float(np.float16(0.1))]
    changed = as_seen(model.with_weights({"root": stored}), source)
    np.testing.assert_array_equal(changed, stored)


def test_arithmetic_of_constants_may_give_the_shape_and_the_values() -> None:
    nodes = [
        op("Abs", "root", "positive"),
        op("Abs", "target", "size"),
        op("Reshape", "positive size", "seen"),
    ]
    root = -np.abs(normal((4, 3)))
    model, source = behind(nodes, root, target=ints(-4, -3))
    assert source.root == "positive"
    assert obstacle(model, source) == ""
    assert np.array_equal(as_seen(model, source), -root)
    assert count_nonzero(model, source) == (12, 12)


def test_a_constant_node_is_a_root() -> None:
    nodes = [
        constant_node("w", normal((3, 4))),
        op("Transpose", "w", "t"),
        op("MatMul", "x t", "y"),
    ]
    model = loaded(nodes, {"x": (1, 4)}, ["y"])
    source = find_weights(model, "t")
    assert source is not None
    assert source.root == "w"


# --- zeros -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int8])
def test_zeros_are_counted_in_every_type(kind: type[np.generic]) -> None:
    root = np.array([[0.0, 1, 2], [3, -0.0, 0], [1, 1, 1], [1, 1, 1]]).astype(kind)
    nodes = [op("Cast", "root", "seen", to=TensorProto.FLOAT)]
    assert count_nonzero(*behind(nodes, root)) == (9, 12)


def test_a_quantized_zero_is_its_zero_point() -> None:
    root = np.array([[3, 3, 4], [0, 3, 5]], np.uint8)
    assert quantized(root, scalar(3, np.uint8)) == (3, 6)
    assert quantized(root, np.array([3], np.uint8)) == (3, 6)


def test_zero_points_along_an_axis() -> None:
    root = np.array([[3, 0, 7], [0, 3, 7]], np.uint8)
    assert quantized(root, np.array([3, 0], np.uint8), axis=0) == (4, 6)
    assert quantized(root, np.array([3, 3, 7], np.uint8), axis=1) == (2, 6)
    assert quantized(root, np.array([3, 3, 7], np.uint8), axis=-1) == (2, 6)


def test_zero_points_of_blocks() -> None:
    """Blocks of two along the rows, the last one cut short."""
    root = np.array([[1, 5], [1, 4], [2, 5]], np.uint8)
    zero = np.array([[1, 5], [2, 5]], np.uint8)
    assert quantized(root, zero, axis=0, block_size=2) == (1, 6)


def test_no_zero_point_means_zero() -> None:
    root = np.array([[0, 1], [2, 0]], np.int8)
    node = op("DequantizeLinear", "root scale", "seen")
    assert count_nonzero(*behind([node], root, scale=scalar(1))) == (2, 4)


def test_four_bit_weights() -> None:
    packed = helper.make_tensor("root", TensorProto.INT4, [2, 2], [0, -8, 7, 0])
    nodes = [op("DequantizeLinear", "root scale", "seen"), op("MatMul", "x seen", "y")]
    tensors: dict[str, Array | TensorProto] = {"root": packed, "scale": scalar(1)}
    model = loaded(nodes, {"x": (1, 2)}, [value("y", None)], tensors, opset=21)
    source = find_weights(model, "seen")
    assert source is not None
    assert count_nonzero(model, source) == (2, 4)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_finite(kind: type[np.generic]) -> None:
    assert all_finite(np.array([0.0, 1e4]).astype(kind))
    for bad in (np.nan, np.inf, -np.inf):
        assert not all_finite(np.array([0.0, bad]).astype(kind))


def test_integers_are_finite() -> None:
    assert all_finite(np.array([1, 2]))
