"""Row-stationary loop nests: folding layers to a machine, and counting accesses and cycles.

The dataflow is that of Chen, Emer, Sze, "Eyeriss: A Spatial Architecture for Energy-Efficient
Dataflow for Convolutional Neural Networks", ISCA 2016 [1]; the machine and the letters of its
mappings those of Chen, Krishna, Emer, Sze, "Eyeriss: An Energy-Efficient Reconfigurable
Accelerator for Deep Convolutional Neural Networks", JSSC 2017 [2].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.dataflow.integers import Ints, ceil_div, ceil_divs
from eapc.hardware import HardwareModel
from eapc.hardware_machines import RowStationaryMachine
from eapc.workload import ConvWorkload


@dataclass(frozen=True)
class Nest:
    """A layer whose filters and rows fit the machine.

    Parts of a filter count as channels of their own in `channels`, parts of an ofmap's columns
    as ifmaps of their own in `batch`; `weight_words` and `ofmap_words` are the layer's exact
    ones, without the words that round parts up to one size.
    """

    batch: int
    groups: int
    filters: int
    channels: int
    ofmap_rows: int
    ofmap_columns: int
    filter_rows: int
    filter_columns: int
    stride_rows: int
    dilation_rows: int
    ifmap_columns: int
    weight_words: int
    ofmap_words: int
    row_parts: int = 1
    column_parts: int = 1
    ofmap_parts: int = 1

    def rows_touched(self, ofmap_rows: int) -> int:
        """Ifmap rows that some adjacent ofmap rows need; rows that a stride skips don't count."""
        step = math.gcd(self.stride_rows, self.dilation_rows)
        stride, dilation = self.stride_rows // step, self.dilation_rows // step
        span = (ofmap_rows - 1) * stride + (self.filter_rows - 1) * dilation + 1
        return min(span, ofmap_rows * self.filter_rows)

    def rows_fetched(self, strip: int) -> int:
        """Ifmap rows touched over all strips of `strip` ofmap rows, overlap included."""
        strips = ceil_div(self.ofmap_rows, strip)
        last = self.ofmap_rows - (strips - 1) * strip
        return (strips - 1) * self.rows_touched(strip) + self.rows_touched(last)

    def ifmap_words(self, strip: int) -> int:
        """Words fetched of all ifmaps when each is passed once in strips of ofmap rows."""
        channels = self.groups * self.channels
        return self.batch * channels * self.rows_fetched(strip) * self.ifmap_columns


class Tiles(NamedTuple):
    """Candidate mappings: `n` and `e` shared, the others arrays that broadcast together."""

    n: int
    e: int
    m: Ints
    p: Ints
    q: Ints
    r: Ints
    t: Ints


class Words(NamedTuple):
    """Raw words moved per operand at one memory level, for each candidate."""

    weights: Ints
    ifmap: Ints
    ofmap: Ints


class Room(NamedTuple):
    """The global buffer for ifmaps and psums, allotted by banks."""

    banks: int
    words_per_bank: int

    @classmethod
    def of(cls, hardware: HardwareModel) -> Room:
        """Banks and their capacity in words."""
        glb = hardware.memories["glb"]
        bank_bytes = glb.bank_bytes or glb.size_bytes or 0
        return cls(glb.banks, bank_bytes * 8 // hardware.word_bits)

    def filters_beside(self, ifmap_words: Ints, psum_words: int | Ints) -> Ints:
        """Filters of `psum_words` each that fit the banks which some ifmap words leave."""
        left = self.banks - -(-ifmap_words // self.words_per_bank)
        return np.asarray(left * self.words_per_bank // psum_words)


class Prices(NamedTuple):
    """What a search adds up: the cost of one raw word, at DRAM per operand, and on chip."""

    dram_weights: float
    dram_ifmap: float
    dram_ofmap: float
    glb: float
    network: float


def pe_sets(machine: RowStationaryMachine, filter_rows: int, strip: int) -> int:
    """Sets of R x e PEs that fit the array; a strip longer than its columns wraps around."""
    if strip > machine.array_columns:
        return machine.array_rows // (filter_rows * ceil_div(strip, machine.array_columns))
    return machine.array_rows // filter_rows * (machine.array_columns // strip)


def access_words(nest: Nest, tiles: Tiles) -> dict[str, Words]:
    """Raw words moved at `dram`, `glb` and `network` under each candidate mapping [1, 2].

    Filters are read again for every strip and batch and streamed past the buffer to all e
    columns; ifmaps are read again for every set of m filters; psums make a round trip to the
    buffer per pass over channels and step through R r PEs on the network.
    """
    filter_passes = ceil_divs(nest.filters, tiles.p * tiles.t)
    channel_passes = ceil_divs(nest.channels, tiles.q * tiles.r)
    fetched = nest.ifmap_words(tiles.e)
    reloads = ceil_div(nest.batch, tiles.n) * ceil_div(nest.ofmap_rows, tiles.e)
    weights = np.asarray(nest.weight_words * reloads)
    spread = nest.batch * nest.groups * nest.channels * nest.filter_rows * nest.ofmap_rows
    hops = nest.filter_rows * tiles.r + 1
    return {
        "dram": Words(
            weights, fetched * ceil_divs(nest.filters, tiles.m), np.asarray(nest.ofmap_words)
        ),
        "glb": Words(np.asarray(0), fetched * filter_passes, 2 * nest.ofmap_words * channel_passes),
        "network": Words(
            weights * tiles.e,
            spread * nest.ifmap_columns * filter_passes * tiles.t,
            nest.ofmap_words * channel_passes * hops,
        ),
    }


def total_cost(words: dict[str, Words], prices: Prices) -> NDArray[np.float64]:
    """What a search minimises, for each candidate: raw words times their prices."""
    dram, glb, network = words["dram"], words["glb"], words["network"]
    cost = (
        prices.dram_weights * dram.weights
        + prices.dram_ifmap * dram.ifmap
        + prices.dram_ofmap * dram.ofmap
        + prices.glb * (glb.ifmap + glb.ofmap)
        + prices.network * (network.weights + network.ifmap + network.ofmap)
    )
    return np.asarray(cost, dtype=np.float64)


def filters_that_fit(nest: Nest, hardware: HardwareModel, n: int, e: int, channels: Ints) -> Ints:
    """Filters whose psums fit the banks that the ifmaps of `channels` = q r channels leave."""
    ifmap = n * channels * (nest.rows_touched(e) * nest.ifmap_columns)
    return Room.of(hardware).filters_beside(ifmap, n * e * nest.ofmap_columns)


def cycles(nest: Nest, tiles: Tiles, hardware: HardwareModel) -> NDArray[np.float64]:
    """Cycles of a layer: passes times the slowest of computing and moving ifmaps and psums.

    Filters move at the same time, or before each pass where `filter_load` is serial.
    """
    machine, n, e = hardware.machine_as(RowStationaryMachine), tiles.n, tiles.e
    ifmap = n * tiles.q * tiles.r * nest.rows_touched(e) * nest.ifmap_columns
    psums = n * tiles.p * tiles.t * e * nest.ofmap_columns
    taps = tiles.p * tiles.q * nest.filter_columns
    filters = taps * tiles.t * tiles.r * nest.filter_rows
    slowest = np.maximum(
        n * taps * nest.ofmap_columns,
        np.maximum(
            ifmap * (hardware.word_bits / machine.ifmap_network_bits),
            psums * (hardware.word_bits / machine.psum_network_bits),
        ),
    )
    loading = filters * (hardware.word_bits / machine.filter_network_bits)
    serial = machine.filter_load == "serial"
    per_pass = slowest + loading if serial else np.maximum(slowest, loading)
    passes = (
        nest.groups
        * ceil_div(nest.batch, n)
        * ceil_div(nest.ofmap_rows, e)
        * ceil_divs(nest.filters, tiles.p * tiles.t)
        * ceil_divs(nest.channels, tiles.q * tiles.r)
    )
    return np.asarray(passes * per_pass, dtype=np.float64)


def nests(workload: ConvWorkload, hardware: HardwareModel) -> Iterator[Nest]:
    """The layer folded to the machine, with ofmap columns in ever more parts; at least one.

    Filters with more rows than the array or more columns than a scratch pad are divided into
    equal parts that act as channels of their own, so the ifmap rows that two parts share are
    moved twice. Dilated filters take their columns phase by phase: q S words stay enough.
    Parts of the ofmap's columns act as ifmaps of their own and move the ifmap columns that
    they share twice. Rows are whole to begin with if a row of ifmap and of psums for the
    filters of one PE fits the buffer, and else in as few parts as fit.
    """
    machine = hardware.machine_as(RowStationaryMachine)
    whole = _fold_filter(workload, machine)
    parts, most = 1, workload.ofmap_columns
    while parts < most and not _row_fits(_split_columns(whole, workload, parts), hardware):
        parts = min(2 * parts, most)
    yield _split_columns(whole, workload, parts)
    divided = parts > 1 or machine.ofmap_columns == "searched"
    while divided and parts < most:
        parts = min(2 * parts, most)
        yield _split_columns(whole, workload, parts)


def _fold_filter(workload: ConvWorkload, machine: RowStationaryMachine) -> Nest:
    rows, columns = workload.filter_rows, workload.filter_columns
    row_parts = ceil_div(rows, machine.array_rows)
    column_parts = ceil_div(columns, min(machine.ifmap_spad_words, machine.filter_spad_words))
    return Nest(
        batch=workload.batch,
        groups=workload.groups,
        filters=workload.filters_per_group,
        channels=workload.channels_per_group * row_parts * column_parts,
        ofmap_rows=workload.ofmap_rows,
        ofmap_columns=workload.ofmap_columns,
        filter_rows=ceil_div(rows, row_parts),
        filter_columns=ceil_div(columns, column_parts),
        stride_rows=workload.stride_rows,
        dilation_rows=workload.dilation_rows,
        ifmap_columns=0,
        weight_words=workload.weight_words,
        ofmap_words=workload.ofmap_words,
        row_parts=row_parts,
        column_parts=column_parts,
    )


def _split_columns(nest: Nest, workload: ConvWorkload, parts: int) -> Nest:
    columns = ceil_div(workload.ofmap_columns, parts)
    extent = (nest.filter_columns - 1) * workload.dilation_columns + 1
    return replace(
        nest,
        batch=workload.batch * parts,
        ofmap_columns=columns,
        ifmap_columns=(columns - 1) * workload.stride_columns + extent,
        ofmap_parts=parts,
    )


def _row_fits(nest: Nest, hardware: HardwareModel) -> bool:
    room = Room.of(hardware)
    filters = min(nest.filters, hardware.machine_as(RowStationaryMachine).psum_spad_words)
    ifmap_banks = ceil_div(nest.rows_touched(1) * nest.ifmap_columns, room.words_per_bank)
    return ifmap_banks + ceil_div(filters * nest.ofmap_columns, room.words_per_bank) <= room.banks
