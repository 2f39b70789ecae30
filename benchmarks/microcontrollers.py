#!/usr/bin/env python3
"""The microcontrollers against boards of MLPerf Tiny, and what is left out of a fit.

    python benchmarks/microcontrollers.py [--write docs/microcontrollers.md]

Reads references/mlperf_tiny.csv, references/cortex_m4_kws_layers.csv and the four networks under
$EAPC_DATA (default: `shared` beside the project). Exits with 1 if a figure that is held is outside.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from held_against import Against, Pair, pair_errors, rms, row_errors
from published_figures import references

from eapc.commands.kernel_fit import (
    KernelCounts,
    KernelFit,
    constants_of,
    counts_of,
    fit_constants,
    with_constants,
)
from eapc.energy import DensityTable, EnergyReport, changed_share, estimate, work_list
from eapc.hardware import HardwareModel, Validation, load_hardware
from eapc.model import Model, infer_shapes, input_shapes

NETWORKS = ("ad", "ic", "kws", "vww")
CORES = {"L4R5": "cortex-m4", "U575": "cortex-m33", "H7A3": "cortex-m7"}
SKIPPING = ("1.2",)
"""Rounds whose toolchain leaves dead channels out, judged by the times of vww."""
VERSIONS = "vww"
"""The network with dead channels."""
OTHER_LIBRARY = "plumerai"
EACH, RMS, LAYER = 0.12, 0.08, 0.30


class Row(NamedTuple):
    """A board with a toolchain: milliseconds and microjoules of each network, where measured."""

    name: str
    core: str
    skips: bool
    ms: Mapping[str, float]
    uj: Mapping[str, float]

    @property
    def held(self) -> bool:
        """Whether its library is one that the constants are meant for."""
        return OTHER_LIBRARY not in self.name


def rows() -> list[Row]:
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = defaultdict(
        lambda: {"ms": {}, "uj": {}}
    )
    cores: dict[tuple[str, str], str] = {}
    with (references() / "mlperf_tiny.csv").open(encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            board = next(name for name in CORES if name in line["system"])
            tool = line["system"].partition("X-CUBE-AI-")[2]
            whose = line["submitter"].replace("STMicroelectronics", "ST")
            key = (line["round"], f"{line['round']} {whose} {board} {tool}".strip())
            cores[key] = CORES[board]
            rate = float(line["performance_mode_inferences_per_s"])
            found[key]["ms"][line["network"]] = 1000 / rate
            if line["energy_uj"]:
                found[key]["uj"][line["network"]] = float(line["energy_uj"])
    return [
        Row(key[1], cores[key], key[0] in SKIPPING, figures["ms"], figures["uj"])
        for key, figures in found.items()
    ]


@cache
def machine(core: str, skips: bool) -> HardwareModel:
    document = load_hardware(core).model_dump(by_alias=True)
    document["machine"]["dead_channels"] = "skipped" if skips else "executed"
    return HardwareModel.model_validate(document)


@cache
def loaded(network: str) -> Model:
    return Model.load(references().parent / "models" / f"mlperf_tiny_{network}_int8.onnx")


@cache
def report(network: str, core: str, skips: bool) -> EnergyReport:
    return priced(network, machine(core, skips))


def priced(network: str, hardware: HardwareModel) -> EnergyReport:
    model = loaded(network)
    works = work_list(model, infer_shapes(model, input_shapes(model, {}, None)))
    return estimate(model, works, hardware, DensityTable())


def units(network: str, row: Row) -> float:
    """MAC units of a network on the machine of a row."""
    return report(network, row.core, row.skips).energy_mac_units


@cache
def counts(network: str, core: str, skips: bool) -> KernelCounts:
    return counts_of(loaded(network), machine(core, skips))


# --- errors ----------------------------------------------------------------------------------


def scale_of(measured: Mapping[str, float], row: Row) -> float:
    """The one figure of a board and toolchain: the geometric mean of measured over modelled."""
    logs = [math.log(value / units(name, row)) for name, value in measured.items()]
    return math.exp(sum(logs) / len(logs))


def errors(measured: Mapping[str, float], row: Row) -> dict[str, float]:
    """Relative errors of a model with one figure for the row."""
    scale = scale_of(measured, row)
    return {name: scale * units(name, row) / value - 1 for name, value in measured.items()}


def without_each(measured: Mapping[str, float], row: Row) -> dict[str, float]:
    """Errors of each network when the figure comes from the others."""
    found = {}
    for name, value in measured.items():
        others = {other: known for other, known in measured.items() if other != name}
        found[name] = scale_of(others, row) * units(name, row) / value - 1
    return found


def fit_without(network: str, row: Row, others: Sequence[Row]) -> KernelFit | None:
    """Constants fitted to times of other rows, without one network if it is named."""
    fitted_to = [
        (
            [counts(name, other.core, other.skips) for name in other.ms if name != network],
            [value for name, value in other.ms.items() if name != network],
        )
        for other in others
        if other.held
    ]
    return fit_constants(fitted_to, constants_of(machine(row.core, row.skips)))


def refitted(
    row: Row,
    others: Sequence[Row],
    network: str = "",
    measured: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Errors of a row at constants fitted to others, its figure to all its networks.

    Without a `network` everywhere, if one is named: then the error is that of this network. Those
    of times, or of what else was `measured`.
    """
    fit, values = fit_without(network, row, others), row.ms if measured is None else measured
    if fit is None:
        return {}
    units_of = {name: fit.mac_units(counts(name, row.core, row.skips)) for name in values}
    logs = [math.log(v / units_of[name]) for name, v in values.items() if name != network]
    scale = math.exp(sum(logs) / len(logs))
    told = [network] if network else list(values)
    return {name: scale * units_of[name] / values[name] - 1 for name in told}


def without_network(row: Row, all_rows: Sequence[Row]) -> dict[str, float]:
    """Errors of each network if neither the constants nor the figure have seen it."""
    return {
        name: error
        for network in row.ms
        for name, error in refitted(row, all_rows, network).items()
    }


def layer_errors() -> dict[str, float]:
    """Cycles per MAC of kws's layers on another Cortex-M4 and library, up to one scale."""
    nodes = [n for n in report("kws", "cortex-m4", False).nodes if n.macs]
    kinds = {
        "first convolution 10x4": nodes[:1],
        "depthwise 3x3": [n for n in nodes if n.key.startswith("Conv__")],
        "pointwise": [n for n in nodes[1:] if n.op_type == "Conv" and "Conv__" not in n.key],
        "fully connected": [n for n in nodes if n.op_type == "Gemm"],
    }
    with (references() / "cortex_m4_kws_layers.csv").open(encoding="utf-8") as stream:
        measured = {line["layer"]: float(line["cycles_per_mac"]) for line in csv.DictReader(stream)}
    ratios = {
        kind: sum(n.energy_mac_units for n in found) / sum(n.macs for n in found) / measured[kind]
        for kind, found in kinds.items()
    }
    scale = 2 / (min(ratios.values()) + max(ratios.values()))
    return {kind: scale * ratio - 1 for kind, ratio in ratios.items()}


# --- what the hardware files say of it ---------------------------------------------------------


def unseen_energies(row: Row, all_rows: Sequence[Row]) -> dict[str, float]:
    """Errors of each network's energy if neither the constants nor the figure have seen it."""
    return {name: refitted(row, all_rows, name, row.uj)[name] for name in row.uj}


def version_pairs(all_rows: Sequence[Row]) -> Iterator[Pair]:
    """Energy of vww without its dead channels over that with them, on one board.

    Toolchains differ, so either is in units of the row's other networks. These and the times of
    other networks alone have made the constants.
    """
    fit = fit_without(VERSIONS, all_rows[0], all_rows)
    if fit is None:
        return
    pairs = [(old, new) for new in all_rows if new.skips for old in all_rows if not old.skips]
    for old, new in pairs:
        if old.core == new.core and old.held and VERSIONS in old.uj:
            yield version_pair(fit, old, new)


def version_pair(fit: KernelFit, old: Row, new: Row) -> Pair:
    before, after = (refit_report(VERSIONS, row, fit.constants) for row in (old, new))
    logs = [
        math.log(new.uj[name] / old.uj[name])
        - math.log(fit.mac_units(counts(name, new.core, new.skips)))
        + math.log(fit.mac_units(counts(name, old.core, old.skips)))
        for name in new.uj
        if name in old.uj and name != VERSIONS
    ]
    figures = math.exp(sum(logs) / len(logs))
    return Pair(
        f"{new.name} of {old.name}",
        after.energy_mac_units / before.energy_mac_units,
        new.uj[VERSIONS] / old.uj[VERSIONS] / figures,
        changed_share(before, after),
    )


def refit_report(network: str, row: Row, constants: KernelCounts) -> EnergyReport:
    """A network on the machine of a row with other constants."""
    return priced(network, with_constants(machine(row.core, row.skips), constants))


def validations(all_rows: Sequence[Row]) -> Against:
    """What the files of the three cores are to say: energies of their own board, ratios of all."""
    pairs = list(version_pairs(all_rows))
    of = "pairs of one network with and without its dead channels, on three boards"
    ratio = pair_errors(pairs, len(CORES), of)
    return {
        row.core: Validation(
            against="measurements",
            energy=row_errors(
                list(unseen_energies(row, all_rows).values()),
                "networks, each unseen by all that was fitted",
            ),
            ratio=ratio,
        )
        for row in all_rows
        if row.skips
    }


# --- the page --------------------------------------------------------------------------------


def percents(found: Mapping[str, float]) -> str:
    cells = [f"{100 * found[name]:+.1f}" if name in found else "" for name in NETWORKS]
    whole = f"{100 * rms(list(found.values())):.1f}" if found else ""
    return " | ".join([*cells, whole])


HEADING = """| board and toolchain | ad | ic | kws | vww | rms |
| --- | ---: | ---: | ---: | ---: | ---: |"""
TIMED = HEADING.replace("toolchain |", "toolchain | c |").replace("--- |", "--- | ---: |", 1)


def sections(all_rows: Sequence[Row]) -> Iterator[str]:
    yield from ("## Time", "", TIME, "", TIMED)
    for row in all_rows:
        c = scale_of(row.ms, row) * (machine(row.core, row.skips).clock_mhz or 0.0) * 1e3
        yield f"| {row.name} | {c:.2f} | {percents(errors(row.ms, row))} |"
    yield from ("", "## Energy", "", ENERGY, "", HEADING)
    for row in all_rows:
        if row.uj:
            yield f"| {row.name} | {percents(errors(row.uj, row))} |"
    yield from ("", "## A network left out", "", NETWORK, "", HEADING)
    for row in all_rows:
        yield f"| {row.name} | {percents(without_each(row.ms, row))} |"
    yield from ("", "## A network left out of the constants, too", "", UNSEEN, "", HEADING)
    for row in all_rows:
        yield f"| {row.name} | {percents(without_network(row, all_rows))} |"
    yield from ("", "## A board left out", "", BOARD, "", HEADING)
    for row in all_rows:
        others = [other for other in all_rows if other.name != row.name]
        yield f"| {row.name} | {percents(refitted(row, others))} |"
    yield from ("", "## A core left out", "", CORE, "", HEADING)
    for row in all_rows:
        others = [other for other in all_rows if other.core != row.core]
        yield f"| {row.name} | {percents(refitted(row, others))} |"
    yield from ("", "## Layers", "", LAYERS, "", "| layer | off |", "| --- | ---: |")
    for kind, off in layer_errors().items():
        yield f"| {kind} | {100 * off:+.1f} % |"


INTRODUCTION = """# Microcontrollers against measured boards

Written by `python benchmarks/microcontrollers.py --write docs/microcontrollers.md`. The figures are
those of MLPerf Tiny's rounds 0.7 to 1.2, closed division, four int8 networks: ad (ten fully
connected layers), ic (a ResNet), kws (depthwise separable) and vww (MobileNet of a quarter width).
`cortex-m4`, `cortex-m33` and `cortex-m7` share their constants but for cycles, clock, power and
memories: a MAC of a depthwise kernel is 3 others, a weight 0.9, an output 25, a call 500.
[hardware.md](hardware.md#microcontrollers) says what they mean. Errors are modelled over measured,
in per cent, with one figure for each board and toolchain.

**Where it is wrong.** Plumerai's library is another one: its dense products are faster and its
depthwise kernels relatively slower, so it is told and not held; `eapc hw fit` on its four times
finds a depthwise MAC of 9.3 and errors of 1.8 % rms (3.7 % for networks left out).
Dead channels are told by one network alone, vww, and the versions that leave them out by its
time. Boards of other makers were not at hand. The shipped powers are of one board each, in round
1.2: the same chip took 42 and 75 mW at two submitters', so measure your own.
"""
TIME = (
    """`c` is `cycles_per_mac_unit`, what a toolchain is told apart by. Held: 12 % each, 8 % rms."""
)
ENERGY = (
    """The figure is power times c. Held alike; power varies by a few per cent between networks."""
)
NETWORK = """The figure comes from the three other networks; constants are the shipped ones."""
UNSEEN = """Constants are fitted to the three other networks of all rows (without Plumerai's), the
figure to those of the row. Without ad little is known of what a weight costs."""
CORE = """All constants are fitted to the rows of the two other cores, then one figure is the row's
own."""
BOARD = """All constants are fitted to the other rows (without Plumerai's), then one figure is the
row's own."""
LAYERS = """Cycles per MAC of kws by layer with another library on another Cortex-M4 (Apollo4L), up
to one scale. Held: 30 % each."""


def outside(all_rows: Sequence[Row]) -> Iterator[str]:
    """What is held and missed."""
    for row in filter(lambda one: one.held, all_rows):
        for what, measured in (("time", row.ms), ("energy", row.uj)):
            off = list(errors(measured, row).values()) if measured else [0.0]
            if max(map(abs, off)) > EACH or rms(off) > RMS:
                yield f"{what} of {row.name}"
    if max(map(abs, layer_errors().values())) > LAYER:
        yield "layers of kws"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write a page of Markdown")
    target = parser.parse_args().write
    if not references().is_dir():
        print(f"skipped: {references()} is absent; set EAPC_DATA to the folder of references/")
        return 0
    all_rows = rows()
    text = "\n".join([INTRODUCTION, *sections(all_rows), ""])
    if target:
        target.write_text(text, encoding="utf-8")
    else:
        print(text)
    missed = list(outside(all_rows))
    for what in missed:
        print(f"outside: {what}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
