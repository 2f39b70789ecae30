"""Error curves of channels: their points and what lies between them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eapc.channels import ChannelGroup
from eapc.structured import FRACTIONS, ChannelCurve
from eapc.structured.curves import counts_of, ends_of

CURVE = ChannelCurve("a", np.array([3, 0, 4, 1, 2]), (5, 3, 1), (0.0, 0.01, 1.0))


def test_channels_go_in_order() -> None:
    assert (CURVE.size, CURVE.fewest) == (5, 1)
    assert CURVE.removed(5) == []
    assert CURVE.removed(2) == [0, 3, 4]
    assert CURVE.kept(2) == [1, 2]
    assert CURVE.kept(5) == [0, 1, 2, 3, 4]
    assert CURVE.kept(0) == []
    assert CURVE.removed(0) == [0, 1, 2, 3, 4]


def test_errors_between_points_by_hand() -> None:
    """Linear above the first point, linear in the logarithm below it."""
    errors = [CURVE.error_at(count) for count in (6, 5, 4, 3, 2, 1, 0)]
    assert errors == pytest.approx([0, 0, 0.005, 0.01, 0.1, 1, 1])


def test_errors_are_finite_where_outputs_cannot_be_compared() -> None:
    """From 0.01 to 1e12 in two steps: 1e5 is half way by the logarithm."""
    lost = ChannelCurve("a", np.arange(5), (5, 3, 1), (0.0, math.inf, math.inf))
    assert [lost.error_at(n) for n in (5, 4, 3, 1)] == pytest.approx([0, 0.5e12, 1e12, 1e12])
    partly = ChannelCurve("a", np.arange(5), (5, 3, 1), (0.0, 0.01, math.inf))
    assert [partly.error_at(n) for n in (3, 2, 1)] == pytest.approx([0.01, 1e5, 1e12])


def test_errors_of_nothing() -> None:
    flat = ChannelCurve("a", np.arange(4), (4, 2, 1), (0.0, 0.0, 0.0))
    assert [flat.error_at(count) for count in (4, 3, 2, 1)] == pytest.approx([0] * 4, abs=1e-11)
    assert ChannelCurve("a", np.arange(1), (1,), (0.0,)).error_at(1) == 0


def test_errors_never_fall_as_channels_go() -> None:
    curve = ChannelCurve("a", np.arange(40), (40, 30, 20, 1), (0.0, 1e-6, 0.5, 0.5))
    errors = [curve.error_at(count) for count in range(41)]
    assert errors == sorted(errors, reverse=True)
    assert curve.error_at(25) == pytest.approx(math.sqrt(1e-6 * 0.5))


@pytest.mark.parametrize(
    ("size", "fewest", "wanted"),
    [
        (20, 1, (20, 17, 14, 11, 8, 5, 2, 1)),
        (20, 0, (20, 17, 14, 11, 8, 5, 2, 0)),
        (4, 1, (4, 3, 2, 1)),
        (2, 1, (2, 1)),
        (1, 0, (1, 0)),
        (1, 1, (1,)),
    ],
)
def test_counts_of_a_curve(size: int, fewest: int, wanted: tuple[int, ...]) -> None:
    assert counts_of(size, fewest) == wanted
    assert len(wanted) <= len(FRACTIONS)


@pytest.mark.parametrize(("may_vanish", "fewest"), [(False, 1), (True, 0)])
def test_one_channel_stays_but_in_branches(may_vanish: bool, fewest: int) -> None:
    assert ends_of(ChannelGroup("a", 8, (), (), (), may_vanish)) == (8, fewest)
