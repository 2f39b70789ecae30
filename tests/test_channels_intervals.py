"""Intervals: no element of any tensor lies outside of them, whatever the network is fed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builders import Array, ints, op, scalar
from channel_builders import feed_of, net
from onnx import NodeProto
from test_channels import NETS
from test_channels_random import RandomNet

from eapc.channels.intervals import Interval, sums_of_products
from eapc.channels.near_dead import judged_layers
from eapc.channels.ranges import Ranges
from eapc.model import Model, infer_shapes, input_shapes
from eapc.runtime import Session, with_outputs

IMAGE = (1, 2, 4, 4)


def ranges_of(model: Model, limit: float) -> Ranges:
    """Intervals of all tensors for inputs of no larger magnitude."""
    limits = {spec.name: limit for spec in model.inputs}
    ranges = Ranges(model, infer_shapes(model, input_shapes(model, {}, None)), limits)
    judged_layers(model, ranges)
    return ranges


def bounds(node: NodeProto, x: Array, **tensors: Array) -> tuple[list[float], list[float]]:
    """Bounds of y, a node's result; x lies within x[0] and x[1] by channel, by a Clip in front."""
    low, high = (x[end].reshape(1, -1, 1, 1).astype(np.float32) for end in (0, 1))
    nodes = [op("Max", "x low", "m"), op("Min", "m high", "d"), node]
    model = net(nodes, (1, x.shape[1], 4, 4), {"low": low, "high": high, **tensors})
    found = ranges_of(model, 1e3).of("y")
    return found.low.tolist(), found.high.tolist()


X = np.array([[-2.0, 1.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("node", "low", "high"),
    [
        (op("Relu", "d", "y"), [0, 1], [3, 5]),
        (op("LeakyRelu", "d", "y", alpha=0.5), [-1, 1], [3, 5]),
        (op("LeakyRelu", "d", "y", alpha=-2.0), [0, 0], [4, 5]),
        (op("HardSigmoid", "d", "y", alpha=-0.25, beta=0.5), [0, 0], [1, 0.25]),
        (op("HardSwish", "d", "y"), [-0.5, 0], [3, 5]),
        (op("Clip", "d zero four", "y"), [0, 1], [3, 4]),
        (op("MaxPool", "d", "y", kernel_shape=[2, 2]), [-2, 0], [3, 5]),
        (op("Add", "d d", "y"), [-4, 2], [6, 10]),
        (op("Sub", "d pair", "y"), [-3, 3], [2, 7]),
        (op("Mul", "d pair", "y"), [-2, -10], [3, -2]),
        (op("Div", "d pair", "y"), [-2, -2.5], [3, -0.5]),
        (op("Softmax", "d", "y"), [0], [1]),
        (op("ReduceMean", "d", "y", axes=[2, 3], keepdims=0), [-2, 1], [3, 5]),
        (op("Concat", "d d", "y", axis=1), [-2, 1, -2, 1], [3, 5, 3, 5]),
        (op("Slice", "d starts ends axes", "y"), [-2], [5]),
        (op("Exp", "d", "y"), [-math.inf], [math.inf]),
        (op("Dropout", "d zero yes", "y"), [-math.inf], [math.inf]),
        (op("Pad", "d turn", "y", mode="wrap"), [-2], [5]),
        (op("Pad", "d shift", "y"), [-2], [5]),
    ],
)
def test_bounds_by_hand(node: NodeProto, low: list[float], high: list[float]) -> None:
    tensors = {
        "zero": scalar(0),
        "four": scalar(4),
        "pair": np.array([1, -2], np.float32).reshape(2, 1, 1),
        "starts": ints(0),
        "ends": ints(1),
        "axes": ints(1),
        "yes": np.array(True),
        "shift": ints(0, -1, 0, 0, 0, 1, 0, 0),
        "turn": ints(0, 1, 0, 0, 0, -1, 0, 0),
    }
    used = {name: value for name, value in tensors.items() if name in node.input}
    assert bounds(node, X, **used) == (low, high)


def test_channels_stay_apart_through_a_flatten() -> None:
    low, high = bounds(op("Flatten", "d", "y"), X)
    assert low == [-2] * 16 + [1] * 16
    assert high == [3] * 16 + [5] * 16


def test_batch_normalization_is_a_line() -> None:
    """Scale 6 over a deviation of 3, mean 1, offset 4: y = 2 (x - 1) + 4; 1 - x in channel 1."""
    vectors = {
        "scale": np.array([6, -1], np.float32),
        "offset": np.array([4, 0], np.float32),
        "mean": np.array([1, 1], np.float32),
        "var": np.array([9, 1], np.float32),
    }
    node = op("BatchNormalization", "d scale offset mean var", "y", epsilon=0.0)
    assert bounds(node, X, **vectors) == ([-2, -4], [8, 0])


def test_a_sum_of_products_by_hand() -> None:
    """2 x - 3 z for x in -2..3 and z in 1..5: -19..3, and 2^-16 of 6 + 15 to either side."""
    weights = np.array([[[[2.0], [-3.0]]]])
    low, high = sums_of_products(weights, np.abs(weights), Interval(*X))
    assert low.tolist() == [-19 - 21 * 2.0**-16]
    assert high.tolist() == [3 + 21 * 2.0**-16]


def test_every_tap_reads_any_number_within_the_bounds() -> None:
    """(1, -4) of x in -2..3 and (0, 2) of z in 1..5: -14..11 and 2..10, beside 2^-16 of 25."""
    weights = np.array([[[[1.0, -4.0], [0.0, 2.0]]]])
    low, high = sums_of_products(weights, np.abs(weights), Interval(*X))
    assert low.tolist() == [-12 - 25 * 2.0**-16]
    assert high.tolist() == [21 + 25 * 2.0**-16]


def test_what_has_no_bound_leaves_none_to_those_that_read_it() -> None:
    weights = np.array([[[[2.0], [1.0]], [[0.0], [1.0]]]])
    x = Interval(np.array([-math.inf, 0.0]), np.array([1.0, 2.0]))
    low, high = sums_of_products(weights, np.abs(weights), x)
    assert low[0] == -math.inf
    assert high[0] == math.inf
    assert high[1] == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_stay_within(seed: int) -> None:
    _require_within(RandomNet(seed).model(), seed)


@pytest.mark.parametrize("name", NETS)
def test_networks_stay_within(name: str) -> None:
    _require_within(NETS[name](), 0)


def _require_within(model: Model, seed: int) -> None:
    feed = feed_of(model, seed)
    most = max(float(np.abs(value).max()) for value in feed.values())
    ranges = ranges_of(model, most)
    names = [name for node in model.view.main_nodes for name in node.outputs if name]
    session = Session(with_outputs(model.to_proto(embed=True), names), 1, optimise=False)
    for name, value in session.run(feed).items():
        found = ranges.of(name)
        if value.dtype.kind != "f" or not value.size:
            continue
        axis = found.axis
        rows = value.reshape(1, -1) if axis is None else np.moveaxis(value, axis, 0)
        rows = rows.reshape(len(rows), -1)
        assert len(found.low) in (1, len(rows)), name
        slack = 1e-5 * np.abs(value).max()
        assert np.all(rows.min(1) >= found.low - slack), name
        assert np.all(rows.max(1) <= found.high + slack), name
