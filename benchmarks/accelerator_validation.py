"""What the energies of `eyeriss`, the chip and the baseline are held against.

Rows are those of the page. Power of the chip's layers is read from references/ under $EAPC_DATA.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

from held_against import Against, Pair, pair_errors, row_errors
from published_figures import Line, chip_layers, isca_lines
from whole_networks import BATCH, LEFT_OUT, left_out_errors, printed, reading, reports

from eapc.dataflow import Execution, execute
from eapc.energy import changed_share
from eapc.hardware import HardwareModel, Validation, load_hardware


def network_pairs() -> Iterator[Pair]:
    """All pairs of printed networks on `eyeriss`."""
    found, energies = reading({}), printed("energy_mac_units")
    made = {name: report for name, (_, report) in reports(BATCH).items()}
    for one, other in combinations(found, 2):
        yield Pair(
            f"{other} of {one}",
            found[other].total / found[one].total,
            energies[other] / energies[one],
            changed_share(made[one], made[other]),
        )


def chip_lines() -> list[Line]:
    """Energy on chip of the chip's layers, in mJ, each in pJ per MAC unit of the other layers.

    Published is power times processing latency. DRAM is not on the chip. All of what is there
    besides (clocks, leakage, control) goes with the scale.
    """
    chip = load_hardware("eyeriss-jssc2017")
    layers = [
        (table["layer"], on_chip(execute(work, chip), chip), energy_mj(table))
        for _, table, work in chip_layers()
    ]
    logs = {name: math.log(measured / units) for name, units, measured in layers}
    found = []
    for name, units, measured in layers:
        others = [log for other, log in logs.items() if other != name]
        scale = math.exp(math.fsum(others) / len(others))
        found.append(Line(f"{name}: mJ on chip", scale * units, measured, None))
    return found


def energy_mj(table: dict[str, str]) -> float:
    return float(table["power_mW"]) * float(table["processing_latency_ms"]) * 1e-3


def on_chip(done: Execution, chip: HardwareModel) -> float:
    """MAC units of all but DRAM."""
    moved = {
        level: accesses.total * chip.memories[level].energy_mac_units_per_word
        for level, accesses in done.accesses.items()
    }
    return done.executed_macs * chip.mac_energy_mac_units + sum(moved.values()) - moved["dram"]


def validations() -> Against:
    """What the files of the three machines are to say."""
    singles = [names[0] for names in LEFT_OUT if len(names) == 1]
    errors = {name: own[name] for _, _, own in left_out_errors() for name in own if len(own) == 1}
    whole = row_errors([errors[name] for name in singles], f"whole networks at batch {BATCH}")
    of = f"pairs of networks at batch {BATCH}, one of them a network and its pruned version"
    dram = [line.off for line in isca_lines() if ": dram" in line.name]
    chip = [line.off for line in chip_lines()]
    return {
        "eyeriss": Validation(
            against="published estimates",
            energy=whole,
            ratio=pair_errors(list(network_pairs()), len(singles) - 1, of),
        ),
        "eyeriss-jssc2017": Validation(
            against="measurements", energy=row_errors(chip, "layers of AlexNet without DRAM")
        ),
        "isca16-baseline": Validation(
            against="published estimates", energy=row_errors(dram, "layers of AlexNet, DRAM alone")
        ),
    }
