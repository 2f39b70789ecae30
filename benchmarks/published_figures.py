"""The energy model and the published figures of AlexNet's layers that it is held against.

Reads references/*.csv below $EAPC_DATA (default: `shared` beside the project): the Eyeriss chip
(JSSC 2017) and the row-stationary baseline of ISCA 2016.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eapc.dataflow import Execution, execute
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import ConvWorkload, OperandDensities

Row = dict[str, str]

GROUPS = {"CONV2": 2, "CONV4": 2, "CONV5": 2}
CONNECTED = {"FC6": (4096, 9216), "FC7": (4096, 4096), "FC8": (1000, 4096)}
DOUBTFUL = "CONV3"
"""The layer whose recalled mapping does not move the buffer bytes of the chip's own table."""


@dataclass(frozen=True)
class Line:
    """One figure of the model beside the published one.

    `tolerance` is relative; None where the deviation is told and not held to anything.
    """

    name: str
    model: float
    published: float
    tolerance: float | None

    @property
    def off(self) -> float:
        """Relative deviation."""
        return self.model / self.published - 1

    @property
    def outside(self) -> bool:
        """Whether the figure misses its tolerance."""
        return self.tolerance is not None and abs(self.off) > self.tolerance


def references() -> Path:
    default = Path(__file__).resolve().parent.parent.parent / "shared"
    return Path(os.environ.get("EAPC_DATA", default)) / "references"


def rows(name: str) -> list[Row]:
    with (references() / name).open(newline="") as file:
        return list(csv.DictReader(file))


def variant(hardware: HardwareModel, changes: dict[str, Any]) -> HardwareModel:
    """The machine with some fields changed, given by dotted path."""
    fields = hardware.model_dump(by_alias=True)
    for path, value in changes.items():
        *parents, last = path.split(".")
        section = fields
        for parent in parents:
            section = section[parent]
        section[last] = value
    return HardwareModel.model_validate(fields)


def convolution(row: Row, batch: int, densities: OperandDensities) -> ConvWorkload:
    """A layer of eyeriss_mappings.csv."""
    groups, stride = GROUPS.get(row["layer"], 1), int(row["stride"])
    ofmap, kernel = int(row["ofmap_size"]), int(row["filter_size"])
    return ConvWorkload(
        batch,
        groups,
        int(row["filters"]) // groups,
        int(row["channels_per_group"]),
        ofmap,
        ofmap,
        kernel,
        kernel,
        stride,
        stride,
        densities=densities,
    )


def alexnet(batch: int, densities: list[OperandDensities]) -> list[ConvWorkload]:
    """CONV1-5 and the three fully connected layers."""
    mappings = rows("eyeriss_mappings.csv")
    convs = [convolution(r, batch, d) for r, d in zip(mappings, densities, strict=False)]
    rest = zip(CONNECTED.values(), densities[len(convs) :], strict=True)
    return convs + [ConvWorkload(batch, 1, m, c, 1, 1, densities=d) for (m, c), d in rest]


def pinned(hardware: HardwareModel, row: Row, work: ConvWorkload) -> HardwareModel:
    """The machine with the published mapping of a layer."""
    columns = {letter: next(k for k in row if k.startswith(f"{letter}_")) for letter in "mnepqrt"}
    layer = {
        "filters_per_group": work.filters_per_group,
        "channels_per_group": work.channels_per_group,
        "ofmap_rows": work.ofmap_rows,
        "ofmap_columns": work.ofmap_columns,
        "filter_rows": work.filter_rows,
        "filter_columns": work.filter_columns,
    }
    tiles = {letter: int(row[column]) for letter, column in columns.items()}
    return variant(hardware, {"machine.mappings": ({"layer": layer, **tiles},)})


def chip_layers() -> Iterator[tuple[Row, Row, ConvWorkload]]:
    """Mapping, measurement and workload of each layer of the chip's table.

    Ifmap zeros are the table's own, of padded maps as they are fetched; ofmap zeros, which it
    lacks, those of alexnet_zeros.csv.
    """
    measured = {row["layer"]: row for row in rows("eyeriss_alexnet.csv")}
    read = {row["layer"]: row for row in rows("alexnet_zeros.csv")}
    for row in rows("eyeriss_mappings.csv"):
        table = measured[row["layer"]]
        ifmap = float(table["zeros_in_ifmap_percent"]) / 100
        ofmap = float(read[row["layer"]]["ofmap_zero_percent"]) / 100
        densities = OperandDensities(1.0, 1 - ifmap, 1 - ofmap)
        yield row, table, convolution(row, int(table["batch"]), densities)


def pinned_lines() -> Iterator[Line]:
    """The chip's figures under the published mappings."""
    chip = load_hardware("eyeriss-jssc2017")
    layers = [(table, execute(work, pinned(chip, row, work))) for row, table, work in chip_layers()]
    for table, done in layers:
        buffer = None if table["layer"] == DOUBTFUL else 0.02
        yield from measured_lines(done, table, buffer, 0.10)
    yield from total_lines([done for _, done in layers])


def searched_lines() -> Iterator[Line]:
    """The chip's figures under the mappings that its rule finds."""
    chip = load_hardware("eyeriss-jssc2017")
    layers = [(table, execute(work, chip)) for _, table, work in chip_layers()]
    for table, done in layers:
        loose = table["layer"] == DOUBTFUL
        yield from measured_lines(done, table, 0.10 if loose else 0.02, 0.15 if loose else 0.10)
    yield from total_lines([done for _, done in layers])


def measured_lines(
    done: Execution, table: Row, buffer: float | None, dram: float
) -> Iterator[Line]:
    """Traffic, active PEs and time of a layer, within tolerances of buffer and DRAM bytes."""
    name = table["layer"]
    yield Line(f"{name}: buffer MB", megabytes(done, "glb"), float(table["glb_access_MB"]), buffer)
    yield Line(f"{name}: DRAM MB", megabytes(done, "dram"), float(table["dram_access_MB"]), dram)
    yield Line(f"{name}: PEs", done.active_pes, float(table["active_pes"]), 0.0)
    yield Line(f"{name}: ms", milliseconds(done), float(table["processing_latency_ms"]), 0.15)


def total_lines(layers: list[Execution]) -> Iterator[Line]:
    """The table's totals, which were checked, against those of the five layers."""
    table = rows("eyeriss_alexnet.csv")[-1]
    for name, model, column in (
        ("buffer MB", sum(megabytes(done, "glb") for done in layers), "glb_access_MB"),
        ("DRAM MB", sum(megabytes(done, "dram") for done in layers), "dram_access_MB"),
        ("ms", sum(map(milliseconds, layers)), "processing_latency_ms"),
    ):
        yield Line(f"all five: {name}", model, float(table[column]), None)


def megabytes(done: Execution, level: str) -> float:
    return done.accesses[level].total * 2e-6


def milliseconds(done: Execution) -> float:
    return (done.cycles or 0.0) / 200e3


def isca_lines() -> Iterator[Line]:
    """DRAM and register-file energy of dense AlexNet on 16 x 16 PEs with a buffer of 128 KiB."""
    machine = load_hardware("isca16-baseline")
    table = rows("isca16_alexnet.csv")
    for row, work in zip(table, alexnet(16, [OperandDensities()] * 8), strict=True):
        done = execute(work, machine)
        loose = row["layer"] in ("CONV1", "CONV2")
        for level, column, tolerance in (
            ("dram", "dram_1e9_mac_units", 0.18 if loose else 0.05),
            ("rf", "register_file_1e9_mac_units", 0.05),
        ):
            price = machine.memories[level].energy_mac_units_per_word
            model = done.accesses[level].total * price * 1e-9
            name = f"{row['layer']}: {level}, 1e9 MAC units"
            yield Line(name, model, float(row[column]), tolerance)
