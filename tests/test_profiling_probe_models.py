"""Probes run, compute what they are made for, and differ by the layer alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from builders import chain, loaded, op, replaceable
from test_profiling_kernels import residual
from test_profiling_layer_kinds import depthwise, kinds_of, shapes_of

from eapc.model import Model
from eapc.profiling import Probe, ProbeMaker, sized
from eapc.profiling.layer_kinds import NotTimedError
from eapc.profiling.probe_models import readers_of
from eapc.runtime import Session, optimised_model

MODELS: dict[str, Callable[[], Model]] = {
    "plain": lambda: Model.from_proto(
        chain(["Conv", "BatchNormalization", "Relu", "MaxPool", "GlobalAveragePool", "Flatten"])
    ),
    "classifier": lambda: Model.from_proto(
        chain(["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm", "Softmax"], width=16)
    ),
    "residual": residual,
    "depthwise": lambda: depthwise(16),
    "opset 9": lambda: loaded([op("Relu", "x", "y")], {"x": (1, 4, 4, 4)}, ["y"], opset=9),
}


def run(probe: Probe) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return Session(probe.model, 1).run(probe.feed)


def op_counts(probe: Probe) -> Counter[str]:
    return Counter(node.op_type for node in probe.model.graph.node)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_probes_of_every_layer_run(name: str, share: float) -> None:
    model = MODELS[name]()
    maker, shapes = ProbeMaker(model, {}), shapes_of(model)
    for kind in kinds_of(model):
        ins, outs = (int(count * share) for count in kind.counts(shapes.by_scope[""]))
        sizing = sized(kind, shapes, ins, outs)
        for probe in (maker.bare(sizing, 2), maker.layer(sizing, 2)):
            outputs = run(probe)
            assert all(np.isfinite(array).all() for array in outputs.values())
        # each copy is a layer of its own, beside the same neighbours and readers
        added = op_counts(maker.layer(sizing, 2)) - op_counts(maker.layer(sizing, 1))
        assert added >= Counter(node.op_type for node in kind.kernel.nodes)


def test_readers_are_told_apart_by_layout() -> None:
    model = residual()
    sizing = sized(kinds_of(model)[0], shapes_of(model), 16, 16)
    (_, more), *_, (handed, fewer) = readers_of(sizing)
    assert (more, fewer) == (1, -1)
    assert handed.layout == "plain"
    assert handed.dtype == np.float32
    maker = ProbeMaker(model, {})
    assert len(run(maker.bare(sizing, 3, readers=2))) == 6


def test_an_empty_probe_is_one_node() -> None:
    probe = ProbeMaker(residual(), {}).empty()
    assert len(probe.model.graph.node) == 1
    assert len(run(probe)) == 1


def test_values_that_decide_about_the_work_have_to_be_known() -> None:
    nodes = [op("Shape", "x", "s"), op("Identity", "s", "t"), op("Expand", "r t", "y")]
    nodes.insert(0, op("Relu", "x", "r"))
    model = loaded(nodes, {"x": (2, 3)}, ["y"])
    for kind in kinds_of(model):
        if kind.kernel.host.op_type == "Expand":
            assert "t" not in kind.kernel.inputs
    scaled = loaded([op("Add", "x c", "y")], {"x": (1, 4)}, ["y"], {"c": np.ones((), np.float32)})
    (kind,) = kinds_of(scaled)
    assert run(ProbeMaker(scaled, {}).layer(sized(kind, shapes_of(scaled), 0, 2), 1))


def test_a_constant_without_a_value_is_an_error() -> None:
    nodes = [op("ConstantOfShape", "n", "c"), op("Cast", "c", "d", to=7), op("Tile", "x d", "y")]
    model = loaded(nodes, {"x": (2, 2)}, ["y"], {"n": np.array([2], np.int64)})
    for kind in kinds_of(model):
        sizing = sized(kind, shapes_of(model), *kind.counts(shapes_of(model).by_scope[""]))
        with pytest.raises(NotTimedError, match="the value of 'd' is unknown"):
            ProbeMaker(model, {}).layer(sizing, 1)


def test_a_probe_leaves_what_the_network_leaves_to_callers() -> None:
    """What may be replaced is neither folded nor packed, so the convolution stays plain."""
    ops = ["Conv", "BatchNormalization", "Relu"]
    for proto, fused in ((chain(ops), True), (replaceable(chain(ops)), False)):
        model = Model.from_proto(proto)
        shapes, (kind, *_) = shapes_of(model), kinds_of(model)
        probe = ProbeMaker(model, {}).layer(sized(kind, shapes, 3, 8), 2)
        assert all(np.isfinite(array).all() for array in run(probe).values())
        given = {spec.name for spec in Model.from_proto(probe.model).inputs}
        assert given == probe.feed.keys()
        nodes = optimised_model(probe.model, 1).graph.node
        plain = [n for n in nodes if "Conv" in n.op_type and not n.domain.endswith("nchwc")]
        assert bool(plain) != fused
