"""What a dry run says of a latency objective: the milliseconds that the real run would say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console
from test_profiling_latency import MODEL, machine

from eapc.commands.compiler import prune
from eapc.commands.planning import DryRun, plan
from eapc.commands.preparation import Settings
from eapc.data import dataset
from eapc.goals import Goal, MinAgreement, Sparsity, TargetEnergy, TargetLatency
from eapc.pipeline import LatencyRecord, Recipe
from eapc.report.documents import plan_document, prune_document, to_json
from eapc.report.pruning import plan_table
from eapc.structured import Survey

DATA = dataset(
    {"x": np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)},
    MODEL.inputs,
    "test",
)
TIMED = Settings(hardware=machine(inputs=(16, 32)), calibration=DATA, threads=1)
STRUCTURED = Recipe(structured=True)


def planned(goal: Goal, settings: Settings = TIMED) -> DryRun:
    return plan(MODEL, settings, goal=goal, recipe=STRUCTURED)


def shown(found: DryRun) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(plan_table(found, 100))
    return capture.get()


@pytest.mark.parametrize(
    ("goal", "after"),
    [(TargetLatency(0.7), 6.5), (TargetLatency(0.6), 5.5), (Sparsity(0.5), 5.5)],
)
def test_a_latency_objective_is_planned_in_milliseconds(goal: Goal, after: float) -> None:
    """Whole: 0.5 a run, four layers of two blocks, one of a block; each block of 16 is 1 ms."""
    found = planned(goal)
    assert found.expected is not None
    assert found.expected.latency == LatencyRecord("here", 9.5, after / 9.5)
    document = json.loads(to_json(plan_document(found)))
    assert document["latency"] == {
        "machine": "here",
        "before_ms": 9.5,
        "after_ms": pytest.approx(after),
        "ratio": pytest.approx(after / 9.5),
    }
    row = next(line for line in shown(found).splitlines() if "expected latency" in line)
    assert f"9.5 -> {after:g} ms on here, {100 * after / 9.5:.1f}" in row


@pytest.mark.parametrize("goal", [TargetLatency(0.7), Sparsity(0.5)])
def test_the_real_run_says_the_same(goal: Goal) -> None:
    done = prune(MODEL, TIMED, goal=goal, recipe=STRUCTURED)
    expected = planned(goal).expected
    assert expected is not None
    assert done.latency == expected.latency
    real = prune_document(done)["latency"]
    real.pop("lowest_ratio")
    assert real == plan_document(planned(goal))["latency"]


def test_a_fraction_takes_no_error_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Survey, "_with_errors", lambda *_: pytest.fail("errors are measured"))
    assert prune(MODEL, TIMED, goal=Sparsity(0.5), recipe=STRUCTURED).latency is not None


def test_energies_and_searched_budgets_have_no_latency() -> None:
    modelled = planned(TargetEnergy(0.8), Settings(calibration=DATA, threads=1))
    assert modelled.expected is not None
    assert modelled.expected.latency is None
    assert plan_document(modelled)["latency"] is None
    assert "latency" not in shown(modelled)
    searched = planned(MinAgreement(0.9))
    assert searched.expected is None
    assert plan_document(searched)["latency"] is None
