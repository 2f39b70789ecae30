"""What outputs are joined from is read off the graph, and holds for what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest
from builders import constant_node, make_graph, make_model, op

from eapc.evaluation.joins import Labels, joined_labels
from eapc.model import Model

SHAPES = {"a": (2, 3, 4), "b": (2, 5, 4)}


def labels(nodes: list[onnx.NodeProto], **constants: object) -> Labels:
    tensors = {name: np.asarray(value) for name, value in constants.items()}
    proto = make_model(nodes, {name: ("N", *SHAPES[name][1:]) for name in SHAPES}, ["y"], tensors)
    return joined_labels(Model.from_proto(proto), SHAPES)["y"]


def runs(found: Labels, axis: int) -> list[int]:
    """Lengths of the stretches of one label along an axis, all other axes being alike."""
    line = np.moveaxis(found, axis, 0).reshape(found.shape[axis], -1)
    assert (line == line[:, :1]).all()
    cuts = np.flatnonzero(np.diff(line[:, 0])) + 1
    found_runs: list[int] = np.diff([0, *cuts, len(line)]).tolist()
    return found_runs


JOIN = op("Concat", "a b", "c", axis=1)


def test_the_inputs_of_a_join_are_parts() -> None:
    assert runs(labels([op("Concat", "a b", "y", axis=1)]), 1) == [3, 5]


def test_a_join_of_joins_has_the_parts_of_both() -> None:
    nodes = [JOIN, op("Relu", "a", "r"), op("Concat", "r c", "y", axis=-2)]
    found = labels(nodes)
    assert runs(found, 1) == [3, 3, 5]


@pytest.mark.parametrize(
    ("nodes", "axis", "expected"),
    [
        ([JOIN, op("Sigmoid", "c", "y")], 1, [3, 5]),
        ([JOIN, op("Mul", "c k", "y")], 1, [3, 5]),
        ([JOIN, op("Transpose", "c", "y", perm=[0, 2, 1])], 2, [3, 5]),
        ([JOIN, op("Slice", "c from to one", "y")], 1, [2, 3]),
        ([JOIN, op("Split", "c parts", "u y", axis=1)], 1, [1, 5]),
        ([JOIN, op("Unsqueeze", "c one", "y")], 2, [3, 5]),
    ],
    ids=["unary", "constant", "transpose", "slice", "split", "unsqueeze"],
)
def test_parts_are_followed_through_what_moves_or_scales(
    nodes: list[onnx.NodeProto], axis: int, expected: list[int]
) -> None:
    constants = {
        "k": np.float32(2),
        "from": np.array([1]),
        "to": np.array([6]),
        "one": np.array([1]),
        "parts": np.array([2, 6]),
    }
    used = {name for node in nodes for name in node.input}
    found = labels(nodes, **{name: value for name, value in constants.items() if name in used})
    assert runs(found, axis) == expected


def test_a_flattened_join_keeps_its_parts() -> None:
    found = labels([JOIN, op("Flatten", "c", "y", axis=1)])
    assert runs(found, 1) == [12, 20]


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Concat", "a b", "c", axis=1), op("Softmax", "c", "y", axis=1)],
        [op("Relu", "a", "r"), op("Add", "a r", "y")],
        [op("Concat", "a a", "y", axis=0)],
    ],
    ids=["mixed", "added", "along the batch"],
)
def test_what_is_made_anew_is_one_part(nodes: list[onnx.NodeProto]) -> None:
    assert labels(nodes).size == 1


def test_parts_hold_what_the_tensors_hold() -> None:
    """Each part of the output varies with the input it is joined from, and with no other."""
    nodes = [JOIN, op("Transpose", "c", "t", perm=[0, 2, 1]), op("Relu", "t", "y")]
    found = np.broadcast_to(labels(nodes), (1, 4, 8))[0]
    proto = make_model(nodes, {name: ("N", *SHAPES[name][1:]) for name in SHAPES}, ["y"])
    session = onnx.reference.ReferenceEvaluator(proto)
    rng = np.random.default_rng(0)
    feed = {name: rng.uniform(1, 2, shape).astype(np.float32) for name, shape in SHAPES.items()}
    (before,) = session.run(None, feed)
    for name in SHAPES:
        (after,) = session.run(None, {**feed, name: feed[name] + 1})
        moved = np.any(after != before, axis=0)
        assert len(np.unique(found[moved])) == 1
        assert not set(np.unique(found[moved])) & set(np.unique(found[~moved]))


def test_joins_of_any_depth_are_followed_as_far_as_goes() -> None:
    nodes = [op("Concat", "a b", "c0", axis=1)]
    nodes += [op("Relu", f"c{i}", f"c{i + 1}") for i in range(600)]
    nodes.append(op("Identity", "c600", "y"))
    assert labels(nodes).size == 1


def test_a_view_of_what_has_lost_its_samples_is_one_part() -> None:
    """Transposed, the first axis is no longer that of samples when the shape changes."""
    nodes = [
        JOIN,
        op("Transpose", "c", "t", perm=[1, 0, 2]),
        op("Reshape", "t shape", "v"),
        op("Transpose", "v", "y", perm=[1, 0]),
    ]
    assert labels(nodes, shape=np.array([8, 8])).size == 1


def branched(then: list[onnx.NodeProto], other: list[onnx.NodeProto]) -> Labels:
    """The parts of what an If gives whose branches make y of a and b; a Sigmoid is behind it."""
    graphs = [make_graph(nodes, {}, ["t"]) for nodes in (then, other)]
    node = op("If", "flag", "z", then_branch=graphs[0], else_branch=graphs[1])
    return labels([node, op("Sigmoid", "z", "y")], flag=True)


def test_branches_that_are_joined_alike_have_the_parts_of_either() -> None:
    then = [op("Concat", "a b", "t", axis=1)]
    other = [op("Relu", "a", "r"), op("Concat", "r b", "c", axis=1), op("Neg", "c", "t")]
    assert runs(branched(then, other), 1) == [3, 5]


@pytest.mark.parametrize(
    "other",
    [
        [op("Concat", "b a", "t", axis=1)],
        [op("Concat", "a b", "c", axis=1), op("Softmax", "c", "t", axis=1)],
        [op("Concat", "a a", "c", axis=1), op("Slice", "c from to one", "t")],
    ],
    ids=["in another order", "mixed", "of one tensor"],
)
def test_branches_that_are_joined_otherwise_are_one_part(other: list[onnx.NodeProto]) -> None:
    given = {"from": [0], "to": [6], "one": [1]}
    constants = [constant_node(name, np.array(value)) for name, value in given.items()]
    then = [op("Concat", "a b", "t", axis=1)]
    assert branched(then, [*constants, *other]).size == 1


def test_a_branch_in_a_branch_is_followed() -> None:
    graph = make_graph([op("Concat", "a b", "u", axis=1)], {}, ["u"])
    inner = op("If", "flag", "t", then_branch=graph, else_branch=graph)
    assert runs(branched([inner], [op("Concat", "a b", "t", axis=1)]), 1) == [3, 5]
