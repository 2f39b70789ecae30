"""Weights behind DequantizeLinear come back as codes: types, ranges, zeros at their zero points."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from builders import make_model, normal, op
from pruning_builders import Net, quantized_net
from test_passes import compile_net, error_of
from test_prune_stored_weights import PIPELINES, declared

from eapc.layers import find_layers
from eapc.model import Array
from eapc.pipeline import Compilation

ZEROS: dict[str, Array] = {
    "c": np.zeros((1, 1, 1, 1), np.int64),
    "g": np.array([128, 120, 128, 128, 120, 128])[:, None],
    "m": np.zeros((1, 1), np.int64),
}


@cache
def pruned(pipeline: str) -> Compilation:
    return compile_net(quantized_net(), pipeline)


def test_layers_and_their_biases_are_found() -> None:
    found = find_layers(quantized_net().model)
    assert found.skipped == ()
    layers = {tied.weight: tied.first for tied in found.layers}
    assert set(layers) == {"c", "g", "m"}
    bias, clipping = layers["c"].bias, layers["c"].clipping
    assert bias is not None
    assert bias.tensor == "cb"
    assert clipping is not None
    assert clipping.low == 0
    assert clipping.high == pytest.approx(0.02 * 255)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_codes_keep_their_types_and_zeros_are_those_asked_for(pipeline: str) -> None:
    done = pruned(pipeline % 0.6)
    before, after = done.model.original.to_proto(), done.model.to_proto()
    assert declared(after) == declared(before)
    assert [node.op_type for node in after.graph.node] == [n.op_type for n in before.graph.node]
    for name, zero in ZEROS.items():
        record = done.record.layers[name]
        codes = done.model.constants[name].astype(np.int64)
        assert record.nonzero_weights == round(0.4 * record.weights)
        assert np.count_nonzero(codes != zero) == record.nonzero_weights


def test_survivors_of_pruning_alone_keep_their_codes() -> None:
    done = pruned(PIPELINES[0] % 0.6)
    for name, zero in ZEROS.items():
        now = done.model.constants[name].astype(np.int64)
        own = done.model.original.constants[name].astype(np.int64)
        assert ((now == own) | (now == zero)).all()
    stays = done.model.constants["cb"]
    np.testing.assert_array_equal(stays, done.model.original.constants["cb"])


def test_refitted_codes_answer_far_better_than_the_largest_alone() -> None:
    refitted, largest = (error_of(pruned(each % 0.5)) for each in reversed(PIPELINES))
    assert refitted < 0.5 * largest
    changed = pruned(PIPELINES[1] % 0.5).model
    assert (changed.constants["cb"] != changed.original.constants["cb"]).any()


def test_a_survivor_below_half_a_step_takes_the_code_beside_zero() -> None:
    """Two copies of an input, of 100 and -99 steps, and for a second output 100 and -100.

    One copy is left to each output: with 1 step for the first, and about 0 for the second.
    """
    codes = np.array([[100, 100], [-99, -100]], np.int8)
    nodes = [op("DequantizeLinear", "q s", "w"), op("MatMul", "x w", "y", "layer")]
    tensors: dict[str, Array] = {"q": codes, "s": np.array(0.01, np.float32)}
    one = normal((100, 1), 3, 1.0)
    net = Net(make_model(nodes, {"x": ("N", 2)}, ["y"], tensors), {"x": np.repeat(one, 2, axis=1)})
    done = compile_net(net, PIPELINES[1] % 0.5)
    left = done.model.constants["q"]
    assert np.count_nonzero(left) == done.record.layers["q"].nonzero_weights == 2


def test_a_scale_of_each_reader_keeps_shared_codes_as_they_are() -> None:
    nodes = [
        op("DequantizeLinear", "q s", "w"),
        op("DequantizeLinear", "q t", "v"),
        op("MatMul", "x w", "a", "one"),
        op("MatMul", "a v", "y", "two"),
    ]
    tensors: dict[str, Array] = {"q": np.arange(16, dtype=np.int8).reshape(4, 4)}
    tensors |= {"s": np.array(0.1, np.float32), "t": np.array(0.2, np.float32)}
    found = find_layers(Net(make_model(nodes, {"x": ("N", 4)}, ["y"], tensors), {}).model)
    (reason,) = {skip.reason for skip in found.skipped}
    assert reason.startswith("weights are shared by layers that read them by different scales; ")
