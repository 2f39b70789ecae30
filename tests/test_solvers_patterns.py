"""Patterns of survivors: their masks by hand, what they allow, and their spelling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eapc.errors import UsageError
from eapc.solvers import PATTERNS, Pattern, parse_pattern
from eapc.solvers.patterns import BlockTiles, NOfM, Unstructured

Float32 = NDArray[np.float32]

SPELLINGS = ("unstructured", "1:3", "2:4", "4:8", "block:4x1", "block:2x3", "kernel")


def mask_of(
    text: str, values: Sequence[Sequence[float]], nonzeros: int, positions: int = 1
) -> list[str]:
    """Rows of one group's mask, as strings of 0 and 1."""
    mask = parse_pattern(text, positions).mask(np.array([values], np.float32), nonzeros)
    return ["".join(str(int(bit)) for bit in row) for row in mask[0]]


def test_two_of_four_by_hand() -> None:
    rows = [[1, -4, 3, 2, 9, 8, 7, 6], [0, 0, 0, 0, 5, -5, 5, 5]]
    assert mask_of("2:4", rows, 0) == ["01101100", "11001100"]  # the first of equals


def test_channels_left_over_stay_dense() -> None:
    assert mask_of("1:4", [[1, 2, 3, 4, 0.1, 0.2]], 0) == ["000111"]
    assert mask_of("2:4", [[1, 2, 3]], 0) == ["111"]


def test_channels_are_grouped_at_one_kernel_position() -> None:
    # Two positions of three channels: 1, 2, 3 at the first, 6, 5, 4 at the second.
    row = [[1, 2, 3, 6, 5, 4]]
    assert mask_of("1:2", row, 0, positions=2) == ["011101"]
    assert mask_of("1:3", row, 0, positions=2) == ["001100"]
    assert mask_of("1:3", row, 0, positions=1) == ["001100"]
    assert mask_of("1:2", row, 0, positions=1) == ["010110"]


def test_blocks_by_hand() -> None:
    # Mean squares of the 2x2 blocks: (1 + 1 + 1 + 1) / 4 against 9 / 4.
    rows = [[1, 1, 0, 3], [1, 1, 0, 0]]
    assert mask_of("block:2x2", rows, 4) == ["0011", "0011"]
    assert mask_of("block:2x2", rows, 7) == ["0011", "0011"]
    assert mask_of("block:2x1", rows, 4) == ["1001", "1001"]
    assert mask_of("block:1x2", rows, 4) == ["1111", "0000"]


def test_blocks_do_not_cross_kernel_positions() -> None:
    row = [[5, 0, 1, 4, 0, 3]]  # at two positions of three channels: blocks of two and of one
    assert mask_of("block:1x2", row, 3, positions=2) == ["110001"]
    assert mask_of("block:1x2", row, 3, positions=1) == ["110000"]


def test_edge_blocks_count_by_their_own_size() -> None:
    # Mean squares 1, 4 and 9; the edge block has one entry.
    assert mask_of("block:1x2", [[1, 1, 2, 2, 3]], 1) == ["00001"]
    assert mask_of("block:1x2", [[1, 1, 2, 2, 3]], 2) == ["00001"]
    assert mask_of("block:1x2", [[1, 1, 2, 2, 3]], 3) == ["00111"]


def test_whole_kernels_by_hand() -> None:
    # Two positions of three channels; kernels (1, 6), (5, 5), (3, 4).
    assert mask_of("kernel", [[1, 5, 3, 6, 5, 4]], 2, positions=2) == ["010010"]
    assert mask_of("kernel", [[1, 5, 3, 6, 5, 4]], 5, positions=2) == ["110110"]
    assert mask_of("kernel", [[1, 5, 3]], 2) == ["011"]


@pytest.mark.parametrize("size", [1e-42, 1e30])
@pytest.mark.parametrize("text", SPELLINGS)
def test_masks_do_not_depend_on_the_scale(text: str, size: float) -> None:
    rng = np.random.default_rng(0)
    values = np.asarray(rng.integers(-9, 10, (1, 4, 12)), np.float32)
    pattern = parse_pattern(text, 2)
    np.testing.assert_array_equal(
        pattern.mask(values * np.float32(size), 24), pattern.mask(values, 24)
    )


def expected_to_be_met(pattern: Pattern, mask: NDArray[np.bool_], positions: int) -> None:
    """Check a mask against the words of its pattern, not against its code."""
    groups, rows, k = mask.shape
    spread = mask.reshape(groups, rows, positions, k // positions)
    if isinstance(pattern, NOfM):
        whole = spread.shape[-1] // pattern.m * pattern.m
        for begin in range(0, whole, pattern.m):
            assert (spread[..., begin : begin + pattern.m].sum(-1) == pattern.n).all()
        assert spread[..., whole:].all()
    if isinstance(pattern, BlockTiles):
        for row in range(0, rows, pattern.rows):
            for position in range(0, positions, pattern.depth):
                for channel in range(0, k // positions, pattern.channels):
                    tile = spread[
                        :,
                        row : row + pattern.rows,
                        position : position + pattern.depth,
                        channel : channel + pattern.channels,
                    ].reshape(groups, -1)
                    assert (tile.all(1) | ~tile.any(1)).all()


@settings(deadline=None, max_examples=150)
@given(
    text=st.sampled_from(SPELLINGS),
    groups=st.integers(1, 2),
    rows=st.integers(1, 6),
    positions=st.integers(1, 4),
    channels=st.integers(1, 9),
    density=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_every_mask_meets_its_pattern(
    text: str, groups: int, rows: int, positions: int, channels: int, density: float, seed: int
) -> None:
    shape = (groups, rows, positions * channels)
    values = np.asarray(np.random.default_rng(seed).integers(-4, 5, shape), np.float32)
    pattern = parse_pattern(text, positions)
    nonzeros = int(density * values.size)
    mask = pattern.mask(values, nonzeros)
    expected_to_be_met(pattern, mask, positions)
    kept = np.count_nonzero(mask)
    if text not in ("block:4x1", "block:2x3"):  # which have smaller tiles at the edge
        assert kept == pattern.attainable(shape, nonzeros)
    assert kept <= pattern.attainable(shape, nonzeros)
    np.testing.assert_array_equal(pattern.mask(values, nonzeros), mask)
    dense = pattern.mask(values, values.size)
    assert dense.all() or isinstance(pattern, NOfM)


@settings(deadline=None, max_examples=60)
@given(
    text=st.sampled_from(SPELLINGS),
    positions=st.integers(1, 4),
    channels=st.integers(1, 40),
    width=st.integers(1, 50),
)
def test_parts_cover_every_column_and_compose(
    text: str, positions: int, channels: int, width: int
) -> None:
    k = positions * channels
    pattern = parse_pattern(text, positions)
    parts = list(pattern.mask_blocks(k, width))
    columns = np.concatenate([part for part, _ in parts])
    assert sorted(columns) == list(range(k))
    values = np.random.default_rng(k).standard_normal((1, 4, k)).astype(np.float32)
    mask = np.zeros(values.shape, bool)
    for part, inner in parts:
        mask[:, :, part] = inner.mask(values[:, :, part], 2 * len(part))
    expected_to_be_met(pattern, mask, positions)


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_thinned_mask_grows_into_the_whole(text: str) -> None:
    pattern = parse_pattern(text, 2)
    values = np.random.default_rng(1).standard_normal((1, 12, 48)).astype(np.float32)
    few = pattern.thinned(0.5).mask(values, 144)
    many = pattern.mask(values, 288)
    assert 0 <= np.count_nonzero(few) < np.count_nonzero(many)
    assert (few <= many).all()


def test_what_a_request_can_attain() -> None:
    assert parse_pattern("2:4").attainable((1, 3, 10), 5) == 3 * (2 * 2 + 2)
    assert parse_pattern("2:4", 2).attainable((2, 3, 20), 0) == 2 * 3 * 2 * (2 * 2 + 2)
    assert parse_pattern("unstructured").attainable((1, 3, 10), 99) == 30
    assert parse_pattern("block:4x1").attainable((1, 8, 10), 31) == 28
    assert parse_pattern("block:4x1").attainable((1, 9, 10), 31) == 31
    assert parse_pattern("kernel", 9).attainable((1, 4, 18), 30) == 27


def test_spellings() -> None:
    assert parse_pattern("unstructured", 9) == Unstructured()
    assert parse_pattern("3:16", 9) == NOfM(3, 16, 9)
    assert parse_pattern("block:8x2", 9) == BlockTiles(8, 1, 2, 9)
    assert parse_pattern("kernel", 9) == BlockTiles(1, 9, 1, 9)
    with pytest.raises(UsageError, match=f"unknown pattern 'cross'.*{', '.join(PATTERNS)}"):
        parse_pattern("cross")
    for text, remedy in (
        ("5:4", "1 <= N < M"),
        ("4:4", "such as 2:4"),
        ("0:4", "1 <= N < M"),
        ("block:0x1", "sides"),
    ):
        with pytest.raises(UsageError, match=remedy):
            parse_pattern(text)


def test_the_plain_projection_is_the_unstructured_mask() -> None:
    values = np.array([[[3, -5, 1]]], np.float32)
    np.testing.assert_array_equal(Unstructured().mask(values, 1), [[[0, 1, 0]]])
