"""What stands behind layers of quantized networks: ranges that cut off, sums behind grids."""

from __future__ import annotations

import numpy as np
import pytest
from builders import loaded, normal, op

from eapc.layers import Layer, find_layers
from eapc.model import Array


def first_layer(zero: Array, second_scale: float = 0.5) -> Layer:
    """A convolution, to which x is added behind a grid of 0.5; the code of the sum's 0 is 4."""
    nodes = [
        op("Conv", "x w", "c", "conv"),
        op("QuantizeLinear", "c s z", "cq"),
        op("DequantizeLinear", "cq t z", "cd"),
        op("Add", "cd x", "sum"),
        op("QuantizeLinear", "sum s four", "y"),
    ]
    tensors: dict[str, Array] = {
        "w": normal((3, 3, 1, 1)), "z": zero, "four": np.array(4, np.uint8),
        "s": np.array(0.5, np.float32), "t": np.array(second_scale, np.float32),
    }  # fmt: skip
    nodes.append(op("DequantizeLinear", "y s four", "out"))
    if second_scale == 0.5:
        nodes[2] = op("DequantizeLinear", "cq s z", "cd")
    model = loaded(nodes, {"x": (1, 3, 4, 4)}, ["out"], tensors)
    (tied,) = find_layers(model).layers
    return tied.first


def test_a_sum_behind_a_grid_is_what_the_layer_aims_at() -> None:
    """Codes of the sum reach from (0 - 4) 0.5 to (255 - 4) 0.5."""
    layer = first_layer(np.array(100, np.uint8))
    assert layer.other == "x"
    assert layer.clipping is not None
    assert (layer.clipping.low, layer.clipping.high) == (-2.0, 125.5)


@pytest.mark.parametrize(
    ("zero", "high"), [(np.array(0, np.uint8), 127.5), (np.array(-128, np.int8), 127.5)]
)
def test_a_range_that_begins_at_zero_is_a_relu(zero: Array, high: float) -> None:
    layer = first_layer(zero)
    assert layer.other == ""
    assert layer.clipping is not None
    assert (layer.clipping.low, layer.clipping.high) == (0.0, high)


def test_a_pair_of_different_scales_is_not_passed() -> None:
    layer = first_layer(np.array(100, np.uint8), second_scale=0.25)
    assert layer.other == ""
    assert layer.clipping is not None
    assert (layer.clipping.low, layer.clipping.high) == (-50.0, 77.5)
