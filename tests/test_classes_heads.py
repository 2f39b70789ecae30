"""Heads of every kind, cut by hand-computed rows; what is no head is refused in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array, Initializers, constant_node, ints, loaded, normal, op, scalar, value
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper, numpy_helper

from eapc.classes import CLASSES_KEY, ClassMap, find_head, keep_classes
from eapc.errors import ModelError
from eapc.model import Model
from eapc.runtime import open_model

N = 5
ORT = "com.microsoft"
FLAT: Sequence[int | str] = ("N", 6)
MAPS: Sequence[int | str] = ("N", 6, 3, 3)
W = normal((6, N))
B = normal((N,), 1)
KERNEL = normal((N, 6, 1, 1))


def cut(model: Model, classes: Sequence[int]) -> Model:
    return keep_classes(model, classes, ClassMap(tuple(classes)))


def run(model: Model, x: Array) -> Array:
    (y,) = open_model(model).run({"x": x}).values()
    return y


def inputs(model: Model, count: int = 4) -> Array:
    spec = model.inputs[0]
    shape = [axis if isinstance(axis, int) else count for axis in spec.shape]
    return np.asarray(np.random.default_rng(7).normal(size=shape), spec.dtype)


def net(
    nodes: Sequence[NodeProto], x: Sequence[int | str], tensors: Initializers, opset: int = 17
) -> Model:
    return loaded(nodes, {"x": x}, ["y"], tensors, opset)


def test_the_numbers_of_a_gemm_by_hand() -> None:
    """x = (1, 2), W = ((1, 2, 3), (4, 5, 6)), b = (10, 20, 30): scores 19, 32, 45."""
    w, b = np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([10, 20, 30], np.float32)
    model = net([op("Gemm", "x w b", "y")], (1, 2), {"w": w, "b": b})
    x = np.array([[1, 2]], np.float32)
    assert run(model, x).tolist() == [[19, 32, 45]]
    smaller = cut(model, (2, 0))
    assert run(smaller, x).tolist() == [[45, 19]]
    assert smaller.constants["w"].tolist() == [[3, 1], [6, 4]]
    assert smaller.constants["b"].tolist() == [30, 10]
    (y,) = smaller.view.proto.graph.output
    assert [dim.dim_value for dim in y.type.tensor_type.shape.dim] == [1, 2]


def quantized(array: Array, axis: int | None) -> tuple[Array, Array, Array]:
    """int8 values, scale and zero point: one, or one per index along an axis."""
    others = None if axis is None else tuple(i for i in range(array.ndim) if i != axis)
    scale = (np.abs(array).max(axis=others) / 127).astype(np.float32)
    spread = scale if axis is None else np.expand_dims(scale, others or ())
    return np.rint(array / spread).astype(np.int8), scale, np.zeros(scale.shape, np.int8)


def behind_dequantize(axis: int | None, transposed: bool) -> Model:
    """A Gemm of integer weights, as quantizers write it."""
    weights, scale, zero = quantized(W.T if transposed else W, axis)
    nodes = [
        op("DequantizeLinear", "w ws wz", "wf", axis=axis or 0),
        op("DequantizeLinear", "b bs bz", "bf", axis=0),
        op("Gemm", "x wf bf", "p", transB=int(transposed)),
        op("QuantizeLinear", "p ys yz", "q"),
        op("DequantizeLinear", "q ys yz", "y"),
    ]
    bias = np.arange(-2, 3).astype(np.int32)
    tensors: dict[str, Array] = {
        "w": weights,
        "ws": scale,
        "wz": zero,
        "ys": scalar(0.02),
        "yz": scalar(3, np.int8),
    }
    few: dict[str, Array] = {"b": bias, "bs": scale / 16, "bz": np.zeros(scale.shape, np.int32)}
    return net(nodes, FLAT, {**tensors, **few})


def computed_shape(head: NodeProto, tensors: Initializers) -> Model:
    """Maps of scores, pooled and flattened by x.view(x.size(0), -1)."""
    nodes = [
        head,
        op("GlobalAveragePool", "c", "g"),
        op("Shape", "g", "s"),
        op("Gather", "s zero", "n", axis=0),
        op("Unsqueeze", "n axes", "u"),
        op("Concat", "u rest", "shape", axis=0),
        op("Reshape", "g shape", "y"),
    ]
    more = {"zero": scalar(0, np.int64), "axes": ints(0), "rest": ints(-1)}
    return net(nodes, MAPS, {**tensors, **more})


CONV = op("Conv", "x k b", "c")
CONV_TENSORS = {"k": KERNEL, "b": B}
STATISTICS = {"g": normal((N,), 2), "t": normal((N,), 3), "m": normal((N,), 4), "v": B**2 + 1}
POOLED = [CONV, op("GlobalAveragePool", "c", "p")]

HEADS: dict[str, Model] = {
    "gemm": net([op("Gemm", "x w b", "y")], FLAT, {"w": W, "b": B}),
    "gemm, transposed": net([op("Gemm", "x w b", "y", transB=1)], FLAT, {"w": W.T, "b": B}),
    "gemm without bias": net([op("Gemm", "x w", "y", alpha=0.5)], FLAT, {"w": W}),
    "gemm, one bias": net([op("Gemm", "x w b", "y")], FLAT, {"w": W, "b": normal((1,))}),
    "gemm, bias of two axes": net([op("Gemm", "x w b", "y")], FLAT, {"w": W, "b": B[None]}),
    "gemm of Constant nodes": net(
        [constant_node("w", W), constant_node("b", B), op("Gemm", "x w b", "y")], FLAT, {}
    ),
    "product and sum": net(
        [op("MatMul", "x w", "m"), op("Add", "b m", "y")], FLAT, {"w": W, "b": B}
    ),
    "product behind a transpose": net(
        [op("Transpose", "w", "t", perm=[1, 0]), op("MatMul", "x t", "m"), op("Add", "m b", "y")],
        FLAT,
        {"w": W.T, "b": B},
    ),
    "sum of another rank": net(
        [
            op("MatMul", "x w", "m"),
            op("Add", "r m", "s"),
            op("Squeeze", "s zero", "v"),
            op("Add", "v b", "y"),
        ],
        (1, 6),
        {"w": W, "r": B[None, None], "zero": ints(0), "b": B[None]},
    ),
    "gemm, a bias for each input": net(
        [op("Gemm", "x w b", "y")], (3, 6), {"w": W, "b": normal((3, 1))}
    ),
    "weights on the left": net(
        [
            op("Transpose", "x", "t", perm=[1, 0]),
            op("MatMul", "w t", "m"),
            op("Transpose", "m", "y", perm=[1, 0]),
        ],
        FLAT,
        {"w": W.T},
    ),
    "normalised product": net(
        [op("MatMul", "x w", "m"), op("BatchNormalization", "m g t m_ v", "y")],
        FLAT,
        {"w": W, "m_": STATISTICS["m"]} | {k: STATISTICS[k] for k in "gtv"},
    ),
    "scaled product": net(
        [op("MatMul", "x w", "m"), op("Mul", "m b", "s"), op("Div", "s d", "y")],
        FLAT,
        {"w": W, "b": B, "d": scalar(2.0)},
    ),
    "convolution, pooled, flattened": net([*POOLED, op("Flatten", "p", "y")], MAPS, CONV_TENSORS),
    "convolution, normalised, clipped": net(
        [
            op("Conv", "x k", "c"),
            op("BatchNormalization", "c g t m v", "n"),
            op("Relu", "n", "r"),
            op("GlobalMaxPool", "r", "p"),
            op("Flatten", "p", "y"),
        ],
        MAPS,
        {"k": KERNEL, **STATISTICS},
    ),
    "convolution, fixed shape": net(
        [*POOLED, op("Reshape", "p s", "y")], MAPS, {**CONV_TENSORS, "s": ints(-1, N)}
    ),
    "convolution, open shape": net(
        [*POOLED, op("Reshape", "p s", "y")], MAPS, {**CONV_TENSORS, "s": ints(0, -1)}
    ),
    "convolution, squeezed": net(
        [*POOLED, op("Squeeze", "p a", "y")], MAPS, {**CONV_TENSORS, "a": ints(2, 3)}
    ),
    "convolution, mean": net(
        [CONV, op("ReduceMean", "c", "y", axes=[2, 3], keepdims=0)], MAPS, CONV_TENSORS
    ),
    "convolution, channels last": net(
        [
            CONV,
            op("Transpose", "c", "t", perm=[0, 2, 3, 1]),
            op("ReduceMean", "t", "y", axes=[1, 2], keepdims=0),
        ],
        MAPS,
        CONV_TENSORS,
    ),
    "convolution, computed shape": computed_shape(CONV, CONV_TENSORS),
    "convolution of a whole map": net(
        [op("Conv", "x k b", "y")], MAPS, {"k": normal((N, 6, 3, 3)), "b": B}
    ),
    "integers, one scale": behind_dequantize(None, transposed=False),
    "integers, a scale per class": behind_dequantize(1, transposed=False),
    "integers, transposed, a scale per class": behind_dequantize(0, transposed=True),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("classes", [(3, 1), (4, 0, 2), (0, 1, 2, 3, 4), (2, 4, 3, 1, 0)])
def test_scores_are_the_originals_of_the_classes_in_the_order_given(
    name: str, classes: tuple[int, ...], tmp_path: Path
) -> None:
    model = HEADS[name]
    x = inputs(model)
    smaller = cut(model, classes)
    expected = run(model, x)[:, list(classes)]
    found = run(smaller, x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    smaller.save(tmp_path / "cut.onnx")
    onnx.checker.check_model(tmp_path / "cut.onnx", full_check=True)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(HEADS)), st.permutations(range(N)), st.integers(2, N))
def test_a_cut_of_a_cut_is_the_cut(name: str, order: list[int], count: int) -> None:
    """Any order, in one step or two: the same scores as picked from the original's."""
    model, first, rest = HEADS[name], order, list(range(count))
    x = inputs(model)
    twice = cut(cut(model, first), rest)
    picked = run(model, x)[:, [first[i] for i in rest]]
    np.testing.assert_allclose(run(twice, x), picked, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("opset", [12, 17])
@pytest.mark.parametrize("ending", ["Softmax", "LogSoftmax"])
def test_a_softmax_runs_over_the_classes_that_are_left(opset: int, ending: str) -> None:
    """Scores log 1, log 2, log 3, log 4: of the last two it is 3/7 and 4/7."""
    b = np.log(np.array([1, 2, 3, 4], np.float32))
    w = np.zeros((2, 4), np.float32)
    nodes = [op("Gemm", "x w b", "s"), op(ending, "s", "y", axis=1)]
    model = net(nodes, (1, 2), {"w": w, "b": b}, opset)
    found = run(cut(model, (3, 2)), np.ones((1, 2), np.float32))
    expected = np.array([[4 / 7, 3 / 7]])
    np.testing.assert_allclose(found, expected if ending == "Softmax" else np.log(expected), 1e-6)
    assert find_head(model).ending == ending


def test_integers_stay_integers() -> None:
    smaller = cut(behind_dequantize(1, transposed=False), (4, 1))
    assert smaller.constants["w"].dtype == np.int8
    assert smaller.constants.shape("w") == (6, 2)
    assert smaller.constants.shape("ws") == (2,)


def test_operators_on_integers_are_cut_with_their_scales() -> None:
    """QLinearConv with a scale per class, QLinearMatMul, and MatMulInteger."""
    kernel, scale, zero = quantized(KERNEL, 0)
    nodes = [
        op("QuantizeLinear", "x s z", "q"),
        op("QLinearConv", "q s z k ks kz s z b", "c"),
        op("DequantizeLinear", "c s z", "d"),
        op("GlobalAveragePool", "d", "p"),
        op("Flatten", "p", "y"),
    ]
    tensors = {"s": scalar(0.05), "z": scalar(0, np.int8), "k": kernel, "ks": scale, "kz": zero}
    conv = net(nodes, MAPS, {**tensors, "b": np.arange(N).astype(np.int32)})
    weights, w_scale, w_zero = quantized(W, 1)
    nodes = [
        op("QuantizeLinear", "x s z", "q"),
        op("QLinearMatMul", "q s z w ws wz s z", "m"),
        op("DequantizeLinear", "m s z", "y"),
    ]
    few = {"s": scalar(0.05), "z": scalar(0, np.int8), "w": weights, "ws": w_scale, "wz": w_zero}
    product = net(nodes, FLAT, few)
    nodes = [
        op("DynamicQuantizeLinear", "x", "q xs xz"),
        op("MatMulInteger", "q w xz", "i"),
        op("Cast", "i", "f", to=TensorProto.FLOAT),
        op("Mul", "xs ws", "s"),
        op("Mul", "f s", "y"),
    ]
    dynamic = net(nodes, FLAT, {"w": weights, "ws": scalar(0.01)})
    for model in (conv, product, dynamic):
        x = inputs(model)
        np.testing.assert_array_equal(run(cut(model, (4, 1)), x), run(model, x)[:, [4, 1]])


def test_weights_that_another_node_reads_stay_for_it() -> None:
    """A table of embeddings that the head reads as well keeps its rows."""
    nodes = [
        op("Gather", "w i", "e", axis=0),
        op("Add", "x e", "a"),
        op("Transpose", "w", "t", perm=[1, 0]),
        op("MatMul", "a t", "y"),
    ]
    model = net(nodes, ("N", 6), {"w": W.T, "i": ints(2)})
    smaller, x = cut(model, (4, 1)), inputs(model)
    np.testing.assert_allclose(run(smaller, x), run(model, x)[:, [4, 1]], rtol=1e-6)
    assert smaller.constants.shape("w") == (N, 6)


def test_a_vector_that_two_nodes_read_is_cut_for_the_head_alone() -> None:
    b = normal((6,), 1)
    nodes = [op("Add", "x b", "a"), op("Gemm", "a w b", "y")]
    model = net(nodes, ("N", 6), {"w": normal((6, 6)), "b": b})
    smaller, x = cut(model, (5, 0)), inputs(model)
    np.testing.assert_allclose(run(smaller, x), run(model, x)[:, [5, 0]], rtol=1e-6)


def test_shapes_that_a_file_lists_are_those_it_has(tmp_path: Path) -> None:
    """value_info of initializers and of scores; the full checker refuses stale ones."""
    model = net([op("Gemm", "x w b", "s"), op("Relu", "s", "y")], (1, 6), {"w": W, "b": B})
    listed = (("w", (6, N)), ("b", (N,)), ("s", (1, N)))
    model.view.proto.graph.value_info.extend(value(*each) for each in listed)
    smaller = cut(Model.from_proto(model.view.proto), (1, 2))
    info = {v.name: v.type.tensor_type.shape.dim for v in smaller.view.proto.graph.value_info}
    sizes = {name: [dim.dim_value for dim in dims] for name, dims in info.items()}
    assert sizes == {"w": [6, 2], "b": [2], "s": [1, 2]}
    smaller.save(tmp_path / "cut.onnx")
    onnx.checker.check_model(tmp_path / "cut.onnx", full_check=True)


def test_the_file_tells_its_classes() -> None:
    model = HEADS["gemm"]
    smaller = keep_classes(model, (3, 1), ClassMap((3, 1), ("cat", "dog")))
    told = {entry.key: entry.value for entry in smaller.view.proto.metadata_props}
    assert told == {CLASSES_KEY: "3,1", "eapc.class_names": '["cat", "dog"]'}
    assert not model.view.proto.metadata_props


# --- what is refused -------------------------------------------------------------------------


def two_outputs() -> Model:
    nodes = [op("Gemm", "x w b", "y"), op("Relu", "y", "z")]
    return loaded(nodes, {"x": FLAT}, ["y", "z"], {"w": W, "b": B})


def packed() -> Model:
    node = op("MatMulNBits", "x w s", "y", K=16, N=N, bits=4, block_size=16)
    node.domain = ORT
    tensors: dict[str, Array] = {"w": np.zeros((N, 1, 8), np.uint8), "s": np.ones(N, np.float32)}
    return net([node], ("N", 16), tensors)


GEMM = op("Gemm", "x w b", "s")
GEMM_TENSORS: dict[str, Array] = {"w": W, "b": B}

REFUSED: dict[str, tuple[Model, str]] = {
    "two outputs": (two_outputs(), "it has 2 outputs, and a classifier has one"),
    "one score": (
        net([op("Gemm", "x w", "y")], FLAT, {"w": normal((6, 1))}),
        "output 'y' is one score: there are no classes to choose from",
    ),
    "an image": (net([op("Conv", "x k b", "y")], MAPS, CONV_TENSORS), "is not one score for each"),
    "read elsewhere": (
        net([GEMM, op("ReduceMax", "s", "m", axes=[1]), op("Sub", "s m", "y")], FLAT, GEMM_TENSORS),
        "ReduceMax 'm' reads the scores 's', too",
    ),
    "no weights": (net([op("Relu", "x", "y")], FLAT, {}), "no layer makes 'x'"),
    "two branches": (
        net([GEMM, op("MatMul", "x w", "t"), op("Add", "s t", "y")], FLAT, GEMM_TENSORS),
        "Add 'y' joins the scores of several branches",
    ),
    "class numbers": (
        net([GEMM, op("ArgMax", "s", "y", axis=1)], FLAT, GEMM_TENSORS),
        "output 'y' is one score",
    ),
    "joined": (
        net(
            [op("Gemm", "x w b", "s"), op("Gemm", "x w b", "t"), op("Concat", "s t", "y", axis=1)],
            FLAT,
            GEMM_TENSORS,
        ),
        "Concat 'y' is no layer of weights, and may mix classes",
    ),
    "computed weights": (
        loaded([op("MatMul", "x v", "y")], {"x": FLAT, "v": (6, N)}, ["y"], {}),
        "the weights 'v' of MatMul 'y' are computed",
    ),
    "groups": (
        net(
            [
                op("Conv", "x k", "c", group=2),
                op("GlobalAveragePool", "c", "p"),
                op("Flatten", "p", "y"),
            ],
            MAPS,
            {"k": normal((4, 3, 1, 1))},
        ),
        "Conv 'c' works on groups of channels",
    ),
    "packed integers": (packed(), "MatMulNBits 'y' is no layer of weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_head_is_refused_in_one_line(name: str) -> None:
    model, said = REFUSED[name]
    with pytest.raises(ModelError, match="no classifier head to cut: ") as caught:
        find_head(model)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_quantized_weights_behind_a_reshape_are_refused() -> None:
    weights, scale, zero = quantized(W, None)
    nodes = [
        op("DequantizeLinear", "w s z", "wf"),
        op("Reshape", "wf shape", "r"),
        op("MatMul", "x r", "y"),
    ]
    tensors = {"w": weights.reshape(3, 2, N), "s": scale, "z": zero, "shape": ints(6, N)}
    with pytest.raises(ModelError, match="its weights 'r' behind Reshape cannot be cut"):
        find_head(net(nodes, FLAT, tensors))


def test_quantized_weights_of_two_layers_are_refused() -> None:
    weights, scale, zero = quantized(W, None)
    nodes = [
        op("DequantizeLinear", "w s z", "wf"),
        op("MatMul", "x wf", "a"),
        op("Transpose", "wf", "t", perm=[1, 0]),
        op("MatMul", "a t", "b"),
        op("MatMul", "b wf", "y"),
    ]
    model = net(nodes, FLAT, {"w": weights, "s": scale, "z": zero})
    with pytest.raises(ModelError, match="'wf' are read by other layers, too"):
        find_head(model)


def test_initializers_as_inputs_keep_their_declared_shapes() -> None:
    """As IR 3 has it: what is declared follows what is stored."""
    graph = helper.make_graph(
        [op("MatMul", "x w", "y")],
        "graph",
        [value("x", (1, 6)), value("w", (6, N))],
        [value("y", (1, N))],
        [numpy_helper.from_array(W, "w")],
    )
    opsets = [helper.make_opsetid("", 8)]
    proto = helper.make_model(graph, ir_version=3, opset_imports=opsets)
    smaller = cut(Model.from_proto(proto), (4, 2))
    declared = smaller.view.proto.graph.input[1].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in declared] == [6, 2]
    x = normal((1, 6))
    np.testing.assert_allclose(run(smaller, x), (x @ W)[:, [4, 2]], rtol=1e-5)
