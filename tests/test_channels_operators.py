"""Channels through single operators: older opsets, Constant nodes, odd shapes, shared weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from builders import Array, constant_node, ints, normal, op, scalar
from channel_builders import a_third, axes_of, groups_of, net, removal_error
from onnx import NodeProto
from test_channels import IMAGE, weights

from eapc.channels import remove_channels
from eapc.model import Model


def between(nodes: Sequence[NodeProto], opset: int = 17, **tensors: Array) -> Model:
    """`one` makes 6 channels c of 8 x 8, nodes lead to d, `two` reads 6 channels of it."""
    made = [op("Conv", "x w1", "c", "one"), *nodes, op("Conv", "d w2", "y", "two")]
    found = {**weights(w1=(6, 3, 1, 1), w2=(4, 6, 1, 1)), **tensors}
    return net(made, IMAGE, found, opset=opset)


BETWEEN: dict[str, Callable[[], Model]] = {
    "PRelu": lambda: between([op("PRelu", "c s", "d")], s=normal((6, 1, 1))),
    "PRelu of one slope": lambda: between([op("PRelu", "c s", "d")], s=normal((1,))),
    "Sum of three": lambda: between([op("Sum", "c c c", "d")]),
    "Where": lambda: between(
        [op("Where", "mask c zero", "d")], mask=normal((8, 8)) > 0, zero=scalar(0)
    ),
    "Pow": lambda: between([op("Pow", "c two", "d")], two=scalar(2)),
    "Max": lambda: between([op("Max", "c low", "d")], low=np.zeros((6, 1, 1), np.float32)),
    "Cast": lambda: between([op("Cast", "c", "h", to=10), op("Cast", "h", "d", to=1)]),
    "Dropout": lambda: between([op("Dropout", "c", "d")]),
    "ReduceMean": lambda: between([op("ReduceMean", "c", "d", axes=[2, -1])]),
    "ReduceSum by operand": lambda: between([op("ReduceSum", "c axes", "d")], axes=ints(-1)),
    "reduced and put back": lambda: between(
        [
            op("ReduceMax", "c", "m", axes=[2, 3], keepdims=0),
            op("Unsqueeze", "m axes", "d"),
        ],
        axes=ints(2, 3),
    ),
    "squeezed and put back": lambda: between(
        [
            op("GlobalMaxPool", "c", "p"),
            op("Squeeze", "p axes", "s"),
            op("Unsqueeze", "s axes", "d"),
        ],
        axes=ints(2, 3),
    ),
    "expanded gate": lambda: between(
        [
            op("GlobalAveragePool", "c", "p"),
            op("Expand", "p shape", "e"),
            op("Mul", "c e", "d"),
        ],
        shape=ints(1, 6, 8, 8),
    ),
    "expanded to the shape of another": lambda: between(
        [
            op("GlobalAveragePool", "c", "p"),
            op("Shape", "c", "shape"),
            op("Expand", "p shape", "e"),
            op("Mul", "c e", "d"),
        ]
    ),
    "GridSample": lambda: between(
        [op("GridSample", "c grid", "d")], grid=np.zeros((1, 4, 4, 2), np.float32)
    ),
    "Tile": lambda: between([op("Tile", "c times", "d")], times=ints(1, 1, 2, 1)),
    "normalised over positions": lambda: between(
        [op("InstanceNormalization", "c s b", "d")], s=normal((6,)), b=normal((6,), 1)
    ),
    "channels last": lambda: between(
        [
            op("Transpose", "c", "t", perm=[0, 2, 3, 1]),
            op("MatMul", "t m", "u", "inner"),
            op("Add", "u b", "v"),
            op("Transpose", "v", "d", perm=[0, 3, 1, 2]),
        ],
        m=normal((6, 6)),
        b=normal((6,)),
    ),
    "upsampled": lambda: between(
        [op("Resize", "c - scales", "d", mode="linear")],
        scales=np.array([1, 1, 2, 2], np.float32),
    ),
    "upsampled by 9": lambda: between(
        [op("Upsample", "c scales", "d")], opset=9, scales=np.array([1, 1, 2, 2], np.float32)
    ),
    "padded positions": lambda: between(
        [op("Pad", "c pads", "d", mode="reflect")], pads=ints(0, 0, 1, 1, 0, 0, 1, 1)
    ),
    "padded positions by 10": lambda: between(
        [op("Pad", "c", "d", pads=[0, 0, 1, 1, 0, 0, 1, 1])], opset=10
    ),
    "sliced positions by 9": lambda: between(
        [op("Slice", "c", "d", starts=[1], ends=[-1], axes=[2])], opset=9
    ),
    "shape in a Constant node": lambda: between(
        [
            constant_node("shape", ints(0, 6, 64)),
            op("Constant", "", "back", value_ints=[0, 6, 8, 8]),
            op("Reshape", "c shape", "flat"),
            op("Reshape", "flat back", "d"),
        ]
    ),
    "shape out of pieces": lambda: between(
        [
            op("Shape", "c", "s", end=1),
            op("Constant", "", "six", value_int=6),
            op("Unsqueeze", "six zero", "channels"),
            op("Concat", "s channels rest", "shape", axis=0),
            op("Reshape", "c shape", "flat"),
            op("Reshape", "flat back", "d"),
        ],
        zero=ints(0),
        rest=ints(-1),
        back=ints(0, 6, 8, 8),
    ),
    "scatter of LeakyRelu and pools": lambda: between(
        [
            op("LeakyRelu", "c", "l"),
            op("LpPool", "l", "p", kernel_shape=[2, 2]),
            op("AveragePool", "p", "d", kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
        ]
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_channels_pass_through(name: str) -> None:
    model = BETWEEN[name]()
    sizes = {group: size for group, (size, _) in axes_of(model).items()}
    assert sizes["one"] == 6
    assert removal_error(model, a_third(groups_of(model))) < 1e-5


def read_twice(batch: Sequence[NodeProto], opset: int) -> Model:
    """6 is the channels and the height: one constant, read twice."""
    nodes = [
        op("Conv", "x w1", "c", "one"),
        *batch,
        op("Concat", "batch six six rest", "shape", axis=0),
        op("Reshape", "c shape", "d", "view"),
        op("Conv", "d w2", "y", "two"),
    ]
    numbers = {"six": ints(6), "rest": ints(-1)}
    tensors = {**weights(w1=(6, 3, 1, 1), w2=(4, 6, 1, 1)), **numbers}
    return net(nodes, ("N", 3, 6, 8), tensors, opset=opset)


def test_a_number_that_stands_for_two_lengths_is_overwritten_for_one() -> None:
    model = read_twice([op("Shape", "c", "batch", end=1)], 17)
    assert axes_of(model) == {"one": (6, {("w1", 0): 1, ("w2", 1): 1})}
    smaller = remove_channels(model, groups_of(model), {"one": ints(0, 5)})
    assert np.array_equal(smaller.constants["six"], ints(6))
    assert removal_error(model, {"one": ints(1, 2)}) < 1e-5


def test_a_number_that_stands_for_two_lengths_stays_before_there_was_where() -> None:
    cut = op("Slice", "lengths", "batch", axes=[0], starts=[0], ends=[1])
    found = groups_of(read_twice([op("Shape", "c", "lengths"), cut], 8))
    assert found.groups == ()
    assert found.left_whole == {"view": "a number of its shape is used elsewhere too"}


def test_channels_of_one_and_three_dimensions() -> None:
    for kernel in ((3,), (1, 3, 2)):
        nodes = [op("Conv", "x w1", "c", "one"), op("Conv", "c w2", "y", "two")]
        tensors = {"w1": normal((6, 3, *kernel)), "w2": normal((4, 6, *kernel), 1)}
        model = net(nodes, ("N", 3, *(9 for _ in kernel)), tensors)
        assert axes_of(model) == {"one": (6, {("w1", 0): 1, ("w2", 1): 1})}
        assert removal_error(model, {"one": ints(1, 4)}) < 1e-5


def test_a_fixed_batch_stays() -> None:
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Reshape", "c shape", "f"),
        op("MatMul", "f w2", "y", "two"),
    ]
    tensors = {**weights(w1=(6, 3, 8, 8), w2=(6, 4)), "shape": ints(4, 6)}
    model = net(nodes, (4, 3, 8, 8), tensors)
    assert axes_of(model) == {"one": (6, {("w1", 0): 1, ("w2", 0): 1})}
    assert removal_error(model, {"one": ints(0, 5)}) < 1e-5


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        (1, {"one": (6, {("w1", 0): 1, ("w2", 0): 1}), "two": (4, {("w2", 1): 1, ("w3", 1): 1})}),
        (6, {"one": (6, {("w1", 0): 1, ("w2", 0): 1, ("w3", 1): 4})}),
        (2, {"one": (3, {("w1", 0): 2, ("w2", 0): 2}), "two": (4, {("w2", 1): 1, ("w3", 1): 2})}),
    ],
)
def test_groups_of_a_transposed_convolution(
    groups: int, wanted: dict[str, tuple[int, dict[tuple[str, int], int]]]
) -> None:
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("ConvTranspose", "c w2", "d", "two", group=groups, strides=[2, 2]),
        op("Conv", "d w3", "y", "three"),
    ]
    wide = 4 * groups
    model = net(nodes, IMAGE, weights(w1=(6, 3, 1, 1), w2=(6, 4, 2, 2), w3=(4, wide, 1, 1)))
    assert axes_of(model) == wanted
    assert removal_error(model, a_third(groups_of(model))) < 1e-5


def test_split_projections_of_attention() -> None:
    """Q, K and V out of one product by Split, each then split into 3 heads of 4."""
    nodes = [op("MatMul", "x w", "qkv", "qkv"), op("Split", "qkv sizes", "q k v", axis=-1)]
    for letter, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes.append(op("Reshape", f"{letter} heads", f"{letter}1"))
        nodes.append(op("Transpose", f"{letter}1", f"{letter}2", perm=perm))
    nodes += [
        op("MatMul", "q2 k2", "scores"),
        op("Softmax", "scores", "soft", axis=-1),
        op("MatMul", "soft v2", "context"),
        op("Transpose", "context", "back", perm=[0, 2, 1, 3]),
        op("Reshape", "back join", "joined"),
        op("MatMul", "joined wo", "y", "out"),
    ]
    tensors = {"w": normal((12, 36)), "wo": normal((12, 12), 1), "sizes": ints(12, 12, 12)}
    model = net(nodes, ("N", 5, 12), {**tensors, "heads": ints(0, 0, 3, 4), "join": ints(0, 0, 12)})
    assert axes_of(model) == {"qkv": (3, {("w", 1): 12, ("wo", 0): 4})}
    assert removal_error(model, {"qkv": ints(1)}) < 1e-5
    smaller = remove_channels(model, groups_of(model), {"qkv": ints(0, 2)})
    assert np.array_equal(smaller.constants["sizes"], ints(8, 8, 8))
    assert np.array_equal(smaller.constants["heads"], ints(0, 0, 2, 4))


def test_an_even_split_stays_even() -> None:
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Split", "c", "a b", axis=1),
        op("Mul", "a b", "d"),
        op("Conv", "d w2", "y", "two"),
    ]
    model = net(nodes, IMAGE, weights(w1=(8, 3, 1, 1), w2=(5, 4, 1, 1)), opset=11)
    assert axes_of(model) == {"one": (4, {("w1", 0): 2, ("w2", 1): 1})}
    assert removal_error(model, {"one": ints(2)}) < 1e-5


def test_sizes_of_a_split_in_an_attribute() -> None:
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Split", "c", "a b", "cut", axis=1, split=[2, 6]),
        op("Conv", "b w2", "d", "two"),
        op("Conv", "a w3", "e", "three"),
        op("Add", "d e", "y"),
    ]
    tensors = weights(w1=(8, 3, 1, 1), w2=(5, 6, 1, 1), w3=(5, 2, 1, 1))
    model = net(nodes, IMAGE, tensors, opset=11)
    assert [(g.name, g.size) for g in groups_of(model).groups] == [("one", 2), ("one#2", 6)]
    smaller = remove_channels(model, groups_of(model), {"one#2": ints(0, 1, 5)})
    assert smaller.view.node("cut").attribute("split", ()) == [2, 3]
    assert removal_error(model, {"one": ints(0), "one#2": ints(3, 4)}) < 1e-5


def test_shared_kernels_tie_their_readers() -> None:
    """Two maps go through one convolution, as heads over several scales do."""
    nodes = [
        op("Conv", "x w1", "a", "one"),
        op("MaxPool", "a", "p", kernel_shape=[2, 2], strides=[2, 2]),
        op("Conv", "p w2", "b", "two"),
        op("Conv", "a w3", "c", "head1"),
        op("Conv", "b w3", "d", "head2"),
        op("GlobalAveragePool", "c", "cp"),
        op("GlobalAveragePool", "d", "dp"),
        op("Add", "cp dp", "y"),
    ]
    tensors = weights(w1=(6, 3, 1, 1), w2=(6, 6, 1, 1), w3=(4, 6, 1, 1))
    model = net(nodes, IMAGE, tensors)
    assert axes_of(model) == {"one": (6, {("w1", 0): 1, ("w2", 0): 1, ("w2", 1): 1, ("w3", 1): 1})}
    assert removal_error(model, {"one": ints(0, 3)}) < 1e-5


def test_operands_that_do_not_fit_leave_a_node_whole() -> None:
    """A normalisation by position, as BatchNormalization of opset 8 allows."""
    rows = {name: normal((384,)) for name in "sbm"} | {"v": np.ones(384, np.float32)}
    node = op("BatchNormalization", "c s b m v", "d", "norm", spatial=0)
    found = groups_of(between([node], opset=8, **rows))
    assert found.groups == ()
    assert "norm" in found.left_whole


def test_indices_of_a_pool_that_are_read_keep_channels() -> None:
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("MaxPool", "c", "p indices", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        op("MaxUnpool", "p indices", "d", kernel_shape=[2, 2], strides=[2, 2]),
        op("Conv", "d w2", "y", "two"),
    ]
    found = groups_of(net(nodes, IMAGE, weights(w1=(6, 3, 1, 1), w2=(4, 6, 1, 1))))
    assert found.groups == ()
    assert found.left_whole["pool"] == "its indices count channels"


def listed_among_inputs(model: Model) -> Model:
    """The model as IR 3 has it: every initializer is an input too."""
    proto = model.to_proto()
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        kind, dims = tensor.data_type, list(tensor.dims)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, kind, dims))
    return Model.from_proto(proto)


def lengths_among_inputs(model: Model) -> dict[str, int]:
    """The first axis of everything that is listed as an input."""
    inputs = model.view.proto.graph.input
    return {value.name: value.type.tensor_type.shape.dim[0].dim_value for value in inputs}


def test_initializers_among_the_inputs_shrink_there_too() -> None:
    model = listed_among_inputs(between([op("Relu", "c", "d")], opset=8))
    smaller = remove_channels(model, groups_of(model), {"one": ints(0, 2)})
    assert lengths_among_inputs(smaller)["w1"] == 2
    assert removal_error(model, {"one": ints(1)}) < 1e-5


def test_shared_initializers_among_the_inputs_shrink_there_too() -> None:
    """Both readers of the bias want the same part of it: it keeps its name."""
    nodes = [
        op("Conv", "x w1 b", "c", "one"),
        op("Conv", "x w2 b", "d", "two"),
        op("Add", "c d", "e", "add"),
        op("Conv", "e w3", "y", "three"),
    ]
    tensors = weights(w1=(6, 3, 1, 1), w2=(6, 3, 1, 1), b=(6,), w3=(4, 6, 1, 1))
    model = listed_among_inputs(net(nodes, IMAGE, tensors, opset=8))
    smaller = remove_channels(model, groups_of(model), {"one": ints(0, 2)})
    assert smaller.constants.shape("b") == (2,)
    assert lengths_among_inputs(smaller)["b"] == 2
    assert removal_error(model, {"one": ints(1)}) < 1e-5


def test_weights_stored_the_other_way_round() -> None:
    """A transposed constant shrinks along its own axes."""
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("GlobalAveragePool", "c", "p"),
        op("Flatten", "p", "f"),
        op("Transpose", "stored", "w2", perm=[1, 0]),
        op("MatMul", "f w2", "y", "two"),
    ]
    model = net(nodes, IMAGE, {**weights(w1=(6, 3, 1, 1)), "stored": normal((4, 6))})
    assert axes_of(model) == {"one": (6, {("w1", 0): 1, ("stored", 1): 1})}
    assert removal_error(model, {"one": ints(2, 3)}) < 1e-5


def test_an_empty_constant_is_no_obstacle() -> None:
    """Upsampling by sizes leaves the region and the scales empty."""
    nodes = [op("Resize", "c roi scales sizes", "d")]
    empty = np.zeros(0, np.float32)
    model = between(nodes, roi=empty, scales=empty, sizes=ints(1, 6, 16, 16))
    assert axes_of(model)["one"][0] == 6
    smaller = remove_channels(model, groups_of(model), {"one": ints(0, 2)})
    assert np.array_equal(smaller.constants["sizes"], ints(1, 2, 16, 16))
