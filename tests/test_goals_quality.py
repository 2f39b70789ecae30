"""What pruning did to the outputs, and when that is worth a warning."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from goal_builders import RECIPE, labelled, reached, start, trials, varied
from pruning_builders import transformer

from eapc.evaluation import RELATIVE_ERROR, TOP1_AGREEMENT, Accuracy, Agreement
from eapc.goals import (
    DEFAULT_GOAL,
    MaxDrop,
    Pruned,
    Sparsity,
    TargetEnergy,
    Trials,
    Width,
    few_rows,
    measured,
    warning,
)
from eapc.pipeline import LayerRecord


def judged(accuracy: Accuracy | None, agreement: Agreement | None) -> Pruned:
    return replace(reached("varied", Sparsity(0.9)), accuracy=accuracy, agreement=agreement)


@pytest.mark.parametrize(
    ("accuracy", "agreement", "said"),
    [
        (Accuracy(0.9, 0.5, 10), None, "top-1 accuracy fell from 90.0% to 50.0%"),
        (Accuracy(0.9, 0.81, 100), None, ""),
        (Accuracy(0.9, 0.5, 10, "map"), None, "map fell from 90.0% to 50.0%"),
        (Accuracy(40, 35.9, 10, "psnr", False), None, "psnr fell from 40 to 35.9"),
        (Accuracy(40, 36.1, 10, "psnr", False), None, ""),
        (Accuracy(-0.5, -0.6, 10, "loss", False), None, "loss fell from -0.5 to -0.6"),
        (Accuracy(0, -9, 10, "loss", False), None, ""),
        (Accuracy(40, -math.inf, 10, "psnr", False), None, "psnr fell from 40 to no number"),
        (
            None,
            Agreement(TOP1_AGREEMENT, 0.6, 0.9, 50),
            "only 60.0% of the answers on 50 inputs kept out of the fit are still the original's",
        ),
        (None, Agreement(TOP1_AGREEMENT, 0.91, 0.9, 10), ""),
        (
            None,
            Agreement(RELATIVE_ERROR, 0.5, 0.25, 10),
            "their relative error on 10 inputs kept out of the fit is 0.5",
        ),
        (
            None,
            Agreement(RELATIVE_ERROR, math.inf, 0.25, 1),
            "they are no longer finite or no longer as many on one input kept out of the fit",
        ),
        (None, Agreement(RELATIVE_ERROR, 0.24, 0.25, 10), ""),
        (Accuracy(0.9, 0.9, 10), Agreement(TOP1_AGREEMENT, 0.1, 0.9, 10), ""),
    ],
)
def test_spoilt_outputs_are_warned_of(
    accuracy: Accuracy | None, agreement: Agreement | None, said: str
) -> None:
    found = judged(accuracy, agreement)
    text = warning(replace(found, goal=TargetEnergy(0.6)), "unstructured")
    assert said in text
    assert bool(text) == bool(said)
    assert not text or text.startswith("--target-energy 0.6 spoils the outputs: ")
    assert not text or text.endswith("; a higher --target-energy keeps more")
    for goal in (DEFAULT_GOAL, MaxDrop(0.1)):
        assert not warning(replace(found, goal=goal), "unstructured")


def test_outputs_that_narrow_bits_spoil_are_warned_of() -> None:
    found = judged(None, Agreement(RELATIVE_ERROR, 1.19, 0.25, 4))
    text = warning(replace(found, goal=Width("weights=2")), "unstructured")
    assert text == (
        "--bits weights=2 spoils the outputs: their relative error on 4 inputs kept out of the fit "
        "is 1.2; more bits, up to 8, or more calibration inputs keep more"
    )


def test_a_warning_says_that_its_inputs_were_fitted() -> None:
    found = judged(None, Agreement(RELATIVE_ERROR, 0.5, 0.25, 1))
    text = warning(replace(found, fitted=True), "unstructured")
    assert "their relative error on one input that took part in the fit is 0.5; " in text


def test_a_pattern_that_fixes_the_zeros_is_what_spoils_outputs() -> None:
    text = warning(judged(Accuracy(0.9, 0.5, 10), None), "2:4")
    assert text.startswith("--pattern 2:4 spoils the outputs: ")
    assert text.endswith("; a pattern of fewer zeros keeps more")


def test_quality_is_measured_by_labels_or_on_what_was_held_out() -> None:
    net = varied()
    outcome = reached("varied", Sparsity(0.9))
    with_labels = measured(outcome, Trials(start(net), RECIPE, labelled(net)))
    assert with_labels.accuracy == labelled(net).accuracy(outcome.model)
    assert with_labels.agreement is None
    without = measured(outcome, trials(net))
    assert without.accuracy is None
    assert without.agreement is not None
    assert (without.agreement.samples, without.fitted) == (len(net.data) // 8, False)
    held_out = measured(reached("transformer", DEFAULT_GOAL), trials(transformer()))
    assert held_out.agreement == reached("transformer", DEFAULT_GOAL).agreement
    assert not held_out.fitted


def layer(name: str, rows: int | None, inputs: int | None) -> LayerRecord:
    return LayerRecord(name, 100, 50, 0.1, rows, inputs)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([layer("a", 400, 100), layer("b", None, None)], ""),
        (
            [layer("a", 400, 100), layer("b", 40, 100), layer("c", 30, 40)],
            "2 of 3 layers have fewer rows to be fitted on than inputs, such as 'b' (40 for 100): "
            "about 125 calibration inputs would do",
        ),
    ],
)
def test_layers_that_the_data_do_not_determine(layers: list[LayerRecord], said: str) -> None:
    """Of 50 inputs that are fitted b has 40 rows, and takes 125; and 150 where a sixth is not."""
    assert few_rows(layers, 50) == said
    assert few_rows(layers, 50, 1 / 6) == said.replace("125", "150")


def test_a_spoilt_file_is_warned_of_where_its_goal_was_missed() -> None:
    found = judged(Accuracy(0.9, 0.5, 10), None)
    missed = replace(found, goal=TargetEnergy(0.1), goal_met=False, reason="too low")
    said = "--target-energy 0.1 is not met, and the outputs are spoiled: top-1 accuracy fell from"
    assert warning(missed, "unstructured").startswith(said)
    assert not warning(replace(missed, accuracy=Accuracy(0.9, 0.9, 10)), "unstructured")
