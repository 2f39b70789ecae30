"""Answers that noise should change, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eapc.evaluation.flips import Flips


def test_leads_and_doubt_by_hand() -> None:
    p = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
    for scores in (p, np.log(p) + 3):  # what a softmax made, and what it is given
        flips = Flips.of(scores, np.array([0, 1]))
        np.testing.assert_allclose(flips.margins, [math.log(2), -math.log(6)])
        assert flips.doubt == pytest.approx((0.625 + 0.40625) / 2)


def test_a_loss_by_hand() -> None:
    flips = Flips(np.array([math.sqrt(2), -math.sqrt(2)]), 0.5)
    # divergence 0.25: noise of deviation 1; leads of sqrt 2 are kept with Phi(1), won with Phi(-1)
    assert flips.loss(0.25) == pytest.approx(0.5 - (0.8413447 + 0.1586553) / 2)
    assert Flips(np.array([math.sqrt(2)]), 0.5).loss(0.25) == pytest.approx(1 - 0.8413447)


def test_no_divergence_loses_nothing_and_an_endless_one_all() -> None:
    flips = Flips(np.array([1.0, 2.0]), 0.5)
    assert flips.loss(0.0) == 0
    assert flips.loss(math.inf) == 1
    assert Flips(np.array([1.0]), 0.0).loss(0.1) == 1


def test_more_divergence_loses_more() -> None:
    flips = Flips(np.linspace(0, 5, 20), 0.3)
    losses = [flips.loss(divergence) for divergence in (1e-4, 1e-2, 1.0, 10.0)]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1] < 0.5
