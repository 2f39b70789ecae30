"""Orders of an energy budget: the costliest layer first, or all layers alike."""

from __future__ import annotations

import pytest
from pruning_builders import residual

from eapc.allocation import LIMITS, LOWEST_DENSITY, Curves, LayerCurve, Schedule, share_out_evenly
from eapc.layers import find_layers
from eapc.runtime import Engine

DENSITIES = (1.0, LOWEST_DENSITY)
ENERGIES = {"w0": 10.0, "w1": 60.0, "w2": 20.0, "fw": 10.0}


def curves() -> Curves:
    """Energies in proportion to density; 100 in all and none that is fixed."""
    layers = (
        LayerCurve(name, DENSITIES, (0.0, 1.0), (energy, LOWEST_DENSITY * energy))
        for name, energy in ENERGIES.items()
    )
    return Curves(tuple(layers), 0.0)


def schedule() -> Schedule:
    net = residual()
    layers = find_layers(net.model).layers
    return Schedule(net.model, layers, curves(), net.data, Engine(1))


def energy(densities: dict[str, float]) -> float:
    return sum(ENERGIES[name] * density for name, density in densities.items())


@pytest.mark.parametrize("ratio", [0.95, 0.8, 0.6, 0.3])
def test_the_budget_is_met_and_spent(ratio: float) -> None:
    assert 100 * ratio - 0.06 < energy(schedule().densities(ratio)) <= 100 * ratio


def test_a_budget_of_one_takes_nothing() -> None:
    assert set(schedule().densities(1.0).values()) == {1.0}


def test_the_costliest_layer_goes_first() -> None:
    densities = schedule().densities(0.95)
    assert densities["w1"] < 1
    assert {densities[name] for name in ("w0", "fw")} == {1.0}


def test_the_last_layer_gives_up_no_more_than_is_missing() -> None:
    densities = schedule()._round(float("inf"), 95.0)[0]
    assert densities["w1"] == pytest.approx(55 / 60, abs=0.001)
    assert densities["w1"] <= 55 / 60


def test_a_lower_limit_takes_less() -> None:
    spent = [schedule()._round(limit, 0.0)[1] for limit in (LIMITS[0], LIMITS[8], LIMITS[-1])]
    assert spent[0] > spent[1] > spent[2]
    assert spent[2] == pytest.approx(100 * LOWEST_DENSITY)


def test_a_budget_out_of_reach_gives_the_lowest_densities() -> None:
    lowest = schedule().densities(0.001)
    assert list(lowest.values()) == pytest.approx([LOWEST_DENSITY] * 4)


def test_one_density_for_all() -> None:
    half = share_out_evenly(curves(), 0.5)
    assert list(half.values()) == pytest.approx([half["w0"]] * 4)
    assert half["w0"] == pytest.approx(0.5, abs=1e-3)
    assert energy(half) <= 50
    assert set(share_out_evenly(curves(), 1.0).values()) == {1.0}
    assert set(share_out_evenly(curves(), 0.001).values()) == {LOWEST_DENSITY}
