"""Weights cost and count the same in whatever form a file holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from builders import make_graph, make_model, normal, op, save, value
from constant_builders import KINDS, sparse_of, with_zeros
from onnx import ModelProto, numpy_helper

from eapc.commands.compiler import analyze, prune, run
from eapc.commands.preparation import Settings
from eapc.energy import EnergyReport
from eapc.goals import Sparsity
from eapc.model import Model

IMAGES = {"x": normal((8, 3, 8, 8), 9)}
GIVEN = Settings(density=0.5)


@pytest.fixture
def measured(tmp_path: Path) -> Settings:
    """Settings with images to calibrate on."""
    np.savez(tmp_path / "images.npz", x=IMAGES["x"])
    return Settings(calibration=tmp_path / "images.npz", threads=1)


def report_of(model: ModelProto | Path, settings: Settings) -> EnergyReport:
    loaded = Model.from_proto(model) if isinstance(model, ModelProto) else Model.load(model)
    return analyze(loaded, settings).energy


def require_equal(found: EnergyReport, wanted: EnergyReport) -> None:
    """Equal totals, and equal figures of every node with MACs."""
    assert (found.weights, found.nonzero_weights) == (wanted.weights, wanted.nonzero_weights)
    assert not found.unmodelled
    assert found.energy_mac_units == pytest.approx(wanted.energy_mac_units)
    for node in wanted.nodes:
        if node.macs:
            same = found.by_node[node.key]
            assert same.densities.weights == node.densities.weights
            assert same.nonskipped_macs == pytest.approx(node.nonskipped_macs)
            assert same.macs == node.macs


@pytest.mark.parametrize("kind", KINDS)
def test_constants_of_every_kind_cost_what_the_dense_twin_costs(
    kind: str, measured: Settings
) -> None:
    for settings in (measured, GIVEN):
        found, wanted = (report_of(model, settings) for model in KINDS[kind]())
        assert wanted.nonzero_weights < wanted.weights
        require_equal(found, wanted)


def test_sparse_weights_in_a_branch() -> None:
    w = with_zeros((4, 4))

    def branching(sparse: bool) -> ModelProto:
        plain = {} if sparse else {"w": w}
        then = make_graph([op("MatMul", "x w", "t", "product")], {}, ["t"], plain)
        then.sparse_initializer.extend([sparse_of(w, "w")] if sparse else [])
        other = make_graph([op("Neg", "x", "e")], {}, ["e"])
        nodes = [op("If", "flag", "y", name="if", then_branch=then, else_branch=other)]
        inputs = [value("x", (2, 4))]
        flag = numpy_helper.from_array(np.array([True]), "flag")
        return make_model(nodes, inputs, [value("y", (2, 4))], {"flag": flag})

    found, wanted = (report_of(branching(sparse), GIVEN) for sparse in (True, False))
    assert wanted.weights == 16
    assert 0 < wanted.nonzero_weights < 16
    require_equal(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_constants_of_every_kind_are_pruned_and_written_plain(
    kind: str, tmp_path: Path, measured: Settings
) -> None:
    paths = [save(model, tmp_path / f"{i}.onnx") for i, model in enumerate(KINDS[kind]())]
    done = []
    for path in paths:
        out = path.with_suffix(".pruned.onnx")
        result = prune(path, measured, goal=Sparsity(0.6), output=out)
        assert result.goal_met
        onnx.checker.check_model(str(out))
        done.append(out)
    file, plain = (report_of(path, GIVEN) for path in done)
    assert (file.weights, file.nonzero_weights) == (plain.weights, plain.nonzero_weights)
    one, other = (ort.InferenceSession(str(path)).run(None, IMAGES)[0] for path in done)
    np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_of_constants_of_every_kind_can_go(
    kind: str, tmp_path: Path, measured: Settings
) -> None:
    file, _ = KINDS[kind]()
    path, out = save(file, tmp_path / "m.onnx"), tmp_path / "out.onnx"
    pipeline = "prune-channels{fraction=0.5}, reconstruct-outputs, shrink-channels"
    run(path, pipeline, measured, output=out)
    assert Model.load(out).constants.shape("w2") == (4, 3, 1, 1)
    (found,) = ort.InferenceSession(str(out)).run(None, IMAGES)
    assert found.shape == (8, 4, 8, 8)


def test_bounds_of_shape_one_are_pruned_behind(tmp_path: Path, measured: Settings) -> None:
    bounds = {"low": np.zeros(1, np.float32), "high": np.full(1, 6, np.float32)}
    nodes = [
        op("Conv", "x w", "c", "one"),
        op("Clip", "c low high", "r", "six"),
        op("Conv", "r w2", "y", "two"),
    ]
    given = {"w": normal((6, 3, 1, 1)), "w2": normal((4, 6, 1, 1)), **bounds}
    path = save(make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], given), tmp_path / "m.onnx")
    result = prune(path, measured, goal=Sparsity(0.5))
    assert result.goal_met
