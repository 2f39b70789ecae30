"""Criteria: the scores of three channels by hand."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array
from test_solvers_elimination import consumer

from eapc.errors import UsageError
from eapc.registry import CRITERIA
from eapc.solvers import elimination
from eapc.structured import criteria
from eapc.structured.criteria import Evidence, l2, removal_order

FILTERS = np.array([[3, -4], [1, 1], [0, -2]], np.float32)
MAPS = np.array(  # two inputs of three maps of 2 x 2
    [
        [[[1, 0], [0, 2]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]],
        [[[-3, 0], [0, 0]], [[2, 2], [2, 2]], [[0, 1], [-1, 0]]],
    ],
    np.float32,
)


def evidence(filters: tuple[Array, ...] = (FILTERS,), maps: tuple[Array, ...] = ()) -> Evidence:
    return Evidence(3, filters, maps, ())


OF_WEIGHTS = {"l1", "l2", "geometric-median", "lamp", "random"}
ROOT = np.sqrt

BY_HAND = {
    "l1": ([7, 2, 2], [1, 2, 0]),
    "l2": ([5, ROOT(2), 2], [1, 2, 0]),
    # distances: |(2, -5)|, |(3, -2)|, |(1, 3)|
    "geometric-median": (
        [ROOT(29) + ROOT(13), ROOT(29) + ROOT(10), ROOT(13) + ROOT(10)],
        [2, 1, 0],
    ),
    # energies 25, 2, 4 over the sums of those of no less
    "lamp": ([1, 2 / 31, 4 / 29], [1, 2, 0]),
    # singular values: diag(1, 2) and (3); ones have one of 2, twos of 4; none and 1, 1
    "nuclear": ([(3 + 3) / 2, (2 + 4) / 2, (0 + 2) / 2], [2, 0, 1]),
    "activation": ([6 / 8, 12 / 8, 2 / 8], [2, 0, 1]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_scores_by_hand(name: str) -> None:
    scores, order = BY_HAND[name]
    known = evidence(maps=(MAPS,))
    np.testing.assert_allclose(CRITERIA[name].scores(known), scores, rtol=1e-6)
    assert removal_order(name, known).tolist() == order


@pytest.mark.parametrize("name", BY_HAND)
def test_scores_of_several_layers_are_added(name: str) -> None:
    single = CRITERIA[name].scores(evidence(maps=(MAPS,)))
    double = evidence((FILTERS, 2 * FILTERS), (MAPS, 2 * MAPS))
    factor = 2 if name == "lamp" else 3  # lamp is a fraction
    np.testing.assert_allclose(CRITERIA[name].scores(double), factor * single, rtol=1e-6)


H = np.array([[[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1.0]]])


def test_layer_wise_scores_by_hand() -> None:
    """y = 2a + 2b + 1.8c with E[ab] = 1/2 has power 15.24.

    c costs 3.24, which is less than a's 4, until b makes up for a: then a costs 3.
    """
    reader = consumer(np.array([[[2.0, 2, 1.8]]]), H)
    known = Evidence(3, (FILTERS,), (), (reader,))
    np.testing.assert_allclose(CRITERIA["hessian"].scores(known), np.array([4, 4, 3.24]) / 15.24)
    assert removal_order("hessian", known).tolist() == [2, 0, 1]
    assert removal_order("obs", known).tolist() == [0, 2, 1]
    assert CRITERIA["obs"].scores(known).tolist() == [0, 2, 1]


def test_a_wide_reader_is_left_to_hessian(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Evidence(3, (FILTERS,), (), (consumer(np.array([[[2.0, 2, 1.8]]]), H),))
    monkeypatch.setattr(elimination, "WIDEST", 2)
    monkeypatch.setattr(criteria, "eliminate", lambda *_: pytest.fail("H^-1 is made"))
    assert removal_order("obs", known).tolist() == [2, 0, 1]


@pytest.mark.parametrize("name", ["obs", "hessian", "nuclear", "activation"])
def test_channels_that_no_layer_reads_go_by_l2(name: str) -> None:
    assert removal_order(name, evidence()).tolist() == [1, 2, 0]


def test_random_is_a_shuffle_of_its_generator() -> None:
    def drawn(seed: int) -> list[int]:
        rng = np.random.default_rng(seed)
        return [int(c) for c in removal_order("random", Evidence(20, (), (), (), rng))]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert sorted(drawn(1)) == list(range(20))


@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "random"])
def test_of_equals_the_first_goes(name: str) -> None:
    same = np.ones((4, 2), np.float32)
    reader = consumer(np.ones((1, 1, 4)), np.eye(4)[None])
    known = Evidence(4, (same,), (np.ones((2, 4, 3, 3), np.float32),), (reader,))
    assert removal_order(name, known).tolist() == [0, 1, 2, 3]


def test_filters_of_zeros() -> None:
    known = evidence((np.zeros((3, 2), np.float32),))
    for name in OF_WEIGHTS:
        assert np.isfinite(CRITERIA[name].scores(known)).all()


def test_criteria_that_need_no_data_look_at_filters_alone() -> None:
    assert {name for name in CRITERIA if not CRITERIA[name].needs_data} == OF_WEIGHTS
    assert CRITERIA.keys() - OF_WEIGHTS == {"obs", "hessian", "nuclear", "activation"}


def test_unknown_criteria_are_usage_errors() -> None:
    for ask in (CRITERIA.require, lambda name: removal_order(name, evidence())):
        with pytest.raises(UsageError, match=r"unknown criterion 'best'; choose from obs, "):
            ask("best")


def test_a_criterion_is_registered_once() -> None:
    with pytest.raises(ValueError, match="criterion l1 exists already"):
        CRITERIA.add("l1", l2)
