"""Sharing out a budget: it is met, with the least error that its energy allows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from builders import Array
from hypothesis import given, settings
from hypothesis import strategies as st

from eapc.allocation import LOWEST_DENSITY, Curves, LayerCurve, correct_tail, share_out

DENSITIES = (1.0, 0.5, 0.02)


def curve(
    name: str, errors: tuple[float, ...], energies: tuple[float, ...] = (100.0, 50.0, 2.0)
) -> LayerCurve:
    return LayerCurve(name, DENSITIES, errors, energies)


def energy_of(curves: Curves, densities: dict[str, float]) -> float:
    layers = (float(c.energy_at(np.array([densities[c.name]]))[0]) for c in curves.layers)
    return curves.fixed_energy + sum(layers)


def error_of(curves: Curves, densities: dict[str, float]) -> float:
    return sum(float(c.error_at(np.array([densities[c.name]]))[0]) for c in curves.layers)


def test_errors_and_energies_between_the_points() -> None:
    one = curve("a", (0.0, 1e-4, 1e-2))
    assert one.error_at(np.array([1.0, 0.5, 0.02])) == pytest.approx([0, 1e-4, 1e-2])
    assert one.error_at(np.array([0.26])) == pytest.approx([1e-3])  # half way, in logarithms
    assert one.energy_at(np.array([1.0, 0.75, 0.02])) == pytest.approx([100, 75, 2])


def test_dense_energy_and_lowest_ratio_by_hand() -> None:
    curves = Curves((curve("a", (0, 1, 2)), curve("b", (0, 1, 2))), 300.0)
    assert curves.dense_energy == 500
    assert curves.lowest_ratio == pytest.approx(304 / 500)


def test_equal_layers_get_equal_densities() -> None:
    errors = (0.0, 1e-3, 1e-1)
    curves = Curves((curve("a", errors), curve("b", errors)), 0.0)
    shared = share_out(curves, 0.6)
    assert shared["a"] == shared["b"]
    assert shared["a"] == pytest.approx(0.6, abs=0.02)


def test_weights_go_where_they_cost_least_error() -> None:
    curves = Curves((curve("robust", (0, 1e-6, 1e-4)), curve("fragile", (0, 0.1, 5.0))), 0.0)
    shared = share_out(curves, 0.6)
    assert shared["robust"] < 0.5 < shared["fragile"]


def test_a_layer_whose_energy_no_weight_changes_stays_dense() -> None:
    curves = Curves(
        (curve("idle", (0, 1e-9, 1e-8), (7.0, 7.0, 7.0)), curve("busy", (0, 0.1, 1.0))), 0.0
    )
    shared = share_out(curves, 0.5)
    assert shared["idle"] == 1.0
    assert energy_of(curves, shared) <= 0.5 * curves.dense_energy


def test_a_budget_out_of_reach_gives_the_lowest_densities() -> None:
    curves = Curves((curve("a", (0, 1, 2)), curve("b", (0, 3, 4))), 1000.0)
    assert share_out(curves, 0.2) == {"a": LOWEST_DENSITY, "b": LOWEST_DENSITY}


def test_a_budget_of_everything_keeps_everything() -> None:
    curves = Curves((curve("a", (0, 0, 0)), curve("b", (0, 3, 4))), 10.0)
    assert share_out(curves, 1.0) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("bad", [np.inf, 1e30])
def test_an_error_without_bounds_only_keeps_that_layer_from_going_there(bad: float) -> None:
    curves = Curves((curve("a", (0, 1e-3, bad)), curve("b", (0, 1e-3, 1e-1))), 0.0)
    shared = share_out(curves, 0.6)
    assert 0.5 * curves.dense_energy < energy_of(curves, shared) <= 0.6 * curves.dense_energy
    assert shared["a"] >= 0.5


@pytest.mark.parametrize("ratio", [0.9, 0.7, 0.55, 0.3, 0.1])
def test_a_budget_is_spent_where_the_curve_is_not_convex(ratio: float) -> None:
    step = curve("a", (0.0, 0.5, 0.6))  # past the first half, zeroing costs next to nothing
    curves = Curves((step,), 0.0)
    spent = energy_of(curves, share_out(curves, ratio)) / curves.dense_energy
    assert ratio - 0.0101 < spent <= ratio


@pytest.mark.parametrize("late", [-0.02, 0.01])
def test_a_correction_falls_to_the_last_layers_alone(late: float) -> None:
    errors = (0.0, 1e-3, 1e-1)
    curves = Curves(tuple(curve(name, errors) for name in "abcdefgh"), 200.0)
    shared = share_out(curves, 0.6)
    corrected = correct_tail(curves, shared, late)
    changed = [name for name in shared if corrected[name] != shared[name]]
    assert changed == ["g", "h"]  # two of eight equal layers hold 15 % of what can be saved
    change = energy_of(curves, corrected) - energy_of(curves, shared)
    assert change == pytest.approx(late * 1000, abs=1)  # a step of a density is one MAC unit


def test_no_correction_changes_nothing() -> None:
    curves = Curves((curve("a", (0, 1, 2)), curve("b", (0, 1, 2))), 0.0)
    assert correct_tail(curves, {"a": 0.3, "b": 0.4}, 0.0) == {"a": 0.3, "b": 0.4}


def random_curves(rng: np.random.Generator, layers: int) -> Curves:
    def one(index: int) -> LayerCurve:
        errors = np.sort(10.0 ** rng.uniform(-6, 1, len(DENSITIES) - 1))
        energies = np.sort(10.0 ** rng.uniform(0, 7) * (1 + rng.random(len(DENSITIES))))[::-1]
        return curve(str(index), (0.0, *errors.tolist()), tuple(energies.tolist()))

    fixed = 10.0 ** rng.uniform(0, 7)
    return Curves(tuple(one(index) for index in range(layers)), float(fixed))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.01, 1.0))
def test_a_budget_within_reach_is_met(seed: int, layers: int, ratio: float) -> None:
    curves = random_curves(np.random.default_rng(seed), layers)
    shared = share_out(curves, ratio)
    assert set(shared) == {c.name for c in curves.layers}
    assert all(LOWEST_DENSITY <= density <= 1 for density in shared.values())
    reachable = max(ratio, curves.lowest_ratio)
    assert energy_of(curves, shared) <= reachable * curves.dense_energy * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_a_smaller_budget_never_gives_a_layer_more(seed: int, layers: int) -> None:
    curves = random_curves(np.random.default_rng(seed), layers)
    budgets = [share_out(curves, ratio) for ratio in np.linspace(1, 0.05, 12)]
    for larger, smaller in itertools.pairwise(budgets):
        assert all(smaller[name] <= larger[name] for name in larger)


def brute_force(curves: Curves, budget: float) -> float:
    """The least error of any two densities of the grid within an energy."""
    grid: Array = np.linspace(1.0, LOWEST_DENSITY, 99)
    (e1, p1), (e2, p2) = ((c.error_at(grid), c.energy_at(grid)) for c in curves.layers)
    errors = e1[:, None] + e2[None]
    energies = p1[:, None] + p2[None] + curves.fixed_energy
    return float(errors[energies <= budget].min())


def random_convex_curves(rng: np.random.Generator) -> Curves:
    """Two layers whose log errors and whose energies are straight lines."""

    def one(name: str) -> LayerCurve:
        exponents = np.interp(DENSITIES, (0.02, 1.0), (rng.uniform(-6, 1), -12))
        energies = 10.0 ** rng.uniform(0, 7) * (rng.random() + np.asarray(DENSITIES))
        return curve(name, tuple((10.0**exponents).tolist()), tuple(energies.tolist()))

    return Curves((one("a"), one("b")), float(10.0 ** rng.uniform(0, 7)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.95))
def test_no_other_choice_of_that_energy_has_less_error(seed: int, ratio: float) -> None:
    curves = random_convex_curves(np.random.default_rng(seed))
    shared = share_out(curves, ratio)
    best = brute_force(curves, energy_of(curves, shared) * (1 + 1e-12))
    assert error_of(curves, shared) <= best * (1 + 1e-6) + 1e-12


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-12, 1e-6))
def test_nearly_equal_energies_do_not_spoil_the_search(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    base = random_curves(rng, 3)
    flat = curve("flat", (0.0, 1e-3, 1e-2), (5.0 + 2 * noise, 5.0 + noise, 5.0))
    curves = Curves((*base.layers, flat), 0.0)
    without = Curves(base.layers, 5.0)
    ratio = (1 + without.lowest_ratio) / 2
    shared, expected = share_out(curves, ratio), share_out(without, ratio)
    assert energy_of(curves, shared) <= ratio * curves.dense_energy * (1 + 1e-9)
    for name, density in expected.items():
        assert shared[name] == pytest.approx(density, abs=0.011)


def test_savings_that_are_rounding_are_none() -> None:
    energies = (7.0, 7.0 - 9e-16, 7.0 + 9e-16)
    curves = Curves((curve("flat", (0.0, 1e-3, 1e-2), energies),), 3.0)
    assert share_out(curves, 0.5) == {"flat": 1.0}
