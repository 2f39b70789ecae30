"""Folding layers to a row-stationary array: filters and rows divided until they fit.

`row_stationary_nest` has the sources and what is counted of a folded layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from eapc.dataflow.integers import ceil_div
from eapc.dataflow.row_stationary_machine import RowStationaryMachine
from eapc.dataflow.row_stationary_nest import Nest, Pads, Room
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
    while parts < most and not _row_fits(_split_columns(whole, workload, parts), hardware):
        parts = min(2 * parts, most)
    yield _split_columns(whole, workload, parts)
    divided = parts > 1 or machine.ofmap_columns == "searched"
    while divided and parts < most:
        parts = min(2 * parts, most)
        yield _split_columns(whole, workload, parts)


def _fold_filter(workload: ConvWorkload, hardware: HardwareModel) -> Nest:
    rows, columns = workload.filter_rows, workload.filter_columns
    machine = hardware.machine_as(RowStationaryMachine)
    widths = Widths.of(workload.bits, hardware.word_bits, hardware.word_bits)
    pads = Pads.of(hardware, widths)
    row_parts = ceil_div(rows, machine.array_rows)
    column_parts = ceil_div(columns, min(pads.ifmaps, pads.filters))
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
        weights=workload.weight_words,
        ofmaps=workload.ofmap_words,
        widths=widths,
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
    room = Room.of(hardware, nest.widths)
    pads = Pads.of(hardware, nest.widths)
    filters = min(nest.filters, pads.psums)
    ifmap_banks = ceil_div(nest.rows_touched(1) * nest.ifmap_columns, room.ifmaps_per_bank)
    return ifmap_banks + ceil_div(filters * nest.ofmap_columns, room.psums_per_bank) <= room.banks
