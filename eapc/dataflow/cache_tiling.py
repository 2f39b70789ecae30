"""The tile of one level of a cache hierarchy; `cache_hierarchy` has the equations."""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np

from eapc.dataflow.execution import Accesses, PerOperand, Tile, Widths
from eapc.dataflow.integers import Floats, Ints, ceil_div, smallest_divisors
from eapc.dataflow.tiling import Extents, Positions, Steps, fetches, position_tiles

ORDERS = tuple("".join(order) for order in permutations("pmc"))


class Traffic(NamedTuple):
    """What passes into the tile at hand: words, and how often enclosing loops repeat them.

    `weights` and `ofmap` are the layer's words; `ifmap` those of all tiles at hand. Words are
    the machine's: half a one for an operand of half its width.
    """

    weights: float
    ifmap: float
    ofmap: float
    steps: Steps[int] = Steps(1, 1, 1)


class CacheRoom(NamedTuple):
    """A level's bits, what operands take of them, and whether weights pass through the level."""

    bits: int
    widths: Widths
    holds_weights: bool


class Grid(NamedTuple):
    """Candidate tiles of one level: positions by filters, with the most channels that fit."""

    positions: Positions
    filters: Ints
    channels: Ints
    steps: Steps[Ints]


class TileChoice(NamedTuple):
    """A level's tile and loops, and the words that pass into the level.

    `order` has the loops around the tile, the slowest first (p: positions, m: filters,
    c: channels). The registers' tile is that of the layer lowered to a matrix product: its
    `f_ofmap_columns` are positions and its `c_channels` taps of all channels.
    """

    tile: Tile
    order: str
    steps: Steps[int]
    words: Accesses
    refetched_ifmap: float


def best_tile(
    extents: Extents, traffic: Traffic, room: CacheRoom, prices: PerOperand[float]
) -> TileChoice | None:
    """The tile and order of cheapest transfers into a level; None if nothing fits.

    `prices` are the energy of a word on its way into the level: read outside, written inside.
    Ties go to the tile of fewest steps, then to the first order.
    """
    grid = _grid(extents, room)
    if not len(grid.filters):
        return None
    overlap = grid.positions.fetched_words / extents.ifmap_words
    words = [_words(traffic, room, grid, overlap, order) for order in ORDERS]
    costs = np.stack(
        [
            prices.weights * moved.weights + prices.ifmap * moved.ifmap + prices.ofmap * moved.ofmap
            for moved in words
        ]
    )
    many = grid.steps.p * grid.steps.m * grid.steps.c
    order, at = divmod(int(np.lexsort((np.tile(many, len(ORDERS)), costs.ravel()))[0]), len(many))
    sizes = (*grid.positions[:3], grid.filters, grid.channels)
    return TileChoice(
        tile=Tile(*(int(axis[at]) for axis in sizes)),
        order=ORDERS[order],
        steps=Steps(*(int(axis[at]) for axis in grid.steps)),
        words=Accesses(*(float(moved[at]) for moved in words[order])),
        refetched_ifmap=float(traffic.ifmap * overlap[at]),
    )


def _grid(extents: Extents, room: CacheRoom) -> Grid:
    """Positions by filters; of the channels as many as fit beside the psums."""
    widths = room.widths
    positions = position_tiles(extents, min(extents.positions, room.bits // widths.psum))
    filters = smallest_divisors(extents.filters, extents.filters)
    size, m = positions.size[:, None], filters[None, :]
    weights = m * (extents.taps * widths.weights) if room.holds_weights else 0
    per_channel = positions.tile_words[:, None] * widths.ifmap + weights
    channels = np.minimum((room.bits - widths.psum * size * m) // per_channel, extents.channels)
    at, to = np.nonzero(channels > 0)
    kept = positions.select(at)
    c = channels[at, to]
    steps = Steps(kept.tiles, ceil_div(extents.filters, filters[to]), ceil_div(extents.channels, c))
    return Grid(kept, filters[to], c, steps)


def _words(
    traffic: Traffic, room: CacheRoom, grid: Grid, overlap: Floats, order: str
) -> PerOperand[Floats]:
    """Words that pass into the level under each candidate."""
    times = fetches(grid.steps, order)
    left = traffic.steps.c * times.ofmap
    psum = room.widths.psum / room.widths.ofmap
    return PerOperand(
        traffic.weights * traffic.steps.p * times.weights,
        traffic.ifmap * overlap * traffic.steps.m * times.ifmap,
        traffic.ofmap * (1 + 2 * psum * (left - 1)),
    )
