"""Folding layers to a row-stationary array: filters and rows divided until they fit.

`row_stationary_nest` has the sources and what is counted of a folded layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from eapc.dataflow.integers import ceil_div
from eapc.dataflow.row_stationary_machine import RowStationaryMachine
from eapc.dataflow.row_stationary_nest import Nest, Pads, Room
from eapc.dataflow.tiling import Extents
from eapc.dataflow.widths import Widths
from eapc.hardware import HardwareModel
from eapc.workload import ConvWorkload


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
    whole = _fold_filter(workload, hardware)
    parts, most = 1, workload.ofmap_columns
    while parts < most and not _row_fits(_split_columns(whole, parts), hardware):
        parts = min(2 * parts, most)
    yield _split_columns(whole, parts)
    divided = parts > 1 or machine.ofmap_columns == "searched"
    while divided and parts < most:
        parts = min(2 * parts, most)
        yield _split_columns(whole, parts)


def _fold_filter(workload: ConvWorkload, hardware: HardwareModel) -> Nest:
    machine = hardware.machine_as(RowStationaryMachine)
    widths = Widths.of(workload.bits, hardware.word_bits, hardware.word_bits)
    pads, loops = Pads.of(hardware, widths), Extents.of(workload)
    row_parts = ceil_div(loops.filter_rows, machine.array_rows)
    column_parts = ceil_div(loops.filter_columns, min(pads.ifmaps, pads.filters))
    folded = replace(
        loops,
        channels=loops.channels * row_parts * column_parts,
        filter_rows=ceil_div(loops.filter_rows, row_parts),
        filter_columns=ceil_div(loops.filter_columns, column_parts),
    )
    return Nest(workload, folded, widths)


def _split_columns(nest: Nest, parts: int) -> Nest:
    columns = ceil_div(nest.loops.columns, parts)
    return nest._replace(loops=replace(nest.loops, batch=nest.loops.batch * parts, columns=columns))


def _row_fits(nest: Nest, hardware: HardwareModel) -> bool:
    room, loops = Room.of(hardware, nest.widths), nest.loops
    filters = min(loops.filters, Pads.of(hardware, nest.widths).psums)
    ifmap_banks = ceil_div(loops.rows_touched(1) * loops.ifmap_columns, room.ifmaps_per_bank)
    return ifmap_banks + ceil_div(filters * loops.columns, room.psums_per_bank) <= room.banks
