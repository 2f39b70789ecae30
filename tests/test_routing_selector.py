"""Selectors on features made so that it is known which one has to win."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array, op
from onnx import numpy_helper
from routing_builders import convolutional, exact

from eapc.data import Dataset, dataset
from eapc.errors import DataError
from eapc.model import Model, TensorSpec
from eapc.routing import (
    CONFIDENCE_ALONE,
    Features,
    PooledFeatures,
    Scores,
    Selector,
    area_under_curve,
    pooled_features,
    select,
    split,
)

LOGITS = Scores(are_probabilities=False)


def test_confidence_features_by_hand() -> None:
    """p = (3/4, 1/4): 1 - p1 = 1/4, entropy = ln 4 - 3/4 ln 3 = 0.5623, 1 - margin = 1/2."""
    found = LOGITS.confidence(np.log(np.array([[3.0, 1.0], [1.0, 1.0]])))
    assert found == pytest.approx(np.array([[0.25, 0.56234, 0.5], [0.5, 0.69315, 1.0]]), abs=1e-4)


def test_probabilities_are_taken_as_they_are() -> None:
    p = np.array([[0.75, 0.25], [0.1, 0.9]], np.float32)
    assert Scores.of(p) == Scores(are_probabilities=True)
    assert Scores.of(p).confidence(p)[:, 0] == pytest.approx([0.25, 0.1])
    assert Scores.of(p * 2) == LOGITS
    assert not Scores.of(p.astype(np.float16)).is_float


def test_area_under_the_curve_by_hand() -> None:
    """Of 2 x 2 pairs: 3 > 2, 3 > 1, 1 < 2, 1 = 1: 2.5 of 4."""
    gains = np.array([True, False, True, False])
    assert area_under_curve(np.array([3, 2, 1, 1]), gains) == 0.625
    assert area_under_curve(np.array([3, 2]), np.array([True, True])) == 0.5


def features(gains: Array, of_answer: float, of_map: float, seed: int = 0) -> Features:
    """Noise of unit deviation, to which what gains adds so much in each kind of features."""
    rng = np.random.default_rng(seed)
    confidence = rng.normal(size=(len(gains), 3)) + of_answer * gains[:, None]
    pooled = rng.normal(size=(len(gains), 4))
    pooled[:, 2] += of_map * gains
    return Features(confidence.astype(np.float32), pooled.astype(np.float32))


GAINS = np.random.default_rng(5).random(600) < 0.2


def test_the_simplest_wins_where_nothing_tells_more() -> None:
    """All three columns are the same: no weights on them tell more than one of them."""
    found = features(GAINS, 1.5, 0.0)
    same = Features(np.repeat(found.confidence[:, :1], 3, axis=1), found.pooled)
    selection = select(same, GAINS)
    assert selection.selector == CONFIDENCE_ALONE
    assert selection.auc == pytest.approx(0.85, abs=0.05)
    assert selection.candidates[0].name == "confidence"
    assert len(selection.candidates) == 5


def test_pooled_features_win_where_they_alone_tell() -> None:
    found = features(GAINS, 0.0, 3.0)
    selection = select(found, GAINS)
    assert selection.selector.pooled is not None
    fresh = np.random.default_rng(6).random(400) < 0.2
    hardness = selection.selector.hardness(features(fresh, 0.0, 3.0, seed=7))
    assert area_under_curve(hardness, fresh) > 0.95


def test_weights_on_the_answer_win_where_its_features_add_up() -> None:
    """Three independent columns of the same worth: together they tell more than each."""
    selection = select(Features(features(GAINS, 1.0, 0.0).confidence), GAINS)
    assert selection.selector.name == "regression on confidence"
    assert len(selection.candidates) == 4


def test_too_few_gains_fit_nothing() -> None:
    few = np.arange(600) < 19
    selection = select(features(few, 0.0, 9.0), few)
    assert selection.selector is CONFIDENCE_ALONE
    assert selection.auc is None


def test_hardness_by_hand() -> None:
    found = Features(np.array([[1, 2, 3]], np.float32), np.array([[10, 20]], np.float32))
    selector = Selector("", np.array([1, 0, -1]), np.array([0.5, 0.25]), 0.125)
    assert selector.hardness(found).tolist() == [1 - 3 + 5 + 5 + 0.125]


# --- what is shared ------------------------------------------------------------------------------


def test_the_last_layers_inputs_are_shared() -> None:
    model = Model.from_proto(convolutional(0))
    assert pooled_features(model, {"x": (1, 2, 5, 5)}) == PooledFeatures("f", 6, 2)


def test_of_a_last_convolution_it_is_the_map() -> None:
    proto = convolutional(0)
    del proto.graph.node[2:]
    proto.graph.node.append(op("Conv", "r w3", "c", name="last"))
    proto.graph.node.append(op("GlobalAveragePool", "c", "y"))
    weight = np.ones((4, 6, 1, 1), np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w3"))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    found = pooled_features(Model.from_proto(proto), {"x": (1, 2, 5, 5)})
    assert found == PooledFeatures("r", 6, 4)


def test_a_network_of_one_layer_has_none_to_share() -> None:
    assert pooled_features(exact(), {"x": (1, 2)}) is None


# --- parts of the inputs -------------------------------------------------------------------------


def fed(samples: int, labels: Array | None = None) -> Dataset:
    more = {} if labels is None else {"y": labels}
    x = np.arange(2.0 * samples, dtype=np.float32).reshape(samples, 2)
    return dataset({"x": x, **more}, [TensorSpec("x", np.dtype(np.float32), ("N", 2))], "here")


def test_parts_share_out_every_class_alike() -> None:
    """Of 200 inputs 3, 3 and 4 tenths; of each of two classes too, to within one."""
    labels = np.arange(200) % 10 // 9
    parts = split(fed(200, labels))
    assert [len(part) for part in parts] == [60, 60, 80]
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert [int(labels[part].sum()) for part in parts] == [6, 6, 8]


def test_too_few_inputs_are_refused() -> None:
    assert [len(part) for part in split(fed(100))] == [30, 30, 40]
    with pytest.raises(DataError, match="99 inputs are too few"):
        split(fed(99))
