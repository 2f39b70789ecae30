"""--max-drop: half of the labelled inputs decides, the other half reports."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from goal_builders import RAW_MAPS, RECIPE, answered, labelled, ratio, start, trials, varied

from eapc.errors import DataError, UsageError
from eapc.evaluation import Accuracy, AccuracyJudge
from eapc.goals import MaxDrop, Pruned, Trials
from eapc.goals.goal import Budget
from eapc.model import Model


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_max_drop_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--max-drop: expected 0 or more, got"):
        MaxDrop(value)


def test_a_drop_of_accuracy_is_a_fraction() -> None:
    net = varied()
    with pytest.raises(UsageError, match=r"--max-drop: expected a fraction in \[0, 1\), got 1"):
        MaxDrop(1.0).pursue(Trials(start(net), RECIPE, labelled(net)))


@cache
def dropped(value: float) -> Pruned:
    net = varied()
    return MaxDrop(value).pursue(Trials(start(net, hardware=RAW_MAPS), RECIPE, labelled(net)))


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3])
def test_max_drop_decides_on_one_half_and_reports_the_other(value: float) -> None:
    outcome = dropped(value)
    assert outcome.goal_met
    decided, other = labelled(varied()).halves()
    model = outcome.model
    assert outcome.decided == decided.accuracy(model)
    assert outcome.accuracy == other.accuracy(model)
    assert outcome.decided is not None
    assert outcome.decided.before == 1
    assert outcome.decided.after >= 1 - value
    assert ratio(outcome) < 1


def test_a_larger_drop_costs_no_more_energy() -> None:
    assert ratio(dropped(0.3)) <= ratio(dropped(0.1)) <= ratio(dropped(0.0))


def test_a_little_less_energy_drops_more() -> None:
    outcome = dropped(0.1)
    net = varied()
    shared = Trials(start(net, hardware=RAW_MAPS), RECIPE)
    (budget,) = (float(part) for part in re.findall(r"energy=([\d.]+)", outcome.pipeline))
    below = shared.pruner.at(Budget(budget - 0.008)).model
    decided, _ = labelled(net).halves()
    assert not decided.accuracy(below).is_within(0.1)


def test_max_drop_needs_labels() -> None:
    with pytest.raises(UsageError, match="--eval with labels"):
        MaxDrop(0.1).pursue(trials(varied()))


def test_all_calibration_inputs_are_fitted_for_a_drop() -> None:
    assert "hold-out-inputs" not in dropped(0.1).pipeline
    again = dropped(0.1).steps.run(start(varied(), hardware=RAW_MAPS))
    for name, array in dropped(0.1).model.weights.items():
        np.testing.assert_array_equal(again.model.weights[name], array)


def test_more_confidence_takes_no_less_energy() -> None:
    net = varied()
    shared = Trials(start(net), RECIPE, labelled(net))
    plain, sure = (MaxDrop(0.3, confidence).pursue(shared) for confidence in (0.5, 0.95))
    assert ratio(plain) <= ratio(sure)
    assert plain.decided is not None
    assert sure.decided is not None
    assert sure.decided.confidence(0.3) >= 0.95


@pytest.mark.parametrize("confidence", [0.4, 1.0, float("nan")])
def test_confidence_is_between_a_half_and_certainty(confidence: float) -> None:
    with pytest.raises(UsageError, match=r"--confidence: expected 0\.5 to less than 1"):
        MaxDrop(0.1, confidence)


def test_the_goal_says_how_sure_it_is_to_be() -> None:
    assert str(MaxDrop(0.1)) == "--max-drop 0.1"
    assert str(MaxDrop(0.1, 0.9)) == "--max-drop 0.1 --confidence 0.9"


@pytest.mark.parametrize(("after", "confirmed"), [(0.9, True), (0.86, False)])
def test_the_other_half_confirms_the_goal_or_does_not(
    after: float, confirmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says changes neither the model nor that the goal was met."""
    other = Accuracy(0.95, after, 200, changed=20)
    decides = labelled(varied()).halves()[0]

    class Other(AccuracyJudge):
        def accuracy(self, _: Model) -> Accuracy:
            return other

    judged = Other(decides.data, decides.original, decides.metric, decides.before)

    monkeypatch.setattr(Trials, "halves", (decides, judged))
    outcome = MaxDrop(0.05).pursue(Trials(start(varied()), RECIPE, labelled(varied())))
    assert outcome.goal_met
    assert outcome.confirmed is confirmed
    assert outcome.confidence == other.confidence(0.05)
    said = (
        ""
        if confirmed
        else "not confirmed: on the 200 inputs that did not decide top-1 accuracy fell"
    )
    assert outcome.shortfall.startswith(said)
    assert bool(outcome.shortfall) is not confirmed


def test_labelled_inputs_must_tell_something() -> None:
    net = varied()
    answers = answered(net)
    assert answers.labels is not None
    wrong = replace(answers, labels=(answers.labels + 1) % 3)
    same = {name: np.repeat(x[:1], len(x), axis=0) for name, x in answers.arrays.items()}
    alike = replace(answers, arrays=same)
    for data, said in ((wrong, "none of the inputs right"), (alike, "the same")):
        judge = AccuracyJudge.of(net.model, data, 1)
        with pytest.raises(DataError, match=said):
            MaxDrop(0.1).pursue(Trials(start(net), RECIPE, judge))


def test_labels_of_one_class_decide_nothing() -> None:
    net = varied()
    data = labelled(net).data
    counts = np.bincount(data.require_labels())
    alike = replace(data, labels=np.full(len(data), counts.argmax()))
    before = AccuracyJudge.of(net.model, alike, 1)
    with pytest.raises(DataError, match="all labels are of one class"):
        MaxDrop(0.1).pursue(Trials(start(net), RECIPE, before))
