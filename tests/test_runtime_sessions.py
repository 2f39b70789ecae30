"""Sessions, outputs over a dataset."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from builders import ints, loaded, make_model, normal, op, value
from onnx import TensorProto
from pruning_builders import NETS, Net, residual

from eapc.data import dataset
from eapc.errors import DataError, ModelError
from eapc.model import Model, sample_axes
from eapc.runtime import (
    Session,
    Stopwatch,
    as_it_runs,
    collect_outputs,
    feed_size,
    open_model,
    with_outputs,
)


def test_outputs_over_a_dataset_do_not_depend_on_the_batches() -> None:
    net = residual()
    whole = open_model(net.model, 1).run({"x": net.arrays["x"]})["y"]
    np.testing.assert_allclose(
        collect_outputs(net.model, net.data, 1)["y"], whole, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_network_runs(name: str) -> None:
    net = NETS[name]()
    outputs = collect_outputs(net.model, net.data, 1)
    assert set(outputs) == {"y"}
    assert outputs["y"].dtype.kind == "f"


def test_a_fixed_batch_drops_the_remainder() -> None:
    net = Net(residual(batch=4).proto, {"x": residual().arrays["x"][:10]})
    assert collect_outputs(net.model, net.data, 1)["y"].shape == (8, 5)


def test_outputs_without_a_batch_axis_are_kept_by_run() -> None:
    net = Net(
        make_model([op("ReduceSum", "x", "y", keepdims=0)], {"x": ("N", 4)}, ["y"]),
        {"x": np.ones((600, 4), np.float32)},
    )
    outputs = collect_outputs(net.model, net.data, 1)["y"]
    assert outputs.sum() == 2400


def test_outputs_of_different_shapes_are_one_error() -> None:
    net = Net(
        make_model([op("Transpose", "x", "y")], {"x": (None, 4)}, ["y"]), {"x": normal((300, 4))}
    )
    with pytest.raises(DataError, match="output 'y'"):
        collect_outputs(net.model, net.data, 1)


def test_model_that_onnxruntime_refuses() -> None:
    model = loaded([op("Nope", "x", "y", domain="my.own")], {"x": ("N", 4)}, ["y"])
    with pytest.raises(ModelError, match=r"operator Nope of domain 'my\.own'") as caught:
        open_model(model)
    assert "\n" not in str(caught.value)


def double(op_type: str, weights: tuple[int, ...], name: str = "") -> Model:
    """A layer of doubles on a float32 input."""
    nodes = [op("Cast", "x", "d", to=TensorProto.DOUBLE), op(op_type, "d w", "y", name)]
    shape = ("N", 3, 8, 8) if len(weights) > 2 else ("N", weights[0])
    return loaded(nodes, {"x": shape}, ["y"], {"w": np.ones(weights)})


@pytest.mark.parametrize(
    ("op_type", "weights"), [("Conv", (4, 3, 3, 3)), ("ConvTranspose", (3, 4, 3, 3))]
)
def test_convolutions_of_double_say_what_to_do(op_type: str, weights: tuple[int, ...]) -> None:
    for name, said in (("c", "c"), ("", "y")):
        reason = (
            f"onnxruntime runs no {op_type} of double on CPUs (node '{said}'); "
            "convert the model to float32"
        )
        with pytest.raises(ModelError, match=re.escape(reason)):
            open_model(double(op_type, weights, name))


@pytest.mark.parametrize("op_type", ["Gemm", "MatMul"])
def test_products_of_double_run(op_type: str) -> None:
    found = open_model(double(op_type, (4, 2)), 1).run({"x": np.ones((3, 4), np.float32)})["y"]
    assert found.dtype == np.float64
    assert found.tolist() == [[4, 4]] * 3


def test_a_file_of_doubles_is_refused_alike(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(double("Conv", (4, 3, 3, 3), "c").to_proto().SerializeToString())
    with pytest.raises(ModelError, match="no Conv of double on CPUs"):
        Session(path, 1)


def test_kernels_that_lack_for_other_reasons_are_told_as_they_are() -> None:
    nodes = [op("Conv", "x w", "y", "c")]
    model = loaded(nodes, {"x": ("N", 3, 8, 8)}, ["y"], {"w": np.ones((4, 3, 3, 3), np.int32)})
    proto = model.to_proto()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    with pytest.raises(ModelError, match="Conv 'c': onnxruntime takes no int32 as its input"):
        Session(proto, 1)


def test_inputs_that_onnxruntime_refuses() -> None:
    session = open_model(residual().model, 1)
    for x, said in (
        (normal((1, 2, 8, 8)), "has size 2 along axis 1, the model takes 3"),
        (np.ones((1, 3, 8, 8), np.int64), "has type int64, the model takes float"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            session.run({"x": x})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("words", "samples"), [(1 << 14, 64), (1 << 20, 16), (1 << 25, 1)])
def test_feed_size_bounds_the_largest_activation(words: int, samples: int) -> None:
    nodes = [op("Expand", "x shape", "a"), op("ReduceSum", "a axes", "y")]
    given = {"shape": np.array([1, words]), "axes": np.array([1])}
    net = Net(make_model(nodes, {"x": ("N", 1)}, ["y"], given), {"x": normal((50, 1))})
    assert feed_size(net.model, net.data) == samples
    assert feed_size(residual().model, residual().data) == 256


def test_with_outputs_replaces_them() -> None:
    proto = with_outputs(residual().model.to_proto(), ["c1", "y"])
    assert Session(proto, 1, optimise=False).outputs == ("c1", "y")


def test_a_stopwatch_times_runs() -> None:
    proto, feed = residual().model.to_proto(), {"x": residual().arrays["x"]}
    for threads in (1, 2):
        assert all(0 < seconds < 1 for seconds in Stopwatch(proto, feed, threads).seconds(3))


def test_a_session_reads_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(residual().proto.SerializeToString())
    found = Session(path, 1).run({"x": residual().arrays["x"]})["y"]
    expected = open_model(Model.load(path), 1).run({"x": residual().arrays["x"]})["y"]
    np.testing.assert_array_equal(found, expected)


def test_samples_come_first_wherever_the_output_has_them() -> None:
    """y (3, N) of x (N, 3): the axis that is called as the inputs' first."""
    nodes = [op("Transpose", "x", "y")]
    x = normal((300, 3))
    net = Net(make_model(nodes, {"x": ("N", 3)}, [value("y", (3, "N"))]), {"x": x})
    np.testing.assert_array_equal(collect_outputs(net.model, net.data, 1)["y"], x)
    for shape in ((None, 3), (1, "T"), ("N", "N")):
        assert sample_axes(loaded(nodes, {"x": shape}, ["y"])) == {}
    assert sample_axes(loaded([op("Identity", "x", "y")], {"x": ("N", 3)}, ["y"])) == {}


def test_a_batch_in_name_only_is_fed_one_by_one() -> None:
    """x (batch, 10, 32) is turned into one sequence of 20 rows of 32: two do not go in."""
    nodes = [op("MatMul", "x w", "a"), op("Reshape", "a sh", "y")]
    tensors = {"w": normal((32, 64)), "sh": ints(1, 20, 32)}
    model = loaded(nodes, {"x": ("batch", 10, 32)}, ["y"], tensors)
    data = dataset({"x": normal((5, 10, 32))}, model.inputs, "here")
    found = as_it_runs(model, data, 1)
    assert found.fixed_batch == 1
    assert collect_outputs(model, found, 1)["y"].shape == (5, 20, 32)
    free = loaded([op("MatMul", "x w", "y")], {"x": ("batch", 10, 32)}, ["y"], tensors)
    assert as_it_runs(free, data, 1) is data
    stuck = loaded([op("Reshape", "x sh", "y")], {"x": ("batch", 10, 32)}, ["y"], tensors)
    assert as_it_runs(stuck, data, 1) is data
