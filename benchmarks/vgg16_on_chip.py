#!/usr/bin/env python3
"""VGG-16 on the Eyeriss chip, layer by layer: python benchmarks/vgg16_on_chip.py [machine].

Batch 3, as the chip was measured (Chen et al., JSSC 2017, Table VI). Every figure of that table
below is RECALLED, not read; nothing in eapc or its hardware files was set by one. What supports
the recollection: milliseconds and DRAM bytes sum to totals whose frames per second (0.7) and
321.1 MB a transcription of the paper's text has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from published_figures import megabytes, milliseconds, variant

from eapc.dataflow import Execution, execute
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import ConvWorkload, OperandDensities

CHIP = "eyeriss-jssc2017"
BATCH = 3


class Layer(NamedTuple):
    """A layer's shape, and in Table VI as recalled its zeros, PEs, time without DRAM and bytes."""

    name: str
    channels: int
    filters: int
    size: int
    ifmap_zeros: float
    active_pes: int
    milliseconds: float
    dram_mb: float


LAYERS = (
    Layer("CONV1-1", 3, 64, 224, 0.016, 156, 38.0, 15.4),
    Layer("CONV1-2", 64, 64, 224, 0.477, 156, 810.6, 54.0),
    Layer("CONV2-1", 64, 128, 112, 0.248, 156, 405.3, 33.4),
    Layer("CONV2-2", 128, 128, 112, 0.387, 156, 810.8, 48.5),
    Layer("CONV3-1", 128, 256, 56, 0.397, 156, 204.0, 20.2),
    Layer("CONV3-2", 256, 256, 56, 0.581, 156, 408.1, 32.2),
    Layer("CONV3-3", 256, 256, 56, 0.587, 156, 408.1, 30.8),
    Layer("CONV4-1", 256, 512, 28, 0.643, 168, 105.1, 17.8),
    Layer("CONV4-2", 512, 512, 28, 0.747, 168, 210.0, 28.6),
    Layer("CONV4-3", 512, 512, 28, 0.854, 168, 210.0, 22.8),
    Layer("CONV5-1", 512, 512, 14, 0.794, 168, 48.3, 6.3),
    Layer("CONV5-2", 512, 512, 14, 0.874, 168, 48.5, 5.7),
    Layer("CONV5-3", 512, 512, 14, 0.885, 168, 48.5, 5.6),
)

OFMAP_ZEROS = tuple(layer.ifmap_zeros for layer in (*LAYERS[1:], LAYERS[-1]))
"""Not in the table: those of the next ifmap, behind a pool or not, and the last layer's own."""


class OnChip(NamedTuple):
    """The model's figures of a layer beside the recalled ones; the last of them is the total.

    `raw_mb` is DRAM traffic without coding, `dram_mb` that with the recalled zeros.
    """

    layer: Layer
    active_pes: float
    milliseconds: float
    dram_mb: float
    raw_mb: float
    buffer_mb: float


def workload(layer: Layer, ofmap_zeros: float) -> ConvWorkload:
    densities = OperandDensities(1.0, 1 - layer.ifmap_zeros, 1 - ofmap_zeros)
    shape = (layer.filters, layer.channels, layer.size, layer.size, 3, 3)
    return ConvWorkload(BATCH, 1, *shape, densities=densities)


def layers_on(chip: HardwareModel) -> Iterator[OnChip]:
    """All layers."""
    for layer, ofmap_zeros in zip(LAYERS, OFMAP_ZEROS, strict=True):
        done = execute(workload(layer, ofmap_zeros), chip)
        raw = execute(workload(layer._replace(ifmap_zeros=0.0), 0.0), chip)
        yield OnChip(
            layer,
            done.active_pes,
            milliseconds(done),
            megabytes(done, "dram"),
            megabytes(raw, "dram"),
            megabytes(done, "glb"),
        )


def total(rows: list[OnChip]) -> OnChip:
    """Sums; of PEs the mean, weighted with time as the paper's own averages are."""
    time = sum(row.milliseconds for row in rows)
    pes = sum(row.active_pes * row.milliseconds for row in rows) / time
    recalled_time = sum(row.layer.milliseconds for row in rows)
    recalled_pes = sum(row.layer.active_pes * row.layer.milliseconds for row in rows)
    summed = Layer(
        "all 13",
        *(0, 0, 0, 0.0),
        round(recalled_pes / recalled_time),
        recalled_time,
        sum(row.layer.dram_mb for row in rows),
    )
    megabytes = ([row.dram_mb, row.raw_mb, row.buffer_mb] for row in rows)
    return OnChip(summed, pes, time, *map(sum, zip(*megabytes, strict=True)))


def on_chip(machine: str = CHIP) -> list[OnChip]:
    """All layers and their total."""
    rows = list(layers_on(load_hardware(machine)))
    return [*rows, total(rows)]


HEADER = ("layer", "PEs", "ms", "DRAM MB", "uncoded", "buffer MB", "PEs", "ms", "DRAM MB")


ONE_CHANNEL = {"m": 32, "n": 1, "e": 13, "p": 8, "q": 1, "r": 1, "t": 4}
"""A mapping of CONV2-1 by hand: one channel a pass, four sets of 3 x 13 PEs for 32 filters."""


def one_channel_a_pass() -> Execution:
    """CONV2-1 as if the chip's passes took one channel each."""
    work = workload(LAYERS[2], OFMAP_ZEROS[2])
    names = ("filters_per_group", "channels_per_group", "ofmap_rows", "ofmap_columns")
    shape = {name: getattr(work, name) for name in (*names, "filter_rows", "filter_columns")}
    pinned = {"layer": shape, **ONE_CHANNEL}
    return execute(work, variant(load_hardware(CHIP), {"machine.mappings": (pinned,)}))


def cells(row: OnChip) -> tuple[str, ...]:
    """Name, the model's figures, then those recalled."""
    model = (f"{x:.1f}" for x in (row.milliseconds, row.dram_mb, row.raw_mb, row.buffer_mb))
    layer = row.layer
    recalled = (f"{layer.active_pes}", f"{layer.milliseconds:.1f}", f"{layer.dram_mb:.1f}")
    return layer.name, f"{row.active_pes:.0f}", *model, *recalled


def main(machine: str = CHIP) -> None:
    print(f"VGG-16 on {machine}, batch {BATCH}; the last three columns are recalled, not read")
    for name, *others in (HEADER, *map(cells, on_chip(machine))):
        print(f"{name:<10}" + "".join(f"{cell:>11}" for cell in others))


if __name__ == "__main__":
    main(*sys.argv[1:2])
