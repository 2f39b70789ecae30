"""Layers of operators that a list could forget: all are timed, and as wide as they will be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from builders import Array, chain, ints, loaded, normal, op
from measured_builders import measured_machine
from test_profiling_layer_kinds import kinds_of, shapes_of

from eapc import Recipe, Settings, TargetLatency, prune
from eapc.checkpoints import Finished
from eapc.data import dataset
from eapc.model import Model
from eapc.profiling import LayerTimer, NetworkTimer, Probe, ProbeMaker, Profiler, Reading, sized
from eapc.profiling import layer_timer as layer_timer_module
from eapc.profiling.layer_kinds import Sizing
from eapc.profiling.profiler import Profile
from eapc.progress import silent
from eapc.runtime import Session, optimised_model


def profile(model: Model, seconds: float, network: Probe | None = None) -> Profile:
    return Profiler(
        model=model,
        shapes=shapes_of(model),
        threads=1,
        repeats=1,
        seconds=seconds,
        finished=Finished(),
        progress=silent,
        network=NetworkTimer(network, 1),
    ).run()


# --- element-wise operators ------------------------------------------------------------------


def per_channel(_: LayerTimer, sizing: Sizing, repeats: int) -> Reading:
    """A tenth of a millisecond a channel; activations are most of the time, as of Mish they are."""
    assert repeats
    dear = sizing.kind.kernel.host.op_type not in ("Conv", "Gemm")
    return Reading(0.0, sizing.counts[1] * (0.1 if dear else 0.001), 1, 0.0)


@pytest.mark.parametrize("activation", ["Mish", "Selu", "Softsign"])
def test_channels_go_for_latency_between_activations(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LayerTimer, "read", per_channel)
    monkeypatch.setattr(LayerTimer, "calibrate", lambda *_: None)
    monkeypatch.setattr(LayerTimer, "overhead_ms", lambda _: 0.0)
    ops = ["Conv", activation, "Conv", activation, "GlobalAveragePool", "Flatten", "Gemm"]
    proto = chain(ops, width=32)
    proto.opset_import[0].version = 18
    model = Model.from_proto(proto)
    machine = measured_machine(*profile(model, 60.0).layers)
    noise = np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)
    settings = Settings(
        hardware=machine, calibration=dataset({"x": noise}, model.inputs, "test"), threads=1
    )
    done = prune(model, settings, goal=TargetLatency(0.7), recipe=Recipe(structured=True))
    assert done.latency is not None
    assert 0.5 < done.latency.ratio <= 0.7
    kept = [done.model.constants.shape(f"Conv_{place}.weight") for place in (0, 2)]
    assert any(shape is not None and shape[0] < 32 for shape in kept)


# --- Resize ----------------------------------------------------------------------------------


def resizing(steered_by: str, mode: str = "cubic") -> Model:
    """Two convolutions with a Resize between them, steered by scales or by sizes."""
    tensors: dict[str, Array] = {
        "v": normal((16, 3, 3, 3)),
        "w": normal((16, 16, 3, 3)),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "sizes": ints(1, 16, 14, 14),
    }
    operands = ["a", "", "scales"] if steered_by == "scales" else ["a", "", "", "sizes"]
    resize = onnx.helper.make_node("Resize", operands, ["b"], mode=mode, name="resize")
    nodes = [op("Conv", "x v", "a", name="first"), resize, op("Conv", "b w", "y", name="second")]
    return loaded(nodes, {"x": (1, 3, 9, 9)}, ["y"], tensors)


@pytest.mark.parametrize("steered_by", ["scales", "sizes"])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_probe_resizes_as_the_layer_does(steered_by: str, share: float) -> None:
    model = resizing(steered_by)
    shapes = shapes_of(model)
    (kind,) = (kind for kind in kinds_of(model) if kind.kernel.host.op_type == "Resize")
    assert kind.is_free
    channels = int(16 * share)
    sizing = sized(kind, shapes, 0, channels)
    probe = ProbeMaker(model, {}).layer(sizing, 2)
    inferred = onnx.shape_inference.infer_shapes(probe.model, strict_mode=True, data_prop=True)
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in inferred.graph.value_info
    }
    assert sizes["0.0.out0"] == [1, channels, 14, 14]
    assert len(Session(probe.model, 1).run(probe.feed)) == 2


class Costs:
    """Stands in for a stopwatch: each node that onnxruntime runs takes what its operator costs."""

    MS: Mapping[str, float] = {"Conv": 1.0, "Resize": 3.0, "Upsample": 3.0}

    def __init__(self, model: onnx.ModelProto, _: object, threads: int = 0) -> None:
        nodes = optimised_model(model, threads).graph.node
        self.ms = 0.01 + sum(self.MS.get(node.op_type, 0.0) for node in nodes)

    def seconds(self, runs: int) -> list[float]:
        return [self.ms / 1e3] * runs


@pytest.mark.parametrize("mode", ["cubic", "linear", "nearest"])
@pytest.mark.parametrize("steered_by", ["scales", "sizes"])
def test_layers_with_a_resize_add_up_to_the_whole(
    steered_by: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_timer_module, "Stopwatch", Costs)
    model = resizing(steered_by, mode)
    feed = {"x": normal((1, 3, 9, 9))}
    found = profile(model, 0.0, Probe(model.to_proto(embed=True), feed))
    assert found.missing == ()
    assert found.whole_ms == pytest.approx(5.01)
    assert found.sum_ms == pytest.approx(found.whole_ms, rel=0.01)
