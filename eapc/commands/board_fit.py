"""eapc hw fit, the whole way: a table of measured networks to a microcontroller's file.

Each network is left out and predicted from the others; constants are freed only if they predict
better so than one scale of the machine that the fit starts from, whose ratios the others keep.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import yaml

from eapc.commands.kernel_fit import (
    ALL_BUT_MAC,
    Group,
    KernelCounts,
    KernelFit,
    constants_of,
    counts_of,
    fit_constants,
    fit_scale,
    left_out,
    with_constants,
)
from eapc.dataflow import IntegerKernelsMachine
from eapc.errors import DataError, UsageError
from eapc.hardware import HardwareModel, load_hardware
from eapc.model import Model

_FREE = (("depthwise",), ("weight", "output"), ALL_BUT_MAC)
"""Which constants a board's fit tries to free, beside the scale."""


@dataclass(frozen=True)
class MeasuredNetwork:
    """A row of the table: a network, what it took, and its errors, None where not measured.

    `off` is modelled over measured less 1, `left_out` the same when fitted to the others alone.
    """

    network: str
    counts: KernelCounts
    ms: float | None
    microjoules: float | None
    off: float = 0.0
    left_out: float | None = None


@dataclass(frozen=True)
class FittedMachine:
    """A machine with fitted constants, the networks, and what could not be told, in lines.

    `free` are the constants that were fitted beside the scale.
    """

    hardware: HardwareModel
    networks: tuple[MeasuredNetwork, ...]
    free: tuple[str, ...]
    notes: tuple[str, ...]


def fit_board(
    table: str | Path, base: str | Path, clock_mhz: float | None = None, name: str = "fitted"
) -> FittedMachine:
    """The microcontroller `base` with constants that fit a table of measured networks.

    The table has a column `network` (paths from its folder) and `ms` or `microjoules` or both.
    Raises DataError naming file and line where it cannot be read, UsageError where `base` is no
    microcontroller of kernels.
    """
    hardware = load_hardware(base)
    if not isinstance(hardware.machine, IntegerKernelsMachine):
        raise UsageError(f"--hw {base}: has no kernels to fit; give cortex-m4, -m33 or -m7")
    if clock_mhz is not None:
        hardware = hardware.model_copy(update={"clock_mhz": clock_mhz})
    if hardware.clock_mhz is None:
        raise UsageError(f"--hw {base}: has no clock_mhz; give --clock-mhz")
    choices = [_fit_of(Path(table), variant) for variant in _variants(hardware)]
    chosen = min(choices, key=lambda choice: choice.error)
    found, notes = _scaled(chosen)
    return FittedMachine(_named(found, name, Path(table).name), chosen.networks, chosen.free, notes)


class _Choice(NamedTuple):
    """A machine with the networks that were measured, and how the constants fit them."""

    hardware: HardwareModel
    networks: tuple[MeasuredNetwork, ...]
    fit: KernelFit
    free: tuple[str, ...]
    error: float
    """Root mean square of the errors of networks left out, of all where none can be."""

    @property
    def timed(self) -> bool:
        """Whether milliseconds were fitted, rather than microjoules."""
        return self.networks[0].ms is not None


def _variants(hardware: HardwareModel) -> Iterator[HardwareModel]:
    """The machine as it is, then with dead channels the other way."""
    machine = hardware.machine_as(IntegerKernelsMachine)
    yield hardware
    other = "executed" if machine.skips_dead_channels else "skipped"
    yield hardware.model_copy(
        update={"machine": machine.model_copy(update={"dead_channels": other})}
    )


def _fit_of(table: Path, hardware: HardwareModel) -> _Choice:
    networks = read_table(table, hardware)
    values = [n.microjoules if n.ms is None else n.ms for n in networks]
    group = [n.counts for n in networks], [value or 0.0 for value in values]
    fit, left, free = _best(constants_of(hardware), group)
    off = [
        fit.scales[0] * fit.mac_units(n.counts) / value - 1
        for n, value in zip(networks, group[1], strict=True)
    ]
    told = tuple(
        replace(network, off=off[place], left_out=None if left is None else left[place])
        for place, network in enumerate(networks)
    )
    return _Choice(hardware, told, fit, free, _rms(left or off))


def _best(
    base: KernelCounts, group: Group
) -> tuple[KernelFit, list[float] | None, tuple[str, ...]]:
    """Of fits with some constants free, the one that predicts best what is left out."""

    def one(of: Group) -> KernelFit:
        return fit_scale(base, of)

    best: tuple[KernelFit, list[float] | None, tuple[str, ...]]
    best = one(group), left_out(one, group), ()
    for free in _FREE:
        fit = partial(_with_free, base, free)
        found, errors = fit(group), left_out(fit, group)
        if found is None or errors is None or best[1] is None:
            continue
        if _rms(errors) < _rms(best[1]):
            best = found, errors, free
    return best


def _with_free(base: KernelCounts, free: tuple[str, ...], group: Group) -> KernelFit | None:
    return fit_constants([group], base, free)


def _rms(errors: Sequence[float]) -> float:
    return math.sqrt(math.fsum(e * e for e in errors) / len(errors))


def _scaled(chosen: _Choice) -> tuple[HardwareModel, tuple[str, ...]]:
    """The machine with constants, cycles of a MAC unit, power, and what was not measured."""
    scale, networks = chosen.fit.scales[0], chosen.networks
    hardware = with_constants(chosen.hardware, chosen.fit.constants)
    machine, clock = hardware.machine_as(IntegerKernelsMachine), hardware.clock_mhz or 0.0
    if not chosen.timed:  # microjoules a MAC unit, over the time that the base takes for it
        power = scale * 1e3 * clock / machine.cycles_per_mac_unit
        note = "no milliseconds: time is that of the machine that the fit started from"
        return hardware.model_copy(update={"active_power_mw": power}), (note,)
    cycles = scale * clock * 1e3
    update = {"machine": machine.model_copy(update={"cycles_per_mac_unit": cycles})}
    powers = [n.microjoules / n.ms for n in networks if n.ms and n.microjoules]
    if not powers:
        note = "no microjoules: power is that of the machine that the fit started from"
        return hardware.model_copy(update=update), (note,)
    power = math.exp(math.fsum(map(math.log, powers)) / len(powers))
    return hardware.model_copy(update={**update, "active_power_mw": power}), ()


_FITTED = (
    "active_power_mw",
    "clock_mhz",
    "memories.flash.energy_mac_units_per_word",
    "machine.cycles_per_mac_unit",
    "machine.mac_units_per_mac",
    "machine.mac_units_per_output",
    "machine.dead_channels",
)


def _named(hardware: HardwareModel, name: str, table: str) -> HardwareModel:
    said = f"Fitted to {table} by eapc hw fit, from {hardware.name}; see there for what stayed."
    update = {
        "name": name,
        "description": f"Microcontroller fitted to {table}, from {hardware.name}",
        "sources": {**hardware.sources, **dict.fromkeys(_FITTED, said)},
    }
    return hardware.model_copy(update=update)


def board_yaml(hardware: HardwareModel) -> str:
    """The hardware file of a fitted machine; figures have five digits."""
    document = hardware.model_dump(by_alias=True, exclude_none=True)
    return yaml.safe_dump(_rounded(document), sort_keys=False, default_flow_style=None, width=100)


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


# --- the table ---------------------------------------------------------------------------------


def read_table(path: Path, hardware: HardwareModel) -> list[MeasuredNetwork]:
    """The networks of a table with what they took; DataError where something is amiss."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            lines = [(reader.line_num, line) for line in reader]
            columns = [column.strip() for column in reader.fieldnames or ()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a CSV file") from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path}: is no text in columns; give a CSV file") from None
    given = [column for column in ("ms", "microjoules") if column in columns]
    if "network" not in columns or not given:
        raise DataError(f"{path}: has no columns `network` and `ms` or `microjoules`; add them")
    if not lines:
        raise DataError(f"{path}: has no rows; give one for each measured network")
    networks = [_network(path, number, line, given, hardware) for number, line in lines]
    _require_one_column(path, networks)
    return networks


def _require_one_column(path: Path, networks: Sequence[MeasuredNetwork]) -> None:
    """Raise DataError unless all networks have ms, or none has and all have microjoules."""
    timed = sum(network.ms is not None for network in networks)
    if timed not in (0, len(networks)):
        lacking = next(network.network for network in networks if network.ms is None)
        raise DataError(f"{path}: {lacking} has no ms and others do; give it for all or for none")
    if not timed and any(network.microjoules is None for network in networks):
        raise DataError(f"{path}: a network has neither ms nor microjoules; remove its row")


def _network(
    path: Path, number: int, line: dict[str, str], given: Sequence[str], hardware: HardwareModel
) -> MeasuredNetwork:
    cells = {(key or "").strip(): value for key, value in line.items()}
    file = path.parent / (cells.get("network") or "").strip()
    if not file.is_file():
        raise DataError(f"{path}:{number}: network: no file {file}; paths are from the table's")
    amounts = {column: _amount(path, number, column, cells.get(column)) for column in given}
    counts = counts_of(Model.load(file), hardware)
    if not any(counts):
        raise DataError(f"{path}:{number}: nothing of {file.name} can be priced; remove the row")
    return MeasuredNetwork(file.name, counts, amounts.get("ms"), amounts.get("microjoules"))


def _amount(path: Path, number: int, column: str, text: str | None) -> float | None:
    """A cell's number; None where it is empty."""
    if not (text or "").strip():
        return None
    try:
        amount = float(text or "")
    except ValueError:
        amount = 0.0
    if not 0 < amount < math.inf:
        said = f"expected a positive number, got '{text}'"
        raise DataError(f"{path}:{number}: {column}: {said}; correct it or leave it empty")
    return amount
