"""The row-stationary dataflow: a layer's mapping, accesses and cycles on an Eyeriss-like array.

Each processing element (PE) convolves one row of a filter with one row of an ifmap; a column
of R PEs sums an ofmap row. Counts follow Chen et al., ISCA 2016 and JSSC 2017, as
`row_stationary_nest.access_words` states them; `row_stationary_search` finds the mapping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eapc.dataflow.execution import (
    Accesses,
    Dataflow,
    Execution,
    MappingError,
    accessing_macs,
    dram_factors,
    executed_macs,
)
from eapc.dataflow.integers import ceil_div
from eapc.dataflow.row_stationary_folding import nests
from eapc.dataflow.row_stationary_machine import LayerShape, PinnedMapping, RowStationaryMachine
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Prices,
    Tiles,
    access_words,
    cycles,
    filters_that_fit,
    pe_sets,
)
from eapc.dataflow.row_stationary_search import Choice, best_mapping
from eapc.dataflow.widths import Widths
from eapc.hardware import HardwareModel
from eapc.workload import ConvWorkload


@dataclass(frozen=True)
class RowStationaryMapping:
    """A layer's place on a row-stationary array, in the letters of Chen et al. (JSSC 2017).

    The last three fields say how often a filter's rows, its columns and the ofmap's columns
    were divided beforehand because they exceed the machine.
    """

    m_filters_in_glb: int
    n_ifmaps_in_glb: int
    e_ofmap_rows: int
    p_filters_per_pe: int
    q_channels_per_pe: int
    r_channel_sets: int
    t_filter_sets: int
    passes_m: int
    passes_c: int
    strips: int
    batches: int
    filter_row_parts: int = 1
    filter_column_parts: int = 1
    ofmap_column_parts: int = 1


def execute_row_stationary(workload: ConvWorkload, hardware: HardwareModel) -> Execution:
    """Accesses, executed MACs and cycles under the pinned mapping, else under the best one.

    The best is that of least energy at the workload's densities, or for the objective
    `throughput` of the least raw DRAM words; then that of the fewest cycles, then of the least
    buffer traffic. Raises MappingError where the buffer has no room for one ofmap word, or for
    a pinned mapping.
    """
    pins = hardware.machine_as(RowStationaryMachine).mappings
    pinned = next((p for p in pins if _matches(p.layer, workload)), None)
    if pinned is not None:
        nest = next(nests(workload, hardware))
        return _execution(workload, hardware, nest, _pinned_tiles(pinned, nest, hardware))
    choice, nest = _search(workload, hardware)
    return _execution(workload, hardware, nest, choice.tiles)


def _search(workload: ConvWorkload, hardware: HardwareModel) -> tuple[Choice, Nest]:
    """The best mapping over foldings; columns are divided further as long as that is better."""
    prices = _prices(workload, hardware)
    best: tuple[Choice, Nest] | None = None
    for nest in nests(workload, hardware):
        choice = best_mapping(nest, hardware, prices, best[0] if best else None)
        if choice is not None:
            best = (choice, nest)
        elif best is not None:
            break
    if best is None:
        raise MappingError(
            f"{hardware.name}: memories.glb: no room for the ifmap rows and psums of one ofmap "
            f"word of a layer with {workload.filter_rows} x {workload.filter_columns} filters; "
            "give a larger size_bytes"
        )
    return best


def _prices(workload: ConvWorkload, hardware: HardwareModel) -> Prices:
    """What a raw word costs under the machine's objective."""
    if hardware.objective == "throughput":
        return Prices(*workload.kept.passing, 0.0, 0.0)
    energy = {name: level.energy_mac_units_per_word for name, level in hardware.memories.items()}
    weights, ifmap, ofmap = (
        energy["dram"] * factor for factor in _dram_factors(workload, hardware)
    )
    return Prices(weights, ifmap, ofmap, energy["glb"], energy["network"])


def _dram_factors(workload: ConvWorkload, hardware: HardwareModel) -> tuple[float, ...]:
    """DRAM accesses per raw word of weights, ifmap and ofmap; kept feature maps have none."""
    factors = dram_factors(workload.densities, hardware)
    return tuple(x * share for x, share in zip(factors, workload.kept.passing, strict=True))


def _execution(
    workload: ConvWorkload, hardware: HardwareModel, nest: Nest, tiles: Tiles
) -> Execution:
    raw = {
        level: Accesses(*(float(words.max()) for words in level_words))
        for level, level_words in access_words(nest, tiles).items()
    }
    weights, ifmap, ofmap = _dram_factors(workload, hardware)
    dram = raw["dram"]
    mapping = _mapping(nest, tiles)
    sets = mapping.r_channel_sets * mapping.t_filter_sets
    return Execution(
        accesses={
            **raw,
            "dram": Accesses(dram.weights * weights, dram.ifmap * ifmap, dram.ofmap * ofmap),
            "rf": _register_file(workload, nest.widths, hardware),
        },
        executed_macs=executed_macs(workload, hardware.zeros),
        mapping=mapping,
        active_pes=nest.filter_rows * mapping.e_ofmap_rows * sets,
        cycles=float(cycles(nest, tiles, hardware).max()),
    )


def _register_file(workload: ConvWorkload, widths: Widths, hardware: HardwareModel) -> Accesses:
    """One read per operand and a psum's read and write, in every MAC or the executed ones."""
    macs = accessing_macs(workload, hardware.zeros)
    words = (widths.words(operand) for operand in ("weights", "ifmap", "psum"))
    return Accesses(macs.weights, macs.ifmap, 2 * macs.ofmap).scaled(*words)


def _mapping(nest: Nest, tiles: Tiles) -> RowStationaryMapping:
    m, p, q, r, t = (int(axis[0]) for axis in tiles[2:])
    return RowStationaryMapping(
        m_filters_in_glb=m,
        n_ifmaps_in_glb=tiles.n,
        e_ofmap_rows=tiles.e,
        p_filters_per_pe=p,
        q_channels_per_pe=q,
        r_channel_sets=r,
        t_filter_sets=t,
        passes_m=ceil_div(nest.filters, p * t),
        passes_c=ceil_div(nest.channels, q * r),
        strips=ceil_div(nest.ofmap_rows, tiles.e),
        batches=ceil_div(nest.batch, tiles.n),
        filter_row_parts=nest.row_parts,
        filter_column_parts=nest.column_parts,
        ofmap_column_parts=nest.ofmap_parts,
    )


def _matches(layer: LayerShape, workload: ConvWorkload) -> bool:
    """Whether every extent that the pinned layer gives is the workload's."""
    given = layer.model_dump(exclude_none=True)
    return all(getattr(workload, name) == extent for name, extent in given.items())


def _pinned_tiles(pinned: PinnedMapping, nest: Nest, hardware: HardwareModel) -> Tiles:
    """The pinned mapping, cut to the layer's batch, rows and filters, if the machine holds it."""
    m, p, q, r, t = (np.array([x], dtype=np.int64) for x in _cut(pinned, nest))
    n, e = min(pinned.n, nest.batch), min(pinned.e, nest.ofmap_rows)
    machine, columns = hardware.machine_as(RowStationaryMachine), nest.filter_columns
    weights, ifmap, psum = (nest.widths.registers(x) for x in ("weights", "ifmap", "psum"))
    uses = {
        "filter_spad_words": (int(p[0] * q[0]) * columns * weights, machine.filter_spad_words),
        "ifmap_spad_words": (int(q[0]) * columns * ifmap, machine.ifmap_spad_words),
        "psum_spad_words": (int(p[0]) * psum, machine.psum_spad_words),
        "sets of PEs": (int(r[0] * t[0]), pe_sets(machine, nest.filter_rows, e)),
        "filters in the buffer": (int(m[0]), int(filters_that_fit(nest, hardware, n, e, q * r)[0])),
    }
    for name, (needed, available) in uses.items():
        if needed > available:
            raise MappingError(
                f"{hardware.name}: machine.mappings: a pinned mapping needs {needed} {name} of "
                f"{available}; choose smaller tiles or remove it"
            )
    return Tiles(n, e, m, p, q, r, t)


def _cut(pinned: PinnedMapping, nest: Nest) -> tuple[int, int, int, int, int]:
    return (min(pinned.m, nest.filters), pinned.p, pinned.q, pinned.r, pinned.t)


ROW_STATIONARY = Dataflow(RowStationaryMachine, execute_row_stationary)
