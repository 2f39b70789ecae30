"""Near-dead weights: below half the last bit of the constant of their sum, whatever the input."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from builders import Array, op
from channel_builders import a_third, feed_of, groups_of, net, outputs_of, silenced
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto
from test_channels_random import RandomNet

from eapc.channels import NearDeadWeights, near_dead_channels, near_dead_weights
from eapc.commands.compiler import run
from eapc.model import Model, infer_shapes, input_shapes

LIMIT = 4.0
"""What x is at most: with a bias of 0.5 a float32 weight of 2^-27 makes a term of 2^-25."""

HALF_BIT = 2.0**-25
"""Half the last bit of 0.5 in float32, 2^-24 * 0.5."""


def vector(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def near_dead(model: Model, limit: float = LIMIT) -> NearDeadWeights:
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    return near_dead_weights(model, shapes, {spec.name: limit for spec in model.inputs})


def flags_of(model: Model, weight: str = "w", limit: float = LIMIT) -> list[list[int]]:
    """1 where a weight is near-dead, by rows of the constant."""
    found = near_dead(model, limit).flags.get(weight)
    if found is None:
        shape = model.constants.shape(weight)
        assert shape is not None
        found = np.zeros(shape, np.bool_)
    rows: list[list[int]] = found.reshape(len(found), -1).astype(int).tolist()
    return rows


def gemm(
    rows: Sequence[Sequence[float]],
    bias: Sequence[float] | None = (0.5,),
    *behind: NodeProto,
    dtype: Any = np.float32,
    **tensors: Array,
) -> Model:
    """Gemm of x with weights `rows` (outputs, inputs), and nodes from c to y behind it."""
    weights = np.array(rows).astype(dtype)
    made = "c" if behind else "y"
    operands = "x w" if bias is None else "x w b"
    found = {"w": weights, **tensors}
    if bias is not None:
        found["b"] = np.array(bias).astype(dtype)
    nodes = [op("Gemm", operands, made, "layer", transB=1), *behind]
    return net(nodes, (1, weights.shape[1]), found)


# --- one layer --------------------------------------------------------------------------------


def test_a_term_of_half_the_last_bit_is_near_dead_and_one_above_is_not() -> None:
    edge, above = HALF_BIT / LIMIT, float(np.nextafter(np.float32(HALF_BIT / LIMIT), np.float32(1)))
    assert flags_of(gemm([[1, edge]])) == [[0, 1]]
    assert flags_of(gemm([[1, above]])) == [[0, 0]]
    assert flags_of(gemm([[1, edge]]), limit=2 * LIMIT) == [[0, 0]]


def test_what_goes_together_is_below_half_the_last_bit_together() -> None:
    """Terms of 1/2, 1/2 and 1/4 of half a bit: the smaller two fit, all three do not."""
    half = HALF_BIT / LIMIT / 2
    assert flags_of(gemm([[half, 1, half / 2, half]])) == [[1, 0, 1, 0]]
    assert flags_of(gemm([[half, 1, half / 2, half / 4]])) == [[1, 0, 1, 1]]


def test_large_weights_of_the_row_say_nothing() -> None:
    """Beside a weight of 1e6 the inputs of 1e-3 may still be all that there is."""
    assert flags_of(gemm([[1e6, 1e-3]])) == [[0, 0]]


def test_without_a_constant_nothing_is_near_dead() -> None:
    assert flags_of(gemm([[1, 1e-30]], bias=None)) == [[0, 0]]
    assert flags_of(gemm([[1, 1e-30]], bias=[0.0])) == [[0, 0]]


def test_zeros_are_no_near_dead_weights() -> None:
    assert near_dead(gemm([[1, 0]])).count == 0


@pytest.mark.parametrize(
    ("dtype", "roundoff"),
    [
        (np.float16, 2.0**-11),
        (ml_dtypes.bfloat16, 2.0**-8),
        (np.float32, 2.0**-24),
        (np.float64, 2.0**-53),
    ],
)
def test_the_last_bit_is_that_of_the_type(dtype: Any, roundoff: float) -> None:
    edge = roundoff * 0.5 / LIMIT
    assert flags_of(gemm([[1, edge], [1, 1.25 * edge]], [0.5, 0.5], dtype=dtype)) == [
        [0, 1],
        [0, 0],
    ]


def test_alpha_and_beta_count() -> None:
    """Terms of alpha 2 are twice as large, and so is the last bit of a bias of beta 2."""
    tensors = {"w": np.array([[1], [HALF_BIT / LIMIT]], np.float32), "b": vector(0.5)}
    node = op("Gemm", "x w b", "y", alpha=2.0)
    both = op("Gemm", "x w b", "y", alpha=2.0, beta=2.0)
    assert flags_of(net([node], (1, 2), tensors)) == [[0], [0]]
    assert flags_of(net([both], (1, 2), tensors)) == [[0], [1]]


def test_a_kernel_of_several_taps_and_groups() -> None:
    """Each group has its own filter over 9 taps; all 9 of 1e-10 come to 3.6e-9 < 2^-25."""
    weights = np.full((2, 1, 3, 3), 0.1, np.float32)
    weights[1] = 1e-10
    tensors = {"w": weights, "b": np.array([0.5, 0.5], np.float32)}
    model = net([op("Conv", "x w b", "y", group=2, pads=[1] * 4)], (1, 2, 4, 4), tensors)
    assert flags_of(model) == [[0] * 9, [1] * 9]


def test_a_transposed_convolution_has_its_outputs_second() -> None:
    weights = np.array([[1, 1e-10], [1e-10, 1]], np.float32).reshape(2, 2, 1, 1)
    tensors = {"w": weights, "b": np.array([0.5, 0], np.float32)}
    model = net([op("ConvTranspose", "x w b", "y")], (1, 2, 4, 4), tensors)
    assert flags_of(model) == [[0, 0], [1, 0]]


# --- the constant of a sum --------------------------------------------------------------------


def test_a_constant_that_is_added_behind_counts() -> None:
    added = op("Add", "c k", "y")
    assert flags_of(gemm([[1, 1e-9]], None, added, k=vector(0.5))) == [[0, 1]]
    assert flags_of(gemm([[1, 1e-9]], [0.5], added, k=vector(-0.5))) == [[0, 0]]


def test_a_weight_that_a_large_factor_makes_up_for_stays() -> None:
    """1e-9 * 1e6 = 1e-3 beside 0.5, by a Mul or by a BatchNormalization."""
    nodes = [op("Mul", "c f", "m"), op("Add", "m k", "y")]
    assert flags_of(gemm([[1, 1e-9]], None, *nodes, f=vector(1e6), k=vector(0.5))) == [[0, 0]]
    assert flags_of(gemm([[1, 1e-9]], None, *nodes, f=vector(1), k=vector(0.5))) == [[0, 1]]
    norm = op("BatchNormalization", "c scale offset mean var", "y", epsilon=0.0)
    for variance, expected in ((1e-12, [[0, 0]]), (1.0, [[0, 1]])):
        statistics = {"scale": vector(1), "offset": vector(0.5), "mean": vector(0)}
        found = gemm([[1, 1e-9]], None, norm, **statistics, var=vector(variance))
        assert flags_of(found) == expected


def test_the_constant_ends_at_a_second_reader() -> None:
    nodes = [op("Add", "c k", "p"), op("Relu", "c", "r"), op("Add", "p r", "y")]
    assert flags_of(gemm([[1, 1e-9]], None, *nodes, k=vector(0.5))) == [[0, 0]]


def test_a_constant_that_differs_along_the_channel_is_none() -> None:
    positions = np.array([0.5, 0.25, 0.5, 0.5], np.float32).reshape(1, 1, 1, 4)
    weights = np.array([1, 1e-9], np.float32).reshape(1, 2, 1, 1)
    nodes = [op("Conv", "x w", "c"), op("Add", "c k", "y")]
    for k, expected in ((positions, [[0, 0]]), (0 * positions + np.float32(0.5), [[0, 1]])):
        model = net(nodes, (1, 2, 4, 4), {"w": weights, "k": k})
        assert flags_of(model) == expected


# --- through a network ------------------------------------------------------------------------


def two(
    first: Sequence[Sequence[float]],
    bias: Sequence[float],
    second: Sequence[Sequence[float]],
    between: str = "Relu",
) -> Model:
    """Two Gemms with an activation between; the second has a bias of 0.5 everywhere."""
    tensors = {
        "w": np.array(first, np.float32),
        "b": vector(*bias),
        "v": np.array(second, np.float32),
        "u": np.full(len(second), 0.5, np.float32),
    }
    nodes = [
        op("Gemm", "x w b", "c", "one", transB=1),
        op(between, "c", "r"),
        op("Gemm", "r v u", "y", "two", transB=1),
    ]
    return net(nodes, (1, len(first[0])), tensors)


def dead_of(model: Model, limit: float = LIMIT) -> list[int]:
    """The near-dead channels of layer one."""
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    _, dead = near_dead_channels(model, shapes, near_dead(model, limit))
    found: list[int] = dead["one"].tolist()
    return found


def test_a_channel_below_the_last_bit_of_its_readers_is_dead() -> None:
    """Weights of 1e-16 and no bias: 4e-16 reaches the second layer, whose weights are 1."""
    model = two([[1], [1e-16]], [0.5, 0], [[1, 1]])
    assert flags_of(model) == [[0], [0]]
    assert flags_of(model, "v") == [[0, 1]]
    assert dead_of(model) == [1]
    assert dead_of(model, limit=1e9) == []


def test_a_constant_channel_stays_unless_nobody_reads_it() -> None:
    """Its own weights are near-dead, but what its bias comes to is still read."""
    assert flags_of(two([[1], [1e-16]], [0.5, 0.5], [[1, 1]])) == [[0], [1]]
    assert dead_of(two([[1], [1e-16]], [0.5, 0.5], [[1, 1]])) == []
    assert dead_of(two([[1], [1e-16]], [0.5, 0.5], [[1, 1e-16]])) == [1]


def test_a_relu_of_a_negative_bias_and_near_dead_weights_is_dead() -> None:
    assert dead_of(two([[1], [1e-16]], [0.5, -0.5], [[1, 1]])) == [1]
    assert dead_of(two([[1], [1e-16]], [0.5, -0.5], [[1, 1]], "Sigmoid")) == []


def test_small_weights_of_large_inputs_stay() -> None:
    """The second layer reads 1e-4 of a channel that is up to 4e4."""
    assert dead_of(two([[1], [1e4]], [0.5, 0.5], [[1, 1e-4]])) == []
    assert dead_of(two([[1], [1e8]], [0.5, 0.5], [[1, 1e-12]])) == []


def test_behind_an_operator_without_bounds_nothing_is_near_dead() -> None:
    model = two([[1], [1e-16]], [0.5, 0.5], [[1, 1e-16]], "Exp")
    assert flags_of(model, "v") == [[0, 0]]
    nothing = two([[1], [1e-16]], [0.5, 0.5], [[0, 0]], "Exp")
    assert flags_of(nothing, "v") == [[0, 0]]


def test_a_layer_whose_groups_do_not_divide_its_filters_is_left_alone() -> None:
    tensors = {"w": np.full((4, 3, 1, 1), 1e-16, np.float32), "b": vector(1, 1, 1, 1)}
    for groups in (3, 7):
        model = net([op("Conv", "x w b", "y", group=groups)], (1, 3, 4, 4), tensors)
        assert near_dead(model).count == 0


def test_a_sigmoid_bounds_what_no_input_does() -> None:
    model = two([[1], [1]], [0.5, 0.5], [[1, 1e-9]], "Sigmoid")
    assert flags_of(model, "v", limit=np.inf) == [[0, 1]]
    assert flags_of(model, "w", limit=np.inf) == [[0], [0]]


# --- whose weights ----------------------------------------------------------------------------


def test_weights_of_two_layers_are_near_dead_in_both() -> None:
    tensors = {"w": np.array([[1, 1e-9]], np.float32), "b": vector(0.5), "zero": vector(0)}
    shared = [op("Gemm", "x w b", "p", transB=1), op("Gemm", "x w b", "q", transB=1)]
    ends = [op("Relu", "p", "p1"), op("Relu", "q", "q1"), op("Add", "p1 q1", "y")]
    assert flags_of(net([*shared, *ends], (1, 2), tensors)) == [[0, 1]]
    other = op("Gemm", "x w zero", "q", transB=1)
    assert flags_of(net([shared[0], other, *ends], (1, 2), tensors)) == [[0, 0]]


def test_weights_that_something_else_reads_are_left_alone() -> None:
    tensors = {"w": np.array([[1, 1e-9]], np.float32), "b": vector(0.5)}
    nodes = [op("Gemm", "x w b", "c", transB=1), op("Mul", "c w", "y")]
    assert flags_of(net(nodes, (1, 2), tensors)) == [[0, 0]]


def test_weights_behind_a_transpose_are_found_where_they_are_stored() -> None:
    tensors = {"w": np.array([[1, 1e-9]], np.float32), "b": vector(0.5)}
    nodes = [op("Transpose", "w", "t"), op("Gemm", "x t b", "y")]
    assert flags_of(net(nodes, (1, 2), tensors)) == [[0, 1]]


# --- random networks --------------------------------------------------------------------------

INPUT = 2.0**16
"""What inputs may be where nothing tells."""


def forward(model: Model, x: Array) -> Array:
    """A chain of Gemms with a Relu between each two, in float64."""
    constants = model.constants
    for place in range(3):
        x = x @ constants[f"w{place}"].astype(np.float64).T + constants[f"b{place}"]
        x = np.maximum(x, 0) if place < 2 else x
    return x


def allowed(model: Model) -> Array:
    """What half a bit of the constant of every sum comes to at the outputs, at most."""
    error = np.zeros(model.constants["w0"].shape[1])
    for place in range(3):
        weights = np.abs(model.constants[f"w{place}"]).astype(np.float64)
        error = weights @ error + 2.0**-24 * np.abs(model.constants[f"b{place}"])
    return error


@st.composite
def chains(draw: st.DrawFn) -> tuple[Model, list[int], list[int]]:
    """Three Gemms; the channels of the first that are planted to be near-dead, and to stay."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = [3, draw(st.integers(3, 8)), draw(st.integers(2, 6)), 2]
    tensors: dict[str, Array] = {}
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        tensors[f"w{place}"] = rng.normal(0, 1, (outputs, inputs)).astype(np.float32)
        signs = rng.choice([-1, 1], outputs)
        tensors[f"b{place}"] = (signs * rng.uniform(0.1, 1, outputs)).astype(np.float32)
    kinds = draw(st.lists(st.sampled_from("dead unread small off".split()), max_size=sizes[1] - 1))
    gone: list[int] = []
    stay: list[int] = []
    for channel, kind in enumerate(kinds):
        if kind in ("dead", "off"):
            tensors["w0"][channel] *= np.float32(1e-18)
            tensors["b0"][channel] = -0.5 if kind == "off" else 0
        elif kind == "unread":
            tensors["w1"][:, channel] *= np.float32(1e-18)
        else:  # as much as any other, in two steps
            tensors["w0"][channel] *= np.float32(1e9)
            tensors["w1"][:, channel] *= np.float32(1e-9)
        (stay if kind == "small" else gone).append(channel)
    nodes = [
        op("Gemm", "x w0 b0", "c0", "g0", transB=1),
        op("Relu", "c0", "r0"),
        op("Gemm", "r0 w1 b1", "c1", "g1", transB=1),
        op("Relu", "c1", "r1"),
        op("Gemm", "r1 w2 b2", "y", "g2", transB=1),
    ]
    return net(nodes, (1, 3), tensors), gone, stay


@settings(max_examples=60, deadline=None)
@given(chains())
def test_planted_channels_go_and_others_stay(planted: tuple[Model, list[int], list[int]]) -> None:
    model, gone, stay = planted
    smaller = run(model, "shrink-channels{near_dead=true}").compilation.model
    before = model.constants["w0"]
    left = {row.tobytes() for row in smaller.constants["w0"]}
    known = [channel for channel, row in enumerate(before) if row.tobytes() in left]
    assert not set(gone) & set(known)
    assert set(stay) <= set(known)
    assert known == [channel for channel in range(len(before)) if channel not in gone]
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.uniform(-3, 4.8, (200, 1))
    x = np.clip(rng.normal(0, 1, (200, 3)) * scales, -INPUT, INPUT)
    change = np.abs(forward(model, x) - forward(smaller, x))
    slack = 1e-14 * np.abs(forward(model, x))  # of float64 itself
    assert np.all(change <= allowed(model) + slack)


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_answer_as_before(seed: int) -> None:
    """A third of the channels of any group nearly silenced, wherever that leads."""
    model = RandomNet(seed).model()
    groups = groups_of(model)
    silent = silenced(model, groups, a_third(groups))
    faint = model.with_weights(
        {
            name: np.where(zero == 0, model.constants[name] * np.float32(1e-18), zero)
            for name, zero in silent.weights.items()
        }
    )
    smaller = run(faint, "shrink-channels{near_dead=true}").compilation.model
    feed = feed_of(model, seed)
    before, after = (outputs_of(each, feed)["y"] for each in (faint, smaller))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * float(np.abs(before).max()))
