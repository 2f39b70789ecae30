"""Metrics of the user's own: what they are given, what they may give, what is said otherwise."""

# ruff: noqa: ARG005 (every metric takes outputs and arrays)

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from builders import Array, make_model, op

from eapc.data import Dataset, dataset
from eapc.errors import DataError
from eapc.evaluation import Accuracy, AccuracyJudge, MetricFunction, Outputs, OwnMetric
from eapc.model import Model

# The network gives its input times w: with the identity the largest of x is the class.

Arrays = Mapping[str, Array]
SAMPLES = 60


def network(weights: Array | None = None) -> Model:
    tensors = {"w": np.eye(3, dtype=np.float32) if weights is None else weights}
    nodes = [op("MatMul", "x w", "scores"), op("ReduceSum", "scores", "total", keepdims=0)]
    return Model.from_proto(make_model(nodes, {"x": ("N", 3)}, ["scores", "total"], tensors))


def turned() -> Model:
    """The same with classes 1 and 2 confused."""
    return network(np.eye(3, dtype=np.float32)[[0, 2, 1]])


def inputs(samples: int = SAMPLES, **extras: Array) -> Dataset:
    """Scores 2, 0, 0 for classes in turns, with labels of which every tenth is wrong."""
    classes = np.arange(samples) % 3
    y = np.where(np.arange(samples) % 10, classes, (classes + 1) % 3)
    x = 2 * np.eye(3, dtype=np.float32)[classes]
    return dataset({"x": x, "y": y, **extras}, network().inputs, "test")


def right(outputs: Outputs, arrays: Arrays) -> Any:
    return outputs["scores"].argmax(axis=1) == arrays["y"]


def share(outputs: Outputs, arrays: Arrays) -> Any:
    return float(right(outputs, arrays).mean())


def judge(function: MetricFunction, data: Dataset | None = None) -> AccuracyJudge:
    return AccuracyJudge.of(network(), data or inputs(), 1, OwnMetric.of(function))


# --- what a metric is given -----------------------------------------------------------------------


def test_a_metric_sees_outputs_and_arrays() -> None:
    boxes, limit = np.arange(SAMPLES * 8).reshape(SAMPLES, 2, 4), np.array(0.5)
    seen: list[tuple[dict[str, Array], dict[str, Array]]] = []

    def look(outputs: Outputs, arrays: Arrays) -> Any:
        seen.append((dict(outputs), dict(arrays)))
        return np.zeros(SAMPLES) + 1

    data = inputs(boxes=boxes, limit=limit)
    judge(look, data)
    ((outputs, arrays),) = seen
    assert list(outputs) == ["scores"]  # one total for all inputs is left out
    assert arrays.keys() == {"x", "y", "boxes", "limit"}
    np.testing.assert_array_equal(arrays["boxes"], boxes)
    np.testing.assert_array_equal(arrays["x"], data.arrays["x"])
    assert arrays["limit"] == 0.5


def test_one_number_is_asked_for_without_each_group_too() -> None:
    seen: list[Array] = []

    def look(outputs: Outputs, arrays: Arrays) -> Any:
        rows = arrays["index"]
        np.testing.assert_array_equal(outputs["scores"].argmax(axis=1), rows % 3)
        assert outputs["scores"] is outputs["scores"]  # cut once, however often it is asked for
        assert len(set(rows.tolist())) == len(rows)
        seen.append(rows)
        return 0.5

    judge(look, inputs(index=np.arange(SAMPLES)))
    assert [len(rows) for rows in seen] == [SAMPLES] + [SAMPLES - 3] * 20
    counts = np.bincount(np.concatenate(seen[1:]))
    assert counts.tolist() == [19] * SAMPLES


def test_nothing_that_a_metric_is_given_can_be_written_to() -> None:
    def spoil(outputs: Outputs, arrays: Arrays) -> Any:  # noqa: ARG001
        outputs["scores"][0] = 0

    with pytest.raises(DataError, match=r"test_evaluation_metrics.py:\d+: ValueError: .*read-only"):
        judge(spoil)


# --- what it comes to ----------------------------------------------------------------------------


def test_right_and_wrong_come_to_top1_accuracy() -> None:
    nodes = [op("MatMul", "x w", "scores")]

    def plain(weights: Array) -> Model:
        return Model.from_proto(make_model(nodes, {"x": ("N", 3)}, ["scores"], {"w": weights}))

    eye = np.eye(3, dtype=np.float32)
    top1 = AccuracyJudge.of(plain(eye), inputs(), 1).accuracy(plain(eye[[0, 2, 1]]))
    # right after: 18 of class 0, and 2 of class 1 whose label is 2
    assert [top1.before, top1.after] == pytest.approx([0.9, 20 / 60])
    for metric in (right, lambda *given: right(*given).astype(float), lambda *g: 1 * right(*g)):
        own = judge(metric).accuracy(turned())
        assert (own.before, own.after, own.samples) == (top1.before, top1.after, SAMPLES)
        assert own.changed == top1.changed
        assert own.loss_interval == top1.loss_interval
        assert own.is_within(0.5) == top1.is_within(0.5)
        assert own.is_share


def test_numbers_for_each_input_by_hand() -> None:
    """100 less the sum of |x - y|: 4 less after where 1 and 2 are confused, two of three inputs.

    Variance of 20 zeros and 40 fours: (20 * (8/3)^2 + 40 * (4/3)^2) / 59, and one more that is 4
    for the third of them that are 0.
    """

    def closeness(outputs: Outputs, arrays: Arrays) -> Any:
        return 100 - np.abs(outputs["scores"] - arrays["x"]).sum(axis=1)

    found = judge(closeness).accuracy(turned())
    assert [found.before, found.after] == pytest.approx([100, 100 - 8 / 3])
    deviation = math.sqrt((20 * (8 / 3) ** 2 + 40 * (4 / 3) ** 2) / 59 / 60 + 16 / 3 / 60**2)
    low, high = found.loss_interval
    assert (low + high) / 2 == pytest.approx(8 / 3)
    assert (high - low) / 2 == pytest.approx(2.000995 * deviation, rel=1e-5)
    assert not found.is_share
    assert found.is_within(2.67)
    assert not found.is_within(2.66)


def test_one_input_of_many_may_differ_where_none_has() -> None:
    """Values 1 and 0.5 in turns deviate by 0.25: one of 60 by twice as much."""

    def alternating(outputs: Outputs, arrays: Arrays) -> Any:  # noqa: ARG001
        return 1 - 0.5 * (np.arange(len(arrays["y"])) % 2)

    found = judge(alternating).accuracy(turned())
    reach = 2.000995 * 0.5 / 60
    assert found.loss_interval == pytest.approx((-reach, reach), rel=1e-5)
    whole = judge(lambda o, a: float(alternating(o, a).mean() + a["y"][0] / 99))
    low, high = whole.accuracy(turned()).loss_interval
    assert low < 0 < high


def test_one_number_for_all_inputs() -> None:
    one, each = judge(share).accuracy(turned()), judge(right).accuracy(turned())
    assert (one.metric, each.metric) == ("share", "right")
    assert (one.before, one.after, one.samples) == (each.before, each.after, SAMPLES)
    assert one.changed is None
    low, high = one.loss_interval
    # the jackknife of a mean: the deviation of 20 groups' means, here near that of the inputs
    assert (low + high) / 2 == pytest.approx(one.loss)
    assert 0.5 < (high - low) / (each.loss_interval[1] - each.loss_interval[0]) < 2


def test_what_a_metric_gives_may_be_used_again() -> None:
    kept = np.zeros(SAMPLES)

    def reusing(outputs: Outputs, arrays: Arrays) -> Any:
        kept[:] = right(outputs, arrays)
        return kept

    assert judge(reusing).accuracy(turned()).before == 0.9


def test_one_input_tells_nothing_of_others() -> None:
    for metric in (share, lambda *given: right(*given) / 2 + 0.25):
        found = judge(metric, inputs(1)).accuracy(turned())
        assert found.loss_interval == (-math.inf, math.inf)
        assert found.samples_to_tell(0.1) is None


def test_halves_are_every_second_input_of_each_class_or_of_all() -> None:
    def index(outputs: Outputs, arrays: Arrays) -> Any:  # noqa: ARG001
        return arrays["index"]

    data = inputs(12, index=np.arange(12))
    assert data.labels is not None
    by_class = np.argsort(data.labels, kind="stable")
    halves = [half.before.each.tolist() for half in judge(index, data).halves()]
    assert halves == [sorted(by_class[start::2].tolist()) for start in (0, 1)]
    loose = dataset({**data.arrays, "index": np.arange(12)}, network().inputs, "test")
    halves = [half.before.each.tolist() for half in judge(index, loose).halves()]
    assert halves == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    for half in judge(share, data).halves():
        assert half.before.value == share(half.original, half.data.extras)


def test_whether_figures_are_shares_is_the_whole_original_s() -> None:
    def index(outputs: Outputs, arrays: Arrays) -> Any:  # noqa: ARG001
        return arrays["index"] / 2

    x = np.ones((4, 3), np.float32)
    data = dataset({"x": x, "index": np.arange(4)}, network().inputs, "test")
    for count, is_share in ((3, True), (4, False)):  # 0, 0.5, 1 and 1.5; the first half: 0 and 1
        whole = judge(index, data.take(slice(0, count)))
        assert [each.is_share for each in (whole, *whole.halves())] == [is_share] * 3


def test_the_name_is_the_function_s() -> None:
    class Named:
        def __call__(self, outputs: Outputs, arrays: Arrays) -> Any:
            return share(outputs, arrays)

    metrics: list[MetricFunction] = [share, partial(share), Named()]
    assert [OwnMetric.of(metric).name for metric in metrics] == ["share", "share", "Named"]


# --- what is wrong --------------------------------------------------------------------------------


def given(value: Any) -> MetricFunction:
    def metric(outputs: Outputs, arrays: Arrays) -> Any:  # noqa: ARG001
        return value

    return metric


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (
            given(np.zeros((SAMPLES, 1))),
            r"gives float64 of shape \(60, 1\) for 60 inputs; expected",
        ),
        (given(np.zeros(7)), r"gives float64 of shape \(7,\) for 60 inputs"),
        (given(None), r"gives object of shape \(\)"),
        (given("good"), r"gives <U4 of shape \(\)"),
        (given([[1], [1, 2]]), "ValueError: .*inhomogeneous"),
        (given(math.nan), "gives nan for the original; expected a finite number"),
        (given(np.r_[np.ones(SAMPLES - 1), np.inf]), "gives inf for the original on input 59"),
        (lambda o, a: a["boxes"], r"KeyError: 'boxes' \(outputs: scores; arrays: x, y\)"),
        (lambda o, a: 1 / 0, r"test_evaluation_metrics.py:\d+: ZeroDivisionError: division"),
        (lambda o, a: 1.0 if len(a["y"]) == SAMPLES else math.nan, "on a part of the inputs"),
        (lambda o, a: 1.0 if len(a["y"]) == SAMPLES else a["y"], "for some inputs, not for others"),
        (lambda o: 1.0, r"TypeError: .*takes 1 positional argument"),
        (lambda o, a: exit(3), r"SystemExit: 3"),
    ],
)
def test_a_metric_that_fails_is_one_line(metric: Callable[..., Any], said: str) -> None:
    with pytest.raises(DataError, match=f"^metric [<a-z>]+: .*{said}") as caught:
        judge(metric)
    assert "\n" not in str(caught.value)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="'boxes' has 7 rows for 60 samples; --metric takes"):
        judge(share, inputs(boxes=np.zeros((7, 4))))


def test_outputs_without_rows_are_no_use() -> None:
    model = Model.from_proto(
        make_model([op("ReduceSum", "x", "y", keepdims=0)], {"x": ("N", 3)}, ["y"])
    )
    with pytest.raises(DataError, match="no output has one row for each input"):
        AccuracyJudge.of(model, inputs(), 1, OwnMetric.of(share))


def broken(outputs: Outputs, arrays: Arrays) -> Any:
    """NaN for the input where a network answers 1 to class 2."""
    wrong = (outputs["scores"].argmax(axis=1) == 1) & (arrays["x"].argmax(axis=1) == 2)
    return np.where(wrong, np.nan, 1.0)


def broken_in_all(outputs: Outputs, arrays: Arrays) -> Any:
    return float(broken(outputs, arrays).mean())


@pytest.mark.parametrize("metric", [broken, broken_in_all])
def test_what_a_pruned_network_gets_that_is_no_number_is_the_worst(metric: MetricFunction) -> None:
    found = judge(metric).accuracy(turned())
    assert (found.before, found.after, found.loss) == (1, -math.inf, math.inf)
    assert not found.is_within(1e9)
    assert found.confidence(1e9) == 0
    assert found.shown(found.after) == "no number"


def test_a_metric_gives_one_kind_of_thing() -> None:
    calls: list[int] = []

    def fickle(outputs: Outputs, arrays: Arrays) -> Any:
        calls.append(1)
        return right(outputs, arrays) if len(calls) == 1 else 0.5

    with pytest.raises(DataError, match="one number for one network and one per input"):
        judge(fickle).accuracy(turned())


def test_nothing_to_lose_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "eapc"):
        judge(given(0.0)).require_answers()
    (record,) = caplog.records
    assert record.message.startswith("metric metric is 0 for the original")


def test_how_figures_are_shown() -> None:
    shares, numbers = Accuracy(0.9, 0.5, 10), Accuracy(31.25, 30.0, 10, "psnr", False)
    assert (shares.shown(0.9), shares.amount(0.4)) == ("90.0%", "40.0 points")
    assert (numbers.shown(31.25), numbers.amount(1.25)) == ("31.25", "1.25")
    assert (shares.title, numbers.title) == ("top-1 accuracy", "psnr")
