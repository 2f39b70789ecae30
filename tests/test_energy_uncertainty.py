"""Ratios of energies: how sure they are by what changed, in numbers by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report import a_node

from eapc.energy import EnergyReport, changed_share, ratio_interval
from eapc.hardware import HardwareModel, PairErrors, Validation, load_hardware
from eapc.workload import BitWidths

PAIRS = PairErrors(rms=0.05, rows=3, of="pairs", degrees_of_freedom=2)
T = 4.302653
"""Student's t of two degrees of freedom, 97.5 %, as tables print it."""


def machine(ratio: PairErrors | None = PAIRS) -> HardwareModel:
    known = ratio and Validation(against="measurements", ratio=ratio)
    return load_hardware("eyeriss").model_copy(update={"validation": known})


def report(hardware: HardwareModel | None = None, **energies: float) -> EnergyReport:
    nodes = tuple(a_node(key, energy) for key, energy in energies.items())
    return EnergyReport(hardware or machine(), 1, nodes, (), 0, 0)


def test_a_saving_is_unsure_by_its_own_share() -> None:
    found = ratio_interval(report(a=60, b=40), report(a=30, b=40))
    assert found is not None
    assert (found.ratio, found.changed_share) == pytest.approx((0.7, 0.3))
    factor = math.exp(T * 0.05 * 0.3)  # 1.0667
    assert (found.low, found.high) == pytest.approx((0.7 / factor, 0.7 * factor), rel=1e-6)
    assert found.high == pytest.approx(0.74667, rel=1e-4)
    assert not found.is_within


def test_equal_files_are_surely_equal() -> None:
    found = ratio_interval(report(a=0.1, b=0.2, c=0.3), report(a=0.1, b=0.2, c=0.3))
    assert found is not None
    assert (found.ratio, found.low, found.high, found.changed_share) == (1, 1, 1, 0)
    assert not found.is_within


def test_what_rises_and_falls_changes_though_the_sum_stays() -> None:
    # in common min(60, 40) + min(40, 59) of 100 and 99
    found = ratio_interval(report(a=60, b=40), report(a=40, b=59))
    assert found is not None
    assert found.changed_share == pytest.approx(0.2)
    assert found.low < 0.99 < 1 < found.high
    assert found.is_within


def test_what_is_added_counts_against_the_whole_that_it_is_part_of() -> None:
    one, other = report(a=60, b=40), report(a=60, b=40, c=25)
    assert changed_share(one, other) == changed_share(other, one) == pytest.approx(25 / 125)


def test_networks_that_share_few_names_have_nothing_in_common() -> None:
    assert changed_share(report(a=1, b=2, c=3), report(a=1, b=2, d=3)) == 1  # 2 of 4
    assert changed_share(report(a=1, b=2, c=3), report(a=1, b=2, c=3, d=3)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("change", [{"op_type": "Gemm"}, {"bits": BitWidths(8, 8, 16)}])
def test_another_operator_or_width_is_another_node(change: dict[str, Any]) -> None:
    before = report(a=60, b=20, c=10, d=10)
    nodes = before.nodes[0], replace(before.nodes[1], **change), *before.nodes[2:]
    # 3 of 5 nodes have their like
    assert changed_share(before, replace(before, nodes=nodes)) == pytest.approx(0.2)


@pytest.mark.parametrize("hardware", [machine(None), load_hardware("tpu-v1")])
def test_machines_that_were_not_held_against_ratios_say_nothing(hardware: HardwareModel) -> None:
    assert ratio_interval(report(hardware, a=2), report(hardware, a=1)) is None
    assert ratio_interval(report(a=0), report(a=1)) is None
    assert ratio_interval(report(a=1), report(a=0)) is None


def test_no_row_tells_of_other_widths() -> None:
    nodes = [a_node(key, 10.0, macs=4.0) for key in "abcd"]
    before = EnergyReport(machine(), 1, tuple(nodes), (), 0, 0)
    narrow = replace(before, nodes=(replace(nodes[0], bits=BitWidths(4, 4, 16)), *nodes[1:]))
    assert ratio_interval(before, narrow) is None
    assert ratio_interval(before, before) is not None


def test_words_of_the_machine_are_of_its_width() -> None:
    said, unsaid = (
        replace(before, nodes=tuple(replace(n, bits=bits) for n in before.nodes))
        for before in (report(a=1, b=2),)
        for bits in (BitWidths(16, 16, 16), BitWidths())
    )
    assert changed_share(said, unsaid) == 0


Energies = st.lists(st.floats(0.01, 1e6), min_size=3, max_size=3)


@given(Energies, Energies)
def test_swapping_two_files_swaps_the_interval(one: list[float], other: list[float]) -> None:
    before, after = (report(a=own[0], b=own[1], c=own[2]) for own in (one, other))
    there, back = ratio_interval(before, after), ratio_interval(after, before)
    assert there is not None
    assert back is not None
    assert 0 <= there.changed_share <= 1
    assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low))


Error, Part = st.floats(-0.05, 0.05), st.floats(1, 100)


@given(st.tuples(Error, Error, Error), st.tuples(Part, Part, Part))
def test_the_share_bounds_what_errors_of_parts_come_to(
    errors: tuple[float, float, float], parts: tuple[float, float, float]
) -> None:
    kept, gone, new = parts
    share = changed_share(report(k=kept, b=gone, y=0, z=0), report(k=kept, c=new, y=0, z=0))
    a, b = new / (kept + new), gone / (kept + gone)
    assert share == pytest.approx(max(a, b))
    independent = math.sqrt(a * a + b * b + (b - a) ** 2)
    assert independent <= math.sqrt(2) * share * (1 + 1e-9)
    k, g, n = (own * (1 + off) for own, off in zip(parts, errors, strict=True))
    error = math.log((k + n) / (k + g)) - math.log((kept + new) / (kept + gone))
    assert abs(error) <= 2.2 * 0.05 * share + 1e-9  # 2 to first order, if all go against it
