"""Energies of whole networks, held against recorded ones; `make golden` records them anew.

Recipes have weights of zeros (no time is spent on drawing them) and are priced at set
densities; the digits network at those of its own weights.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from eapc.energy import DensityTable, EnergyReport, NodeWork, estimate, work_list
from eapc.hardware import load_hardware, shipped_hardware
from eapc.model import Model, infer_shapes, input_shapes

GOLDEN = Path(__file__).parent / "golden"
MODELS = Path(__file__).parents[1] / "models"
NETWORKS = ("digits", "alexnet", "resnet18", "squeezenet1_1", "mobilenetv2", "transformer12")
MACHINES = shipped_hardware()
SPARSE = DensityTable(activations=0.6, weights=0.4)
TOLERANCE = 1e-9


@cache
def recipes() -> dict[str, Callable[[int | None, int | None], ModelProto]]:
    """The recipes of models/, which is a folder of scripts and not a package."""
    if str(MODELS) not in sys.path:
        sys.path.insert(0, str(MODELS))
    found: dict[str, Callable[[int | None, int | None], ModelProto]]
    found = importlib.import_module("recipes").RECIPES
    return found


@cache
def network(name: str) -> tuple[Model, tuple[NodeWork, ...]]:
    if name == "digits":
        model = Model.load(MODELS / "digits.onnx")
    else:
        model = Model.from_proto(recipes()[name](None, 1))
    return model, work_list(model, infer_shapes(model, input_shapes(model, {}, 1)))


def report_of(name: str, machine: str, densities: DensityTable) -> EnergyReport:
    model, works = network(name)
    return estimate(model, works, load_hardware(machine), densities)


def summary(report: EnergyReport) -> dict[str, Any]:
    """What is recorded: totals, and the energy of every node that has any."""
    return {
        "energy_mac_units": report.energy_mac_units,
        "macs": report.macs,
        "nonskipped_macs": report.nonskipped_macs,
        "weights": report.weights,
        "unmodelled": [missing.key for missing in report.unmodelled],
        "nodes": {n.key: n.energy_mac_units for n in report.nodes if n.energy_mac_units},
    }


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_energies_are_those_recorded(name: str, machine: str, regenerate: bool) -> None:
    densities = DensityTable(activations=0.6) if name == "digits" else SPARSE
    found = summary(report_of(name, machine, densities))
    path = GOLDEN / f"{name}.{machine}.json"
    if regenerate:
        path.write_text(json.dumps(found, indent=1) + "\n")
        pytest.skip(f"{path.name} recorded anew")
    recorded = json.loads(path.read_text())
    assert found["nodes"] == pytest.approx(recorded.pop("nodes"), rel=TOLERANCE)
    assert found["unmodelled"] == recorded.pop("unmodelled")
    for key, number in recorded.items():
        assert found[key] == pytest.approx(number, rel=TOLERANCE), key


def test_alexnet_has_the_published_macs() -> None:
    """666 M in its convolutions, 724 M in all (Sze et al., Proc. IEEE 2017)."""
    report = report_of("alexnet", "eyeriss", SPARSE)
    convolutions = sum(node.macs for node in report.nodes if node.op_type == "Conv")
    assert convolutions == pytest.approx(666e6, rel=1e-3)
    assert report.macs == pytest.approx(724e6, rel=1e-3)
    assert not report.unmodelled


def test_every_recording_belongs_to_a_test() -> None:
    expected = {f"{name}.{machine}.json" for name in NETWORKS for machine in MACHINES}
    assert {path.name for path in GOLDEN.glob("*.json")} == expected
