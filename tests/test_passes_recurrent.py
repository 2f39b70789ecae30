"""Recurrent cells through the pruning passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from pruning_builders import Net
from recurrent_builders import HIDDEN, INPUTS, cell_net
from test_passes import compile_net, error_of, tensors_of

from eapc import Settings
from eapc.calibration import DENSITIES
from eapc.commands.compiler import prune
from eapc.data import dataset
from eapc.goals import TargetEnergy
from eapc.layers import layers_of
from eapc.pipeline import Compilation, Recipe
from eapc.report.documents import prune_document

HALF = "prune-weights{sparsity=0.5}"

CELLS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "lstm": ("LSTM", 1, {}),
    "bidirectional lstm": ("LSTM", 2, {}),
    "lstm with lengths": ("LSTM", 2, {"lengths": True}),
    "lstm without bias": ("LSTM", 1, {"bias": False}),
    "gru": ("GRU", 1, {}),
    "gru that resets late": ("GRU", 1, {"linear_before_reset": 1}),
    "rnn": ("RNN", 1, {"initial": True}),
}


def net(name: str) -> Net:
    kind, directions, options = CELLS[name]
    return cell_net(kind, directions, **options)


def halved(name: str) -> Compilation:
    return compile_net(net(name), f"{HALF}, reconstruct-outputs")


@pytest.mark.parametrize("name", CELLS)
def test_refitted_cells_err_a_third_of_what_magnitudes_leave(name: str) -> None:
    done, cut = halved(name), compile_net(net(name), HALF)
    assert error_of(done) < error_of(cut) / 3
    for tied in layers_of(done.model).layers:
        weight = done.model.constants[tied.weight]
        assert np.count_nonzero(weight) == weight.size / 2


@pytest.mark.parametrize("name", CELLS)
def test_the_file_has_the_cell_as_it_was(name: str) -> None:
    done = halved(name)
    written, given = done.model.to_proto(), net(name).proto
    onnx.checker.check_model(written, full_check=True)
    assert [node.SerializeToString() for node in written.graph.node] == [
        node.SerializeToString() for node in given.graph.node
    ]
    before, after = tensors_of(given), tensors_of(written)
    changed = {key for key in before if before[key] != after[key]}
    assert before.keys() == after.keys()
    assert changed <= {"w", "r", "b", "wo"}


def test_both_weights_are_priced_by_themselves() -> None:
    """W holds INPUTS / (INPUTS + HIDDEN) of the MACs."""
    done = compile_net(net("gru"), "annotate-energy, prune-weights{energy=0.5}, annotate-energy")
    curves = done.record.curves
    assert curves
    by_name = {curve.name: curve for curve in curves.layers}
    node = compile_net(net("gru"), "annotate-energy").priced.by_node["cell"]
    assert by_name["w"].energies[0] + by_name["r"].energies[0] < node.energy_mac_units
    assert by_name["r"].energies[-1] < 0.2 * by_name["r"].energies[0]
    assert INPUTS < HIDDEN
    assert by_name["w"].energies[0] < by_name["r"].energies[0]
    assert done.priced.energy_mac_units <= 0.5 * curves.dense_energy * 1.02


def test_rows_of_a_cell_share_its_energy() -> None:
    """Each weight has a name and a part of its own: together they are what the node takes."""
    given = net("bidirectional lstm")
    settings = Settings(calibration=dataset(given.arrays, given.model.inputs, "x"), threads=1)
    recipe = Recipe(include=("cell",))
    result = prune(given.model, settings, goal=TargetEnergy(0.8), recipe=recipe)
    rows = prune_document(result)["layers"]
    assert [row["name"] for row in rows] == ["cell W", "cell R"]
    for energy, report in (("energy_before", result.before), ("energy_after", result.after)):
        node = report.by_node["cell"]
        assert sum(row[energy] for row in rows) == pytest.approx(node.energy_mac_units)
    assert rows[0]["energy_before"] < rows[1]["energy_before"]


def test_what_both_weights_save_is_what_the_cell_saves() -> None:
    passes = "annotate-energy, prune-weights{energy=0.5}"
    done = compile_net(net("gru"), passes)
    assert done.record.curves
    curves = {curve.name: curve for curve in done.record.curves.layers}
    place = DENSITIES.index(0.35)
    saved = sum(curves[name].energies[0] - curves[name].energies[place] for name in "wr")
    sparse = compile_net(net("gru"), "prune-weights{sparsity=0.65,include=cell}, annotate-energy")
    dense = compile_net(net("gru"), "annotate-energy").priced.by_node["cell"].energy_mac_units
    after = sparse.priced.by_node["cell"].energy_mac_units
    assert dense - after == pytest.approx(saved, rel=1e-3)


def test_a_cells_weight_is_chosen_by_its_own_name() -> None:
    done = compile_net(net("lstm"), "prune-weights{sparsity=0.5,include=cell R}")
    assert list(done.record.layers) == ["r"]


def test_a_model_that_a_gru_dominates_reaches_a_goal(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "cases" / "gru_dominates.onnx"
    pruned = prune(path, goal=TargetEnergy(0.3), output=tmp_path / "out.onnx")
    assert pruned.goal_met
    assert pruned.after.energy_mac_units < 0.31 * pruned.before.energy_mac_units
