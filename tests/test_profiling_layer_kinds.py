"""Which kernels are the same layer."""

from __future__ import annotations

import pytest
from builders import Array, chain, loaded, normal, op, replaceable, value

from eapc.model import Model, Shapes, infer_shapes, input_shapes
from eapc.profiling import LayerKind, constant_tensors, find_kernels, layer_kind
from eapc.profiling.layer_kinds import NotTimedError
from eapc.runtime import optimised_model


def shapes_of(model: Model) -> Shapes:
    return infer_shapes(model, input_shapes(model, {}, None))


def kinds_of(model: Model) -> list[LayerKind]:
    optimised = optimised_model(model.to_proto(), 1)
    constants = constant_tensors(model, optimised)
    kernels = find_kernels(model, optimised)
    return [layer_kind(kernel, shapes_of(model), constants) for kernel in kernels]


def test_layers_that_differ_in_channels_are_one() -> None:
    def kind(width: int) -> LayerKind:
        model = Model.from_proto(chain(["Conv", "Relu", "MaxPool", "Conv"], width=width))
        return kinds_of(model)[0]

    assert kind(16).name == kind(32).name
    assert "1x*x8x8" in kind(16).name
    assert kind(16).name != kinds_of(Model.from_proto(chain(["Conv", "MaxPool"], width=16)))[0].name


def test_counts_of_independent_axes() -> None:
    model = Model.from_proto(chain(["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]))
    specs = shapes_of(model).by_scope[""]
    kinds = kinds_of(model)
    assert [kind.counts(specs) for kind in kinds] == [(3, 8), (0, 8), (0, 8), (8, 5)]
    assert [kind.independent for kind in kinds] == [True, False, False, True]
    assert all(kind.is_free for kind in kinds)


def depthwise(channels: int) -> Model:
    weights: dict[str, Array] = {"w": normal((channels, 1, 3, 3))}
    node = op("Conv", "x w", "y", group=channels)
    return loaded([node], {"x": (1, channels, 8, 8)}, ["y"], weights)


def test_a_depthwise_convolution_has_one_axis() -> None:
    kind, wider = kinds_of(depthwise(16))[0], kinds_of(depthwise(32))[0]
    assert kind.name == wider.name
    assert not kind.independent
    assert kind.is_free
    assert kind.counts(shapes_of(depthwise(16)).by_scope[""]) == (0, 16)


def test_a_grouped_convolution_keeps_its_channels() -> None:
    node = op("Conv", "x w", "y", group=2)
    model = loaded([node], {"x": (1, 8, 4, 4)}, ["y"], {"w": normal((8, 4, 3, 3))})
    assert not kinds_of(model)[0].is_free


def test_a_concatenation_counts_all_it_joins() -> None:
    inputs = {"a": (1, 8, 4, 4), "b": (1, 24, 4, 4)}
    model = loaded([op("Concat", "a b", "y", axis=1)], inputs, ["y"])
    (kind,) = kinds_of(model)
    assert kind.counts(shapes_of(model).by_scope[""]) == (0, 32)


def test_products_have_their_channels_last() -> None:
    node = op("MatMul", "x w", "y")
    model = loaded([node], {"x": (1, 7, 8)}, ["y"], {"w": normal((8, 12))})
    (kind,) = kinds_of(model)
    assert kind.counts(shapes_of(model).by_scope[""]) == (8, 12)
    assert "1x7x* plain -> 1x7x*" in kind.name


def test_what_cannot_be_timed_says_why() -> None:
    tiled = loaded([op("Tile", "x n", "y")], [value("x", (2,)), value("n", (1,), 7)], ["y"])
    whole = loaded([op("Abs", "x", "y")], [value("x", (1, 4), 7)], [value("y", (1, 4), 7)])
    reasons = {"the shape of 'y' is unknown": tiled, "'x' holds int64": whole}
    for reason, model in reasons.items():
        with pytest.raises(NotTimedError, match=reason):
            kinds_of(model)


def test_weights_that_may_be_replaced_make_another_layer() -> None:
    fixed = kinds_of(Model.from_proto(chain(["Conv", "Relu"])))
    given = kinds_of(Model.from_proto(replaceable(chain(["Conv", "Relu"]))))
    assert "given" not in fixed[0].name
    assert given[0].name.startswith("Conv[pads=1,1,1,1 given=1,2]")
    assert given[0].independent
