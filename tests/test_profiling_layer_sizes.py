"""A layer's shapes at other channel counts."""

from __future__ import annotations

import pytest
from builders import chain, loaded, normal, op
from test_profiling_layer_kinds import depthwise, kinds_of, shapes_of

from eapc.model import Model
from eapc.profiling import layer_kinds, sized
from eapc.profiling.layer_kinds import Sizing, as_wide, with_axis


def sizing_of(model: Model, place: int, *counts: int) -> Sizing:
    ins, outs = counts
    return sized(kinds_of(model)[place], shapes_of(model), ins, outs)


def weight_shape(sizing: Sizing) -> tuple[int, ...]:
    host = sizing.kind.kernel.host
    shape = sizing.shapes.shape(host, host.input(1))
    assert shape is not None
    return layer_kinds.weight_shape(host, shape, sizing)


def test_an_axis_is_replaced() -> None:
    assert with_axis((1, 2, 3), 1, 7) == (1, 7, 3)
    assert with_axis((), None, 7) == ()


def test_a_convolution_takes_both_counts() -> None:
    sizing = sizing_of(Model.from_proto(chain(["Conv", "Relu", "MaxPool"], width=16)), 0, 5, 12)
    assert sizing.read == {"x": (1, 5, 8, 8)}
    assert sizing.written == (1, 12, 8, 8)
    assert weight_shape(sizing) == (12, 5, 3, 3)
    assert as_wide((16,), sizing) == (12,)
    assert as_wide((1,), sizing) == (1,)
    # 5 * 64 words in, 12 * 64 out, 12 * 5 * 9 weights, 4 bytes each
    assert sizing.bytes == 4 * (320 + 768 + 540)


def test_a_depthwise_convolution_has_a_filter_for_each_channel() -> None:
    sizing = sizing_of(depthwise(16), 0, 0, 6)
    assert sizing.read == {"x": (1, 6, 8, 8)}
    assert weight_shape(sizing) == (6, 1, 3, 3)


@pytest.mark.parametrize(("swapped", "shape"), [(1, (3, 40)), (0, (40, 3))])
def test_a_product_behind_a_flatten_has_several_features_per_channel(
    swapped: int, shape: tuple[int, int]
) -> None:
    weights = normal((5, 128) if swapped else (128, 5))
    node = op("Gemm", "x w", "y", transB=swapped)
    model = loaded([node], {"x": (1, 128)}, ["y"], {"w": weights})
    assert weight_shape(sizing_of(model, 0, 40, 3)) == shape


def test_a_transposed_convolution_has_its_inputs_first() -> None:
    model = loaded(
        [op("ConvTranspose", "x w", "y")], {"x": (1, 8, 4, 4)}, ["y"], {"w": normal((8, 6, 2, 2))}
    )
    assert weight_shape(sizing_of(model, 0, 3, 2)) == (3, 2, 2, 2)


def test_what_a_concatenation_joins_shrinks_in_proportion() -> None:
    inputs = {"a": (1, 8, 4, 4), "b": (1, 24, 4, 4)}
    model = loaded([op("Concat", "a b", "y", axis=1)], inputs, ["y"])
    sizing = sizing_of(model, 0, 0, 16)
    assert sizing.read == {"a": (1, 4, 4, 4), "b": (1, 12, 4, 4)}
    assert sizing.written == (1, 16, 4, 4)
