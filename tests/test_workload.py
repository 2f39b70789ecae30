"""Loop nests: their counts, and padding held against brute force."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eapc.workload import ConvWorkload, MacFractions, OperandDensities, StreamWorkload, same_padding
from eapc.workload.mac_operators import SpatialAxis


def test_counts_of_a_convolution() -> None:
    """AlexNet's CONV2: 5x5 filters on two groups of 48 channels, padded to 31 x 31."""
    layer = ConvWorkload(2, 2, 128, 48, 27, 27, 5, 5)
    assert layer.macs == 2 * 256 * 48 * 25 * 27 * 27
    assert layer.weight_words == 256 * 48 * 25
    assert layer.ofmap_words == 2 * 256 * 27 * 27
    assert (layer.ifmap_rows, layer.ifmap_columns) == (31, 31)
    assert layer.ifmap_words == 2 * 96 * 31 * 31


def test_strides_and_dilations_widen_the_ifmap() -> None:
    layer = ConvWorkload(
        1, 1, 1, 1, 4, 5, 3, 2, stride_rows=2, stride_columns=3, dilation_rows=2, dilation_columns=4
    )
    assert (layer.ifmap_rows, layer.ifmap_columns) == (3 * 2 + 5, 4 * 3 + 5)


def test_nonskipped_macs_need_two_words_that_are_not_zero() -> None:
    layer = ConvWorkload(
        1, 1, 10, 10, 1, 1, densities=OperandDensities(0.5, 0.2, 0.9), unpadded_fraction=0.5
    )
    assert layer.nonskipped_macs == pytest.approx(100 * 0.5 * 0.5 * 0.2)


def test_counted_macs_come_before_densities() -> None:
    densities = OperandDensities(0.5, 0.2, 0.9, MacFractions(0.25, 0.5))
    layer = ConvWorkload(1, 1, 10, 10, 1, 1, densities=densities, unpadded_fraction=0.5)
    assert (layer.nonskipped_macs, layer.macs_on_ifmap) == (25, 50)
    plain = replace(layer, densities=OperandDensities(0.5, 0.2, 0.9))
    assert plain.macs_on_ifmap == pytest.approx(100 * 0.5 * 0.2)


def test_sparser_weights_take_counted_macs_along() -> None:
    own = OperandDensities(0.5, 0.2, 0.9, MacFractions(0.25, 0.5))
    assert own.with_weights_at_most(0.6) is own
    assert own.with_weights_at_most(0.1) == OperandDensities(0.1, 0.2, 0.9, MacFractions(0.05, 0.5))
    assert OperandDensities(0.5).with_weights_at_most(0.1) == OperandDensities(0.1)
    empty = OperandDensities(0.0, 0.2, 0.9, MacFractions(0.0, 0.5))
    assert empty.with_weights_at_most(0.0) is empty


def test_a_stream_has_no_macs() -> None:
    assert StreamWorkload(operations=5, ifmap_words=3).macs == 0


axes = st.fixed_dictionaries(
    {
        "size": st.integers(1, 12),
        "kernel": st.integers(1, 5),
        "stride": st.integers(1, 4),
        "dilation": st.integers(1, 3),
    }
)
pads = st.tuples(st.integers(0, 6), st.integers(0, 6))


def brute_force(
    size: int, output: int, kernel: int, stride: int, dilation: int, begin: int
) -> float:
    reads = [o * stride + t * dilation - begin for o in range(output) for t in range(kernel)]
    return sum(0 <= position < size for position in reads) / len(reads)


def output_extent(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    """Output positions of a sliding window along one axis (ONNX Conv, floor rounding)."""
    return (size + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1


@given(axes, pads)
def test_unpadded_taps_are_those_that_brute_force_counts(
    axis: dict[str, int], pad: tuple[int, int]
) -> None:
    output = output_extent(**axis, pads=pad)
    if output < 1:
        return
    found = SpatialAxis(**axis, output=output, pad_begin=pad[0]).unpadded
    assert found == pytest.approx(brute_force(**axis, output=output, begin=pad[0]))


def test_unpadded_taps_by_hand() -> None:
    # size 4, three taps, one word of padding at either end: 2 of 12 reads fall on padding
    assert SpatialAxis(4, 4, 3, 1, 1, 1).unpadded == pytest.approx(10 / 12)
    assert SpatialAxis(4, 2, 3, 1, 1, 0).unpadded == 1
    assert SpatialAxis(4, 0, 3, 1, 1, 0).unpadded == 1


@given(axes)
def test_same_padding_keeps_the_ceiling_of_size_over_stride(axis: dict[str, int]) -> None:
    output = -(-axis["size"] // axis["stride"])
    begin, end = same_padding(
        axis["size"], output, axis["kernel"], axis["stride"], axis["dilation"]
    )
    assert end - begin in (0, 1)
    assert output_extent(**axis, pads=(begin, end)) == output
