"""Boards of MLPerf Tiny and the microcontrollers' errors on them.

Reads references/mlperf_tiny.csv, references/cortex_m4_kws_layers.csv and the four networks under
$EAPC_DATA (default: `shared` beside the project).
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from held_against import rms
from published_figures import references

from eapc.commands.kernel_fit import (
    KernelCounts,
    KernelFit,
    constants_of,
    counts_of,
    fit_constants,
)
from eapc.energy import DensityTable, EnergyReport, estimate, work_list
from eapc.hardware import HardwareModel, load_hardware
from eapc.model import Model, infer_shapes, input_shapes

NETWORKS = ("ad", "ic", "kws", "vww")
CORES = {"L4R5": "cortex-m4", "U575": "cortex-m33", "H7A3": "cortex-m7"}
SKIPPING = ("1.2",)
"""Rounds whose toolchain leaves dead channels out, judged by the times of vww."""
OTHER_LIBRARY = "plumerai"


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


# --- tables -----------------------------------------------------------------------------------


def percents(found: Mapping[str, float]) -> str:
    cells = [f"{100 * found[name]:+.1f}" if name in found else "" for name in NETWORKS]
    whole = f"{100 * rms(list(found.values())):.1f}" if found else ""
    return " | ".join([*cells, whole])


HEADING = """| board and toolchain | ad | ic | kws | vww | rms |
| --- | ---: | ---: | ---: | ---: | ---: |"""
