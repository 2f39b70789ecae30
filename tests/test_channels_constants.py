"""Channels whose parameters stand behind nodes that rearrange, fill or convert constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from builders import Array, constant_node, ints, normal, op
from channel_builders import axes_of, error_without_dead, groups_of, net, removal_error
from onnx import NodeProto
from test_channels import IMAGE, weights

from eapc.channels import dead_channels, remove_channels
from eapc.model import Model, infer_shapes, input_shapes


def biased(nodes: Sequence[NodeProto], **tensors: Array) -> Model:
    """`one` makes 6 channels, nodes make b of a Constant, and their sum is read."""
    made = [
        constant_node("bias", normal((6,), 5)),
        op("Conv", "x w1", "c", "one"),
        *nodes,
        op("Add", "c b", "s"),
        op("Relu", "s", "d"),
        op("Conv", "d w2", "y", "two"),
    ]
    return net(made, IMAGE, {**weights(w1=(6, 3, 1, 1), w2=(4, 6, 1, 1)), **tensors})


BIASES = {
    "Reshape": [constant_node("s1", ints(1, 6, 1, 1)), op("Reshape", "bias s1", "b")],
    "Reshape to -1": [constant_node("s1", ints(1, -1, 1, 1)), op("Reshape", "bias s1", "b")],
    "Unsqueeze": [constant_node("a", ints(0, 2, 3)), op("Unsqueeze", "bias a", "b")],
    "Squeeze": [
        constant_node("a", ints(0, 1, 3, 4)),
        op("Unsqueeze", "bias a", "u"),
        constant_node("z", ints(0)),
        op("Squeeze", "u z", "b"),
    ],
    "Transpose": [
        constant_node("s1", ints(1, 1, 1, 6)),
        op("Reshape", "bias s1", "u"),
        op("Transpose", "u", "b", perm=[0, 3, 1, 2]),
    ],
    "Identity and Cast": [
        constant_node("s1", ints(6, 1, 1)),
        op("Identity", "bias", "i"),
        op("Cast", "i", "f", to=11),
        op("Reshape", "f s1", "u"),
        op("Cast", "u", "b", to=1),
    ],
    "Expand": [
        constant_node("s1", ints(6, 1, 1)),
        op("Reshape", "bias s1", "u"),
        constant_node("s2", ints(1, 6, 8, 8)),
        op("Expand", "u s2", "b"),
    ],
}


@pytest.mark.parametrize("name", BIASES)
def test_a_constant_is_cut_at_its_source(name: str) -> None:
    model = biased(BIASES[name])
    assert axes_of(model) == {"one": (6, {("w1", 0): 1, ("bias", 0): 1, ("w2", 1): 1})}
    assert removal_error(model, {"one": ints(1, 4)}) < 1e-6
    smaller = remove_channels(model, groups_of(model), {"one": ints(0, 5)})
    wanted = normal((6,), 5)[[0, 5]]
    assert np.array_equal(smaller.constants["bias"], wanted)


def filled(nodes: Sequence[NodeProto], **tensors: Array) -> Model:
    """`one` with a bias b that nodes fill, as exporters write a layer without bias."""
    made = [*nodes, op("Conv", "x w1 b", "c", "one"), op("Conv", "c w2", "y", "two")]
    return net(made, IMAGE, {**weights(w1=(6, 3, 1, 1), w2=(4, 6, 1, 1)), **tensors})


FILLED = {
    "ConstantOfShape of a constant": filled([op("ConstantOfShape", "six", "b")], six=ints(6)),
    "ConstantOfShape of a length": filled(
        [op("Shape", "w1", "s", start=0, end=1), op("ConstantOfShape", "s", "b")]
    ),
    "Expand of a zero": filled(
        [
            op("Shape", "w1", "s", start=0, end=1),
            op("Expand", "s one", "t"),
            op("CastLike", "zero x", "z"),
            op("Expand", "z t", "b"),
        ],
        one=ints(1),
        zero=np.float32(0) * np.ones((), np.float32),
    ),
}


@pytest.mark.parametrize("name", FILLED)
def test_a_filled_bias_is_as_long_as_its_layer(name: str) -> None:
    model = FILLED[name]
    assert axes_of(model) == {"one": (6, {("w1", 0): 1, ("w2", 1): 1})}
    assert removal_error(model, {"one": ints(0, 3)}) < 1e-6


@pytest.mark.parametrize("name", FILLED)
def test_a_bias_filled_with_zero_leaves_a_filter_of_zeros_dead(name: str) -> None:
    first = normal((6, 3, 1, 1))
    first[[1, 4]] = 0
    model = FILLED[name].with_weights({"w1": first})
    _, dead = dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))
    assert dead["one"].tolist() == [1, 4]


def test_a_bias_filled_with_one_is_used() -> None:
    """Relu(1) is 1: a filter of zeros makes a map of ones."""
    first = normal((6, 3, 1, 1))
    first[[1, 4]] = 0
    nodes = [constant_node("unit", np.ones((), np.float32)), op("Expand", "unit six", "b")]
    model = filled(nodes, six=ints(6)).with_weights({"w1": first})
    _, dead = dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))
    assert dead["one"].tolist() == []


@pytest.mark.parametrize(("beyond", "quiet"), [(0.0, [1, 4]), (5.0, [])])
def test_what_a_resize_puts_beyond_the_edges_is_used(beyond: float, quiet: list[int]) -> None:
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Resize", "c roi - sizes", "d", extrapolation_value=beyond, **crop),
        op("Conv", "d w2", "y", "two"),
    ]
    first = normal((6, 3, 1, 1))
    first[[1, 4]] = 0
    roi = np.array([0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5], np.float32)
    tensors = {"w1": first, "w2": normal((5, 6, 1, 1)), "roi": roi, "sizes": ints(1, 6, 8, 8)}
    model = net(nodes, [1, 3, 4, 4], tensors)
    _, dead = dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))
    assert dead["one"].tolist() == quiet


def test_heads_that_an_expand_repeats() -> None:
    """One head of keys for 4 of queries: the number of copies follows the queries."""
    nodes = [
        op("MatMul", "x wq", "q", "queries"),
        op("Reshape", "q heads", "q1"),
        op("Transpose", "q1", "q2", perm=[0, 2, 1, 3]),
        op("MatMul", "x wk", "k", "keys"),
        op("Reshape", "k single", "k1"),
        op("Expand", "k1 copies", "k2"),
        op("MatMul", "q2 k2", "scores"),
        op("Softmax", "scores", "soft", axis=-1),
        op("Transpose", "soft", "t", perm=[0, 2, 1, 3]),
        op("Reshape", "t join", "j"),
        op("MatMul", "j wo", "y", "out"),
    ]
    numbers = {
        "heads": ints(0, 0, 4, 5),
        "single": ints(0, 1, 5, 5),
        "copies": ints(1, 4, 1, 1),
        "join": ints(0, 0, -1),
    }
    tensors = {"wq": normal((12, 20)), "wk": normal((12, 5), 1), "wo": normal((20, 3), 2)}
    model = net(nodes, ("N", 5, 12), {**tensors, **numbers})
    assert axes_of(model) == {"queries": (4, {("wq", 1): 5, ("wo", 0): 5})}
    smaller = remove_channels(model, groups_of(model), {"queries": ints(0, 3)})
    assert np.array_equal(smaller.constants["copies"], ints(1, 2, 1, 1))
    assert error_without_dead(model, {"wo": (slice(5, 15),)}) < 1e-6
