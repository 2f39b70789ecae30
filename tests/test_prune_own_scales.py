"""Scales of weights follow what pruning makes of a layer, where nothing else reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import make_model, normal, op, save
from onnx import ModelProto, NodeProto, numpy_helper
from pruning_builders import Net, quantized_net, rounded_net
from test_passes import compile_net, error_of
from test_prune_stored_weights import PIPELINES

from eapc.calibration import OwnScale, weight_grid
from eapc.errors import ModelError
from eapc.layers import find_layers
from eapc.model import Array, Model
from eapc.runtime import Session, with_outputs

HALF = "prune-weights{pattern=1:2}, reconstruct-outputs{pattern=1:2}"


def doubling(codes: Array, scale: Array, *more: NodeProto, **tensors: Array) -> Net:
    """Two equal inputs, each with codes at the end of its range: one of them has to do it all."""
    nodes = [
        op("DequantizeLinear", "q s", "w", axis=1),
        op("MatMul", "x w", "y", "layer"),
        *more,
    ]
    stored = {"q": codes, "s": scale, **tensors}
    outputs = ["y", *(node.output[0] for node in more)]
    one = normal((100, 1), 3, 1.0)
    model = make_model(nodes, {"x": ("N", 2)}, outputs, stored, opset=17)
    return Net(model, {"x": np.repeat(one, 2, axis=1)})


ENDS = np.array([[127, 127], [126, 127]], np.int8)
SCALES = np.array([0.01, 0.1], np.float32)


def own_scale(model: Model) -> OwnScale | None:
    (tied,) = find_layers(model).layers
    grid = weight_grid(tied, model)
    assert grid is not None
    return OwnScale.of(tied, model, grid)


def test_a_survivor_that_does_the_work_of_two_has_a_longer_step() -> None:
    """253 and 254 steps of the one input are left to do, which 127 steps cannot."""
    done = compile_net(doubling(ENDS, SCALES), HALF)
    codes, scale = (done.model.constants[name] for name in "qs")
    np.testing.assert_allclose(scale * codes.sum(axis=0), [2.53, 25.4], rtol=2e-2)
    assert (np.abs(codes).max(axis=0) <= 127).all()
    assert (scale > 1.9 * SCALES).all()
    assert error_of(done) < 1e-3


def test_one_scale_for_all_is_one_afterwards() -> None:
    done = compile_net(doubling(ENDS, np.array(0.01, np.float32)), HALF)
    scale = done.model.constants["s"]
    assert scale.shape == ()
    assert scale == pytest.approx(0.02, rel=0.02)
    assert error_of(done) < 1e-3


@pytest.mark.parametrize(
    "other",
    [
        op("DequantizeLinear", "p s", "z", axis=1),
        op("Identity", "s", "z"),
    ],
)
def test_a_scale_that_others_read_stays(other: NodeProto) -> None:
    net = doubling(ENDS, SCALES, other, p=ENDS)
    assert own_scale(net.model) is None
    done = compile_net(net, HALF)
    np.testing.assert_array_equal(done.model.constants["s"], SCALES)


def test_a_scale_by_inputs_stays() -> None:
    nodes = [op("DequantizeLinear", "q s", "w", axis=0), op("MatMul", "x w", "y", "layer")]
    tensors: dict[str, Array] = {"q": ENDS, "s": SCALES}
    assert own_scale(Net(make_model(nodes, {"x": ("N", 2)}, ["y"], tensors), {}).model) is None


def biased(bias_scale: str, other: NodeProto | None = None) -> Net:
    """A turned product of two copies of a quantized input, with an int32 bias of 0.01 a step."""
    nodes = [
        op("QuantizeLinear", "x xs xz", "xq"),
        op("DequantizeLinear", "xq xs xz", "xd"),
        op("DequantizeLinear", "q s", "w", axis=0),
        op("DequantizeLinear", f"b {bias_scale}", "bd", axis=0),
        op("Gemm", "xd w bd", "y", "layer", transB=1),
        *([other] if other else []),
    ]
    tensors: dict[str, Array] = {
        "xs": np.array(0.1, np.float32), "xz": np.array(0, np.int8), "q": ENDS.T.copy(),
        "s": SCALES, "bs": SCALES * np.float32(0.1), "b": np.array([500, -40], np.int32),
    }  # fmt: skip
    outputs = ["y", *(other.output if other else [])]
    one = normal((100, 1), 3, 3.0)
    model = make_model(nodes, {"x": ("N", 2)}, outputs, tensors, opset=17)
    return Net(model, {"x": np.repeat(one, 2, axis=1)})


def test_the_scale_of_an_int32_bias_follows() -> None:
    """Its real values 0.5 and -0.4 stay, within half a step, as inputs' means are made up for."""
    net = biased("bs")
    done = compile_net(net, HALF)
    found = done.model.constants
    assert (found["s"] > 1.9 * SCALES).all()
    np.testing.assert_allclose(found["bs"], found["s"] * np.float32(0.1), rtol=1e-6)
    np.testing.assert_allclose(found["b"] * found["bs"], [0.5, -0.4], atol=0.05)
    fused, plain = (
        Session(with_outputs(done.model.to_proto(), ["y"]), 1, optimise=each).run(net.arrays)["y"]
        for each in (True, False)
    )
    np.testing.assert_allclose(fused, plain, atol=0.02)


def test_a_bias_whose_scale_others_read_holds_the_weights_scale() -> None:
    assert own_scale(biased("bs").model) is not None
    assert own_scale(biased("bs", op("Identity", "bs", "z")).model) is None


def test_both_scales_of_a_rounded_weight_move() -> None:
    done = compile_net(rounded_net(), PIPELINES[1] % 0.8)
    before = done.model.original.constants
    assert any((done.model.constants[n] != before[n]).any() for n in ("cs", "gs", "ms"))


def test_activations_keep_their_scales() -> None:
    done = compile_net(quantized_net(), PIPELINES[1] % 0.8)
    before = done.model.original.constants
    np.testing.assert_array_equal(done.model.constants["as"], before["as"])
    assert any((done.model.constants[n] != before[n]).any() for n in ("cs", "gs", "ms"))


@pytest.mark.parametrize("net", [quantized_net, rounded_net])
def test_pruned_alone_scales_stay(net: object) -> None:
    assert callable(net)
    done = compile_net(net(), PIPELINES[0] % 0.8)
    before = done.model.original.constants
    for name in ("cs", "gs", "ms"):
        np.testing.assert_array_equal(done.model.constants[name], before[name])


def silent_filter() -> Net:
    """The second of two outputs has a scale of 0, whatever its codes: onnxruntime computes 0."""
    return doubling(ENDS, np.array([0.01, 0], np.float32))


def test_a_weight_scale_of_zero_is_a_channel_of_zeros(tmp_path: Path) -> None:
    path = save(silent_filter().proto, tmp_path / "silent.onnx")
    model = Model.load(path)
    (tied,) = find_layers(model).layers
    assert tied.nonzero(model) == 2
    np.testing.assert_allclose(tied.matrix(model)[0], [[1.27, 1.26], [0.0, 0.0]], rtol=1e-6)
    done = compile_net(silent_filter(), HALF)
    assert done.model.constants["s"][1] == 0
    assert error_of(done) < 1e-3


def test_a_scale_of_zero_for_activations_is_refused(tmp_path: Path) -> None:
    net = biased("bs")
    proto = ModelProto.FromString(net.proto.SerializeToString())
    held = next(each for each in proto.graph.initializer if each.name == "xs")
    held.CopyFrom(numpy_helper.from_array(np.array(0, np.float32), "xs"))
    with pytest.raises(ModelError, match="its scale 'xs' holds 0, and scales have to be positive"):
        Model.load(save(proto, tmp_path / "flat.onnx"))
