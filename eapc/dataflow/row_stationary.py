"""The row-stationary dataflow: a layer's mapping, accesses and cycles on an Eyeriss-like array.

Each processing element (PE) convolves one row of a filter with one row of an ifmap; a column
of R PEs sums an ofmap row. Counts follow Chen et al., ISCA 2016 and JSSC 2017, as
`row_stationary_nest.access_words` states them; `row_stationary_search` finds the mapping.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from eapc.dataflow.execution import (
    Accesses,
    Dataflow,
    Execution,
    MappingError,
    PerOperand,
    Widths,
    accessing_macs,
    dram_factors,
    executed_macs,
)
from eapc.dataflow.row_stationary_filling import most_computing_cycles
from eapc.dataflow.row_stationary_machine import LayerShape, PinnedMapping, RowStationaryMachine
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Prices,
    Tiles,
    access_words,
    cycles,
    filters_that_fit,
    nests,
    pe_sets,
)
from eapc.dataflow.row_stationary_search import MappingChoice, best_mapping
from eapc.dataflow.tiling import Extents
from eapc.hardware import HardwareModel
from eapc.workload import ConvWorkload


class RowStationaryMapping(NamedTuple):
    """A layer's place on the array: its loops as they were folded, and what is done at a time.

    `tiles` are n, e, m, p, q, r and t, the letters of Chen et al. (JSSC 2017).
    """

    loops: Extents
    tiles: tuple[int, ...]


def execute_row_stationary(workload: ConvWorkload, hardware: HardwareModel) -> Execution:
    """Accesses, executed MACs and cycles under the pinned mapping, else under the best one.

    The best is that of least energy at the workload's densities, or for the objective
    `throughput` of the least raw DRAM words; then that of the fewest cycles, then of the least
    buffer traffic; all among those that fill the array as `filling` asks. Raises
    MappingError where the buffer has no room for one ofmap word, or for a pinned mapping.
    """
    pins = hardware.machine_as(RowStationaryMachine).mappings
    pinned = next((p for p in pins if _matches(p.layer, workload)), None)
    if pinned is not None:
        nest = next(nests(workload, hardware))
        return _execution(workload, hardware, nest, _pinned_tiles(pinned, nest, hardware))
    choice, nest = _search(workload, hardware)
    return _execution(workload, hardware, nest, choice.tiles)


def _search(workload: ConvWorkload, hardware: HardwareModel) -> tuple[MappingChoice, Nest]:
    """The best mapping over foldings; columns are divided further as long as that is better."""
    prices = _prices(workload, hardware)
    best: tuple[MappingChoice, Nest] | None = None
    limit = math.inf
    for nest in nests(workload, hardware):
        if best is None:
            limit = most_computing_cycles(nest)
        choice = best_mapping(nest, prices, best[0] if best else None, limit)
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


def _dram_factors(workload: ConvWorkload, hardware: HardwareModel) -> PerOperand[float]:
    """DRAM accesses per raw word of each operand; kept feature maps have none."""
    factors = dram_factors(workload.densities, hardware)
    return PerOperand(*(x * y for x, y in zip(factors, workload.kept.passing, strict=True)))


def _execution(
    workload: ConvWorkload, hardware: HardwareModel, nest: Nest, tiles: Tiles
) -> Execution:
    raw = {
        level: Accesses(*(float(words.max()) for words in level_words))
        for level, level_words in access_words(nest, tiles).items()
    }
    sets = int((tiles.r * tiles.t).max())
    return Execution(
        accesses={
            **raw,
            "dram": raw["dram"].scaled(*_dram_factors(workload, hardware)),
            "rf": _register_file(workload, nest.widths, hardware),
        },
        executed_macs=executed_macs(workload, hardware.zeros),
        mapping=RowStationaryMapping(nest.loops, tuple(int(np.max(x)) for x in tiles)),
        active_pes=nest.loops.filter_rows * tiles.e * sets,
        cycles=float(cycles(nest, tiles).max()),
    )


def _register_file(workload: ConvWorkload, widths: Widths, hardware: HardwareModel) -> Accesses:
    """One read per operand and a psum's read and write, in every MAC or the executed ones."""
    macs = accessing_macs(workload, hardware.zeros)
    words = (widths.words(operand) for operand in ("weights", "ifmap", "psum"))
    return Accesses(macs.weights, macs.ifmap, 2 * macs.ofmap).scaled(*words)


def _matches(layer: LayerShape, workload: ConvWorkload) -> bool:
    """Whether every extent that the pinned layer gives is the workload's."""
    given = layer.model_dump(exclude_none=True)
    return all(getattr(workload, name) == extent for name, extent in given.items())


def _pinned_tiles(pinned: PinnedMapping, nest: Nest, hardware: HardwareModel) -> Tiles:
    """The pinned mapping, cut to the layer's batch, rows and filters, if the machine holds it."""
    cut = (min(pinned.m, nest.loops.filters), pinned.p, pinned.q, pinned.r, pinned.t)
    m, p, q, r, t = (np.array([x], dtype=np.int64) for x in cut)
    n, e = min(pinned.n, nest.loops.batch), min(pinned.e, nest.loops.rows)
    machine, columns = nest.machine, nest.loops.filter_columns
    weights, ifmap, psum = (nest.widths.registers(x) for x in ("weights", "ifmap", "psum"))
    uses = {
        "filter_spad_words": (int(p[0] * q[0]) * columns * weights, machine.filter_spad_words),
        "ifmap_spad_words": (int(q[0]) * columns * ifmap, machine.ifmap_spad_words),
        "psum_spad_words": (int(p[0]) * psum, machine.psum_spad_words),
        "sets of PEs": (int(r[0] * t[0]), pe_sets(machine, nest.loops.filter_rows, e)),
        "filters in the buffer": (int(m[0]), int(filters_that_fit(nest, n, e, q * r)[0])),
    }
    for name, (needed, available) in uses.items():
        if needed > available:
            raise MappingError(
                f"{hardware.name}: machine.mappings: a pinned mapping needs {needed} {name} of "
                f"{available}; choose smaller tiles or remove it"
            )
    return Tiles(n, e, m, p, q, r, t)


ROW_STATIONARY = Dataflow(RowStationaryMachine, execute_row_stationary)
