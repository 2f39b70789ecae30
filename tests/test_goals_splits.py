"""Splits of a budget that curves promise, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eapc.allocation import Curves, LayerCurve
from eapc.channels import ChannelGroup, Slice
from eapc.goals.splits import SplitPlan
from eapc.structured import ChannelCosts, ChannelCurve, ChannelPlan
from eapc.structured.costs import Item

SIZE = 16


def channels(error: float) -> ChannelPlan:
    """One group of 16 channels, each a sixteenth of the energy; each that goes loses `error`."""
    counts = tuple(range(SIZE, 0, -1))
    errors = tuple(error * (SIZE - count) for count in counts)
    curve = ChannelCurve("g", np.arange(SIZE), counts, errors)
    places = np.arange(SIZE)[:, None]
    group = ChannelGroup("g", SIZE, (Slice("t", 0, places),), ("g",), ())
    item = Item("", ("t",), lambda shrink: float(shrink("t", (SIZE,))[0]))
    return ChannelPlan((curve,), ChannelCosts([item], [group]))


def zeros(error: float) -> Curves:
    """One layer with half of the energy; its points are no error at 0.6 and `error` at 0.02."""
    curve = LayerCurve("w", (1.0, 0.6, 0.02), (0.0, 1e-9, error), (50.0, 30.0, 1.0))
    return Curves((curve,), 50.0)


def test_zeros_do_what_they_lose_least_for() -> None:
    """To 0.8 of the energy by zeros: density 0.6, for nothing; a channel would lose 0.1."""
    plan = SplitPlan(channels(0.1), zeros(1.0))
    assert plan.split(0.8) == 1.0
    assert plan.predicted(0.8) == pytest.approx((0, 0.8), abs=1e-6)


def test_channels_do_it_alone_where_zeros_lose_more() -> None:
    """To 0.75: 12 of 16 channels, 4 x 1e-12; zeros alone lose a billionth at 0.75."""
    plan = SplitPlan(channels(1e-12), zeros(1.0))
    assert plan.of_split(0.75, 0.75) == pytest.approx((4e-12, 0.75))
    assert plan.of_split(1.0, 0.75).error > 1e-9
    assert plan.of_split(plan.split(0.75), 0.75) == pytest.approx((4e-12, 0.75))


def test_both_errors_add_up() -> None:
    """Half of the channels, then 0.8 of what they leave: 8 x 0.1, and nothing for density 0.6."""
    plan = SplitPlan(channels(0.1), zeros(1.0))
    assert plan.of_split(0.5, 0.4) == pytest.approx((0.8, 0.4), abs=1e-6)
    assert plan.predicted(0.4).error < 0.8  # fewer channels gone, more zeros
    assert plan.of_split(0.5, 0.6) == pytest.approx((0.8, 0.5))  # nothing is left to do


def test_what_zeros_cannot_reach_is_no_split() -> None:
    """Zeros leave 0.51 at least: to 0.25 channels must come to 0.49."""
    plan = SplitPlan(channels(0.1), zeros(1.0))
    assert plan.zeros.lowest_ratio == pytest.approx(0.51)
    assert plan.lowest_ratio == pytest.approx(0.51 / 16)
    assert plan.of_split(1.0, 0.25) == pytest.approx((math.inf, 0.51))
    assert plan.split(0.25) < 0.5
    assert plan.predicted(0.25).ratio <= 0.25 + 1e-6
    assert plan.predicted(0.01).error == math.inf
