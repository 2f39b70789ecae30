"""The whole prune on numbers that real files hold and tests forget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array, ints, make_model, normal, op
from onnx import NodeProto, TensorProto, numpy_helper
from pruning_builders import Net, bfloat16, in_type, residual

from eapc.cli import main
from eapc.commands.compiler import prune
from eapc.commands.preparation import Settings
from eapc.data import dataset
from eapc.errors import DataError
from eapc.goals import Goal, MinAgreement, Sparsity, TargetEnergy
from eapc.model import Model
from eapc.pipeline import Recipe
from eapc.runtime import collect_outputs

GOALS = (Sparsity(0.5), TargetEnergy(0.9), MinAgreement(0.9))


def two_layers(first: Array, second: Array, x: Array) -> Net:
    """Gemm, Relu, Gemm."""
    nodes = [op("Gemm", "x w0", "a", "one"), op("Relu", "a", "r"), op("Gemm", "r w1", "y", "two")]
    proto = make_model(nodes, {"x": ("N", len(first))}, ["y"], {"w0": first, "w1": second})
    return Net(proto, {"x": x})


def plain() -> tuple[Array, Array, Array]:
    return normal((12, 16), 1, 0.4), normal((16, 5), 2, 0.4), normal((200, 12), 3, 1.0)


def dead_inputs() -> Net:
    first, second, x = plain()
    x[:, ::2] = 0
    return two_layers(first, second, x)


def constant_inputs() -> Net:
    first, second, x = plain()
    x[:] = x[0]
    return two_layers(first, second, x)


def few_rows() -> Net:
    first, second, x = plain()
    return two_layers(first, second, x[:5])


def zero_layer() -> Net:
    first, second, x = plain()
    return two_layers(np.zeros_like(first), second, x)


def all_zero() -> Net:
    first, second, x = plain()
    return two_layers(np.zeros_like(first), np.zeros_like(second), x)


def huge_weights() -> Net:
    first, second, x = plain()
    return two_layers(first * np.float32(1e15), second, x)


def denormal_weights() -> Net:
    first, second, x = plain()
    return two_layers(first * np.float32(1e-40), second, x)


AWKWARD: dict[str, Callable[[], Net]] = {
    "dead inputs": dead_inputs,
    "constant inputs": constant_inputs,
    "few rows": few_rows,
    "a layer of zeros": zero_layer,
    "nothing but zeros": all_zero,
    "huge weights": huge_weights,
    "denormal weights": denormal_weights,
    "float16": lambda: in_type(TensorProto.FLOAT16),
    "double": lambda: in_type(TensorProto.DOUBLE),
    "cast bfloat16": bfloat16,
    "one image at a time": lambda: residual(batch=1),
}


BLIND = {
    "constant inputs": "the calibration inputs are all the same",
    "few rows": "too few calibration inputs",
    "a layer of zeros": "the outputs are the same for all",
    "nothing but zeros": "the outputs are the same for all",
}
"""Where nothing tells what the outputs lose, so that no search can be judged."""


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: type(goal).__name__)
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_numbers_are_pruned_or_refused(name: str, goal: Goal, tmp_path: Path) -> None:
    net = AWKWARD[name]()
    path, output = tmp_path / "m.onnx", tmp_path / "o.onnx"
    path.write_bytes(net.proto.SerializeToString())
    data = dataset(net.arrays, net.model.inputs, "test")
    settings = Settings(calibration=data, threads=1)
    if goal.is_searched and name in BLIND:
        with pytest.raises(DataError, match=BLIND[name]):
            prune(path, settings, goal=goal, output=output)
        assert [each.name for each in tmp_path.iterdir() if each.suffix == ".onnx"] == ["m.onnx"]
        return
    done = prune(path, settings, goal=goal, output=output)
    assert done.confirmed is (name != "constant inputs")
    before = {t.name: t.data_type for t in net.proto.graph.initializer}
    after = onnx.load(output)
    assert {t.name: t.data_type for t in after.graph.initializer} == before
    for tensor in after.graph.initializer:
        assert np.isfinite(numpy_helper.to_array(tensor).astype(np.float64)).all()
    for values in collect_outputs(done.model, data, 1).values():
        assert np.isfinite(values.astype(np.float64)).all()
    assert all(record.sparsity >= 0 for record in done.layers)
    if isinstance(goal, Sparsity):
        assert all(record.sparsity >= 0.49 for record in done.layers)


def test_weights_of_a_type_that_the_runtime_lacks(tmp_path: Path) -> None:
    """onnxruntime has no bfloat16 Gemm on a CPU: the twin in float32 is run, types are kept."""
    net = in_type(TensorProto.BFLOAT16)
    (tmp_path / "m.onnx").write_bytes(net.proto.SerializeToString())
    out = tmp_path / "o.onnx"
    assert main(["prune", str(tmp_path / "m.onnx"), "--sparsity", "0.5", "-o", str(out)]) == 0
    pruned = onnx.load(out)
    assert {t.data_type for t in pruned.graph.initializer} == {
        t.data_type for t in net.proto.graph.initializer
    }
    onnx.checker.check_model(pruned, full_check=True)


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize(
    ("options", "share"),
    [
        (["--sparsity", "0.3"], 0.3),
        (["--sparsity", "0.3", "--method", "wanda"], 0.3),
        (["--sparsity", "0.4", "--pattern", "block:2x2"], 0.4),
        (["--pattern", "2:4"], 0.5),
    ],
    ids=["admm", "wanda", "blocks", "2:4"],
)
def test_the_share_of_zeros_is_reached_where_inputs_never_vary(
    options: list[str], share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights of such inputs cost nothing to drop, and are the original's where they stay.

    So they are but for what rounding of the means tells of inputs that do not vary.
    """
    weight = normal((8, 16), 3)
    x = normal((64, 16), 4, 1.0)
    x[:, 4:] = 0.5
    nodes = [op("Gemm", "x w b", "y", "fc", transB=1)]
    model = make_model(nodes, {"x": ("N", 16)}, ["y"], {"w": weight, "b": normal((8,), 5)})
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=x)
    given = ["prune", str(tmp_path / "m.onnx"), "--calib", str(tmp_path / "d.npz"), *options]
    assert main([*given, "-o", str(tmp_path / "o.onnx"), "--threads", "1", "-q"]) == 0, (
        capsys.readouterr().err
    )
    pruned = numpy_helper.to_array(onnx.load(tmp_path / "o.onnx").graph.initializer[0])
    assert np.mean(pruned == 0) == pytest.approx(share, abs=0.02)
    kept = (pruned != 0)[:, 4:]
    assert kept.any()
    np.testing.assert_allclose(pruned[:, 4:][kept], weight[:, 4:][kept], rtol=1e-3)


@pytest.mark.usefixtures("kept_logging")
def test_inputs_that_are_all_the_same_confirm_no_goal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = residual()
    onnx.save(net.proto, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.repeat(net.arrays["x"][:1], 30, axis=0))
    given = [
        "prune",
        str(tmp_path / "m.onnx"),
        "--calib",
        str(tmp_path / "d.npz"),
        "--threads",
        "1",
    ]
    assert main(given) == 3
    assert "the calibration inputs are all the same" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.npz", "m.onnx"]
    assert main([*given, "--sparsity", "0.5"]) == 4
    warned, said = capsys.readouterr().err.splitlines()
    assert warned.startswith("eapc: warning: the calibration inputs are all the same")
    assert said.startswith("eapc: goal not confirmed: the calibration inputs are all the same")
    assert (tmp_path / "m.pruned.onnx").is_file()


def reshaped_by_data(x: str, y: str) -> list[NodeProto]:
    """The same values, of a shape that no inference can tell, but a run of the inputs."""
    return [
        op("Less", f"{x} {x}", "less"),
        op("Cast", "less", "ones", to=TensorProto.INT64),
        op("ReduceSum", "ones", "none", keepdims=0),
        op("Shape", x, "shape"),
        op("Add", "shape none", "told"),
        op("Reshape", f"{x} told", y),
    ]


@pytest.fixture
def no_shapes_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where inputs of another size are run."""
    said = "eapc.pipeline.analyses.with_shapes_of_run"
    monkeypatch.setattr(said, lambda _, shapes, *__: shapes)


@pytest.mark.usefixtures("no_shapes_of_runs")
@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: type(goal).__name__)
def test_layers_that_are_not_modelled_are_pruned_or_left(goal: Goal, tmp_path: Path) -> None:
    nodes = [*reshaped_by_data("x", "r"), op("MatMul", "r w", "y", "one")]
    proto = make_model(nodes, {"x": ("N", 8)}, ["y"], {"w": normal((8, 16), 1)})
    model = Model.from_proto(proto)
    data = dataset({"x": normal((60, 8), 3)}, model.inputs, "test")
    settings = Settings(calibration=data, threads=1)
    done = prune(model, settings, goal=goal, output=tmp_path / "o.onnx")
    assert "one" in [entry.key for entry in done.before.unmodelled]
    assert (tmp_path / "o.onnx").is_file()
    assert 0 < done.energy_ratio <= 1


def test_an_output_without_elements_hides_nothing(tmp_path: Path) -> None:
    nodes = [op("MatMul", "x w", "y", "one"), op("Slice", "y none none axis", "z")]
    tensors = {"w": normal((8, 16), 1), "none": ints(0), "axis": ints(1)}
    proto = make_model(nodes, {"x": ("N", 8)}, ["z"], tensors)
    model = Model.from_proto(proto)
    data = dataset({"x": normal((60, 8), 3)}, model.inputs, "test")
    with pytest.raises(DataError, match="nothing tells what they lose"):
        prune(model, Settings(calibration=data, threads=1), output=tmp_path / "o.onnx")


@pytest.mark.usefixtures("no_shapes_of_runs")
@pytest.mark.parametrize("structured", [False, True])
def test_an_unmodelled_branch_beside_modelled_layers_stays_dense(
    structured: bool,
) -> None:
    """Nothing is known of what it would save, with channels and zeros under one budget neither."""
    pads = [1, 1, 1, 1]
    nodes = [
        op("Conv", "x w0", "a", "one", pads=pads),
        op("Relu", "a", "b"),
        op("Conv", "b w1", "y", "two", pads=pads),
        *reshaped_by_data("z", "r"),
        op("MatMul", "r w2", "v", "aside"),
    ]
    tensors = {
        "w0": normal((8, 3, 3, 3), 1),
        "w1": normal((4, 8, 3, 3), 2),
        "w2": normal((6, 5), 3),
    }
    proto = make_model(nodes, {"x": ("N", 3, 8, 8), "z": ("N", 6)}, ["y", "v"], tensors)
    model = Model.from_proto(proto)
    arrays = {"x": normal((40, 3, 8, 8), 4, 1.0), "z": normal((40, 6), 5)}
    settings = Settings(calibration=dataset(arrays, model.inputs, "test"), threads=1)
    recipe = Recipe(structured=structured, zeros=structured)
    done = prune(model, settings, goal=TargetEnergy(0.85), recipe=recipe)
    assert done.goal_met
    assert "aside" in [entry.key for entry in done.after.unmodelled]
    assert np.count_nonzero(done.model.constants["w2"]) == 30
