"""Networks pruned towards goals, each pair once a session."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from pruning_builders import NETS, Net, residual

from eapc.data import Dataset
from eapc.evaluation import AccuracyJudge
from eapc.goals import Goal, Pruned, Trials
from eapc.goals.goal import Budget
from eapc.goals.pruners import OneStage
from eapc.hardware import HardwareModel, load_hardware
from eapc.pipeline import Compilation, Conditions, Recipe, load_passes
from eapc.runtime import Engine, collect_outputs

EYERISS = load_hardware("eyeriss")
RECIPE = Recipe(load_passes())


def storing_maps_raw(hardware: HardwareModel) -> HardwareModel:
    """The machine without codes for feature maps.

    Biases fill the maps of a small random network as its weights go, from half to nine tenths, and
    coded maps then cost more: energies that are to follow weights alone are those of raw maps.
    """
    fields = hardware.model_dump(by_alias=True)
    fields["compression"] |= {"ifmap": {"code": "none"}, "ofmap": {"code": "none"}}
    return HardwareModel.model_validate(fields)


RAW_MAPS = storing_maps_raw(EYERISS)


def varied() -> Net:
    """The residual network on images that differ enough to fall in several classes."""
    x = residual().arrays["x"]
    gains = np.random.default_rng(1).normal(1, 1.5, (len(x), 3, 1, 1)).astype(np.float32)
    return Net(residual().proto, {"x": x * gains})


def start(net: Net, synthesised: bool = False, hardware: HardwareModel = EYERISS) -> Compilation:
    data = net.data
    if synthesised:
        data = replace(data, synthesised=True)
    return Compilation(net.model, hardware, data, Conditions(engine=Engine(1)))


def trials(net: Net, synthesised: bool = False) -> Trials:
    return Trials(start(net, synthesised), RECIPE)


@cache
def reached(name: str, goal: Goal) -> Pruned:
    net = varied() if name == "varied" else NETS[name]()
    return goal.pursue(trials(net))


def ratio(outcome: Pruned) -> float:
    return outcome.energy_ratio


def answered(net: Net) -> Dataset:
    """The inputs with the network's own answers as labels: all of them right."""
    (scores,) = collect_outputs(net.model, net.data, 1).values()
    return replace(net.data, labels=scores.argmax(axis=1))


def labelled(net: Net) -> AccuracyJudge:
    """A judge by the network's own answers."""
    return AccuracyJudge.of(net.model, answered(net), 1)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Budget]:
    """The budgets that weights are zeroed to from now on."""
    budgets: list[Budget] = []
    at = OneStage.at

    def counting(self: OneStage, budget: Budget) -> Compilation:
        budgets.append(budget)
        return at(self, budget)

    monkeypatch.setattr(OneStage, "at", counting)
    return budgets
