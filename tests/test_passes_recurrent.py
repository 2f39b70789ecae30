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

from eapc.commands.compiler import prune
from eapc.goals import TargetEnergy
from eapc.layers import layers_of
from eapc.pipeline import Compilation

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


def test_a_model_that_a_gru_dominates_reaches_a_goal(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "cases" / "gru_dominates.onnx"
    pruned = prune(path, goal=TargetEnergy(0.3), output=tmp_path / "out.onnx")
    assert pruned.goal_met
    assert pruned.after.energy_mac_units < 0.31 * pruned.before.energy_mac_units
