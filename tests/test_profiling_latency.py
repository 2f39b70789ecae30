"""A network's latency read off a profile."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace

import pytest
from builders import chain
from measured_builders import measured_layer, measured_machine
from test_profiling_layer_kinds import kinds_of, shapes_of

from eapc.hardware import MeasuredMachine
from eapc.model import Model, Shapes
from eapc.profiling import prepare_network

OPS = ["Conv", "Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
MODEL = Model.from_proto(chain(OPS, width=32))


def machine(
    without: str = "none",
    inputs: tuple[int, int] = (8, 32),
    model: Model = MODEL,
    outputs: tuple[int, int] = (16, 32),
) -> MeasuredMachine:
    """Every layer of the model, a millisecond for each of two blocks of output channels."""
    layers = {}
    for kind in kinds_of(model):
        if kind.kernel.host.op_type == without:
            continue
        ins = inputs if kind.independent else ()
        rows = [[1, 2]] * max(1, len(ins))
        layers[kind.name] = measured_layer(ins, outputs, rows, kind.name)
    return measured_machine(*layers.values())


def test_every_layer_has_its_time() -> None:
    shapes = shapes_of(MODEL)
    network = prepare_network(MODEL, shapes, machine(), 1)
    assert network.missing == ()
    assert network.network_ms(shapes) == {
        "Conv_0": 2,
        "Conv_2": 2,
        "GlobalAveragePool_4": 2,
        "Flatten_5": 2,
        "Gemm_6": 1,
    }
    assert network.fused_into == {"Relu_1": "Conv_0", "Relu_3": "Conv_2"}
    assert network.counts(shapes)["Conv_2"] == (32, 32)
    assert network.step_edges("Conv_2") == ((32,), (16, 32))


def with_channels(shapes: Shapes, tensors: dict[str, int]) -> Shapes:
    """The shapes with other channels for some tensors."""
    specs = dict(shapes.by_scope[""])
    for name, count in tensors.items():
        spec = specs[name]
        specs[name] = replace(spec, shape=(spec.shape[0], count, *spec.shape[2:]))
    return Shapes({**shapes.by_scope, "": ChainMap(specs)})


def test_shapes_with_fewer_channels_are_read_off_without_preparing_anew() -> None:
    shapes = shapes_of(MODEL)
    network = prepare_network(MODEL, shapes, machine(), 1)
    fewer = with_channels(shapes, {"Conv_0_out": 16, "Relu_1_out": 16})
    assert network.network_ms(fewer)["Conv_0"] == 1
    assert network.network_ms(fewer)["Conv_2"] == 2
    assert network.counts(fewer)["Conv_2"] == (16, 32)
    assert network.network_ms(with_channels(shapes, {"Relu_1_out": 17}))["Conv_0"] == 2


def test_what_was_not_measured_is_listed_with_the_reason() -> None:
    shapes = shapes_of(MODEL)
    network = prepare_network(MODEL, shapes, machine(without="Gemm"), 1)
    (missing,) = network.missing
    assert missing.key == "Gemm_6"
    assert missing.reason == "no such layer in here (batch 1); profile this model"
    assert "Gemm_6" not in network.network_ms(shapes)
    with pytest.raises(KeyError):
        network.step_edges("Gemm_6")
