"""Accuracy, agreement and distances of outputs, by hand."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from builders import Array
from evaluation_builders import agreement, output_divergence, relative_output_error
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eapc.errors import DataError
from eapc.evaluation import RELATIVE_ERROR, TOP1_AGREEMENT, Accuracy, Agreement
from eapc.evaluation import yardstick as evaluation
from eapc.evaluation.measures import binary_threshold, class_scores, correct

SCORES = np.array([[1, 2, 3], [3, 2, 1], [0, 5, 0], [9, 0, 0]], np.float32)  # classes 2 0 1 0


def out(array: Array) -> dict[str, Array]:
    return {"y": array}


def top1(outputs: dict[str, Array], labels: Array) -> float:
    """The fraction of labels that the only output ranks first."""
    return float(correct(outputs, labels, binary_threshold(outputs)).mean())


def test_top1_by_hand() -> None:
    assert top1(out(SCORES), np.array([2, 0, 1, 0])) == 1.0
    assert top1(out(SCORES), np.array([2, 1, 1, 2])) == 0.5
    assert top1(out(SCORES[:, :, None, None]), np.array([0, 0, 0, 0])) == 0.5


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (out(SCORES), [0, 1, 3, 0], "label 3 is out of range: 3 classes"),
        (out(SCORES), [0, 1], "2 labels for 4 outputs"),
        (out(SCORES[:, 0]), [0, 0, 2, 0], "label 2 is out of range: 2 classes"),
        (out(SCORES[:, :1].astype(int)), [0, 0, 0, 0], "one output of shape"),
        (out(SCORES.astype(int)), [0, 0, 0, 0], "one output of shape"),
        (out(SCORES[:, :, None].repeat(2, 2)), [0, 0, 0, 0], "one output of shape"),
        ({"y": SCORES, "z": SCORES}, [0, 0, 0, 0], "one output of shape"),
    ],
)
def test_labels_that_do_not_fit(outputs: dict[str, Array], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        top1(outputs, np.array(labels))


def test_class_scores_of_a_classifier() -> None:
    assert class_scores(out(SCORES)) is not None
    assert class_scores(out(SCORES.astype(np.float16))) is not None
    assert class_scores({}) is None


def test_relative_error_by_hand() -> None:
    y = np.array([[1.0, 2], [3, 4]])  # about the means: -1, -1, 1, 1; power 4
    other = y + np.array([[1, 0], [0, -1]])
    assert relative_output_error(out(y), out(other)) == pytest.approx(0.5)
    assert relative_output_error(out(y), out(y)) == 0
    two = {"y": y, "z": y}
    assert relative_output_error(two, {"y": y, "z": other}) == pytest.approx(0.5)


def test_relative_error_of_outputs_that_never_vary() -> None:
    y = np.full((4, 2), 3.0)
    assert relative_output_error(out(y), out(y + 0.3)) == pytest.approx(0.01)
    assert relative_output_error(out(0 * y), out(0 * y)) == 0
    assert relative_output_error(out(0 * y), out(y)) == np.inf


def test_relative_error_of_integers_is_the_fraction_that_differs() -> None:
    y = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
    other = y + np.array([[0, 0], [0, 1], [1, 1], [0, 0]])
    assert relative_output_error(out(y), out(other)) == 0.5
    assert relative_output_error(out(y[:, 0]), out(other[:, 0])) == 0.25


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_relative_error_of_short_types(dtype: type) -> None:
    y: Array = np.array([[1.0, 2], [3, 4]]).astype(dtype)
    other = (y.astype(np.float32) + np.array([[0.5, 0], [0, -0.5]])).astype(dtype)
    assert relative_output_error(out(y), out(other)) == pytest.approx(0.125)


def test_relative_error_of_what_is_not_finite_meets_no_limit() -> None:
    broken = SCORES.copy()
    broken[1, 1] = np.nan
    assert not agreement(out(SCORES), out(broken), 0.9, 0.5, by_error=True).is_met
    assert relative_output_error(out(SCORES), out(broken)) == np.inf


@pytest.fixture
def few_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four samples decide a share."""
    monkeypatch.setattr(evaluation, "_FEWEST_FOR_SHARE", 1)


def test_few_samples_are_judged_by_their_error() -> None:
    found = agreement(out(SCORES), out(SCORES), 0.9, 0.05, by_error=False)
    assert found.metric == RELATIVE_ERROR
    many = np.tile(SCORES, (20, 1))
    assert agreement(out(many), out(many), 0.9, 0.05, by_error=False).metric == TOP1_AGREEMENT


def test_outputs_whose_size_depends_on_data_are_left_out() -> None:
    reference = {"boxes": np.zeros((3, 4)), "scores": np.arange(4.0).reshape(2, 2)}
    other = {"boxes": np.zeros((5, 4)), "scores": np.arange(4.0).reshape(2, 2)}
    assert relative_output_error(reference, other) == 0
    only = {"boxes": reference["boxes"]}
    assert relative_output_error(only, {"boxes": other["boxes"]}) == np.inf
    counts = {"found": np.zeros((3, 2), np.int64)}
    assert relative_output_error(counts, {"found": np.zeros((4, 2), np.int64)}) == np.inf


def test_narrow_scores_diverge_as_wide_ones_do() -> None:
    tiny, other = 1e-6 * SCORES, 1e-6 * SCORES[:, ::-1]
    assert output_divergence(out(tiny), out(other)) > 0.1
    assert output_divergence(out(tiny), out(tiny)) == 0


@pytest.mark.usefixtures("few_count")
def test_agreement_of_classifiers() -> None:
    other = SCORES.copy()
    other[0] = (9, 0, 0)
    found = agreement(out(SCORES), out(other), 0.7, 0.01, by_error=False)
    assert found == Agreement(TOP1_AGREEMENT, 0.75, 0.7, 4)
    assert found.is_met
    assert not agreement(out(SCORES), out(other), 0.8, 9.0, by_error=False).is_met


@pytest.mark.usefixtures("few_count")
def test_samples_without_finite_scores_do_not_agree() -> None:
    broken = SCORES.copy()
    broken[:, :] = np.nan
    found = agreement(out(SCORES), out(broken), 0.1, 0.01, by_error=False)
    assert found.value == 0


def test_agreement_by_error() -> None:
    for reference in (SCORES, np.repeat(SCORES[:1], 4, 0) + 0.01 * SCORES):
        found = agreement(out(reference), out(reference), 0.98, 0.05, by_error=True)
        assert found == Agreement(RELATIVE_ERROR, 0.0, 0.05, 4)
    one_class = np.repeat(SCORES[:1], 4, 0)
    assert agreement(out(one_class), out(one_class), 0.98, 0.05, False).metric == RELATIVE_ERROR
    rows = {"y": SCORES, "z": SCORES}
    assert agreement(rows, rows, 0.98, 0.05, False).metric == RELATIVE_ERROR


def test_limits_count_as_met() -> None:
    assert Agreement(TOP1_AGREEMENT, 0.98, 0.98, 10).is_met
    assert Agreement(RELATIVE_ERROR, 0.05, 0.05, 10).is_met
    assert not Agreement(RELATIVE_ERROR, float("nan"), 0.05, 10).is_met


def test_divergence_by_hand() -> None:
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    expected = 0.5 * np.log(2) - 0.25 * np.log(2)
    logits = [out(np.log(np.stack([row, row[::-1]])) + 3) for row in (p, q)]
    assert output_divergence(logits[0], logits[1]) == pytest.approx(expected)
    softmaxed = [out(np.stack([row, row[::-1]])) for row in (p, q)]
    assert output_divergence(softmaxed[0], softmaxed[1]) == pytest.approx(expected)
    assert output_divergence(logits[0], logits[0]) == 0


def test_divergence_survives_zeros_and_large_scores() -> None:
    certain = np.eye(3)
    other = np.full((3, 3), 1 / 3)
    assert output_divergence(out(certain), out(other)) == pytest.approx(np.log(3), rel=1e-6)
    assert np.isfinite(output_divergence(out(other), out(certain)))
    assert np.isfinite(output_divergence(out(SCORES * 1e30), out(SCORES * -1e30)))


def test_divergence_of_other_networks_is_relative_error() -> None:
    y = np.array([[1.0, 2], [3, 4]])
    other = y + np.array([[1, 0], [0, -1]])
    assert output_divergence(out(y), out(other), by_error=True) == pytest.approx(0.5)
    assert output_divergence({"y": y, "z": y}, {"y": y, "z": other}) == pytest.approx(0.5)


def test_divergence_of_what_is_not_finite_is_infinite() -> None:
    broken = SCORES.copy()
    broken[1, 1] = np.nan
    assert output_divergence(out(SCORES), out(broken)) == np.inf


# --- one number per sample -------------------------------------------------------------------


def test_probabilities_part_at_a_half_and_logits_at_zero() -> None:
    probabilities = np.array([[0.1], [0.5], [0.6], [1.0]])
    assert binary_threshold(out(probabilities)) == 0.5
    assert top1(out(probabilities), np.array([0, 0, 1, 1])) == 1.0
    logits = np.array([-3.0, 0.2, 0.4, 5.0])
    assert binary_threshold(out(logits)) == 0.0
    assert top1(out(logits), np.array([0, 1, 1, 0])) == 0.75
    assert correct(out(logits), np.array([0, 1, 1, 0]), 0.5).tolist() == [True, False, False, False]
    assert binary_threshold(out(SCORES)) == 0.0


def test_what_is_no_number_is_never_correct() -> None:
    broken = SCORES.copy()
    broken[0, 2] = np.nan
    assert correct(out(broken), np.array([2, 0, 1, 0]), 0.0).tolist() == [False, True, True, True]
    single = np.array([np.nan, -1.0])
    assert correct(out(single), np.array([0, 0]), 0.0).tolist() == [False, True]


@pytest.mark.parametrize(
    ("after", "max_drop", "is_within"),
    [(0.89, 0.01, True), (0.885, 0.01, False), (0.95, 0.0, True), (0.9, 0.0, True)],
)
def test_drops_count_samples(after: float, max_drop: float, is_within: bool) -> None:
    accuracy = Accuracy(0.9, after, 200)
    assert accuracy.loss == pytest.approx(0.9 - after)
    assert accuracy.is_within(max_drop) is is_within


def test_what_is_lost_among_all_inputs_by_hand() -> None:
    """Of 298 samples 8 are right before alone and 2 after alone (Agresti and Min, 2005).

    6 / 300 are lost, with a deviation of sqrt(10 + 1 - 36 / 300) / 300.
    """
    accuracy = Accuracy(0.9, 0.9 - 6 / 298, 298, changed=10)
    deviation = np.sqrt(10.88) / 300
    expected = [0.02 - 1.959964 * deviation, 0.02 + 1.959964 * deviation]
    assert accuracy.loss_interval == pytest.approx(expected)
    assert accuracy.confidence(0.02) == pytest.approx(0.5)
    assert accuracy.confidence(0.02 + 1.644854 * deviation) == pytest.approx(0.95, abs=1e-6)
    assert accuracy.samples_to_tell(0.01) == np.ceil(298 * (1.959964 * deviation / 0.01) ** 2)


def test_answers_that_change_together_tell_more() -> None:
    paired, apart = (Accuracy(0.8, 0.79, 500, changed=changed) for changed in (5, None))
    widths = [high - low for low, high in (paired.loss_interval, apart.loss_interval)]
    assert 4 * widths[0] < widths[1]


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 2000), st.floats(0.001, 0.2), st.floats(-0.03, 0.05), st.integers(0, 9999))
def test_the_interval_holds_in_95_of_100_cases(
    size: int, changing: float, lost: float, seed: int
) -> None:
    """Drawn many times from a population whose loss is known; a few change either way."""
    lost = min(lost, changing) if lost > 0 else max(lost, -changing)
    shares = [(changing + lost) / 2, (changing - lost) / 2, 1 - changing]
    assume(size * min(shares[:2]) >= 3)
    draws = np.random.default_rng(seed).multinomial(size, shares, 400)
    held = 0
    for gone, won, _ in draws.tolist():
        found = Accuracy(0.5, 0.5 - (gone - won) / size, size, changed=gone + won)
        low, high = found.loss_interval
        held += low <= lost <= high
    assert held >= 0.9 * len(draws)


def test_a_verdict_can_be_asked_for_more() -> None:
    share = Agreement(TOP1_AGREEMENT, 0.97, 1.0, 200)
    assert share.loss == pytest.approx(0.03)
    assert share.asking(0.97).is_met
    assert not share.asking(0.98).is_met
    error = Agreement(RELATIVE_ERROR, 0.04, 0.05, 200)
    assert error.asking(0.99) == error
    assert error.loss == 0.04
