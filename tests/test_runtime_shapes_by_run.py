"""What no inference tells of shapes, a run of the calibration inputs shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import Inputs, ints, make_model, normal, op, save, scalar, value
from onnx import ModelProto, TensorProto

import eapc

STEPS, WIDTH, HIDDEN = 40, 32, 64


def masked() -> ModelProto:
    """Two products with a mask between them, of the positions below the longest length."""
    nodes = [
        op("MatMul", "x w", "h", "one"),
        op("ReduceMax", "len", "longest", "longest", keepdims=0),
        op("Range", "zero longest step", "r", "positions"),
        op("Unsqueeze", "len axis", "l2", "lengths"),
        op("Less", "r l2", "m", "mask"),
        op("Cast", "m", "f", "as floats", to=TensorProto.FLOAT),
        op("Unsqueeze", "f axis", "f3", "as columns"),
        op("Mul", "h f3", "g", "masked"),
        op("MatMul", "g v", "y", "two"),
    ]
    tensors = {
        "w": normal((WIDTH, HIDDEN)),
        "v": normal((HIDDEN, 8), 1),
        "zero": scalar(0, np.int64),
        "step": scalar(1, np.int64),
        "axis": ints(-1),
    }
    fed: Inputs = [value("x", (1, "T", WIDTH)), value("len", (1,), TensorProto.INT64)]
    return make_model(nodes, fed, [value("y", (1, "T", 8))], tensors)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(masked(), tmp_path / "m.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "x.npz"
    np.savez(path, x=normal((32, STEPS, WIDTH)), len=np.full(32, STEPS))
    return path


def test_a_run_shows_the_shape_of_a_mask(model: Path, data: Path) -> None:
    """Without data the mask's length is unknown; with it 40 * 64 products are masked."""
    bare = eapc.analyze(model).energy
    unknown = {"positions", "mask", "as floats", "masked"}
    assert {node.key for node in bare.unmodelled} == unknown
    full = eapc.analyze(model, eapc.Settings(calibration=data)).energy
    assert not full.unmodelled
    assert full.by_node["masked"].operations == STEPS * HIDDEN
    assert full.by_node["mask"].operations == STEPS
    assert full.macs == STEPS * (WIDTH * HIDDEN + HIDDEN * 8)


@pytest.mark.parametrize("given", [True, False])
def test_pruning_uses_them_as_well(model: Path, data: Path, given: bool) -> None:
    settings = eapc.Settings(calibration=data if given else None, samples=16)
    done = eapc.prune(model, settings, goal=eapc.Sparsity(0.5))
    assert not done.compilation.priced.unmodelled
    assert done.compilation.priced.by_node["masked"].operations == (STEPS if given else 64) * HIDDEN


def test_shapes_of_other_sizes_stay_unknown(model: Path, data: Path) -> None:
    """What --input-shape says goes before the data, which then show nothing."""
    sizes = {"x": (1, 50, WIDTH)}
    settings = eapc.Settings(calibration=data, input_shapes=sizes, density=1.0)
    report = eapc.analyze(model, settings).energy
    assert {node.key for node in report.unmodelled} == {"positions", "mask", "as floats", "masked"}


def test_results_that_data_decide_about(tmp_path: Path) -> None:
    """Of 6 numbers 4 are not zero: as many are gathered."""
    nodes = [
        op("NonZero", "x", "n", "places"),
        op("Transpose", "n", "t", "turned", perm=[1, 0]),
        op("GatherND", "x t", "g", "gathered"),
        op("Relu", "g", "y", "relu"),
    ]
    path = save(make_model(nodes, {"x": (1, 6)}, [value("y", ("k",))]), tmp_path / "m.onnx")
    data = tmp_path / "x.npz"
    np.savez(data, x=np.tile(np.array([[1, 0, 2, 3, 0, 4]], np.float32), (4, 1)))
    report = eapc.analyze(path, eapc.Settings(calibration=data, density=1.0)).energy
    assert report.by_node["relu"].operations == 4
