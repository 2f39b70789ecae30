"""Layers in bodies of If, Loop and Scan: found, shown by the exposed twin, written back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from body_builders import BODIES, UNITS, calls, choice, loop
from builders import Array, constant_node, loaded, make_graph, normal, op, value
from onnx import TensorProto, helper, numpy_helper
from recurrent_builders import INPUTS, STEPS

from eapc.layers import Skipped, exposed, exposing, find_layers
from eapc.layers.calls import CALLED
from eapc.model import Model
from eapc.runtime import Session, with_outputs

COND = value("cond", (), TensorProto.BOOL)


def shown(model: Model, arrays: dict[str, Array], names: list[str]) -> dict[str, Array]:
    """Tensors of the exposed twin on some inputs."""
    return dict(Session(with_outputs(exposed(model).to_proto(), names), 1).run(arrays))


# --- rows ------------------------------------------------------------------------------------


def test_a_loop_shows_the_rows_of_all_its_runs() -> None:
    """The second product reads the state before each step, the third the one behind it."""
    net = loop()
    model, x = net.model, net.arrays["x"][:3]
    users = [tied.first for tied in find_layers(model).layers]
    names = [name for user in users for name in (user.x, user.y)]
    got = shown(model, {"x": x}, names)
    u, v, b = (model.constants[f"loop/body/{name}"] for name in "uvb")
    state, before, behind = np.zeros((3, UNITS), np.float32), [], []
    for step in range(STEPS):
        before.append(state)
        state = np.tanh(x[:, step] @ u + state @ v + b)
        behind.append(state)
    np.testing.assert_array_equal(got[users[0].x], x.transpose(1, 0, 2).reshape(-1, INPUTS))
    np.testing.assert_allclose(got[users[1].x], np.concatenate(before), atol=1e-5)
    np.testing.assert_allclose(got[users[1].y], np.concatenate(before) @ v, atol=1e-5)
    np.testing.assert_allclose(got[users[2].x], np.concatenate(behind), atol=1e-5)


def test_a_layer_sees_those_before_it_with_new_weights_and_the_others_with_the_files() -> None:
    net = loop()
    arrays = {"x": net.arrays["x"][:2]}
    (_, second, third) = (tied.first for tied in find_layers(net.model).layers)
    dense = shown(net.model, arrays, [second.x, third.x])
    for weight, seen in (("u", (True, True)), ("v", (False, True)), ("wo", (False, False))):
        name = f"loop/body/{weight}"
        changed = net.model.with_weights({name: 0 * net.model.constants[name]})
        got = shown(changed, arrays, [second.x, third.x])
        differs = [not np.array_equal(got[x], dense[x]) for x in (second.x, third.x)]
        assert tuple(differs) == seen


def test_neighbours_share_a_copy_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three layers two: the second sees the first with the file's weights, the third neither."""
    net = loop()
    arrays = {"x": net.arrays["x"][:2]}
    (_, second, third) = (tied.first for tied in find_layers(net.model).layers)
    dense = shown(net.model, arrays, [second.x, third.x, "y"])
    monkeypatch.setattr(exposing, "_MOST_COPIES", 2)
    model = loop().model
    assert [node.op_type for node in exposed(model).view.main_nodes].count("Loop") == 3
    got = shown(model, arrays, [second.x, third.x, "y"])
    for name, array in dense.items():
        np.testing.assert_array_equal(got[name], array)
    changed = model.with_weights({"loop/body/u": 0 * model.constants["loop/body/u"]})
    got = shown(changed, arrays, [second.x, third.x])
    np.testing.assert_array_equal(got[second.x], dense[second.x])
    assert not np.array_equal(got[third.x], dense[third.x])


def test_a_branch_that_is_not_taken_has_no_rows() -> None:
    net = choice()
    users = {tied.weight: tied.first for tied in find_layers(net.model).layers}
    first, other = users["if/then_branch/w1"], users["if/else_branch/w1"]
    for level, counts in ((1.0, (1, 0)), (-1.0, (0, 1))):
        image = np.full((1, 3, 8, 8), level, np.float32)
        got = shown(net.model, {"x": image}, [first.x, first.y, other.x, other.y])
        assert (len(got[first.x]), len(got[other.x])) == counts
        assert (len(got[first.y]), len(got[other.y])) == counts


def nested() -> Model:
    """A product in a branch of an If in a Loop of three runs, on x (N, 6)."""
    then = make_graph([op("MatMul", "s w", "t", "deep")], {}, ["t"], {"w": normal((6, 6))})
    other = make_graph([op("Neg", "s", "e")], {}, ["e"])
    body = make_graph(
        [
            op("If", "even", "s_out", "if", then_branch=then, else_branch=other),
            op("Not", "even", "odd"),
            op("Identity", "go", "go_on"),
        ],
        [
            value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL),
            value("s", ("N", 6)), value("even", (), TensorProto.BOOL),
        ],
        ["go_on", "s_out", "odd"],
    )  # fmt: skip
    nodes = [op("Loop", "count yes x yes", "y last", "loop", body=body)]
    tensors = {"count": np.array(3), "yes": np.array(True)}
    return loaded(nodes, {"x": ("N", 6)}, [value("y", ("N", 6))], tensors)


def test_levels_are_lifted_one_by_one() -> None:
    """Of three runs the first and the third take the branch: x, then -(x w)."""
    model, x = nested(), normal((4, 6), 3)
    (tied,) = find_layers(model).layers
    assert tied.weight == "loop/body/if/then_branch/w"
    got = shown(model, {"x": x}, [tied.first.x, "y"])
    w = model.constants[tied.weight]
    np.testing.assert_allclose(got[tied.first.x], np.concatenate([x, -(x @ w)]), atol=1e-5)
    np.testing.assert_allclose(got["y"], -(x @ w) @ w, atol=1e-5)


def test_weights_of_outer_and_of_inner_bodies_are_seen_together() -> None:
    """y = x w v in one branch of another: both products change with either's weights."""
    inner = make_graph([op("MatMul", "s v", "z", "deep")], {}, ["z"], {"v": normal((6, 6), 1)})
    other = make_graph([op("Neg", "s", "e")], {}, ["e"])
    outer_nodes = [
        op("MatMul", "x w", "s", "first"),
        op("If", "yes", "o", "in", then_branch=inner, else_branch=other),
    ]
    outer = make_graph(outer_nodes, {}, ["o"], {"w": normal((6, 6))})
    none = make_graph([op("Identity", "x", "n")], {}, ["n"])
    nodes = [op("If", "yes", "y", "if", then_branch=outer, else_branch=none)]
    tensors = {"yes": np.array(True)}
    model, x = loaded(nodes, {"x": ("N", 6)}, [value("y", ("N", 6))], tensors), normal((4, 6), 3)
    weights = {tied.weight: model.constants[tied.weight] for tied in find_layers(model).layers}
    w, v = weights["if/then_branch/w"], weights["if/then_branch/in/then_branch/v"]
    for name, y in (("if/then_branch/w", 2 * x @ w @ v), ("if/then_branch/in/then_branch/v", 0)):
        changed = model.with_weights({name: (2 if name[-1] == "w" else 0) * weights[name]})
        np.testing.assert_allclose(shown(changed, {"x": x}, ["y"])["y"], y, atol=1e-4)


def test_layers_of_functions_are_at_their_calls() -> None:
    """Both calls share the function's own weights."""
    found = find_layers(calls().model)
    assert {tied.weight: [user.node.key for user in tied.users] for tied in found.layers} == {
        "own.Block/w": ["one", "two"], "v1": ["one"], "v2": ["two"], "wo": ["out"]
    }  # fmt: skip
    assert found.skipped == ()


def test_functions_that_branches_call_too_keep_their_weights() -> None:
    proto = calls().proto
    then = make_graph([op("Block", "k v1", "t", "deep", domain="own")], {}, ["t"])
    other = make_graph([op("Neg", "k", "e")], {}, ["e"])
    proto.graph.node[2].input[0] = "c"
    choose = op("If", "yes", "c", "if", then_branch=then, else_branch=other)
    proto.graph.node.insert(2, choose)
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    found = find_layers(Model.from_proto(proto))
    assert "own.Block/w" not in {tied.weight for tied in found.layers}
    assert "weights of a function that is called within a subgraph too" in {
        skip.reason for skip in found.skipped
    }
    assert Skipped("if/then_branch/deep", CALLED) in found.skipped


def test_calls_of_functions_without_weights_are_not_listed() -> None:
    proto = calls().proto
    gate = helper.make_function(
        "own", "Gate", ["a"], ["z"], [op("Tanh", "a", "z")], [helper.make_opsetid("", 17)]
    )
    proto.functions.append(gate)
    then = make_graph([op("Gate", "k", "t", "deep", domain="own")], {}, ["t"])
    other = make_graph([op("Neg", "k", "e")], {}, ["e"])
    proto.graph.node[2].input[0] = "c"
    proto.graph.node.insert(2, op("If", "yes", "c", "if", then_branch=then, else_branch=other))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    assert find_layers(Model.from_proto(proto)).skipped == ()


# --- writing back ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BODIES)
def test_new_weights_are_written_where_the_old_ones_were(name: str) -> None:
    """The twin with new weights and the file with them give the same."""
    net = BODIES[name]()
    model, arrays = net.model, {key: array[:1] for key, array in net.arrays.items()}
    new = {tied.weight: 0.5 * model.constants[tied.weight] for tied in find_layers(model).layers}
    changed = model.with_weights(new)
    written = changed.to_proto()
    onnx.checker.check_model(written, full_check=True)
    wanted = shown(changed, arrays, ["y"])["y"]
    np.testing.assert_allclose(Session(written, 1).run(arrays)["y"], wanted, atol=1e-6)
    back = Model.from_proto(written)
    for weight, array in new.items():
        np.testing.assert_array_equal(back.constants[weight], array)
    assert [node.key for node in back.nodes] == [node.key for node in model.nodes]


def test_a_computed_constant_becomes_one_and_what_it_was_made_of_goes() -> None:
    """The parts stand outside of the branch, where nothing else reads them."""
    then = make_graph([op("Concat", "a b", "w", axis=0), op("MatMul", "x w", "t")], {}, ["t"])
    other = make_graph([op("MatMul", "x u", "e")], {}, ["e"], {"u": normal((6, 4))})
    nodes = [
        constant_node("a", normal((2, 4))),
        op("If", "cond", "y", "if", then_branch=then, else_branch=other),
    ]
    inputs = [value("x", ("N", 6)), COND]
    model = loaded(nodes, inputs, [value("y", ("N", 4))], {"b": normal((4, 4))})
    name = "if/then_branch/w"
    assert name in {tied.weight for tied in find_layers(model).layers}
    new = normal((6, 4), 5)
    written = model.with_weights({name: new}).to_proto()
    assert [node.op_type for node in written.graph.node] == ["If"]
    assert not written.graph.initializer
    np.testing.assert_array_equal(Model.from_proto(written).constants[name], new)


# --- what is left alone ----------------------------------------------------------------------


def test_weights_that_two_bodies_read_are_solved_once() -> None:
    then = make_graph([op("MatMul", "x w", "t")], {}, ["t"])
    other = make_graph([op("Neg", "x", "n"), op("MatMul", "n w", "e")], {}, ["e"])
    nodes = [op("If", "cond", "y", "if", then_branch=then, else_branch=other)]
    inputs = [value("x", ("N", 6)), COND]
    (tied,) = find_layers(loaded(nodes, inputs, ["y"], {"w": normal((6, 4))})).layers
    assert (tied.weight, len(tied.users)) == ("w", 2)


def test_weights_that_a_body_reads_otherwise_are_left_alone() -> None:
    then = make_graph([op("MatMul", "x w", "t")], {}, ["t"])
    other = make_graph([op("Add", "x w", "e", "sum")], {}, ["e"])
    nodes = [op("If", "cond", "y", "if", then_branch=then, else_branch=other)]
    inputs = [value("x", (6, 6)), COND]
    found = find_layers(loaded(nodes, inputs, ["y"], {"w": normal((6, 6))}))
    assert found.layers == ()
    (skipped,) = found.skipped
    assert skipped.reason.startswith("weights are also read by Add 'if/else_branch/sum'")
