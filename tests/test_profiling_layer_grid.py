"""Which counts are measured, and the steps they show."""

from __future__ import annotations

from itertools import pairwise

import pytest

from eapc.profiling.layer_grid import DEEPEST_LEVEL, counts_at, step_width


def test_levels_grow_finer() -> None:
    assert counts_at(0, 64) == (64,)
    assert counts_at(1, 64) == (32, 64)
    assert counts_at(2, 64) == (4, 8, 16, 32, 48, 64)
    assert counts_at(4, 64) == tuple(range(4, 65, 4))


@pytest.mark.parametrize("most", [1, 3, 10, 64, 96, 1000])
def test_each_level_holds_the_one_before(most: int) -> None:
    levels = [set(counts_at(level, most)) for level in range(DEEPEST_LEVEL + 1)]
    assert all(below <= above for below, above in pairwise(levels))
    assert all(most in level and max(level) == most for level in levels)
    assert all(count % 4 == 0 for count in levels[-1] - {most})


def staircase(width: int, last: int = 64) -> dict[int, float]:
    return {count: float(-(-count // width)) for count in range(1, last + 1)}


@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_the_width_of_a_staircase_is_found(width: int) -> None:
    assert step_width([staircase(width)]) == width


def test_a_ramp_and_no_scan_have_no_steps() -> None:
    assert step_width([{count: float(count) for count in range(1, 65)}]) == 1
    assert step_width([]) == 1


def test_counts_that_are_slower_than_larger_ones_hide_no_step() -> None:
    slow = {c: t + 3 if c % 4 else t for c, t in staircase(16).items()}
    assert step_width([slow]) == 16


def test_several_scans_are_judged_together() -> None:
    clear, ramp = staircase(16), {count: count / 64 for count in range(1, 65)}
    assert step_width([clear, clear, ramp]) == 16
