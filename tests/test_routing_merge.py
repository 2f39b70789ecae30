"""Two networks in one file: whatever inputs come together, each is answered by the right one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array, make_model, normal, op, replaceable
from hypothesis import given, settings
from hypothesis import strategies as some
from routing_builders import (
    SCORES,
    answers,
    by_hand,
    convolutional,
    doubts,
    exact,
    images,
    lead,
    router,
    two_levels,
    with_branch,
)

from eapc.data import dataset, load_data
from eapc.errors import ModelError, VerificationError
from eapc.model import Model, infer_shapes
from eapc.routing import (
    Features,
    Selector,
    check_routing,
    merged,
    pooled_features,
    require_classifiers,
    with_features,
)
from eapc.runtime import open_model, verifier

FIRST, SECOND = (Model.from_proto(convolutional(seed)) for seed in (0, 10))


# --- known by hand -------------------------------------------------------------------------------


def test_what_the_first_network_is_sure_of_it_answers() -> None:
    """Scores (3, 0) give p = 0.95: doubt 0.047; scores (0.1, 0) give 0.475."""
    model = two_levels(lead(), exact(), 0.2)
    x = np.array([[3, -1], [0.1, -1], [-3, 2], [-0.1, 2]], np.float32)
    expected = [[3, 0], [-1, 0], [-3, 0], [2, 0]]
    assert answers(model, x).tolist() == expected


@pytest.mark.parametrize("rows", [[0], [1], [0, 0, 0], [1, 1, 1], [0, 1], [1, 0, 0, 1]])
def test_any_mix_is_answered(rows: list[int]) -> None:
    """Row 0 is easy and row 1 hard: none, some or all are sent on."""
    x = np.array([[3, -1], [0.1, -1]], np.float32)
    expected = np.array([[3, 0], [-1, 0]])[rows]
    assert (answers(two_levels(lead(), exact(), 0.2), x[rows]) == expected).all()


def test_what_is_no_number_is_hard() -> None:
    """The logarithm of a negative number; of e it is 1, so that the doubt is 0.269."""
    nodes = [op("Log", "x", "l"), op("MatMul", "l w", "y")]
    weight = np.array([[1, 0], [0, 0]], np.float32)
    first = Model.from_proto(make_model(nodes, {"x": ("N", 2)}, ["y"], {"w": weight}))
    x = np.array([[-1, 2], [np.e, 2]], np.float32)
    assert np.isnan(answers(first, x)[0]).any()
    found = answers(two_levels(first, exact(), 0.3), x)
    assert np.allclose(found, [[2, 0], [1, 0]])


def test_at_the_threshold_it_is_hard() -> None:
    """Scores (0, 0): doubt 0.5, exactly."""
    x = np.array([[0, 2]], np.float32)
    assert answers(two_levels(lead(), exact(), 0.5), x).tolist() == [[2, 0]]
    assert answers(two_levels(lead(), exact(), 0.5001), x).tolist() == [[0, 0]]


def test_the_interface_is_the_first_networks() -> None:
    model = two_levels(FIRST, SECOND, 0.5)
    assert model.inputs == FIRST.inputs
    assert list(model.view.proto.graph.output) == list(FIRST.view.proto.graph.output)


def test_the_second_networks_weights_are_within_its_branch() -> None:
    """Outside, onnxruntime would prepare none of them."""
    model = two_levels(FIRST, SECOND, 0.5)
    outside = {tensor.name for tensor in model.view.proto.graph.initializer}
    assert {"w1", "w2", "b2"} <= outside
    assert not any("second" in name for name in outside)


# --- any network, any mix ------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    seed=some.integers(0, 1000),
    batch=some.integers(1, 9),
    share=some.sampled_from([0.0, 0.3, 0.7, 1.0]),
    opset=some.sampled_from([11, 12, 13, 17, 18, 20]),
)
def test_outputs_are_those_of_routing_by_hand(
    seed: int, batch: int, share: float, opset: int
) -> None:
    first, second = (
        Model.from_proto(convolutional(each, opset=opset)) for each in (seed, seed + 50)
    )
    x = images(batch, seed)
    found = np.sort(doubts(first, x))[::-1]
    sent = round(share * batch)
    ends = np.concatenate([[found[0] + 1], found, [-1]])
    threshold = float(ends[sent] + ends[sent + 1]) / 2
    hard = doubts(first, x) >= threshold
    assert hard.sum() == sent
    made = answers(two_levels(first, second, threshold), x)
    assert np.allclose(made, by_hand(first, second, x, hard), atol=1e-5)


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 20])
@pytest.mark.parametrize("weights", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.3, -0.2, 0.5), (0, 0, 0)])
@pytest.mark.parametrize("has_pooled", [True, False])
def test_hardness_is_what_the_selector_says(
    opset: int, weights: tuple[float, ...], has_pooled: bool
) -> None:
    first, second = (Model.from_proto(convolutional(s, opset=opset)) for s in (0, 10))
    pooled = pooled_features(first, {"x": (1, 2, 5, 5)}) if has_pooled else None
    x = images(16)
    network, name = with_features(first, pooled)
    outputs = open_model(network, 1).run({"x": x})
    features = Features(SCORES.confidence(outputs["y"]), outputs.get(name))
    on_pooled = normal((6,), 3) if has_pooled else None
    selector = Selector("mixed", np.array(weights, np.float32), on_pooled, 0.25)
    hardness = selector.hardness(features)
    threshold = float(np.median(hardness) + 1e-4)
    made = answers(merged(first, second, router(threshold, selector, pooled), {"share": 0}), x)
    expected = by_hand(first, second, x, hardness >= threshold)
    assert np.allclose(made, expected, atol=1e-5)
    assert has_pooled == (name != "")


# --- files that are awkward ----------------------------------------------------------------------


def halves(first: Model, second: Model, x: Array) -> None:
    """About half of x is sent on, as by hand."""
    found = np.sort(doubts(first, x))
    threshold = float(found[len(x) // 2 - 1] + found[len(x) // 2]) / 2
    made = answers(two_levels(first, second, threshold), x)
    hard = doubts(first, x) >= threshold
    assert 0 < hard.sum() < len(x)
    assert np.allclose(made, by_hand(first, second, x, hard), atol=1e-5)


def test_names_of_our_own_may_be_taken() -> None:
    proto = convolutional(0)
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "router/scores"
    proto.graph.node[1].name = "router/If"
    halves(Model.from_proto(proto), SECOND, images(8))


def test_branches_of_both_networks_are_kept() -> None:
    halves(with_branch(0), with_branch(10), images(8))


def test_initializers_may_be_inputs() -> None:
    first, second = (replaceable(convolutional(seed)) for seed in (0, 10))
    first.ir_version = second.ir_version = 3
    halves(Model.from_proto(first), Model.from_proto(second), images(8))


def test_scores_may_have_further_axes_of_one() -> None:
    made = []
    for seed in (0, 10):
        proto = convolutional(seed)
        proto.graph.node[-1].output[0] = "s"
        proto.graph.node.append(op("Unsqueeze", "s axes", "y"))
        proto.graph.initializer.append(onnx.helper.make_tensor("axes", 7, [2], [2, 3]))
        del proto.graph.output[0].type.tensor_type.shape.dim[:]
        proto.graph.output[0].type.tensor_type.ClearField("shape")
        made.append(Model.from_proto(proto))
    x = images(8)
    threshold = float(np.median(doubts(Model.from_proto(convolutional(0)), x)))
    found = answers(two_levels(made[0], made[1], threshold), x)
    hard = doubts(FIRST, x) >= threshold
    assert found.shape == (8, 4, 1, 1)
    assert np.allclose(found[:, :, 0, 0], by_hand(FIRST, SECOND, x, hard), atol=1e-5)


def test_external_data_of_either_are_in_the_file(tmp_path: Path) -> None:
    paths = []
    for seed in (0, 10):
        path = tmp_path / str(seed) / "net.onnx"
        path.parent.mkdir()
        onnx.save(
            convolutional(seed),
            str(path),
            save_as_external_data=True,
            location="net.data",
            size_threshold=0,
        )
        paths.append(path)
    first, second = map(Model.load, paths)
    model = two_levels(first, second, 0.5)
    out = tmp_path / "out.onnx"
    model.save(out, verifier(model, frozenset(), None))
    x = images(8)
    assert np.allclose(answers(Model.load(out), x), answers(two_levels(FIRST, SECOND, 0.5), x))


def test_the_checker_takes_the_file() -> None:
    onnx.checker.check_model(two_levels(FIRST, SECOND, 0.5).to_proto(), full_check=True)


@pytest.mark.parametrize("batch", [1, "N"])
def test_one_input_at_a_time_takes_either_network(batch: int | str) -> None:
    """A Reshape to one row: the batch is open in name only."""
    first, second = (
        Model.from_proto(convolutional(seed, batch, reshape=(1, 6))) for seed in (0, 10)
    )
    x = images(12)
    doubt = np.array([doubts(first, row[None])[0] for row in x])
    threshold = float(np.median(doubt) + 1e-4)
    model = two_levels(first, second, threshold, one_by_one=True)
    for row, hard in zip(x, doubt >= threshold, strict=True):
        expected = answers(second if hard else first, row[None])
        assert np.allclose(answers(model, row[None]), expected, atol=1e-5)
    assert not any(node.op_type == "ScatterND" for node in model.nodes)


def test_shapes_behind_the_routes_are_known() -> None:
    shapes = infer_shapes(two_levels(FIRST, SECOND, 0.5), {"x": (3, 2, 5, 5)})
    assert shapes.main("y") == (3, 4)


# --- held against routing by hand ----------------------------------------------------------------


def test_another_answer_than_by_hand_is_no_result() -> None:
    x = images(40)
    model, doubt = two_levels(FIRST, SECOND, 0.5), doubts(FIRST, x)
    expected = by_hand(FIRST, SECOND, x, doubt >= 0.5)
    data = dataset({"x": x}, FIRST.inputs, "here")
    check_routing(model, data, expected, router(0.5), doubt, 1)
    for rows in (doubt >= 0.5, doubt < 0.5):
        wrong = np.where(rows[:, None], expected + 1, expected)
        with pytest.raises(VerificationError, match="otherwise than its parts do"):
            check_routing(model, data, wrong, router(0.5), doubt, 1)


def test_trained_networks_of_two_kinds(shared_data: Path) -> None:
    """Floats and, for what is hard, integers between QuantizeLinear and DequantizeLinear."""
    first, second = (
        Model.load(shared_data / f"models/cifar10_resnet20_{kind}.onnx")
        for kind in ("folded", "qdq_int8")
    )
    given = load_data(shared_data / "data/cifar10_eval.npz", first.inputs, 24)
    (x,) = next(given.batches(24)).values()
    doubt = doubts(first, x)
    threshold = float(np.sort(doubt)[11:13].mean())
    model = two_levels(first, second, threshold)
    hard = doubt >= threshold
    assert hard.sum() == 12
    expected = by_hand(first, second, x, hard)
    for rows in (slice(None), hard, ~hard, slice(0, 1)):
        assert np.allclose(answers(model, x[rows]), expected[rows], atol=1e-3)


# --- operators of other domains ------------------------------------------------------------------


def with_function(seed: int, factor: float) -> Model:
    """A network whose scores go through a local function that multiplies them."""
    proto = convolutional(seed)
    proto.graph.node[-1].output[0] = "s"
    proto.graph.node.append(op("Scaled", "s", "y", name="scaled", domain="mine"))
    body = [
        op("Constant", "", "f", value=onnx.numpy_helper.from_array(np.array(factor, np.float32))),
        op("Mul", "a f", "b"),
    ]
    opsets = [onnx.helper.make_opsetid("", 17)]
    proto.functions.append(
        onnx.helper.make_function("mine", "Scaled", ["a"], ["b"], body, opset_imports=opsets)
    )
    proto.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    return Model.from_proto(proto)


def test_local_functions_of_both_networks_are_in_the_file() -> None:
    halves(with_function(0, 2.0), with_function(10, 2.0), images(8))
    model = two_levels(FIRST, with_function(10, 2.0), 0.5)
    assert [function.name for function in model.view.proto.functions] == ["Scaled"]
    assert {o.domain for o in model.view.proto.opset_import} == {"", "mine"}
    halves(FIRST, with_function(10, 2.0), images(8))


def test_functions_of_one_name_have_to_be_the_same() -> None:
    require_classifiers([with_function(0, 2.0), with_function(10, 2.0)])
    with pytest.raises(ModelError, match="its function 'Scaled' is not that of"):
        require_classifiers([with_function(0, 2.0), with_function(10, 3.0)])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_file_holds_no_constant_that_nothing_reads(place: int) -> None:
    selector = Selector("one", np.eye(3, dtype=np.float32)[place])
    graph = merged(lead(), exact(), router(0.3, selector), {"share": 0.25}).to_proto().graph
    read = {name for node in graph.node for name in node.input}
    stored = {t.name for t in graph.initializer}
    assert {name for name in stored if name.startswith("router/")} <= read
