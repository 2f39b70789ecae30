"""Groups of a normalisation go whole: as one operator, and as exporters spell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from builders import Array, ints, loaded, normal, op, value
from channel_builders import axes_of, error_without_dead, groups_of, removal_error
from onnx import NodeProto
from test_channels import weights

from eapc.channels import dead_channels, remove_channels
from eapc.model import Model, infer_shapes, input_shapes

IMAGE = (2, 3, 4, 4)
CHANNELS, GROUPS = 8, 4


def normalised(nodes: Sequence[NodeProto], tensors: Mapping[str, Array], opset: int = 17) -> Model:
    """`one` makes 8 channels c, nodes normalise 4 groups of 2 to d, `two` reads them."""
    made = [op("Conv", "x w1", "c", "one"), *nodes, op("Conv", "d w2", "y", "two")]
    found = {**weights(w1=(8, 3, 1, 1), w2=(5, 8, 1, 1)), **tensors}
    return loaded(made, {"x": IMAGE}, [value("y", (2, 5, 4, 4))], found, opset)


def as_one(opset: int, length: int, groups: int = GROUPS) -> Model:
    node = op("GroupNormalization", "c s t", "d", "norm", num_groups=groups)
    return normalised([node], {"s": normal((length,), 3), "t": normal((length,), 4)}, opset)


def as_exported(*shape: int) -> Model:
    """Reshape to (N, G, -1), each group on its own, and back; then scale and offset."""
    nodes = [
        op("Reshape", "c apart", "r"),
        op("InstanceNormalization", "r ones zeros", "i"),
        op("Shape", "c", "lengths"),
        op("Reshape", f"i {'back' if shape else 'lengths'}", "n"),
        op("Mul", "n s", "m"),
        op("Add", "m t", "d"),
    ]
    unit = {"ones": np.ones(GROUPS, np.float32), "zeros": np.zeros(GROUPS, np.float32)}
    affine = {"s": normal((CHANNELS, 1, 1), 3), "t": normal((CHANNELS, 1, 1), 4)}
    shapes = {"apart": ints(0, GROUPS, -1), "back": ints(*shape)}
    return normalised(nodes, {**unit, **affine, **shapes})


PER_CHANNEL = {("w1", 0): 2, ("s", 0): 2, ("t", 0): 2, ("w2", 1): 2}
PER_GROUP = {("w1", 0): 2, ("s", 0): 1, ("t", 0): 1, ("w2", 1): 2}
UNIT = {("ones", 0): 1, ("zeros", 0): 1}

NETS = {
    "opset 21": (as_one(21, CHANNELS), PER_CHANNEL),
    "opset 18": (as_one(18, GROUPS), PER_GROUP),
    "back to the shape before": (as_exported(), PER_CHANNEL | UNIT),
    "back to numbers": (as_exported(0, 8, 4, 4), PER_CHANNEL | UNIT),
    "back to -1": (as_exported(0, -1, 4, 4), PER_CHANNEL | UNIT),
}


@pytest.mark.parametrize("name", NETS)
def test_a_group_goes_whole(name: str) -> None:
    model, axes = NETS[name]
    assert axes_of(model) == {"one": (GROUPS, axes)}


@pytest.mark.parametrize("name", [name for name in NETS if name != "opset 18"])
def test_a_dead_group_changes_nothing(name: str) -> None:
    """onnxruntime runs GroupNormalization as of opset 21."""
    model = NETS[name][0]
    assert removal_error(model, {"one": ints(1, 2)}) < 1e-6
    assert error_without_dead(model, {"w2": (slice(None), slice(2, 4))}) < 1e-6


def test_the_number_of_groups_is_counted_anew() -> None:
    model = as_one(21, CHANNELS)
    smaller = remove_channels(model, groups_of(model), {"one": ints(0, 3)})
    assert smaller.view.node("norm").attribute("num_groups", 0) == 2
    assert smaller.constants.shape("s") == (4,)


@pytest.mark.parametrize("name", [name for name in NETS if name != "opset 18"])
def test_a_channel_whose_neighbour_is_used_stays(name: str) -> None:
    """Its values go into the statistics of the other channel of its group."""
    model = NETS[name][0]
    read = normal((5, 8, 1, 1), 1)
    read[:, [0, 2, 3]] = 0
    model = model.with_weights({"w2": read})
    _, dead = dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))
    assert dead["one"].tolist() == [1]


def test_a_scale_of_zero_leaves_the_offset() -> None:
    scale, offset = normal((CHANNELS,), 3), normal((CHANNELS,), 4)
    scale[2:6] = 0
    offset[[2, 3, 5]] = 0
    model = as_one(21, CHANNELS).with_weights({"s": scale, "t": offset})
    _, dead = dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))
    assert dead["one"].tolist() == [1]


def test_one_group_of_all_channels_stays() -> None:
    found = groups_of(as_one(21, CHANNELS, groups=1))
    assert found.groups == ()
    assert found.left_whole == {"norm": "all channels share their statistics"}


def test_groups_of_one_channel_go_by_channel() -> None:
    model = as_one(21, CHANNELS, groups=CHANNELS)
    assert axes_of(model)["one"][0] == CHANNELS
    assert removal_error(model, {"one": ints(1, 2, 7)}) < 1e-6
