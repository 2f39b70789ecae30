"""What is said of layers none of whose channels can go."""

from __future__ import annotations

import numpy as np
import pytest
from builders import ints, normal, op
from channel_builders import groups_of, net
from onnx import NodeProto
from structured_builders import MODELS
from test_channels import IMAGE, weights

from eapc.layers import find_layers
from eapc.model import Model

SMALL = (1, 4, 6, 6)


def between(nodes: list[NodeProto], **tensors: np.ndarray) -> Model:
    """`one` makes 6 channels (1, 6, 6, 6) named c; nodes from c to d; `two` reads d."""
    made = [op("Conv", "x w1", "c", "one"), *nodes, op("Conv", "d w2", "y", "two")]
    return net(made, SMALL, {**weights(w1=(6, 4, 1, 1), w2=(5, 6, 1, 1)), **tensors})


MIXES = "mixes their channels"


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([op("Softmax", "c", "d", "soft", axis=1)], f"Softmax 'soft' {MIXES}"),
        (
            [op("Relu", "c", "r"), op("LRN", "r", "d", "lrn", size=3)],
            f"LRN 'lrn' {MIXES}",
        ),
        (
            [
                op("ReduceMean", "c", "m", "mean", axes=[1], keepdims=1),
                op("Sub", "c m", "d"),
            ],
            f"ReduceMean 'mean' {MIXES}",
        ),
        (
            [op("Reshape", "c to", "g", "in"), op("Reshape", "g back", "d", "out")],
            "Reshape 'in' regroups their channels",
        ),
        (
            [op("Transpose", "c", "d", "turn", perm=[0, 2, 1, 3])],
            "Conv 'two' takes their channels for positions",
        ),
        (
            [op("Trilu", "c", "d", "half")],
            "Trilu 'half' needs all of their channels: no axis rule for Trilu",
        ),
    ],
    ids=lambda value: value[-1].op_type if isinstance(value, list) else "",
)
def test_the_node_that_needs_all_channels_is_named(nodes: list[NodeProto], reason: str) -> None:
    shapes = {"to": ints(1, 4, -1), "back": ints(1, 6, 6, 6)}
    held = groups_of(between(nodes, **shapes)).held
    assert held == {"one": reason, "two": "their channels reach the output 'y'"}


def test_the_first_node_behind_the_layers_is_named() -> None:
    """The trunk is normalised twice; both its layers are held by the first one behind `stem`."""
    nodes = [
        op("MatMul", "x w0", "s", "stem"),
        op("LayerNormalization", "s g", "n1", "norm1"),
        op("MatMul", "n1 w1", "a", "mix"),
        op("Add", "s a", "t"),
        op("LayerNormalization", "t g", "n2", "norm2"),
        op("MatMul", "n2 w2", "y", "head"),
    ]
    model = net(nodes, ("N", 4), weights(w0=(4, 6), w1=(6, 6), w2=(6, 3), g=(6,)))
    reason = f"LayerNormalization 'norm1' {MIXES}"
    head = "their channels reach the output 'y'"
    assert groups_of(model).held == {"stem": reason, "mix": reason, "head": head}


def test_channels_that_are_added_to_an_input_are_the_inputs() -> None:
    nodes = [op("Conv", "x w1", "c", "one"), op("Add", "c x", "t"), op("Conv", "t w2", "y", "two")]
    model = net(nodes, IMAGE, weights(w1=(3, 3, 1, 1), w2=(4, 3, 1, 1)))
    assert groups_of(model).held["one"] == "their channels are those of the input 'x'"


def test_one_channel_must_stay() -> None:
    nodes = [op("Conv", "x w1", "c", "one"), op("Conv", "c w2", "y", "two")]
    model = net(nodes, IMAGE, weights(w1=(1, 3, 1, 1), w2=(4, 1, 1, 1)))
    assert groups_of(model).held["one"] == "there is one channel, and one must stay"


def test_a_layer_without_shapes_says_so_itself() -> None:
    """What NonZero finds has no length that is known, and so has all that is made of it."""
    nodes = [
        op("NonZero", "x", "z"),
        op("Cast", "z", "f", to=1),
        op("MyOwn", "f", "u", "odd", domain="my.own"),
        op("MatMul", "u w", "v", "one"),
        op("ReduceSum", "v", "y"),
    ]
    model = net(nodes, ("N", 4), {"w": normal((5, 6))})
    assert groups_of(model).held["one"] == "the shape of 'u' is unknown"


def test_of_several_ways_the_one_that_leads_furthest_counts() -> None:
    """8 channels are 2 x 4; the 2 are picked from at once, the 4 reach an LRN behind that."""
    nodes = [
        op("MatMul", "x w1", "c", "one"),
        op("Reshape", "c to", "h", "view"),
        op("Gather", "h first", "g", "pick", axis=1),
        op("Softmax", "g", "s", "soft", axis=1),
        op("MatMul", "s w2", "y", "two"),
    ]
    shapes = {"to": ints(0, 2, 4), "first": np.array(0, np.int64)}
    model = net(nodes, ("N", 3), {**weights(w1=(3, 8), w2=(4, 5)), **shapes})
    assert groups_of(model).held["one"] == f"Softmax 'soft' {MIXES}"


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_makes_channels_of_a_group_or_is_held(name: str) -> None:
    model = MODELS[name]()
    found = groups_of(model)
    made = {node for group in found.groups for node in group.producers}
    layers = {user.node.key for tied in find_layers(model).layers for user in tied.users}
    assert not made & found.held.keys()
    assert layers <= made | found.held.keys()
