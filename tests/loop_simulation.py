"""Loop nests walked through step by step: what formulas of fetches are held against."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from eapc.dataflow.tiling import Extents

Box = tuple[range, range, range]


class Walk(NamedTuple):
    """Words fetched, and how often a tile of psums was left per tile of the ofmap."""

    weights: int
    ifmap: int
    psum_leaves: float
    tile_words: int


def pieces(total: int, size: int) -> list[range]:
    return [range(at, min(at + size, total)) for at in range(0, total, size)]


def shapes(extents: Extents) -> Iterator[tuple[int, int, int]]:
    """Every n, e, f that divides positions along one axis."""
    for f in range(1, extents.columns + 1):
        yield 1, 1, f
    for e in range(1, extents.rows + 1):
        yield 1, e, extents.columns
    for n in range(1, extents.batch + 1):
        yield n, extents.rows, extents.columns


def ifmap_words(extents: Extents, box: Box) -> int:
    """Words per channel that some tap reads."""
    n, rows, columns = box
    read_rows = {
        row * extents.stride_rows + tap * extents.dilation_rows
        for row in rows
        for tap in range(extents.filter_rows)
    }
    read_columns = {
        column * extents.stride_columns + tap * extents.dilation_columns
        for column in columns
        for tap in range(extents.filter_columns)
    }
    return len(n) * len(read_rows) * len(read_columns)


def walk(extents: Extents, shape: tuple[int, int, int], m: int, c: int, order: str) -> Walk:
    """One buffer per operand, refilled when the step needs another tile."""
    n, e, f = shape
    boxes = list(
        itertools.product(
            pieces(extents.batch, n), pieces(extents.rows, e), pieces(extents.columns, f)
        )
    )
    filters, channels = pieces(extents.filters, m), pieces(extents.channels, c)
    loops = {"p": range(len(boxes)), "m": range(len(filters)), "c": range(len(channels))}
    held: dict[str, tuple[int, ...]] = {}
    weights = ifmap = leaves = 0
    for step in itertools.product(*(loops[name] for name in order)):
        at = dict(zip(order, step, strict=True))
        if held.get("weights") != (at["m"], at["c"]):
            weights += len(filters[at["m"]]) * len(channels[at["c"]]) * extents.taps
        if held.get("ifmap") != (at["p"], at["c"]):
            ifmap += len(channels[at["c"]]) * ifmap_words(extents, boxes[at["p"]])
        leaves += held.get("ofmap") != (at["p"], at["m"])
        held = {
            "weights": (at["m"], at["c"]),
            "ifmap": (at["p"], at["c"]),
            "ofmap": (at["p"], at["m"]),
        }
    largest = max(ifmap_words(extents, box) for box in boxes)
    return Walk(weights, ifmap, leaves / (len(boxes) * len(filters)), largest)
