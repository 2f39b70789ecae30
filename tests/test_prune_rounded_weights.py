"""Real weights that the file rounds at each run come back as real numbers, all on their grids."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from builders import make_model, normal, op
from onnx import NodeProto, numpy_helper
from pruning_builders import Net, rounded_net
from test_model_weights import behind
from test_passes import compile_net, error_of
from test_prune_stored_weights import PIPELINES, declared

from eapc.channels import find_groups
from eapc.commands.compiler import analyze
from eapc.commands.preparation import Settings
from eapc.layers import find_layers
from eapc.model import (
    Array,
    Model,
    as_seen,
    codes_of,
    count_nonzero,
    find_weights,
    infer_shapes,
    obstacle,
    weights_stored,
)
from eapc.pipeline import Compilation
from eapc.runtime import Session, with_outputs
from eapc.structured import without_channels

GRIDS = {"c": "cw", "g": "gw", "m": "md"}
"""Constants, and what the file makes of each."""


@cache
def pruned(pipeline: str) -> Compilation:
    return compile_net(rounded_net(), pipeline)


def pair(clip: bool = False, axis: int = 0) -> list[NodeProto]:
    """Quantized by channels of axis 0, and read so unless told otherwise."""
    steps = [op("QuantizeLinear", "root scale zero", "q", axis=0)]
    steps += [op("Clip", "q low high", "c")] if clip else []
    codes = "c" if clip else "q"
    return [*steps, op("DequantizeLinear", f"{codes} scale zero", "seen", axis=axis)]


def test_rounding_by_hand() -> None:
    """Steps of 0.5 and 2: 0.7 is 1 step, 0.2 none; -7 is -3.5 steps, which go to the even -4.

    300 is beyond 127 steps of 2. New values are stored as what they are rounded to; 0.1 is to stay,
    so it is one step.
    """
    root = np.array([[0.7, 0.2, 0.0], [-7, 300, 2]], np.float32)
    grid: dict[str, Array] = {"scale": np.array([0.5, 2], np.float32), "zero": np.zeros(2, np.int8)}
    model, source = behind(pair(), root, **grid)
    assert obstacle(model, source) == ""
    np.testing.assert_array_equal(as_seen(model, source), [[0.5, 0, 0], [-8, 254, 2]])
    assert count_nonzero(model, source) == (4, 6)
    new = np.array([[0.1, 0, -0.8], [3.1, -1e4, 0]], np.float32)
    stored = weights_stored(model, source, new)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, [[0.5, 0, -1], [4, -256, 0]])


def test_a_clip_between_says_how_far_codes_reach() -> None:
    root = np.array([[-100.0, 60.0, 1.4]], np.float32)
    ends: dict[str, Array] = {"low": np.array(-7, np.int8), "high": np.array(7, np.int8)}
    grid: dict[str, Array] = {"scale": np.ones(1, np.float32), "zero": np.zeros(1, np.int8)}
    model, source = behind(pair(clip=True), root, **ends, **grid)
    np.testing.assert_array_equal(as_seen(model, source), [[-7, 7, 1]])
    codes = codes_of(model, source)
    assert codes is not None
    assert [int(bound[0, 0]) for bound in codes.bounds] == [-7, 7]
    stored = weights_stored(model, source, np.array([[9, -9, 0]], np.float32))
    np.testing.assert_array_equal(stored, [[7, -7, 0]])


@pytest.mark.parametrize(
    ("axis", "said"),
    [(1, "weights are quantized on one grid and read on another; give them one"), (0, "")],
)
def test_two_grids_are_no_rounding(axis: int, said: str) -> None:
    grid: dict[str, Array] = {"scale": np.ones(4, np.float32), "zero": np.zeros(4, np.int8)}
    model, source = behind(pair(axis=axis), normal((4, 4)), **grid)
    assert obstacle(model, source) == said


def test_activations_behind_the_same_pair_are_no_weights() -> None:
    nodes = [
        op("QuantizeLinear", "x s z", "q"),
        op("DequantizeLinear", "q s z", "d"),
        op("MatMul", "d w", "y"),
    ]
    tensors: dict[str, Array] = {"s": np.array(1, np.float32), "z": np.array(0, np.int8)}
    net = Net(make_model(nodes, {"x": ("N", 4)}, ["y"], tensors | {"w": normal((4, 4))}), {})
    assert find_weights(net.model, "d") is None


def test_each_number_is_what_onnxruntime_rounds_it_to() -> None:
    model = rounded_net().model
    session = Session(with_outputs(model.to_proto(), [*GRIDS.values()]), 1, optimise=False)
    found = session.run({"x": rounded_net().arrays["x"][:1]})
    for root, seen in GRIDS.items():
        source = find_weights(model, seen)
        assert source is not None
        assert source.root == root
        np.testing.assert_array_equal(as_seen(model, source), found[seen])


def test_layers_and_the_normalisation_behind_one_are_found() -> None:
    found = find_layers(rounded_net().model)
    assert found.skipped == ()
    layers = {tied.weight: tied.first for tied in found.layers}
    assert set(layers) == set(GRIDS)
    bias = layers["c"].bias
    assert bias is not None
    assert bias.tensor == "bb"
    assert (layers["c"].scale != 1).all()


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_values_stay_real_and_survive_their_rounding(pipeline: str) -> None:
    done = pruned(pipeline % 0.6)
    before, after = done.model.original.to_proto(), done.model.to_proto()
    assert declared(after) == declared(before)
    for root, seen in GRIDS.items():
        record, value = done.record.layers[root], done.model.constants[root]
        source = find_weights(done.model, seen)
        assert source is not None
        np.testing.assert_array_equal(as_seen(done.model, source), value)
        assert record.nonzero_weights == round(0.4 * record.weights) == np.count_nonzero(value)


def test_refitted_values_answer_far_better_than_the_largest_alone() -> None:
    refitted, largest = (error_of(pruned(each % 0.5)) for each in reversed(PIPELINES))
    assert refitted < 0.5 * largest


_CHANNELS = "prune-channels{energy=0.7}, reconstruct-outputs{keep_mask=true}, shrink-channels"


def test_channels_go_with_their_filters_scales() -> None:
    done = compile_net(rounded_net(), _CHANNELS)
    left = done.model.constants.shape("c")
    assert left is not None
    assert left[0] < 8
    for name in ("cs", "cz", "bg", "bb", "bm", "bv"):
        assert done.model.constants.shape(name) == left[:1]
    assert done.model.constants.shape("g") == (6, left[0])
    assert error_of(done) < 1


def test_a_channel_left_out_is_zero_also_where_codes_of_zero_are_128() -> None:
    nodes = [
        op("QuantizeLinear", "v s z", "q"),
        op("DequantizeLinear", "q s z", "d"),
        op("MatMul", "x d", "h", "one"),
        op("MatMul", "h w", "y", "two"),
    ]
    tensors = {"v": normal((4, 3)), "s": np.array(0.01, np.float32), "w": normal((3, 2))}
    tensors |= {"z": np.array(128, np.uint8)}
    model = Net(make_model(nodes, {"x": ("N", 4)}, ["y"], tensors), {}).model
    found = find_groups(model, infer_shapes(model, {"x": (1, 4)}))
    (group,) = found.groups
    layers = find_layers(model).layers
    pruned = without_channels(model, layers, {group.name: [1]}, [group])
    np.testing.assert_array_equal(pruned.constants["v"][:, 1], 0)


def test_energy_is_that_of_weights_stored_as_integers() -> None:
    net = rounded_net()
    model, proto = net.model, net.proto.__class__()
    proto.CopyFrom(net.proto)
    held = {each.name: each for each in proto.graph.initializer}
    for root, seen in GRIDS.items():
        source = find_weights(model, seen)
        codes = codes_of(model, source) if source else None
        assert codes is not None
        held[root].CopyFrom(numpy_helper.from_array(codes.rounded(model.constants[root]), root))
    names = {"cq": "c", "gc": "g", "mq": "m"}
    gone = {"cq", "gq", "gc", "mq"}
    left = [node for node in proto.graph.node if node.output[0] not in gone]
    for node in left:
        node.input[:] = [names.get(name, name) for name in node.input]
    del proto.graph.node[:]
    proto.graph.node.extend(left)
    settings = Settings(density=0.5)
    found, wanted = (
        analyze(Model.from_proto(each), settings).energy for each in (net.proto, proto)
    )
    assert (found.weights, found.nonzero_weights) == (wanted.weights, wanted.nonzero_weights)
    assert found.energy_mac_units == pytest.approx(wanted.energy_mac_units)
