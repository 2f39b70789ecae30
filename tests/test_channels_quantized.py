"""Channels of codes: their scales and zero points go along, and what they never leave is dead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from builders import Array, normal, op, scalar
from channel_builders import axes_of, feed_of, groups_of, net
from onnx import NodeProto
from structured_builders import compiled
from test_shrink_channels import dead_in

from eapc.channels import remove_channels
from eapc.model import Model
from eapc.runtime import Session

IMAGE = ("N", 3, 4, 4)
ORT = "com.microsoft"


def int8(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-90, 91, shape).astype(np.int8)


def f32(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


GRIDS: dict[str, Array] = {
    "s": scalar(0.5), "z": np.array(0, np.uint8), "one": scalar(1), "ws": scalar(0.01),
    "zw": np.array(0, np.int8),
}  # fmt: skip


def qdq(nodes: Sequence[NodeProto] = (), at: str = "d", **tensors: Array) -> Model:
    """`one` makes 4 channels of int8 weights w1 and an int32 bias, in codes of a Relu's range.

    Nodes lead from those, d, to what `two` reads at its end.
    """
    made = [
        op("QuantizeLinear", "x one zx", "xq"),
        op("DequantizeLinear", "xq one zx", "xd"),
        op("DequantizeLinear", "w1 ws1", "w1d", axis=0),
        op("DequantizeLinear", "b1 bs", "b1d", axis=0),
        op("Conv", "xd w1d b1d", "c", "one"),
        op("QuantizeLinear", "c s z", "cq"),
        op("DequantizeLinear", "cq s z", "d"),
        *nodes,
        op("DequantizeLinear", "w2 ws", "w2d"),
        op("Conv", f"{at} w2d", "y", "two"),
    ]
    known = {
        **GRIDS, "zx": np.array(0, np.int8), "w1": int8(4, 3, 1, 1),
        "ws1": f32(0.01, 0.02, 0.03, 0.04), "b1": np.array([300, 300, 300, 300], np.int32),
        "bs": f32(0.01, 0.02, 0.03, 0.04), "w2": int8(5, 4, 1, 1, seed=1),
    }  # fmt: skip
    return net(made, IMAGE, {**known, **tensors}, opset=21)


def runs(model: Model) -> bool:
    """Whether onnxruntime opens the model and answers."""
    return bool(Session(model.to_proto(embed=True), 1).run(feed_of(model))["y"].size)


def silent(*bias: int, filters: Sequence[int] = (1, 2), **tensors: Array) -> Model:
    """Filters of zeros, whose results are their biases: codes of them by the filters' scales."""
    w1, b1 = int8(4, 3, 1, 1), np.full(4, 300, np.int32)
    w1[list(filters)], b1[list(filters)] = 0, bias
    return qdq((), "d", w1=w1, b1=b1, **tensors)


# --- which axes go along ----------------------------------------------------------------------


def test_scales_and_biases_go_with_their_channels() -> None:
    wanted = {("w1", 0): 1, ("ws1", 0): 1, ("b1", 0): 1, ("bs", 0): 1, ("w2", 1): 1}
    assert axes_of(qdq()) == {"one": (4, wanted)}


def test_a_vector_of_scales_that_two_nodes_share_is_cut_for_each() -> None:
    """The bias is read by the scales of the weights; `two` has as many filters of its own."""
    nodes = [
        op("DequantizeLinear", "w3 ws1", "w3d", axis=0),
        op("Conv", "d w3d", "e", "three"),
        op("Relu", "e", "r"),
    ]
    model = qdq(nodes, "r", w3=int8(4, 4, 1, 1, seed=2), bs=f32(0.01, 0.02, 0.03, 0.04))
    groups = groups_of(model)
    assert [(group.name, group.size) for group in groups.groups] == [("one", 4), ("three", 4)]
    kept = {"one": np.array([0, 2]), "three": np.array([1])}
    smaller = remove_channels(model, groups, kept)
    scales = {
        node.outputs[0]: smaller.constants[node.input(1)].tolist()
        for node in smaller.view.main_nodes
        if node.outputs[0] in ("w1d", "w3d")
    }
    assert scales["w1d"] == f32(0.01, 0.03).tolist()
    assert scales["w3d"] == f32(0.02).tolist()
    assert runs(smaller)


def test_codes_behind_a_transpose_are_cut_where_they_are_stored() -> None:
    nodes = [
        op("Transpose", "m", "mt"),
        op("DequantizeLinear", "mt ws", "md"),
        op("GlobalAveragePool", "x", "p"),
        op("Flatten", "p", "f"),
        op("MatMul", "f md", "h", "one"),
        op("Relu", "h", "r"),
        op("DequantizeLinear", "n ws", "nd"),
        op("MatMul", "r nd", "y", "two"),
    ]
    model = net(nodes, IMAGE, {**GRIDS, "m": int8(6, 3), "n": int8(6, 2)})
    assert axes_of(model) == {"one": (6, {("m", 0): 1, ("n", 0): 1})}


def test_blocks_of_one_scale_go_whole() -> None:
    """`two` reads 6 channels in blocks of 4: the last has but two."""
    nodes = [
        op("DequantizeLinear", "m ws", "md"),
        op("GlobalAveragePool", "x", "p"),
        op("Flatten", "p", "f"),
        op("MatMul", "f md", "h", "one"),
        op("Relu", "h", "r"),
        op("DequantizeLinear", "n ns", "nd", axis=0, block_size=4),
        op("MatMul", "r nd", "y", "two"),
    ]
    scales = np.array([[0.01, 0.02], [0.03, 0.04], [0.05, 0.06]], np.float32)
    tensors = {**GRIDS, "m": int8(3, 10), "n": int8(10, 2), "ns": scales}
    model = net(nodes, IMAGE, tensors, opset=21)
    groups = groups_of(model)
    found = {group.name: [cut.indices.tolist() for cut in group.slices] for group in groups.groups}
    assert {name: cuts[0] for name, cuts in found.items()} == {
        "one": [[0, 1, 2, 3], [4, 5, 6, 7]],
        "one#2": [[8, 9]],
    }
    smaller = remove_channels(model, groups, {"one": np.array([1])})
    assert smaller.constants["ns"].tolist() == scales[1:].tolist()
    assert smaller.constants.shape("n") == (6, 2)
    assert runs(smaller)


# --- operators on integers --------------------------------------------------------------------

VECTOR = f32(0.01, 0.02, 0.03, 0.04)
CODED = {
    **GRIDS, "xz": np.array(3, np.uint8), "yz": np.array(5, np.uint8), "v": VECTOR,
    "vz": np.zeros(4, np.int8), "w1": int8(4, 3, 1, 1), "w2": int8(5, 4, 1, 1, seed=1),
    "b1": np.array([300, -300, 50, 700], np.int32),
}  # fmt: skip


def integers(nodes: Sequence[NodeProto], at: str = "c", **tensors: Array) -> Model:
    """QLinearConv `one` makes 4 channels c, nodes lead to what QLinearConv `two` reads."""
    made = [
        op("QuantizeLinear", "x one xz", "xq"),
        op("QLinearConv", "xq one xz w1 v vz s yz b1", "c", "one"),
        *nodes,
        op("QLinearConv", f"{at} s yz w2 ws zw s yz", "q", "two"),
        op("DequantizeLinear", "q s yz", "y"),
    ]
    return net(made, IMAGE, {**CODED, **tensors})


OWN = {("w1", 0): 1, ("v", 0): 1, ("vz", 0): 1, ("b1", 0): 1, ("w2", 1): 1}
THROUGH: dict[str, Callable[[], Model]] = {
    "QLinearConv": lambda: integers([]),
    "MaxPool": lambda: integers([op("MaxPool", "c", "m", kernel_shape=[2, 2])], "m"),
    "QLinearAdd": lambda: integers([op("QLinearAdd", "c s yz c s yz s yz", "a", domain=ORT)], "a"),
    "QLinearMul": lambda: integers([op("QLinearMul", "c s yz c s yz s yz", "a", domain=ORT)], "a"),
    "QLinearLeakyRelu": lambda: integers(
        [op("QLinearLeakyRelu", "c s yz s yz", "a", domain=ORT, alpha=0.1)], "a"
    ),
    "QLinearSigmoid": lambda: integers([op("QLinearSigmoid", "c s yz s yz", "a", domain=ORT)], "a"),
    "QLinearAveragePool": lambda: integers(
        [op("QLinearAveragePool", "c s yz s yz", "a", domain=ORT, kernel_shape=[2, 2])], "a"
    ),
    "QLinearGlobalAveragePool": lambda: integers(
        [op("QLinearGlobalAveragePool", "c s yz s yz", "a", domain=ORT)], "a"
    ),
}


@pytest.mark.parametrize("name", THROUGH)
def test_channels_of_integers(name: str) -> None:
    model = THROUGH[name]()
    assert axes_of(model) == {"one": (4, OWN)}
    smaller = remove_channels(model, groups_of(model), {"one": np.array([0, 3])})
    assert smaller.constants["v"].tolist() == VECTOR[[0, 3]].tolist()
    assert runs(smaller)


def test_a_concat_of_integers_shifts_its_parts() -> None:
    nodes = [op("QLinearConcat", "s yz c s yz c s yz", "a", domain=ORT, axis=1)]
    model = integers(nodes, "a", w2=int8(5, 8, 1, 1))
    smaller = remove_channels(model, groups_of(model), {"one": np.array([1])})
    w2 = model.constants["w2"]
    np.testing.assert_array_equal(smaller.constants["w2"], w2[:, [1, 5]])


def gemm() -> Model:
    """Two QGemm, the first with a scale and a zero point for each output."""
    nodes = [
        op("QuantizeLinear", "x one xz", "xq"),
        op("Flatten", "xq", "f"),
        op("QGemm", "f one xz m v vz mb s yz", "h", "one", domain=ORT, transB=1),
        op("QGemm", "h s yz n ws zw - s yz", "q", "two", domain=ORT),
        op("DequantizeLinear", "q s yz", "y"),
    ]
    tensors = {**CODED, "m": int8(4, 48), "mb": CODED["b1"], "n": int8(4, 5)}
    return net(nodes, IMAGE, tensors)


def dynamic() -> Model:
    """ConvInteger and MatMulInteger as dynamic quantization writes them."""
    nodes = [
        op("DynamicQuantizeLinear", "x", "xq xs xzp"),
        op("ConvInteger", "xq w1 xzp zw", "ci", "one"),
        op("Cast", "ci", "cf", to=1),
        op("Mul", "cf k", "c"),
        op("Relu", "c", "r"),
        op("GlobalAveragePool", "r", "p"),
        op("Flatten", "p", "f"),
        op("DynamicQuantizeLinear", "f", "fq fs fzp"),
        op("MatMulInteger", "fq n fzp nz", "hi", "two"),
        op("Cast", "hi", "y", to=1),
    ]
    tensors = {**CODED, "k": normal((4, 1, 1)), "n": int8(4, 5), "nz": np.zeros(5, np.int8)}
    return net(nodes, IMAGE, tensors)


def test_products_of_integers() -> None:
    wanted = {("m", 0): 1, ("v", 0): 1, ("vz", 0): 1, ("mb", 0): 1, ("n", 0): 1}
    assert axes_of(gemm()) == {"one": (4, wanted)}
    assert axes_of(dynamic()) == {"one": (4, {("w1", 0): 1, ("k", 0): 1, ("n", 0): 1})}
    for model in (gemm(), dynamic()):
        smaller = remove_channels(model, groups_of(model), {"one": np.array([2, 3])})
        assert runs(smaller)


# --- what is dead -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bias", "dead"),
    [
        ((0, 0), [1, 2]),
        ((-50, 0), [1, 2]),  # -50 * 0.02 = -1 is below the range, which begins at 0
        ((12, 0), [1, 2]),  # 0.24 is 0.48 steps of 0.5: the code of 0
        ((13, 0), [2]),  # 0.26 is 0.52 steps: code 1
        ((300, 300), []),
    ],
)
def test_a_bias_that_becomes_the_zero_point_is_dead(bias: tuple[int, int], dead: list[int]) -> None:
    assert dead_in(silent(*bias)) == ({"one": dead} if dead else {})


def test_a_zero_point_within_the_range_keeps_what_is_below_it() -> None:
    assert dead_in(silent(-50, 0, z=np.array(9, np.uint8))) == {"one": [2]}


def test_sums_that_never_reach_the_range_are_dead() -> None:
    """x is within 128, so |x| weights of 1, 1, 1 by 0.01 come to 3.84: a bias of -4 wins, not -3.

    Half a step of 0.5 is left above 0 on top.
    """
    w1, b1 = int8(4, 3, 1, 1), np.full(4, 300, np.int32)
    w1[[1, 2]] = 1
    b1[[1, 2]] = -400, -300
    assert dead_in(qdq(w1=w1, b1=b1, ws1=f32(0.01, 0.01, 0.01, 0.01), bs=f32(*[0.01] * 4))) == {
        "one": [1]
    }


def test_codes_that_nothing_reads_are_dead() -> None:
    w2 = int8(5, 4, 1, 1, seed=1)
    w2[:, 3] = 7
    assert dead_in(qdq(w2=w2)) == {}
    w2[:, 3] = 0
    assert dead_in(qdq(w2=w2)) == {"one": [3]}


def test_a_code_of_zero_on_integers() -> None:
    """-50 * 0.02 is -2 steps of 0.5 from the zero point 5; 12 * 0.02 rounds to it."""
    w1 = CODED["w1"].copy()
    w1[1] = 0
    assert dead_in(integers([], w1=w1, b1=np.array([1, -50, 1, 1], np.int32))) == {}
    assert dead_in(integers([], w1=w1, b1=np.array([1, 12, 1, 1], np.int32))) == {"one": [1]}
    vz = np.array([0, 7, 0, 0], np.int8)  # the codes 0 of filter 1 stand for -7 now
    assert dead_in(integers([], w1=w1, vz=vz, b1=np.array([1, 12, 1, 1], np.int32))) == {}


def test_only_zeros_leave_a_grid_that_follows_from_all() -> None:
    """A channel that nobody reads still widens the range that DynamicQuantizeLinear takes."""
    model = dynamic()
    n, w1 = model.constants["n"].copy(), model.constants["w1"].copy()
    n[3], w1[2] = 0, 0
    assert dead_in(model.with_weights({"n": n})) == {}
    assert dead_in(model.with_weights({"w1": w1})) == {"one": [2]}


# --- chosen channels ----------------------------------------------------------------------------


def test_chosen_channels_become_zero_points() -> None:
    """Of the first group's two filters one goes: its codes are its zero point, 128."""
    nodes = [
        op("DequantizeLinear", "a as az", "ad", axis=0),
        op("Conv", "x ad", "c", "one"),
        op("Relu", "c", "r"),
        op("DequantizeLinear", "b as bz", "bd", axis=0),
        op("Conv", "r bd", "y", "two"),
    ]
    rng = np.random.default_rng(3)
    tensors = {
        "a": rng.integers(0, 256, (2, 3, 1, 1)).astype(np.uint8), "as": f32(0.01, 0.02),
        "az": np.array([128, 128], np.uint8), "bz": np.array([120, 130], np.uint8),
        "b": rng.integers(0, 256, (2, 2, 1, 1)).astype(np.uint8),
    }  # fmt: skip
    done = compiled(net(nodes, IMAGE, tensors), "prune-channels{fraction=0.5, criterion=l1}")
    (kept,) = done.record.channels["one"]
    found = done.model.constants
    assert found["a"][1 - kept].reshape(-1).tolist() == [128, 128, 128]
    assert found["b"][:, 1 - kept].reshape(-1).tolist() == [120, 130]
    assert found["a"][kept].tolist() == tensors["a"][kept].tolist()
