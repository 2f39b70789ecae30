"""Judges of accuracy and agreement on networks whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import Array, make_model, op

from eapc.data import Dataset, dataset
from eapc.errors import DataError
from eapc.evaluation import RELATIVE_ERROR, TOP1_AGREEMENT, Accuracy, AccuracyJudge, AgreementJudge
from eapc.evaluation.margins import DecisionMargins
from eapc.model import Model

# The network gives its input times w: with the identity the largest of x is the class.


def network(batch: int | str = "N") -> Model:
    tensors = {"w": np.eye(3, dtype=np.float32)}
    return Model.from_proto(
        make_model([op("MatMul", "x w", "y")], {"x": (batch, 3)}, ["y"], tensors)
    )


def turned(model: Model) -> Model:
    """The same with classes 1 and 2 confused."""
    return model.with_weights({"w": np.eye(3, dtype=np.float32)[[0, 2, 1]]})


def labelled(classes: Array, labels: Array, model: Model | None = None) -> Dataset:
    """One sample per class in `classes`, which the network gives back as scores 2, 0, 0."""
    x = 2 * np.eye(3, dtype=np.float32)[classes]
    return dataset({"x": x, "y": labels}, (model or network()).inputs, "test")


def test_accuracy_by_hand() -> None:
    model = network()
    data = labelled(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]))
    judge = AccuracyJudge.of(model, data, 1)
    assert judge.before.each.tolist() == [True, False, True, True]
    assert judge.accuracy(model) == Accuracy(0.75, 0.75, 4)
    assert judge.accuracy(turned(model)) == Accuracy(0.75, 0.25, 4)


def test_accuracy_is_a_share_where_no_answer_is_right() -> None:
    judge = AccuracyJudge.of(network(), labelled(np.array([0, 0]), np.array([1, 2])), 1)
    found = judge.accuracy(network())
    assert found == Accuracy(0.0, 0.0, 2)
    assert found.is_share
    with pytest.raises(DataError, match="none of the inputs right"):
        judge.require_answers()


def test_halves_share_out_every_class() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1, 2, 2])  # in turns, then in a block
    judge = AccuracyJudge.of(network(), labelled(labels, labels), 1)
    first, second = judge.halves()
    assert first.data.require_labels().tolist() == [0, 1, 0, 2]
    assert second.data.require_labels().tolist() == [1, 0, 1, 2]
    assert first.accuracy(network()).samples == second.accuracy(network()).samples == 4


def test_halves_know_what_the_original_got_right() -> None:
    labels = np.array([0, 0, 1, 1])
    judge = AccuracyJudge.of(network(), labelled(np.array([0, 1, 1, 1]), labels), 1)
    halves = judge.halves()
    assert [half.before.each.tolist() for half in halves] == [[True, True], [False, True]]
    for half in halves:
        assert half.accuracy(network()).before == half.accuracy(network()).after


def test_halves_are_the_same_every_time() -> None:
    labels = np.arange(20) % 3
    judge = AccuracyJudge.of(network(), labelled(labels, labels), 1)
    one, two = (judge.halves()[0].data.arrays["x"] for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_fixed_batches_are_filled() -> None:
    model = network(batch=2)
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    judge = AccuracyJudge.of(model, labelled(labels, labels, model), 1)
    assert judge.accuracy(model) == Accuracy(1.0, 1.0, 6)
    assert [half.accuracy(model).samples for half in judge.halves()] == [2, 2]
    few = AccuracyJudge.of(model, labelled(labels[:2], labels[:2], model), 1)
    with pytest.raises(DataError, match="too few for two halves"):
        few.halves()


def test_labels_are_needed() -> None:
    data = replace(labelled(np.array([0]), np.array([0])), labels=None)
    with pytest.raises(DataError, match="no labels"):
        AccuracyJudge.of(network(), data, 1)


@pytest.mark.parametrize("shape", [("N",), ("N", 1)])
def test_two_classes_by_one_number(shape: tuple[str | int, ...]) -> None:
    """Logits of 2 x - 1 with labels 0 and 1; the pruned network gives x, all at least 0."""
    nodes = [op("Mul", "x a", "m"), op("Add", "m b", "y")]
    tensors = {"a": np.array(2, np.float32), "b": np.array(-1, np.float32)}
    model = Model.from_proto(make_model(nodes, {"x": shape}, ["y"], tensors))
    x = np.array([0.0, 0.25, 0.75, 1.0], np.float32).reshape([4] + [1] * (len(shape) - 1))
    data = dataset({"x": x, "y": np.array([0, 1, 1, 1])}, model.inputs, "test")
    judge = AccuracyJudge.of(model, data, 1)
    assert judge.before.each.tolist() == [True, False, True, True]
    shifted = model.with_weights({"a": np.array(1, np.float32), "b": np.array(0.1, np.float32)})
    assert judge.accuracy(shifted).after == 0.75  # still logits: all above 0 are class 1


def test_expected_losses_are_those_of_the_labels() -> None:
    labels = np.array([0, 1, 2, 2])
    judge = AccuracyJudge.of(network(), labelled(np.array([0, 1, 2, 0]), labels), 1)
    assert judge.expected_loss(0.0) == 0
    assert 0 < judge.expected_loss(0.01) < judge.expected_loss(1.0) < 1
    first, _ = judge.halves()
    assert 0 < first.expected_loss(0.1) < 1


def test_agreement_of_classes_and_of_outputs() -> None:
    model = network()
    many = np.arange(60) % 3
    data = replace(labelled(many, many), labels=None)
    judge = AgreementJudge.of(model, data, 1)
    verdict = judge.agreement(turned(model), 0.9, 0.05)
    assert (verdict.metric, verdict.limit) == (TOP1_AGREEMENT, 0.9)
    assert verdict.value == pytest.approx(1 / 3)
    assert judge.allowed(0.9, 0.05) == pytest.approx(0.1)
    assert 0 < judge.expected_loss(0.1) < 0.7

    made_up = AgreementJudge.of(model, replace(data, synthesised=True), 1)
    verdict = made_up.agreement(turned(model), 0.9, 0.05)
    # 40 of 60 samples are off by 2 in two places; the spread is 4 * 60 (1 - 1/3)
    assert verdict.metric == RELATIVE_ERROR
    assert verdict.value == pytest.approx(320 / 160)
    assert made_up.allowed(0.9, 0.05) == 0.05
    assert made_up.expected_loss(0.1) == 0.1


def test_divergence_is_none_from_oneself_and_some_from_another() -> None:
    classes = np.array([0, 1, 2, 1])
    judge = AgreementJudge.of(network(), labelled(classes, classes), 1)
    assert judge.divergence(network()) == pytest.approx(0, abs=1e-12)
    # Classes 1 and 2 confused in three of four samples: scores 2 and 0 change places, which
    # comes to 2 (e^2 - 1) / (e^2 + 2) each.
    confused = 2 * (np.e**2 - 1) / (np.e**2 + 2)
    assert judge.divergence(turned(network())) == pytest.approx(0.75 * confused, rel=1e-5)
    made_up = replace(judge, data=replace(judge.data, synthesised=True))
    assert made_up.divergence(turned(network())) > 1  # relative error of the outputs


def test_a_few_inputs_are_evenly_spaced_and_fill_a_batch() -> None:
    classes = np.arange(1000) % 3
    judge = AgreementJudge.on_few(network(), labelled(classes, classes), 1)
    assert len(judge.data) == 334
    assert judge.data.require_labels()[:3].tolist() == [0, 0, 0]
    fixed = network(batch=500)
    judge = AgreementJudge.on_few(fixed, labelled(classes, classes, fixed), 1)
    assert len(judge.data) == 1000


# --- answers that noise should change, by hand --------------------------------------------------


def test_leads_and_doubt_by_hand() -> None:
    p = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
    for scores in (p, np.log(p) + 3):  # what a softmax made, and what it is given
        leads = DecisionMargins.of(scores, np.array([0, 1]))
        np.testing.assert_allclose(leads.margins, [math.log(2), -math.log(6)])
        assert leads.doubt == pytest.approx((0.625 + 0.40625) / 2)


def test_a_loss_by_hand() -> None:
    leads = DecisionMargins(np.array([math.sqrt(2), -math.sqrt(2)]), 0.5)
    # divergence 0.25: noise of deviation 1; leads of sqrt 2 are kept with Phi(1), won with Phi(-1)
    assert leads.loss(0.25) == pytest.approx(0.5 - (0.8413447 + 0.1586553) / 2)
    assert DecisionMargins(np.array([math.sqrt(2)]), 0.5).loss(0.25) == pytest.approx(1 - 0.8413447)


def test_no_divergence_loses_nothing_and_an_endless_one_all() -> None:
    leads = DecisionMargins(np.array([1.0, 2.0]), 0.5)
    assert leads.loss(0.0) == 0
    assert leads.loss(math.inf) == 1
    assert DecisionMargins(np.array([1.0]), 0.0).loss(0.1) == 1


def test_more_divergence_loses_more() -> None:
    leads = DecisionMargins(np.linspace(0, 5, 20), 0.3)
    losses = [leads.loss(divergence) for divergence in (1e-4, 1e-2, 1.0, 10.0)]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1] < 0.5
