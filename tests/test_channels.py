"""Channel groups of small graphs, found by hand, and removal that changes no output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from builders import Array, ints, make_graph, normal, op, replaceable, scalar
from channel_builders import (
    a_third,
    axes_of,
    feed_of,
    groups_of,
    net,
    outputs_of,
    removal_error,
    shapes_left,
)
from onnx import NodeProto

from eapc.channels import find_groups, remove_channels
from eapc.channels.nodes import AXIS_RULES, axis_rule
from eapc.errors import ModelError
from eapc.model import Model, infer_shapes, input_shapes

IMAGE = ("N", 3, 8, 8)


def weights(**shapes: tuple[int, ...]) -> dict[str, Array]:
    return {name: normal(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}


def norm(prefix: str, channels: int) -> dict[str, Array]:
    rows = weights(**{f"{prefix}{part}": (channels,) for part in "sbm"})
    return {**rows, f"{prefix}v": np.abs(normal((channels,), 9)) + 0.5}


# --- nets, one for each way in which axes hang together ---------------------------------------


def plain() -> Model:
    nodes = [
        op("Conv", "x w1 b1", "c1", "one", pads=[1, 1, 1, 1]),
        op("BatchNormalization", "c1 ns nb nm nv", "n1"),
        op("Relu", "n1", "r1"),
        op("MaxPool", "r1", "p1", kernel_shape=[2, 2], strides=[2, 2]),
        op("Conv", "p1 w2", "c2", "two"),
        op("Flatten", "c2", "f"),
        op("Gemm", "f w3 b3", "g", "three", transB=1),
        op("Relu", "g", "r3"),
        op("Gemm", "r3 w4", "y", "four"),
    ]
    tensors = weights(w1=(6, 3, 3, 3), b1=(6,), w2=(5, 6, 3, 3), w3=(7, 20), b3=(7,), w4=(7, 4))
    return net(nodes, IMAGE, {**tensors, **norm("n", 6)})


def residual(stride_bias: bool = True) -> Model:
    nodes = [
        op("Conv", "x w0 b0", "stem", "stem"),
        op("Conv", "stem w1", "c1", "one", pads=[1, 1, 1, 1]),
        op("Relu", "c1", "r1"),
        op("Conv", "r1 w2 b2" if stride_bias else "r1 w2", "c2", "two", pads=[1, 1, 1, 1]),
        op("Add", "c2 stem", "sum", "add"),
        op("Relu", "sum", "r2"),
        op("GlobalAveragePool", "r2", "p"),
        op("Flatten", "p", "f"),
        op("Gemm", "f w3", "y", "head"),
    ]
    tensors = weights(
        w0=(6, 3, 3, 3), b0=(6,), w1=(8, 6, 3, 3), w2=(6, 8, 3, 3), b2=(6,), w3=(6, 4)
    )
    if not stride_bias:
        del tensors["b2"]
    return net(nodes, IMAGE, tensors)


def depthwise(multiplier: int = 1) -> Model:
    nodes = [
        op("Conv", "x w1", "c1", "expand"),
        op("Clip", "c1 low high", "r1"),
        op("Conv", "r1 w2 b2", "c2", "depth", group=6, pads=[1, 1, 1, 1]),
        op("Conv", "c2 w3", "y", "project"),
    ]
    wide = 6 * multiplier
    tensors = weights(w1=(6, 3, 1, 1), w2=(wide, 1, 3, 3), b2=(wide,), w3=(4, wide, 1, 1))
    return net(nodes, IMAGE, {**tensors, "low": scalar(0), "high": scalar(6)})


def grouped(groups: int, inputs: int, outputs: int) -> Model:
    """1x1, then `groups` groups of `inputs` to `outputs` channels, then 1x1."""
    nodes = [
        op("Conv", "x w1", "c1", "one"),
        op("Conv", "c1 w2", "c2", "two", group=groups),
        op("Conv", "c2 w3", "y", "three"),
    ]
    wide, deep = groups * inputs, groups * outputs
    tensors = weights(w1=(wide, 3, 1, 1), w2=(deep, inputs, 3, 3), w3=(4, deep, 1, 1))
    return net(nodes, IMAGE, tensors)


def dense_block() -> Model:
    nodes = [
        op("Conv", "x w1", "a", "one", pads=[1, 1, 1, 1]),
        op("Concat", "x a", "xa", axis=1),
        op("BatchNormalization", "xa ns nb nm nv", "n"),
        op("Relu", "n", "r"),
        op("Conv", "r w2", "b", "two", pads=[1, 1, 1, 1]),
        op("Concat", "xa b", "xab", axis=1),
        op("Conv", "xab w3", "y", "three"),
    ]
    tensors = weights(w1=(4, 3, 3, 3), w2=(6, 7, 3, 3), w3=(4, 13, 1, 1))
    return net(nodes, IMAGE, {**tensors, **norm("n", 7)})


def shuffle(dynamic: bool = False) -> Model:
    """A ShuffleNet unit: grouped 1x1, shuffle, depthwise, grouped 1x1, added to the trunk."""
    nodes = [
        op("Conv", "x w0", "stem", "stem"),
        op("Conv", "stem w1 b1", "g1", "squeeze", group=2),
        op("Reshape", "g1 split", "s1"),
        op("Transpose", "s1", "s2", perm=[0, 2, 1, 3, 4]),
        op("Reshape", "s2 join", "s3"),
        op("Conv", "s3 w2", "d", "depth", group=8, pads=[1, 1, 1, 1]),
        op("Conv", "d w3", "g2", "widen", group=2),
        op("Add", "g2 stem", "sum"),
        op("Conv", "sum w4", "y", "head"),
    ]
    shapes = weights(
        w0=(12, 3, 1, 1),
        w1=(8, 6, 1, 1),
        b1=(8,),
        w2=(8, 1, 3, 3),
        w3=(12, 4, 1, 1),
        w4=(4, 12, 1, 1),
    )
    side = -1 if dynamic else 8
    ends = {"split": ints(0, 2, 4, side, 8), "join": ints(0, 8, side, 8)}
    return net(nodes, IMAGE, {**shapes, **ends})


def viewed_shuffle() -> Model:
    """The shuffle of two halves with the shape of view(n, 2, c // 2, h, w) as it is traced."""
    nodes = [op("Conv", "x k1", "f", "one"), op("Shape", "f", "shape")]
    for place, letter in enumerate("nchw"):
        nodes.append(op("Gather", f"shape i{place}", f"{letter}0"))
        nodes.append(op("Unsqueeze", f"{letter}0 axis", letter))
    nodes += [
        op("Div", "c0 two", "half0"),
        op("Unsqueeze", "half0 axis", "half"),
        op("Concat", "n groups half h w", "apart", axis=0),
        op("Reshape", "f apart", "s1"),
        op("Transpose", "s1", "s2", perm=[0, 2, 1, 3, 4]),
        op("Concat", "n c h w", "joint", axis=0),
        op("Reshape", "s2 joint", "s3"),
        op("Conv", "s3 k2", "y", "two"),
    ]
    numbers = {f"i{i}": np.array(i, np.int64) for i in range(4)}
    numbers |= {"axis": ints(0), "two": np.array(2, np.int64), "groups": ints(2)}
    return net(nodes, IMAGE, {**weights(k1=(8, 3, 1, 1), k2=(5, 8, 1, 1)), **numbers})


def gated(gate: str = "HardSigmoid") -> Model:
    """Squeeze and excite inside a residual block."""
    nodes = [
        op("Conv", "x w0", "stem", "stem"),
        op("Conv", "stem w1", "c", "one"),
        op("HardSwish", "c", "h"),
        op("GlobalAveragePool", "h", "p"),
        op("Conv", "p w2 b2", "q", "squeeze"),
        op("Relu", "q", "r"),
        op("Conv", "r w3 b3", "e", "excite"),
        op(gate, "e", "gate"),
        op("Mul", "h gate", "m"),
        op("Conv", "m w4 b4", "t", "two"),
        op("Add", "stem t", "y"),
    ]
    tensors = weights(
        w0=(5, 3, 1, 1), w1=(8, 5, 1, 1), w2=(4, 8, 1, 1), b2=(4,), w3=(8, 4, 1, 1), b3=(8,),
        w4=(5, 8, 1, 1), b4=(5,),
    )  # fmt: skip
    return net(nodes, IMAGE, tensors)


def unet() -> Model:
    nodes = [
        op("Conv", "x w1", "c1", "down1", pads=[1, 1, 1, 1]),
        op("MaxPool", "c1", "p", kernel_shape=[2, 2], strides=[2, 2]),
        op("Conv", "p w2", "c2", "down2", pads=[1, 1, 1, 1]),
        op("LeakyRelu", "c2", "l2"),
        op("ConvTranspose", "l2 w3 b3", "u", "up", strides=[2, 2]),
        op("Concat", "c1 u", "cat", axis=1),
        op("Conv", "cat w4", "c4", "merge"),
        op("InstanceNormalization", "c4 is ib", "i"),
        op("Resize", "i - - sizes", "big", mode="nearest"),
        op("Conv", "big w5", "y", "head"),
    ]
    tensors = weights(
        w1=(4, 3, 3, 3), w2=(6, 4, 3, 3), w3=(6, 5, 2, 2), b3=(5,), w4=(7, 9, 1, 1),
        w5=(2, 7, 1, 1), **{"is": (7,), "ib": (7,)},
    )  # fmt: skip
    return net(nodes, (1, 3, 8, 8), {**tensors, "sizes": ints(1, 7, 16, 16)})


def attention(packed: bool = False) -> Model:
    """Multi-head attention over (N, 5, 12), 3 heads of 4; Q, K and V apart or in one."""
    nodes = [op("MatMul", "x wqkv", "qkv", "qkv"), op("Reshape", "qkv five", "r")] if packed else []
    if packed:
        nodes += [op("Transpose", "r", "t", perm=[2, 0, 3, 1, 4])]
        for place, letter in enumerate("qkv"):
            nodes.append(op("Gather", f"t i{place}", f"{letter}t", axis=0))
    else:
        for letter in "qkv":
            nodes += [
                op("MatMul", f"x w{letter}", f"{letter}1", letter),
                op("Add", f"{letter}1 b{letter}", f"{letter}2"),
                op("Reshape", f"{letter}2 split", f"{letter}3"),
                op("Transpose", f"{letter}3", f"{letter}t", perm=[0, 2, 1, 3]),
            ]
    nodes += [
        op("Transpose", "kt", "ktt", perm=[0, 1, 3, 2]),
        op("MatMul", "qt ktt", "scores"),
        op("Mul", "scores scale", "scaled"),
        op("Softmax", "scaled", "soft", axis=-1),
        op("MatMul", "soft vt", "context"),
        op("Transpose", "context", "back", perm=[0, 2, 1, 3]),
        op("Reshape", "back join", "joined"),
        op("MatMul", "joined wo", "out", "out"),
        op("Add", "out x", "y"),
    ]
    tensors = weights(
        wq=(12, 12), wk=(12, 12), wv=(12, 12), wo=(12, 12), bq=(12,), bk=(12,), bv=(12,)
    )
    if packed:
        tensors = {"wqkv": normal((12, 36)), "wo": tensors["wo"]}
        tensors |= {f"i{i}": np.array(i, np.int64) for i in range(3)}
    shapes = {"five": ints(0, 0, 3, 3, 4)} if packed else {"split": ints(0, 0, 3, 4)}
    rest = {"scale": scalar(0.5), "join": ints(0, 0, 12), **shapes}
    return net(nodes, ("N", 5, 12), {**tensors, **rest})


def split_and_sliced() -> Model:
    """A map of 10 is split 4 and 6; of the 6 the first 2 are cut off; all are read again."""
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Split", "c sizes", "a b", axis=1),
        op("Sigmoid", "a", "a2"),
        op("Slice", "b starts ends axes", "d"),
        op("Concat", "a2 d b", "cat", axis=1),
        op("Conv", "cat w2", "y", "two"),
    ]
    tensors = weights(w1=(10, 3, 1, 1), w2=(4, 14, 1, 1))
    bounds = {"sizes": ints(4, 6), "starts": ints(2), "ends": ints(1000), "axes": ints(1)}
    return net(nodes, IMAGE, {**tensors, **bounds})


def padded_shortcut() -> Model:
    """A shortcut that pads 4 channels to 8: two zeros before, two behind."""
    nodes = [
        op("Conv", "x w0", "stem", "stem"),
        op("Conv", "stem w1", "c1", "one", pads=[1, 1, 1, 1]),
        op("Pad", "stem pads", "wide"),
        op("Add", "c1 wide", "sum"),
        op("Conv", "sum w2", "y", "two"),
    ]
    tensors = weights(w0=(4, 3, 1, 1), w1=(8, 4, 3, 3), w2=(3, 8, 1, 1))
    return net(nodes, IMAGE, {**tensors, "pads": ints(0, 2, 0, 0, 0, 2, 0, 0)})


def pixel_shuffle(mode: str = "DCR") -> Model:
    nodes = [
        op("Conv", "x w1 b1", "c", "one"),
        op("DepthToSpace", "c", "d", blocksize=2, mode=mode),
        op("SpaceToDepth", "d", "s", blocksize=2),
        op("Conv", "s w2", "y", "two"),
    ]
    return net(nodes, IMAGE, weights(w1=(12, 3, 1, 1), b1=(12,), w2=(4, 12, 1, 1)))


def computed_shape() -> Model:
    """Conv, view(x.size(0), x.size(1), -1), mean over positions, fully connected."""
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Shape", "c", "shape"),
        op("Gather", "shape zero", "n"),
        op("Gather", "shape one_", "channels"),
        op("Unsqueeze", "n axis", "n1"),
        op("Unsqueeze", "channels axis", "c1"),
        op("Concat", "n1 c1 rest", "target", axis=0),
        op("Reshape", "c target", "flat"),
        op("ReduceMean", "flat", "m", axes=[2], keepdims=0),
        op("MatMul", "m w2", "y", "two"),
    ]
    numbers = {"zero": np.array(0), "one_": np.array(1), "axis": ints(0), "rest": ints(-1)}
    return net(nodes, IMAGE, {**weights(w1=(6, 3, 1, 1), w2=(6, 4)), **numbers})


def quantized() -> Model:
    """Weights behind DequantizeLinear with a scale for every filter."""
    rng = np.random.default_rng(0)
    nodes = [
        op("DequantizeLinear", "q1 s1 z1", "w1", axis=0),
        op("Conv", "x w1", "c", "one"),
        op("QuantizeLinear", "c sa za", "cq"),
        op("DequantizeLinear", "cq sa za", "cd"),
        op("Relu", "cd", "r"),
        op("Conv", "r w2", "y", "two"),
    ]
    tensors: dict[str, Array] = {
        "q1": rng.integers(-100, 100, (6, 3, 3, 3)).astype(np.int8),
        "s1": np.abs(normal((6,))) / 50 + np.float32(0.001),
        "z1": np.zeros(6, np.int8),
        "sa": scalar(0.02),
        "za": np.array(0, np.int8),
        "w2": normal((4, 6, 3, 3)),
    }
    return net(nodes, IMAGE, tensors)


def in_front() -> Model:
    """Matrices that multiply from the left, over positions, one of them a stack."""
    nodes = [
        op("MatMul", "w1 x", "a", "one"),
        op("Relu", "a", "r"),
        op("Unsqueeze", "r lead", "u"),
        op("MatMul", "w2 u", "b", "two"),
        op("Relu", "b", "q"),
        op("ReduceSum", "q lead", "s", keepdims=0),
        op("MatMul", "w3 s", "y", "three"),
    ]
    tensors = weights(w1=(8, 6), w2=(3, 10, 8), w3=(4, 10))
    return net(nodes, ("N", 6, 5), {**tensors, "lead": ints(1)})


NETS: dict[str, Callable[[], Model]] = {
    "in front": in_front,
    "plain": plain,
    "residual": residual,
    "depthwise": depthwise,
    "multiplied depthwise": lambda: depthwise(2),
    "whole groups": lambda: grouped(8, 3, 2),
    "same positions": lambda: grouped(2, 5, 6),
    "dense block": dense_block,
    "shuffle": shuffle,
    "shuffle of any size": lambda: shuffle(dynamic=True),
    "shuffle as traced": viewed_shuffle,
    "gated": gated,
    "unet": unet,
    "attention": attention,
    "packed attention": lambda: attention(packed=True),
    "padded shortcut": padded_shortcut,
    "pixel shuffle": pixel_shuffle,
    "pixel shuffle CRD": lambda: pixel_shuffle("CRD"),
    "computed shape": computed_shape,
    "quantized": quantized,
}


# --- groups, counted by hand -------------------------------------------------------------------


def test_a_plain_network() -> None:
    assert axes_of(plain()) == {
        "one": (
            6,
            {("w1", 0): 1, ("b1", 0): 1, ("w2", 1): 1} | {(f"n{part}", 0): 1 for part in "sbmv"},
        ),
        "two": (5, {("w2", 0): 1, ("w3", 1): 4}),  # 2 x 2 positions behind the Flatten
        "three": (7, {("w3", 0): 1, ("b3", 0): 1, ("w4", 0): 1}),
    }


def test_an_add_ties_its_branches() -> None:
    assert axes_of(residual()) == {
        "stem": (
            6,
            {("w0", 0): 1, ("b0", 0): 1, ("w1", 1): 1, ("w2", 0): 1, ("b2", 0): 1, ("w3", 0): 1},
        ),
        "one": (8, {("w1", 0): 1, ("w2", 1): 1}),
    }
    stem, inner = groups_of(residual()).groups
    assert stem.producers == ("stem", "two")
    assert stem.consumers == ("one", "head")
    assert (stem.may_vanish, inner.may_vanish) == (False, True)


def test_activations_are_part_of_a_group() -> None:
    stem, _ = groups_of(residual()).groups
    features = {(c.tensor, c.axis) for c in stem.slices if c.indices.shape == (6, 1)}
    assert {("stem", 1), ("c2", 1), ("sum", 1), ("r2", 1), ("p", 1), ("f", 1)} <= features


def test_a_depthwise_filter_goes_with_its_channel() -> None:
    (group,) = groups_of(depthwise()).groups
    assert axes_of(depthwise()) == {
        "expand": (6, {("w1", 0): 1, ("w2", 0): 1, ("b2", 0): 1, ("w3", 1): 1})
    }
    assert group.producers == ("expand", "depth")
    assert group.consumers == ("depth", "project")


def test_a_channel_multiplier_takes_several_filters() -> None:
    assert axes_of(depthwise(2)) == {
        "expand": (6, {("w1", 0): 1, ("w2", 0): 2, ("b2", 0): 2, ("w3", 1): 2})
    }


def test_many_small_groups_go_whole() -> None:
    assert axes_of(grouped(8, 3, 2)) == {"one": (8, {("w1", 0): 3, ("w2", 0): 2, ("w3", 1): 2})}


def test_few_large_groups_lose_the_same_position() -> None:
    assert axes_of(grouped(2, 5, 6)) == {
        "one": (5, {("w1", 0): 2, ("w2", 1): 1}),
        "two": (6, {("w2", 0): 2, ("w3", 1): 2}),
    }


def test_the_other_way_is_taken_where_the_first_leaves_nothing() -> None:
    """Outputs of the model stay, and whole groups with them; positions of the inputs can go."""
    nodes = [op("Conv", "x w1", "c", "one"), op("Conv", "c w2", "y", "two", group=8)]
    model = net(nodes, IMAGE, weights(w1=(24, 3, 1, 1), w2=(16, 3, 3, 3)))
    assert axes_of(model) == {"one": (3, {("w1", 0): 8, ("w2", 1): 1})}
    assert removal_error(model, {"one": ints(1)}) < 1e-5


def test_concatenated_maps_are_groups_of_their_own() -> None:
    assert axes_of(dense_block()) == {
        "one": (
            4,
            {("w1", 0): 1, ("w2", 1): 1, ("w3", 1): 1} | {(f"n{p}", 0): 1 for p in "sbmv"},
        ),
        "two": (6, {("w2", 0): 1, ("w3", 1): 1}),
    }
    first, _ = groups_of(dense_block()).groups
    (behind,) = (c for c in first.slices if c.tensor == "w3")
    assert behind.indices.ravel().tolist() == [3, 4, 5, 6]  # behind the 3 of the input


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_channel_shuffle(dynamic: bool) -> None:
    """Position p of both groups is 2p and 2p + 1 behind; groups of 4 there tie 0, 1 with 4, 5."""
    found = axes_of(shuffle(dynamic))
    assert found["squeeze"] == (2, {("w1", 0): 4, ("b1", 0): 4, ("w2", 0): 4, ("w3", 1): 2})
    assert found["stem"] == (6, {("w0", 0): 2, ("w1", 1): 1, ("w3", 0): 2, ("w4", 1): 2})


def test_a_shuffle_whose_shapes_are_computed() -> None:
    """c // 2 follows c where both halves lose the same position."""
    assert axes_of(viewed_shuffle()) == {"one": (4, {("k1", 0): 2, ("k2", 1): 2})}


def test_a_gate_follows_what_it_gates() -> None:
    found = axes_of(gated())
    assert set(found) == {"one", "squeeze"}
    inner = {("w1", 0): 1, ("w2", 1): 1, ("w3", 0): 1, ("b3", 0): 1, ("w4", 1): 1}
    assert found["one"] == (8, inner)
    assert found["squeeze"] == (4, {("w2", 0): 1, ("b2", 0): 1, ("w3", 1): 1})


def test_a_unet() -> None:
    assert axes_of(unet()) == {
        "down1": (4, {("w1", 0): 1, ("w2", 1): 1, ("w4", 1): 1}),
        "down2": (6, {("w2", 0): 1, ("w3", 0): 1}),
        "up": (5, {("w3", 1): 1, ("b3", 0): 1, ("w4", 1): 1}),
        "merge": (7, {("w4", 0): 1, ("is", 0): 1, ("ib", 0): 1, ("w5", 1): 1}),
    }


def test_heads_of_attention() -> None:
    inner = {(f"w{letter}", 1): 4 for letter in "qkv"} | {(f"b{letter}", 0): 4 for letter in "qkv"}
    assert axes_of(attention()) == {"q": (3, inner | {("wo", 0): 4})}
    assert groups_of(attention()).groups[0].may_vanish


def test_heads_out_of_one_product() -> None:
    assert axes_of(attention(packed=True)) == {"qkv": (3, {("wqkv", 1): 12, ("wo", 0): 4})}


def test_parts_of_a_split_and_of_a_slice() -> None:
    """4 channels; 2 that are cut off in one place; 4 that are read twice."""
    found = groups_of(split_and_sliced()).groups
    assert [(g.name, g.size) for g in found] == [("one", 4), ("one#2", 2), ("one#3", 4)]
    assert axes_of(split_and_sliced())["one#3"] == (4, {("w1", 0): 1, ("w2", 1): 2})


def test_padded_channels_belong_to_the_other_branch() -> None:
    assert axes_of(padded_shortcut()) == {
        "stem": (4, {("w0", 0): 1, ("w1", 0): 1, ("w1", 1): 1, ("w2", 1): 1}),
        "one": (4, {("w1", 0): 1, ("w2", 1): 1}),
    }


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_that_becomes_space(mode: str) -> None:
    found = axes_of(pixel_shuffle(mode))
    assert found == {"one": (3, {("w1", 0): 4, ("b1", 0): 4, ("w2", 1): 4})}


def test_a_shape_that_follows() -> None:
    assert axes_of(computed_shape()) == {"one": (6, {("w1", 0): 1, ("w2", 0): 1})}
    assert groups_of(computed_shape()).left_whole == {}


def test_quantized_weights_take_their_scales_along() -> None:
    assert axes_of(quantized()) == {
        "one": (6, {("q1", 0): 1, ("s1", 0): 1, ("z1", 0): 1, ("w2", 1): 1})
    }


# --- what stays whole ---------------------------------------------------------------------------


def between(*nodes: NodeProto, **tensors: Array) -> Model:
    """`one`, which makes 6 channels, nodes from c to d, and `two`, which reads them."""
    made = [op("Conv", "x w1", "c", "one"), *nodes, op("Conv", "d w2", "y", "two")]
    return net(made, IMAGE, {**weights(w1=(6, 3, 1, 1), w2=(4, 6, 1, 1)), **tensors})


def test_an_operator_without_a_rule_is_named() -> None:
    found = groups_of(between(op("Trilu", "c", "d", "mix")))
    assert found.groups == ()
    assert found.left_whole == {"mix": "no axis rule for Trilu"}


def test_a_custom_operator_is_named() -> None:
    found = groups_of(between(op("Relu", "c", "d", "mine", domain="com.example")))
    assert found.groups == ()
    assert found.left_whole == {
        "mine": "no axis rule for com.example.Relu",
        "two": "the shape of 'd' is unknown",
    }


@pytest.mark.parametrize(
    "node",
    [
        op("LRN", "c", "d", size=3),
        op("Softmax", "c", "d", axis=1),
        op("LayerNormalization", "c ones", "d", axis=1),
        op("CumSum", "c one_", "d"),
        op("Gather", "c order", "d", axis=1),
        op("Slice", "c starts ends axes steps", "d"),
    ],
    ids=lambda node: node.op_type,
)
def test_mixed_channels_stay_whole(node: NodeProto) -> None:
    numbers = {"one_": np.array(1), "order": np.array([[5, 4, 3]]), "starts": ints(1)}
    numbers |= {"ends": ints(6), "axes": ints(1), "steps": ints(4)}
    model = between(node, ones=np.ones((6, 8, 8), np.float32), **numbers)
    assert groups_of(model).groups == ()


def test_what_a_subgraph_reads_stays_whole() -> None:
    """The tensor that the branches of an If capture."""
    branches = {
        f"{name}_branch": make_graph([op("Relu", "c", f"{name}_out")], {}, [f"{name}_out"])
        for name in ("then", "else")
    }
    node = op("If", "flag", "d", "choice", **branches)
    found = groups_of(between(node, flag=np.array(True)))
    assert found.groups == ()
    assert found.left_whole == {"choice": "it holds subgraphs"}


def test_a_length_that_goes_into_arithmetic_stays() -> None:
    """Scaled by its own channel count: with fewer channels the factor would be another."""
    nodes = [
        op("Shape", "c", "s", start=1, end=2),
        op("Cast", "s", "count", to=1),
        op("Div", "c count", "d"),
    ]
    assert groups_of(between(*nodes)).groups == ()


def test_a_map_of_one_channel_stays() -> None:
    """Depth that becomes one channel, and one channel beside others in a Concat."""
    deep = [
        op("Conv", "x w1", "c", "one"),
        op("DepthToSpace", "c", "d", blocksize=3),
        op("Sigmoid", "d", "y"),
    ]
    assert axes_of(net(deep, IMAGE, weights(w1=(9, 3, 1, 1)))) == {}
    joined = [
        op("Conv", "x w1", "a", "one"),
        op("Conv", "x w2", "b", "two"),
        op("Concat", "a b", "c", axis=1),
        op("Conv", "c w3", "y", "three"),
    ]
    tensors = weights(w1=(1, 3, 1, 1), w2=(4, 3, 1, 1), w3=(4, 5, 1, 1))
    assert axes_of(net(joined, IMAGE, tensors)) == {"two": (4, {("w2", 0): 1, ("w3", 1): 1})}


def test_model_inputs_and_outputs_stay_whole_without_a_word() -> None:
    model = net([op("Conv", "x w", "y", "only")], IMAGE, weights(w=(4, 3, 1, 1)))
    assert groups_of(model).groups == ()
    assert groups_of(model).left_whole == {}


def test_a_second_rule_for_an_operator_raises() -> None:
    with pytest.raises(ValueError, match="Conv has an axis rule already"):
        axis_rule("Conv")(AXIS_RULES["Conv"])


# --- removal ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_dead_channels_can_go(name: str) -> None:
    """Together, and those of each group alone."""
    model = NETS[name]()
    gone = a_third(groups_of(model))
    assert removal_error(model, gone) < 1e-5
    for group, channels in gone.items():
        assert removal_error(model, {group: channels}) < 1e-5


@pytest.mark.parametrize("name", NETS)
def test_lengths_are_those_of_the_rewritten_graph(name: str) -> None:
    model = NETS[name]()
    sizes = input_shapes(model, {}, None)
    shapes = infer_shapes(model, sizes)
    groups = find_groups(model, shapes)
    counts = {group.name: (group.size + 1) // 2 for group in groups.groups}
    smaller = remove_channels(model, groups, {n: np.arange(c) for n, c in counts.items()})
    wanted = infer_shapes(smaller, sizes)
    found = shapes_left(groups, shapes, counts)
    for node in smaller.view.main_nodes:
        for tensor in (*node.inputs, *node.outputs):
            assert found(tensor) == wanted.main(tensor), tensor


def test_removal_leaves_its_input_alone() -> None:
    model = plain()
    before = model.view.proto.SerializeToString(deterministic=True)
    groups = groups_of(model)
    smaller = remove_channels(model, groups, {"one": ints(0, 2, 3)})
    assert model.view.proto.SerializeToString(deterministic=True) == before
    whole, part = model.constants.value("w2"), smaller.constants.value("w2")
    assert whole is not None
    assert part is not None
    np.testing.assert_array_equal(part, whole[:, [0, 2, 3]])
    names = [tensor.name for tensor in model.view.proto.graph.initializer]
    assert [tensor.name for tensor in smaller.view.proto.graph.initializer] == names


def test_new_weights_are_taken_in() -> None:
    model = plain().with_weights({"w3": np.full((7, 20), 3, np.float32)})
    smaller = remove_channels(model, groups_of(model), {"three": ints(1, 5)})
    found = smaller.constants.value("w3")
    assert found is not None
    np.testing.assert_array_equal(found, np.full((2, 20), 3, np.float32))
    assert not smaller.weights


def test_groups_of_a_convolution_are_counted_anew() -> None:
    model = grouped(8, 3, 2)
    smaller = remove_channels(model, groups_of(model), {"one": ints(0, 5, 7)})
    assert smaller.view.node("two").attribute("group", 0) == 3
    assert smaller.constants.shape("w2") == (6, 3, 3, 3)


def test_a_shape_that_several_nodes_read_is_copied_for_one() -> None:
    """Two blocks reshape by the same constant; channels of the first alone go."""
    nodes = [
        op("Conv", "x w1", "a", "one"),
        op("Reshape", "a target", "b", "r1"),
        op("Reshape", "b back", "c", "r2"),
        op("Conv", "c w2", "d", "two"),
        op("Reshape", "d target", "e", "r3"),
        op("Reshape", "e back", "f", "r4"),
        op("Conv", "f w3", "y", "three"),
    ]
    tensors = weights(w1=(6, 3, 1, 1), w2=(6, 6, 1, 1), w3=(4, 6, 1, 1))
    model = net(nodes, IMAGE, {**tensors, "target": ints(0, 6, 64), "back": ints(0, 6, 8, 8)})
    groups = groups_of(model)
    assert [(g.name, g.size) for g in groups.groups] == [("one", 6), ("two", 6)]
    smaller = remove_channels(model, groups, {"one": ints(0, 1)})
    assert smaller.view.node("r3").inputs == ("d", "target")
    assert smaller.constants["target"].tolist() == [0, 6, 64]
    copied = smaller.constants.value(smaller.view.node("r1").input(1))
    assert copied is not None
    assert copied.tolist() == [0, 2, 64]
    assert removal_error(model, {"one": ints(2, 3), "two": ints(4)}) < 1e-5


def test_parameters_that_exporters_joined_do_not_tie_their_readers() -> None:
    """Two convolutions that share a bias of zeros keep groups of their own."""
    nodes = [
        op("Conv", "x w1 b", "c", "one"),
        op("Conv", "c w2 b", "d", "two"),
        op("Conv", "d w3", "y", "three"),
    ]
    tensors = weights(w1=(6, 3, 1, 1), b=(6,), w2=(6, 6, 1, 1), w3=(4, 6, 1, 1))
    model = net(nodes, IMAGE, {**tensors, "b": np.zeros(6, np.float32)})
    groups = groups_of(model)
    assert [g.name for g in groups.groups] == ["one", "two"]
    smaller = remove_channels(model, groups, {"one": ints(0, 1, 2), "two": ints(5)})
    assert smaller.constants.shape(smaller.view.node("one").input(2)) == (3,)
    assert smaller.constants.shape(smaller.view.node("two").input(2)) == (1,)
    outputs_of(smaller, feed_of(model))


def test_numbers_of_a_split_and_a_slice_follow() -> None:
    model = split_and_sliced()
    groups = groups_of(model)
    kept = {"one": ints(0, 3), "one#2": ints(1), "one#3": ints(0, 2, 3)}
    smaller = remove_channels(model, groups, kept)
    assert smaller.constants["sizes"].tolist() == [2, 4]
    assert smaller.constants["starts"].tolist() == [1]
    outputs_of(smaller, feed_of(model))


def test_pads_follow() -> None:
    model = padded_shortcut()
    kept = {"one": ints(1, 2, 3)}  # one of the two channels in front goes
    smaller = remove_channels(model, groups_of(model), kept)
    assert smaller.constants["pads"].tolist() == [0, 1, 0, 0, 0, 2, 0, 0]
    outputs_of(smaller, feed_of(model))


def test_declared_shapes_follow() -> None:
    model = residual()
    proto = onnx.shape_inference.infer_shapes(model.view.proto)
    declared = Model.from_proto(proto)
    smaller = remove_channels(declared, groups_of(declared), {"one": ints(0, 4)})
    shapes = {v.name: v.type.tensor_type.shape for v in smaller.view.proto.graph.value_info}
    assert shapes["r1"].dim[1].dim_value == 2
    assert shapes["r2"].dim[1].dim_value == 6


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        ({"nobody": ints(0)}, "no channel group 'nobody'"),
        ({"one": ints(0, 6)}, "group 'one' has 6 channels, got index 6"),
        ({"one": ints()}, "at least one channel must stay"),
    ],
)
def test_what_cannot_be_removed(kept: dict[str, Array], fault: str) -> None:
    model = plain()
    with pytest.raises(ModelError, match=fault):
        remove_channels(model, groups_of(model), kept)


# --- branches that vanish -----------------------------------------------------------------------


def test_an_empty_branch_leaves_its_bias() -> None:
    model = residual()
    smaller = remove_channels(model, groups_of(model), {"one": ints()})
    assert [node.op_type for node in smaller.nodes][:3] == ["Conv", "Add", "Relu"]
    end = smaller.constants.value("c2@constant")
    assert end is not None
    np.testing.assert_array_equal(end.reshape(-1), model.constants.value("b2"))
    assert removal_error(model, {"one": np.arange(8)}) < 1e-5


def test_what_a_branch_leaves_is_declared_before_ir_4() -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(residual().view.proto)
    proto.ir_version = 3
    model = Model.from_proto(replaceable(proto))
    smaller = remove_channels(model, groups_of(model), {"one": ints()})
    assert "c2@constant" in {value.name for value in smaller.view.proto.graph.input}


def test_an_empty_branch_without_bias_leaves_nothing() -> None:
    model = residual(stride_bias=False)
    smaller = remove_channels(model, groups_of(model), {"one": ints()})
    assert [node.key for node in smaller.nodes][:2] == ["stem", "r2"]
    assert set(smaller.view.initializers) == {"w0", "b0", "w3"}
    assert removal_error(model, {"one": np.arange(8)}) < 1e-5


@pytest.mark.parametrize("net_of", [gated, attention])
def test_a_branch_with_inner_branches_vanishes(net_of: Callable[[], Model]) -> None:
    """The gate goes with what it gates, scores with their values."""
    model = net_of()
    group = groups_of(model).groups[0]
    gone = {group.name: np.arange(group.size)}
    assert removal_error(model, gone) < 1e-5
    smaller = remove_channels(model, groups_of(model), {group.name: ints()})
    assert len(smaller.nodes) <= 2


def test_one_of_two_branches_may_vanish() -> None:
    nodes = [
        op("Conv", "x w1", "a", "one"),
        op("Conv", "a w2", "b", "two"),
        op("Conv", "x w3", "c", "three"),
        op("Conv", "c w4", "d", "four"),
        op("Add", "b d", "y"),
    ]
    tensors = weights(w1=(6, 3, 1, 1), w2=(4, 6, 1, 1), w3=(5, 3, 1, 1), w4=(4, 5, 1, 1))
    found = groups_of(net(nodes, IMAGE, tensors)).groups
    assert {group.name: group.may_vanish for group in found} == {"one": True, "three": False}
