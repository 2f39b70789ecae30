"""Targets in front of an activation that cuts values off."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from builders import Array, loaded, normal, op, scalar
from onnx import NodeProto
from pruning_builders import NETS, batch_norm, statistics

from eapc.calibration import LayerRows, is_rectified, rectified, scaled_matrix
from eapc.calibration.statistics import LayerActivations
from eapc.layers import Layer, TiedLayers, find_layers
from eapc.model import Model
from eapc.runtime import Session, with_outputs
from eapc.solvers import LayerProblem, refit

RNG = np.random.default_rng(0)
X = normal((400, 6), 3, 1.0)


def network(nodes: Sequence[NodeProto], **tensors: Array) -> tuple[Model, TiedLayers]:
    known = {"w": normal((6, 4), 1, 1.0), "b": normal((4,), 2), **tensors}
    model = loaded(nodes, {"x": ("N", 6)}, ["y"], known)
    return model, find_layers(model).layers[0]


def gemm_and(*behind: NodeProto, **tensors: Array) -> tuple[Model, TiedLayers]:
    return network([op("Gemm", "x w b", "h", "gemm"), *behind], **tensors)


def rows_of(model: Model, tied: TiedLayers, branch: str = "") -> LayerRows:
    layer = tied.first
    session = Session(with_outputs(model.to_proto(), [layer.y, *filter(None, [branch])]), 1, False)
    found = session.run({"x": X})
    other = ([found[branch]], [found[branch]]) if branch else None
    return LayerRows.sample(layer, LayerActivations([X], [found[layer.y]], other), 10**6, RNG)


def test_a_target_that_is_cut_off_moves_to_the_fit_that_is_so_too() -> None:
    model, tied = gemm_and(op("Relu", "h", "y"))
    rows = rows_of(model, tied)
    moments = rows.moments()
    matrix = np.where(np.abs(tied.matrix(model)) > 0.5, tied.matrix(model), 0)
    bias = moments.bias(matrix)
    weight, offset = model.constants.value("w"), model.constants.value("b")
    assert weight is not None
    assert offset is not None
    target, fitted = X @ weight + offset, X @ matrix[0].T + bias[0] + offset
    moved = np.where(target > 0, target, np.minimum(fitted, 0)) - offset
    found = rectified(rows, moments, matrix, bias)
    np.testing.assert_allclose(found.y_mean[0], moved.mean(0), rtol=1e-4, atol=1e-5)
    centred = moved - moved.mean(0)
    expected = centred.T @ (X - X.mean(0)) / len(X)
    np.testing.assert_allclose(found.yx[0], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.yy[0], (centred**2).mean(0), rtol=1e-4)
    assert found.gram is moments.gram


def test_without_a_bias_moments_stay_about_zero() -> None:
    model, tied = network([op("MatMul", "x w", "h", "m"), op("Relu", "h", "y")])
    rows = rows_of(model, tied)
    matrix = 0.5 * tied.matrix(model)
    found = rectified(rows, rows.moments(), matrix, np.zeros((1, 4), np.float32))
    target, fitted = X @ tied.matrix(model)[0].T, X @ matrix[0].T
    moved = np.where(target > 0, target, np.minimum(fitted, 0))
    np.testing.assert_allclose(found.yx[0], moved.T @ X / len(X), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.yy[0], (moved**2).mean(0), rtol=1e-4)
    assert not found.y_mean.any()


def clipped_error(rows: LayerRows, matrix: Array, bias: Array) -> float:
    """E||relu(v) - relu(t)||^2 over all rows."""
    clipping = rows.layer.clipping
    assert clipping is not None
    error = 0.0
    for x, z, _, _ in rows.batches():
        ends = (z + clipping.shift, x @ matrix.transpose(0, 2, 1) + bias[:, None] + clipping.shift)
        target, fitted = (np.clip(end, clipping.low, clipping.high) for end in ends)
        error += float(((target - fitted) ** 2).sum())
    return error


@pytest.mark.parametrize("behind", ["relu", "normalized", "clip"])
def test_each_round_lowers_the_error_behind_the_activation(behind: str) -> None:
    nodes = {
        "relu": [op("Relu", "h", "y")],
        "normalized": [batch_norm("h", "n", "p"), op("Relu", "n", "y")],
        "clip": [op("Clip", "h low high", "y")],
    }[behind]
    extra = statistics("p", 4) if behind == "normalized" else {}
    if behind == "clip":
        extra = {"low": scalar(-0.5), "high": scalar(1.0)}
    model, tied = gemm_and(*nodes, **extra)
    rows = rows_of(model, tied)
    assert is_rectified(rows)
    moments = rows.moments()
    original = scaled_matrix(tied, model)
    mask = np.argsort(np.argsort(-np.abs(original), axis=None)).reshape(original.shape) < 12
    matrix = refit(LayerProblem.from_moments(original, moments, damping=1e-6), mask)
    now, errors = moments, [clipped_error(rows, matrix, moments.bias(matrix))]
    for _ in range(4):
        now = rectified(rows, moments, matrix, now.bias(matrix))
        matrix = refit(LayerProblem.from_moments(original, now, damping=1e-6), mask, matrix)
        errors.append(clipped_error(rows, matrix, now.bias(matrix)))
    assert all(after <= before * (1 + 1e-4) for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.98 * errors[0]


@pytest.mark.parametrize("step", [1.5, 1.9])
def test_a_longer_step_lowers_the_error_too_and_its_biases_follow(step: float) -> None:
    model, tied = gemm_and(op("Relu", "h", "y"))
    rows = rows_of(model, tied)
    moments, original = rows.moments(), scaled_matrix(tied, model)
    mask = np.abs(original) > np.median(np.abs(original))
    matrix = refit(LayerProblem.from_moments(original, moments, damping=1e-6), mask)
    moved = rectified(rows, moments, matrix, moments.bias(matrix))
    beyond = moved.beyond(moments, step)
    np.testing.assert_allclose(
        beyond.y_mean - moments.y_mean, step * (moved.y_mean - moments.y_mean)
    )
    farther = refit(LayerProblem.from_moments(original, beyond, damping=1e-6), mask, matrix)
    about = moved.about_outputs(beyond.y_mean)
    bias = about.bias(farther)
    before = clipped_error(rows, matrix, moments.bias(matrix))
    assert clipped_error(rows, farther, bias) < before
    np.testing.assert_allclose(beyond.bias(farther), bias, rtol=1e-2)
    distance = 0.0  # from the moved targets, the bias as it is
    for x, z, _, _ in rows.batches():
        fitted = x @ matrix.transpose(0, 2, 1) + moments.bias(matrix)[:, None]
        shift = 0 if tied.first.clipping is None else tied.first.clipping.shift
        target = np.where(z + shift <= 0, np.minimum(fitted, -shift), z)
        now = x @ farther.transpose(0, 2, 1) + bias[:, None]
        distance += float(((now - target) ** 2).sum()) / len(X)
    assert about.error(farther) == pytest.approx(distance, rel=0.05)


def test_what_is_added_on_the_way_counts() -> None:
    model, tied = gemm_and(op("Add", "h x4", "s"), op("Relu", "s", "y"), x4=normal((400, 4), 9))
    rows = rows_of(model, tied)
    assert tied.first.clipping is None  # not one number per output
    assert not is_rectified(rows)
    nodes = [op("MatMul", "x v", "o"), op("Add", "h o", "s"), op("Relu", "s", "y")]
    model, tied = gemm_and(*nodes, v=normal((6, 4), 5))
    assert tied.first.other == "o"
    assert not is_rectified(rows_of(model, tied))  # nobody knows what the branch adds
    assert is_rectified(rows_of(model, tied, "o"))


@pytest.mark.parametrize(
    "behind",
    [
        [op("Sigmoid", "h", "y")],
        [op("LeakyRelu", "h", "y")],
        [op("Relu", "h", "r"), op("Add", "r h", "y")],
        [op("Clip", "h low high", "y")],
    ],
)
def test_other_surroundings_leave_targets_alone(behind: list[NodeProto]) -> None:
    nodes = [op("Gemm", "x w b", "h", "gemm"), *behind]
    if behind[0].op_type == "Clip":  # with a bound that is computed
        nodes.insert(1, op("ReduceMax", "x", "high", keepdims=0))
    _, tied = network(nodes, low=scalar(0.0))
    assert tied.first.clipping is None


def pre_activation(layer: Layer, y: Array, other: Array | None) -> Array:
    """What the activation behind a layer must be fed, by the layer's own account."""
    assert layer.clipping is not None
    shape = layer.form.channel_shape
    scale, offset, shift = (
        v.reshape(shape) for v in (layer.scale, layer.offset, layer.clipping.shift)
    )
    fed: Array = (y - offset) * scale + shift + (0 if other is None else other)
    return fed


@pytest.mark.parametrize("name", NETS)
def test_shifts_are_what_the_network_adds(name: str) -> None:
    net = NETS[name]()
    model = net.model
    for tied in find_layers(model).layers:
        for layer in tied.users:
            if layer.clipping is None:
                continue
            node, stage = layer.node, layer.y
            while node.op_type not in ("Relu", "Clip"):
                (node,) = model.view.consumers(stage)
                stage = node.outputs[0]
            wanted = [layer.y, node.input(0), *filter(None, [layer.other])]
            session = Session(with_outputs(model.to_proto(embed=True), wanted), 1, optimise=False)
            found = session.run(next(iter(net.data.batches(1))))
            expected = pre_activation(layer, found[layer.y], found.get(layer.other))
            np.testing.assert_allclose(found[node.input(0)], expected, rtol=1e-2, atol=1e-2)
