"""The pass choose-widths: budgets, what is handed on, what is measured once, wrong input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pruning_builders import Net, branches, residual
from structured_builders import EYERISS, compiled

from eapc.checkpoints import Checkpoints
from eapc.energy import GivenBits
from eapc.errors import PassError, UsageError
from eapc.pipeline import (
    Compilation,
    Conditions,
    Pipeline,
    analyses,
    estimate_energy,
    load_passes,
    width_plans,
)
from eapc.runtime import Engine
from eapc.structured import Survey


def start(net: Net) -> Compilation:
    return Compilation(net.model, EYERISS, net.data, Conditions(engine=Engine(1)))


def chosen(compilation: Compilation, options: str) -> Compilation:
    return Pipeline.parse(f"choose-widths{{{options}}}", load_passes()).run(compilation)


def counting(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    """The calls of a function from now on."""
    calls, own = [], getattr(owner, name)

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(name)
        return own(*args, **options)

    monkeypatch.setattr(owner, name, counted)
    return calls


# --- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("energy", [0.4, 0.25])
def test_a_budget_is_met_by_widths_alone(energy: float) -> None:
    begun = start(residual())
    done = chosen(begun, f"energy={energy}")
    dense = estimate_energy(begun).energy_mac_units
    assert 0.97 * energy < estimate_energy(done).energy_mac_units / dense <= energy * 1.001
    assert done.record.widths == done.conditions.bits
    assert done.model is begun.model


def test_with_zeros_the_pruner_behind_meets_the_rest() -> None:
    begun = start(residual())
    dense = estimate_energy(begun).energy_mac_units
    done = chosen(begun, "energy=0.25, zeros=true")
    wide = estimate_energy(done).energy_mac_units / dense
    assert wide > 0.26
    left = f"prune-weights{{energy={0.25 / wide:.6f}}}, reconstruct-outputs, annotate-energy"
    pruned = Pipeline.parse(f"annotate-energy, {left}", load_passes()).run(done)
    assert pruned.priced.energy_mac_units / dense == pytest.approx(0.25, rel=0.03)


def test_more_energy_never_loses_more() -> None:
    plan = chosen(start(residual()), "energy=0.3, zeros=true").record.width_plan
    assert plan is not None
    errors = [plan.predicted(budget).error for budget in (0.15, 0.2, 0.3, 0.5)]
    assert errors == sorted(errors, reverse=True)
    assert all(plan.predicted(b).ratio <= b for b in (0.15, 0.2, 0.3, 0.5))


def test_out_of_reach_the_lowest_is_said() -> None:
    done = chosen(start(residual()), "energy=0.2, weights=4|8, activations=8")
    assert done.record.widths is not None
    bits = done.record.widths.of_tensor
    assert {bits[name] for name in ("w0", "w1", "w2", "fw")} == {4}
    assert bits["x"] == bits["t"] == 8
    assert "an energy of 0.2 is out of reach" in done.record.notes[-1]
    assert "weights have 4 to 4 bits, 4.0 on average" in done.record.notes


def test_tensors_on_one_grid_have_one_width() -> None:
    for energy in (0.4, 0.3, 0.25):
        widths = chosen(start(branches()), f"energy={energy}").record.widths
        assert widths is not None
        assert len({widths.of_tensor[name] for name in "abc"}) == 1
        assert {*widths.of_tensor} >= {"x", "r", "d", "g", "pooled", "flat", "w3", "k"}


def test_widths_of_an_analysis_are_what_a_budget_is_a_fraction_of() -> None:
    begun = start(residual())
    byte = replace(begun, conditions=replace(begun.conditions, bits=GivenBits(8, 8)))
    plan = chosen(byte, "energy=0.9").record.width_plan
    assert plan is not None
    assert plan.dense_energy == pytest.approx(estimate_energy(byte).energy_mac_units)
    assert plan.predicted(1.0).ratio == pytest.approx(1.0)


# --- once ----------------------------------------------------------------------------------------


def test_curves_of_layers_are_priced_anew_but_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(monkeypatch, analyses, "error_curves")
    done = chosen(start(residual()), "energy=0.3, zeros=true")
    curves, plan = done.record.curves, done.record.width_plan
    assert curves is not None
    assert plan is not None
    assert [c.errors for c in curves.layers] == [c.errors for c in plan.channels.zeros]
    assert curves.dense_energy == pytest.approx(estimate_energy(done).energy_mac_units)
    compiled_on = Pipeline.parse("annotate-energy, prune-weights{energy=0.8}", load_passes())
    assert compiled_on.run(done).record.layers
    assert len(calls) == 1


def test_channels_go_at_these_widths_by_the_same_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(monkeypatch, Survey, "curves")
    done = chosen(start(residual()), "energy=0.3, structured=true")
    after = Pipeline.parse("annotate-energy, prune-channels{energy=0.7}", load_passes()).run(done)
    assert calls == ["curves"]
    plan = after.record.channel_plan
    assert plan is not None
    assert plan.whole_cost == pytest.approx(estimate_energy(done).energy_mac_units)
    assert sum(group.after for group in after.record.groups) < 16


def test_budgets_share_a_plan() -> None:
    begun = start(residual())
    first = chosen(begun, "energy=0.4")
    second = chosen(replace(first, conditions=begun.conditions), "energy=0.3")
    assert second.record.width_plan is first.record.width_plan
    assert second.record.widths != first.record.widths
    other = chosen(replace(first, conditions=begun.conditions), "energy=0.3, weights=8")
    assert other.record.width_plan is not first.record.width_plan


def test_prices_of_other_widths_are_not_taken_over() -> None:
    """Curves that a pass in front has left on record are those of the file's own widths."""
    begun = start(residual())
    behind = Pipeline.parse("annotate-energy, prune-weights{energy=1.0}", load_passes()).run(begun)
    assert behind.record.curves is not None
    fresh, later = (chosen(each, "energy=0.3, zeros=true").record for each in (begun, behind))
    assert fresh.width_plan is not None
    assert later.width_plan is not None
    assert later.width_plan.channels.zeros == fresh.width_plan.channels.zeros


def test_finished_curves_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = replace(start(residual()), checkpoints=Checkpoints(tmp_path / "out.partial", "run"))
    first = chosen(kept, "energy=0.3")

    def refused(*_: object, **__: object) -> Iterator[None]:
        yield pytest.fail("measured again")

    monkeypatch.setattr(width_plans, "weight_curves", refused)
    monkeypatch.setattr(width_plans, "activation_curves", refused)
    assert chosen(kept, "energy=0.3").record.widths == first.record.widths


# --- wrong input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give an energy in"),
        ({"energy": 1.5}, "give an energy in"),
        ({"energy": 0.5, "weights": (1, 8)}, "weights: expected bits from 2 to 8.* got 1|8"),
        ({"energy": 0.5, "activations": ()}, "activations: expected bits from 2 to 8.* got none"),
        ({"energy": 0.5, "criterion": "l1"}, "give structured=true too"),
        ({"energy": 0.5, "include": ("conv1",)}, "include and exclude"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_passes()["choose-widths"](**options)


def test_it_is_typed_as_it_is_shown() -> None:
    text = "choose-widths{energy=0.3, zeros=True, weights=3|4|8}"
    assert str(Pipeline.parse(text, load_passes())) == text


def test_what_cannot_be_done() -> None:
    begun = start(residual())
    with pytest.raises(PassError, match="calibration data"):
        chosen(replace(begun, calibration=None), "energy=0.3")
    quantized = compiled(residual(), "quantize")
    with pytest.raises(PassError, match="is quantized already"):
        chosen(quantized, "energy=0.3")
