"""--min-agreement: outputs that are still the original's, on inputs that were not fitted."""

from __future__ import annotations

import pytest
from builders import Array
from evaluation_builders import agreement
from goal_builders import RECIPE, counted, ratio, reached, start, trials, varied
from pruning_builders import Net, dense, residual, transformer

from eapc.errors import DataError, UsageError
from eapc.evaluation import RELATIVE_ERROR, TOP1_AGREEMENT
from eapc.evaluation import yardstick as evaluation
from eapc.goals import (
    DEFAULT_GOAL,
    HELD_OUT,
    MAX_OUTPUT_ERROR,
    MinAgreement,
    Pruned,
    TargetEnergy,
    Trials,
)
from eapc.runtime import collect_outputs


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_min_agreement_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--min-agreement: expected a fraction in \[0, 1\]"):
        MinAgreement(value)


def judged(outcome: Pruned, net: Net, by_error: bool) -> float:
    _, held_out = net.data.split(HELD_OUT)
    model = outcome.model
    outputs: list[dict[str, Array]] = [
        collect_outputs(each, held_out, 1) for each in (model.original, model)
    ]
    return agreement(outputs[0], outputs[1], 0.0, 1.0, by_error).value


@pytest.fixture
def few_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let eight held-out inputs decide a share."""
    monkeypatch.setattr(evaluation, "_FEWEST_FOR_SHARE", 1)


@pytest.mark.usefixtures("few_count")
@pytest.mark.parametrize("value", [0.5, 0.9, 1.0])
def test_min_agreement_holds_on_inputs_that_were_not_fitted(value: float) -> None:
    outcome = reached("varied", MinAgreement(value))
    verdict = outcome.agreement
    assert verdict is not None
    assert verdict.metric == TOP1_AGREEMENT
    assert verdict.samples == 8
    assert verdict.value == judged(outcome, varied(), by_error=False)
    assert outcome.goal_met == verdict.is_met == (verdict.value >= value)
    assert (outcome.reason == "") == outcome.goal_met


@pytest.mark.usefixtures("few_count")
def test_less_agreement_costs_no_more_energy() -> None:
    """Up to what the zeros of feature maps move energies by, which budgets leave out."""
    most, least = (ratio(reached("varied", MinAgreement(value))) for value in (1.0, 0.5))
    assert least <= most + 0.01


def test_other_networks_are_judged_by_their_output_error() -> None:
    outcome = reached("transformer", DEFAULT_GOAL)
    verdict = outcome.agreement
    assert verdict is not None
    assert verdict.metric == RELATIVE_ERROR
    assert verdict.limit == MAX_OUTPUT_ERROR
    assert outcome.goal_met
    assert verdict.value <= MAX_OUTPUT_ERROR
    assert ratio(outcome) < 1


def test_synthesised_inputs_are_judged_by_the_output_error() -> None:
    outcome = DEFAULT_GOAL.pursue(trials(varied(), synthesised=True))
    assert outcome.agreement is not None
    assert outcome.agreement.metric == RELATIVE_ERROR


def test_a_goal_that_nothing_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.goals.min_agreement.MAX_OUTPUT_ERROR", -1.0)
    outcome = DEFAULT_GOAL.pursue(trials(transformer()))
    assert not outcome.goal_met
    assert outcome.agreement is not None
    assert not outcome.agreement.is_met
    assert outcome.reason
    assert "\n" not in outcome.reason
    assert ratio(outcome) == pytest.approx(1, abs=0.01)


def test_a_goal_that_everything_meets() -> None:
    outcome = reached("varied", MinAgreement(0.0))
    assert outcome.goal_met
    lowest = ratio(reached("residual", TargetEnergy(0.001)))
    assert ratio(outcome) < lowest + 0.1


def test_too_few_inputs_to_hold_any_out() -> None:
    net = dense()
    few = Net(net.proto, {"x": net.arrays["x"][:1]})
    with pytest.raises(DataError, match="too few"):
        DEFAULT_GOAL.pursue(trials(few))


def test_ten_inputs_will_do_and_nine_will_not() -> None:
    """A fifth is held out, and one input has no mean that it could differ from."""
    net = dense()
    ten, nine = (Net(net.proto, {"x": net.arrays["x"][:count]}) for count in (10, 9))
    assert DEFAULT_GOAL.pursue(trials(ten)).agreement is not None
    with pytest.raises(DataError, match="too few calibration inputs: 1 held out"):
        DEFAULT_GOAL.pursue(trials(nine))


def test_the_compilation_given_is_left_alone() -> None:
    net = residual()
    compilation = start(net)
    before = net.proto.SerializeToString()
    TargetEnergy(0.9).pursue(Trials(compilation, RECIPE))
    assert compilation.record.layers == {}
    assert compilation.model.weights == {}
    assert net.proto.SerializeToString() == before


def test_an_agreement_that_does_not_decide_is_said(caplog: pytest.LogCaptureFixture) -> None:
    made_up = trials(varied(), synthesised=True)
    DEFAULT_GOAL.pursue(made_up)
    assert "has no say" not in caplog.text
    MinAgreement(0.9).pursue(made_up)
    assert "--min-agreement 0.9 has no say: outputs are judged by their relative" in caplog.text


@pytest.mark.usefixtures("few_count")
def test_another_goal_takes_up_the_trials_made(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = trials(varied())
    MinAgreement(0.9).pursue(shared)
    tried = counted(monkeypatch)
    again = MinAgreement(0.9).pursue(shared)
    assert len(tried) <= 1
    assert ratio(again) == ratio(reached("varied", MinAgreement(0.9)))
    assert again.agreement == reached("varied", MinAgreement(0.9)).agreement
