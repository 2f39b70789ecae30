"""Tiles and fetches against loops walked step by step."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_simulation import shapes, walk

from eapc.dataflow.tiling import Extents, Steps, fetches, position_tiles, positions_at

sizes = st.integers(1, 4)
small_layers = st.builds(
    Extents,
    batch=st.integers(1, 3),
    filters=sizes,
    channels=sizes,
    rows=sizes,
    columns=sizes,
    filter_rows=st.integers(1, 3),
    filter_columns=st.integers(1, 3),
    stride_rows=st.integers(1, 3),
    stride_columns=st.integers(1, 3),
    dilation_rows=st.integers(1, 3),
    dilation_columns=st.integers(1, 3),
)


def one(value: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([value], dtype=np.int64)


def test_fetches_by_hand() -> None:
    steps = Steps(one(3), one(5), one(7))
    assert [int(x[0]) for x in map(np.atleast_1d, fetches(steps, "pmc"))] == [3, 5, 1]
    assert [int(x[0]) for x in map(np.atleast_1d, fetches(steps, "mpc"))] == [3, 5, 1]
    assert [int(x[0]) for x in map(np.atleast_1d, fetches(steps, "mcp"))] == [1, 5, 7]
    whole = Steps(one(3), one(5), one(1))
    assert [int(x[0]) for x in map(np.atleast_1d, fetches(whole, "pmc"))] == [3, 1, 1]
    assert [int(x[0]) for x in map(np.atleast_1d, fetches(whole, "mpc"))] == [1, 5, 1]


def test_overlapping_strips_by_hand() -> None:
    layer = Extents(2, 1, 1, rows=13, columns=13, filter_rows=3, filter_columns=3)
    strips = positions_at(layer, one(1), one(4), one(13))
    assert (int(strips.tiles[0]), int(strips.tile_words[0])) == (8, 6 * 15)
    assert int(strips.fetched_words[0]) == 2 * (3 * 6 + 3) * 15


def test_dilated_layers_may_be_divided_unevenly() -> None:
    layer = Extents(1, 1, 1, rows=4, columns=1, filter_rows=3, dilation_rows=2)
    strips = position_tiles(layer, 3)
    fetched = strips.fetched_words[strips.tiles == 2]
    assert fetched.min() == 7 + 3  # rows 0 to 6, then one more ofmap row; two and two take 12


def test_words_that_a_stride_skips_are_not_fetched() -> None:
    pointwise = Extents(1, 1, 1, rows=8, columns=8, stride_rows=2, stride_columns=2)
    assert pointwise.ifmap_words == 64
    apart = Extents(1, 1, 1, 1, 4, filter_columns=3, stride_columns=5)
    assert apart.ifmap_words == 12
    assert apart.ifmap_columns == 18
    dilated = Extents(1, 1, 1, 1, 4, filter_columns=3, stride_columns=2, dilation_columns=2)
    assert dilated.ifmap_words == 6  # columns 0, 2, .., 10
    uneven = Extents(1, 1, 1, 4, 4, 3, 3, stride_rows=1, stride_columns=2)
    assert uneven.ifmap_words == 6 * 9


@given(small_layers)
def test_no_division_fetches_less_than_the_whole(layer: Extents) -> None:
    assert position_tiles(layer, layer.positions).fetched_words.min() == layer.ifmap_words


@settings(max_examples=60, deadline=None)
@given(small_layers, st.data())
def test_fetches_are_those_of_the_walked_loops(layer: Extents, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(list(shapes(layer))))
    m, c = data.draw(st.integers(1, layer.filters)), data.draw(st.integers(1, layer.channels))
    at = positions_at(layer, *(one(size) for size in shape))
    steps = Steps(at.tiles, -(-layer.filters // one(m)), -(-layer.channels // one(c)))
    for order in map("".join, permutations("pmc")):
        times, walked = fetches(steps, order), walk(layer, shape, m, c, order)
        words = layer.filters * layer.depth
        assert walked.weights == words * int(np.max(times.weights))
        assert walked.ifmap == int(at.fetched_words[0]) * layer.channels * int(np.max(times.ifmap))
        assert walked.psum_leaves == int(np.max(times.ofmap))
        assert walked.tile_words == int(at.tile_words[0])


@given(small_layers, st.integers(1, 20))
def test_every_number_of_tiles_has_its_smallest_tile(layer: Extents, most: int) -> None:
    found = position_tiles(layer, most)
    assert (found.size <= most).all()
    offered: dict[int, int] = {}
    for tiles, words in zip(found.tiles.tolist(), found.fetched_words.tolist(), strict=True):
        offered[tiles] = min(words, offered.get(tiles, words))
    for shape in shapes(layer):
        at = positions_at(layer, *(one(size) for size in shape))
        if int(at.size[0]) <= most:
            assert offered[int(at.tiles[0])] <= int(at.fetched_words[0])


def test_lowering_keeps_the_macs() -> None:
    layer = Extents(2, 5, 3, 7, 9, 3, 2, stride_rows=2)
    product = layer.lowered()
    assert product.depth * product.positions == layer.depth * layer.positions
    assert (product.taps, product.channels, product.columns) == (1, 18, 126)
