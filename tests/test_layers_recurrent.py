"""Weights of recurrent cells: found, seen as matrices, and shown by the exposed twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import Array, constant_node, loaded, normal, op, value
from recurrent_builders import GATES, HIDDEN, INPUTS, STEPS, cell_net

from eapc.layers import Layer, exposed, find_layers
from eapc.layers.recurrent import R, W
from eapc.model import Model
from eapc.runtime import Session, with_outputs


def cells(model: Model) -> dict[int, Layer]:
    """The users of W and R, by their place."""
    users = [user for tied in find_layers(model).layers for user in tied.users]
    return {user.tapped: user for user in users if user.tapped}


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def shown(net_model: Model, arrays: dict[str, Array], names: list[str]) -> dict[str, Array]:
    """Tensors of the exposed twin on some inputs."""
    proto = with_outputs(exposed(net_model).to_proto(), names)
    return dict(Session(proto, 1).run(arrays))


# --- forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "directions", "resets_late", "groups_of_w", "groups_of_r"),
    [("LSTM", 1, 0, 1, 1), ("LSTM", 2, 0, 2, 2), ("RNN", 2, 0, 2, 2), ("GRU", 2, 1, 2, 2),
     ("GRU", 1, 0, 1, 3), ("GRU", 2, 0, 2, 6)],
)  # fmt: skip
def test_a_group_is_a_direction_or_a_gate_that_reads_something_else(
    kind: str, directions: int, resets_late: int, groups_of_w: int, groups_of_r: int
) -> None:
    extra: dict[str, Any] = {"linear_before_reset": resets_late} if kind == "GRU" else {}
    model = cell_net(kind, directions, **extra).model
    found = cells(model)
    assert (found[W].form.groups, found[R].form.groups) == (groups_of_w, groups_of_r)
    for user in found.values():
        weight = model.constants[user.source.root]
        matrix = user.form.to_matrix(weight)
        assert matrix.shape[0] == user.form.groups
        np.testing.assert_array_equal(user.form.to_weight(matrix), weight)
        assert user.form.positions == 1


def test_biases_are_halves_of_one_constant() -> None:
    """Of the eight biases of one unit the first four go with W, the others with R."""
    weights = {"w": normal((1, 4, 3), 1), "r": normal((1, 4, 1), 2), "b": normal((1, 8), 3)}
    nodes = [op("LSTM", "x w r b", "y", "cell", hidden_size=1)]
    found = cells(loaded(nodes, {"x": (5, "N", 3)}, ["y"], weights))
    bias = np.arange(8, dtype=np.float32)[None]
    other = bias + 100
    step = np.array([1, 2, 3, 4], np.float32)
    sinks = [user.bias for user in (found[W], found[R])]
    assert sinks[0]
    assert sinks[1]
    first = sinks[0].moved(bias, step, other)
    second = sinks[1].moved(bias, step, first)
    np.testing.assert_array_equal(first, [[1, 3, 5, 7, 104, 105, 106, 107]])
    np.testing.assert_array_equal(second, [[1, 3, 5, 7, 5, 7, 9, 11]])


# --- the twin --------------------------------------------------------------------------------


def test_a_model_whose_layers_show_all_is_its_own_twin() -> None:
    model = loaded([op("MatMul", "x w", "y")], {"x": ("N", 6)}, ["y"], {"w": normal((6, 4))})
    assert exposed(model) is model


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("initial", [False, True])
def test_rows_are_steps_within_their_sequence(direction: str, lengths: bool, initial: bool) -> None:
    """Of an RNN every state is the tanh of the sum of both products and biases."""
    directions = 2 if direction == "bidirectional" else 1
    extra: dict[str, Any] = {} if directions == 2 else {"direction": direction}
    net = cell_net("RNN", directions, lengths=lengths, initial=initial, **extra)
    arrays = {name: array[:5] for name, array in net.arrays.items()}
    found = cells(net.model)
    got = shown(net.model, arrays, [found[W].y, found[R].y, "s"])
    both = net.model.constants["b"].reshape(directions, 2, HIDDEN).sum(axis=1)
    states = np.tanh(got[found[W].y] + got[found[R].y] + both.ravel())
    steps = np.arange(STEPS)[:, None]
    valid = steps < arrays["lens"] if lengths else np.ones((STEPS, 5), bool)
    wanted = got["s"].transpose(0, 2, 1, 3).reshape(STEPS, 5, -1)[valid]
    np.testing.assert_allclose(states, wanted, atol=1e-5)


@pytest.mark.parametrize("resets_late", [0, 1])
@pytest.mark.parametrize("directions", [1, 2])
def test_the_third_gate_of_a_gru_reads_states_that_were_reset(
    resets_late: int, directions: int
) -> None:
    net = cell_net("GRU", directions, linear_before_reset=resets_late)
    arrays = {name: array[:3] for name, array in net.arrays.items()}
    found = cells(net.model)
    got = shown(net.model, arrays, [found[W].y, found[R].y, found[R].x, "s"])
    from_x, from_h = (got[found[place].y].reshape(-1, directions, 3, HIDDEN) for place in (W, R))
    own = net.model.constants["b"].reshape(directions, 2, 3, HIDDEN)
    update, reset = (
        sigmoid(from_x[:, :, gate] + from_h[:, :, gate] + own[:, :, gate].sum(axis=1))
        for gate in (0, 1)
    )
    late = from_h[:, :, 2] + own[:, 1, 2]
    new = np.tanh(from_x[:, :, 2] + own[:, 0, 2] + (reset * late if resets_late else late))
    before = got[found[R].x].reshape(len(new), directions, -1, HIDDEN)[:, :, 0]
    states = (1 - update) * new + update * before
    wanted = got["s"].transpose(0, 2, 1, 3).reshape(states.shape)
    np.testing.assert_allclose(states, wanted, atol=1e-5)


def test_states_come_of_new_weights_of_the_inputs_and_the_files_of_the_states() -> None:
    """So R is fitted on what a network has whose W is pruned and whose R is not yet."""
    net = cell_net("LSTM")
    arrays = {name: array[:4] for name, array in net.arrays.items()}
    found = cells(net.model)
    x = found[R].x
    dense = shown(net.model, arrays, [x])[x]
    w, r = net.model.constants["w"], net.model.constants["r"]
    other_r = shown(net.model.with_weights({"r": r * 0}), arrays, [x])[x]
    other_w = shown(net.model.with_weights({"w": w * 0}), arrays, [x])[x]
    np.testing.assert_array_equal(other_r, dense)
    assert np.abs(other_w - dense).max() > 0.1


def test_old_opsets_have_twins_too() -> None:
    net = cell_net("GRU", 2, opset=9)
    arrays = {name: array[:2] for name, array in net.arrays.items()}
    x = cells(net.model)[R].x
    assert shown(net.model, arrays, [x])[x].shape == (2 * STEPS, 6, HIDDEN)


# --- what is left alone ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "attributes", "reason"),
    [
        ("LSTM", {"layout": 1}, "layout 1, which onnxruntime does not run; take layout 0"),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"]}, "gates take HardSigmoid in place of"),
        ("GRU", {"clip": 3.0}, "R of a GRU that clips"),
    ],
)
def test_cells_that_are_left_alone(kind: str, attributes: dict[str, object], reason: str) -> None:
    gates = GATES[kind]
    tensors = {"w": normal((1, gates * 2, 3)), "r": normal((1, gates * 2, 2))}
    node = op(kind, "x w r", "y", "cell", hidden_size=2, **attributes)
    found = find_layers(loaded([node], {"x": (5, 4, 3)}, ["y"], tensors))
    assert reason in found.skipped[0].reason
    assert all(user.tapped == W for tied in found.layers for user in tied.users)


def test_computed_weights_of_cells_are_left_alone() -> None:
    nodes = [op("Relu", "v", "w"), op("RNN", "x w r", "y", "cell", hidden_size=2)]
    inputs = [value("x", (5, "N", 3)), value("v", (1, 2, 3))]
    found = find_layers(loaded(nodes, inputs, ["y"], {"r": normal((1, 2, 2))}))
    assert [tied.weight for tied in found.layers] == ["r"]
    assert found.skipped[0].reason == "weights are computed, not constant"


def test_lengths_need_an_opset_that_tells_steps_apart() -> None:
    model = cell_net("RNN", lengths=True, opset=9).model
    (skipped,) = find_layers(model).skipped
    assert skipped.reason == "sequence lengths at opset 9; convert the model to 11 or later"


def test_weights_of_a_cell_may_be_seen_through_views() -> None:
    nodes = [
        constant_node("axes", np.array([0])),
        op("Unsqueeze", "flat axes", "w"),
        op("RNN", "x w r", "y", "cell", hidden_size=2),
    ]
    tensors = {"flat": normal((2, INPUTS)), "r": normal((1, 2, 2))}
    found = find_layers(loaded(nodes, {"x": (5, "N", INPUTS)}, ["y"], tensors))
    assert [tied.weight for tied in found.layers] == ["flat", "r"]
