"""Networks in floats of 16 bits are run, pruned and written as they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import ml_dtypes
import numpy as np
import onnx
import pytest
from builders import make_model, normal, op, value
from onnx import TensorProto, helper

from eapc import Settings, prune
from eapc.commands.comparison import RUN_AS_FLOAT32, compare
from eapc.commands.preparation import AS_FLOAT32
from eapc.data import dataset
from eapc.errors import VerificationError
from eapc.goals import Sparsity
from eapc.model import Model
from eapc.report.documents import prune_document
from eapc.runtime import Session, verifier
from eapc.runtime.half_precision import float32_twin, holds_bfloat16, holds_halves

ROOT = Path(__file__).parents[1]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        path = ROOT / "benchmarks" / "half_precision_graphs.py"
        spec = importlib.util.spec_from_file_location("half_precision_graphs", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_random_networks_keep_what_is_promised(benchmark: ModuleType, kind: str) -> None:
    found = benchmark.count(kind, range(5))
    assert found["kept"] >= 4
    assert not any(found[fault] for fault in benchmark.FAULTS)


def product(kind: int) -> onnx.ModelProto:
    """y = x w in a type, x (N, 2), w = [[1, 3]; [2, 4]]."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weight = np.array([[1, 3], [2, 4]], dtype)
    inputs = [value("x", ("N", 2), kind)]
    outputs = [value("y", ("N", 2), kind)]
    graph = helper.make_graph(
        [op("MatMul", "x w", "y")],
        "g",
        inputs,
        outputs,
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_bfloat16_is_run_in_float32() -> None:
    """1 * 1 + 2 * 2 = 5 and 1 * 3 + 2 * 4 = 11."""
    answer = Session(product(TensorProto.BFLOAT16)).run({"x": np.array([[1, 2]], BFLOAT16)})
    np.testing.assert_array_equal(answer["y"], np.array([[5, 11]], np.float32))
    assert answer["y"].dtype == np.float32


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.FLOAT16])
def test_reports_say_that_bfloat16_runs_as_float32(kind: int) -> None:
    settings = Settings(samples=16, threads=1)
    result = prune(Model.from_proto(product(kind)), settings, goal=Sparsity(0.5))
    noted = prune_document(result)["notes"]
    assert noted == ([AS_FLOAT32] if kind == TensorProto.BFLOAT16 else [])
    compared = compare(Model.from_proto(product(kind)), result.model, settings, latency=False)
    assert (RUN_AS_FLOAT32 in compared.notes) == (kind == TensorProto.BFLOAT16)


def test_a_twin_has_the_same_numbers() -> None:
    proto = product(TensorProto.BFLOAT16)
    assert holds_bfloat16(proto)
    twin = float32_twin(proto)
    assert not holds_halves(twin)
    assert twin.graph.initializer[0].data_type == TensorProto.FLOAT
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(twin.graph.initializer[0]), [[1, 3], [2, 4]]
    )
    assert holds_bfloat16(proto)  # the original stays


def test_a_cast_within_a_branch_is_widened() -> None:
    branch = helper.make_graph(
        [op("Cast", "x", "z", to=TensorProto.BFLOAT16)],
        "b",
        [],
        [value("z", (2,), TensorProto.BFLOAT16)],
    )
    nodes = [op("If", "c", "y", then_branch=branch, else_branch=branch)]
    proto = make_model(nodes, [value("c", (), TensorProto.BOOL), value("x", (2,))], ["y"], {})
    assert holds_bfloat16(proto)
    assert not holds_bfloat16(float32_twin(proto))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_other_floats_are_no_halves(kind: int) -> None:
    assert not holds_halves(product(kind))
    assert holds_halves(product(TensorProto.FLOAT16))


@pytest.mark.parametrize(
    ("dtype", "most"), [(np.float16, 65504), (BFLOAT16, 3.3895313892515355e38)]
)
def test_weights_beyond_the_range_become_its_end(dtype: np.dtype, most: float) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = Model.from_proto(product(kind))
    new = np.array([[1e300, -1e300], [np.inf, 0.5]])
    stored = model.with_weights({"w": new}).constants["w"].astype(np.float64)
    np.testing.assert_array_equal(stored, [[most, -most], [np.inf, 0.5]])


def test_sums_that_overflow_behind_the_first_inputs_are_found(tmp_path: Path) -> None:
    """15000 * 4.5 = 67500 is beyond float16, 65504; one input alone shows it."""
    model = Model.from_proto(product(TensorProto.FLOAT16))
    x = np.abs(normal((24, 2))).astype(np.float16)
    x[20] = [15000, 1]
    data = dataset({"x": x}, model.inputs, "test")
    grown = model.with_weights({"w": np.array([[4.5, 3], [2, 4]], np.float32)})
    with pytest.raises(VerificationError, match="output 'y' of the result holds NaN or infinity"):
        grown.save(tmp_path / "o.onnx", verifier(model, frozenset({"w"}), data, 1))
    assert not list(tmp_path.iterdir())
