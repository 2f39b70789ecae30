"""Operators that eapc has never heard of, entered from outside: a row is all that most need.

Both are old operators that onnxruntime still runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from builders import make_model, normal, op
from measured_builders import measured_layer, measured_machine
from test_profiling_layer_kinds import kinds_of, shapes_of

from eapc import Recipe, Settings, Sparsity, analyze, prune
from eapc.data import dataset
from eapc.layers import find_layers
from eapc.model import Model
from eapc.operators import Operator, Substitute, WeightLayout, element_wise, register
from eapc.profiling import ProbeMaker, prepare_network, sized
from eapc.runtime import Session

ORT = "com.microsoft"

SCALED_TANH = element_wise(
    "ScaledTanh", operations=3, keeps_zero=True, substitute=Substitute("Identity")
)
TRANSPOSE_MATMUL = Operator(
    "TransposeMatMul",
    ORT,
    kind="product",
    factors=(0, 1),
    like="Gemm",
    weights=WeightLayout(
        outputs=-1,
        inputs=-2,
        channels=-1,
        swapped_by="transB",
        x_swapped_by="transA",
        scale="alpha",
    ),
    substitute=Substitute("Einsum", (0, 1)),
)


@pytest.fixture
def known() -> Iterator[Callable[[Operator], None]]:
    """Registers rows until the end of a test."""
    undoing: list[Callable[[], None]] = []
    yield lambda row: undoing.append(register(row))
    for undo in reversed(undoing):
        undo()


def settings(model: Model, *shape: int) -> Settings:
    noise = np.random.default_rng(0).normal(size=(32, *shape)).astype(np.float32)
    return Settings(calibration=dataset({"x": noise}, model.inputs, "test"), threads=1)


# --- an element-wise operator ----------------------------------------------------------------


def convolutions() -> Model:
    nodes = [
        op("Conv", "x v", "a", name="first", pads=[1, 1, 1, 1]),
        op("ScaledTanh", "a", "b", name="act", alpha=1.5, beta=0.5),
        op("Conv", "b w", "y", name="second", pads=[1, 1, 1, 1]),
    ]
    tensors = {"v": normal((16, 3, 3, 3)), "w": normal((4, 16, 3, 3))}
    return Model.from_proto(make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], tensors, opset=9))


def test_without_its_row_it_stops_what_is_behind() -> None:
    found = analyze(convolutions())
    assert {missing.op_type for missing in found.energy.unmodelled} >= {"ScaledTanh"}


def test_it_is_priced_and_fused(known: Callable[[Operator], None]) -> None:
    known(SCALED_TANH)
    found = analyze(convolutions())
    assert found.energy.unmodelled == ()
    act = found.energy.by_node["act"]
    assert (act.operations, act.fused_into) == (3 * 16 * 64, "first")


def test_it_is_pruned_around(known: Callable[[Operator], None]) -> None:
    known(SCALED_TANH)
    model = convolutions()
    done = prune(model, settings(model, 3, 8, 8), goal=Sparsity(0.5))
    weight = done.model.constants.value("w")
    assert weight is not None
    assert np.mean(weight == 0) == pytest.approx(0.5, abs=0.1)


def test_its_layer_is_timed_with_any_number_of_channels(known: Callable[[Operator], None]) -> None:
    known(SCALED_TANH)
    model = convolutions()
    (kind,) = (kind for kind in kinds_of(model) if kind.kernel.host.op_type == "ScaledTanh")
    assert kind.is_free
    probe = ProbeMaker(model, {}).layer(sized(kind, shapes_of(model), 0, 12), 2)
    assert len(Session(probe.model, 1).run(probe.feed)) == 2


def test_its_channels_are_taken_out(known: Callable[[Operator], None]) -> None:
    known(SCALED_TANH)
    model = convolutions()
    done = prune(
        model, settings(model, 3, 8, 8), goal=Sparsity(0.5), recipe=Recipe(structured=True)
    )
    assert done.model.constants.shape("v") == (8, 3, 3, 3)
    assert done.model.constants.shape("w") == (4, 8, 3, 3)
    feed = {"x": normal((2, 3, 8, 8))}
    assert Session(done.model.to_proto(), 1).run(feed)["y"].shape == (2, 4, 8, 8)


# --- an operator with weights ----------------------------------------------------------------


def products() -> Model:
    nodes = [
        op("TransposeMatMul", "x v", "a", name="first", domain=ORT, transB=1),
        op("Relu", "a", "b", name="relu"),
        op("TransposeMatMul", "b w", "y", name="second", domain=ORT, alpha=0.5),
    ]
    tensors = {"v": normal((32, 12)), "w": normal((32, 6))}
    return Model.from_proto(make_model(nodes, {"x": ("N", 12)}, ["y"], tensors))


def test_it_costs_what_a_product_costs(known: Callable[[Operator], None]) -> None:
    known(TRANSPOSE_MATMUL)
    found = analyze(products())
    assert found.energy.unmodelled == ()
    assert found.energy.by_node["first"].macs == 12 * 32
    assert found.energy.by_node["second"].macs == 32 * 6
    assert found.energy.by_node["relu"].fused_into == "first"


def test_its_weights_are_pruned_to_the_same_outputs(known: Callable[[Operator], None]) -> None:
    known(TRANSPOSE_MATMUL)
    model = products()
    found = find_layers(model)
    assert [tied.matrix(model).shape for tied in found.layers] == [(1, 32, 12), (1, 6, 32)]
    done = prune(model, settings(model, 12), goal=Sparsity(0.5))
    for name in ("v", "w"):
        weight = done.model.constants.value(name)
        assert weight is not None
        assert 0.3 < np.mean(weight == 0) < 0.7
    feed = {"x": normal((32, 12))}
    before, after = (Session(m.to_proto(), 1).run(feed)["y"] for m in (model, done.model))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_its_layers_are_timed(known: Callable[[Operator], None]) -> None:
    known(TRANSPOSE_MATMUL)
    model, shapes = products(), shapes_of(products())
    first, *_ = kinds = kinds_of(model)
    assert first.independent
    assert [kind.counts(shapes.by_scope[""]) for kind in kinds] == [(12, 32), (0, 32), (32, 6)]
    for kind in kinds:
        probe = ProbeMaker(model, {}).layer(sized(kind, shapes, 8, 4), 2)
        assert len(Session(probe.model, 1).run(probe.feed)) == 2
    layers = {
        kind.name: measured_layer((32,) if kind.independent else (), (32,), [[2.0]], kind.name)
        for kind in kinds
    }
    network = prepare_network(model, shapes, measured_machine(*layers.values()), 1)
    assert network.missing == ()


def test_its_inner_channels_are_taken_out(known: Callable[[Operator], None]) -> None:
    known(TRANSPOSE_MATMUL)
    model = products()
    done = prune(model, settings(model, 12), goal=Sparsity(0.5), recipe=Recipe(structured=True))
    assert done.model.constants.shape("v") == (16, 12)
    assert done.model.constants.shape("w") == (16, 6)
    assert Session(done.model.to_proto(), 1).run({"x": normal((2, 12))})["y"].shape == (2, 6)
