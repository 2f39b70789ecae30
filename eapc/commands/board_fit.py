"""eapc hw fit, the whole way: a table of measured networks to a microcontroller's file.

Each network is left out and predicted from the others; constants are freed only if they predict
better so than one scale of the machine that the fit starts from, whose ratios the others keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from eapc.commands.board_table import MeasuredNetwork, read_table
from eapc.commands.board_validation import validated
from eapc.commands.kernel_fit import (
    ALL_BUT_MAC,
    Group,
    KernelCounts,
    KernelFit,
    constants_of,
    fit_constants,
    fit_scale,
    left_out,
    rms,
    with_constants,
)
from eapc.dataflow import IntegerKernelsMachine
from eapc.errors import UsageError
from eapc.hardware import HardwareModel, load_hardware

_FREE = (("depthwise",), ("weight", "output"), ALL_BUT_MAC)
"""Which constants a board's fit tries to free, beside the scale."""


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
    unseen = _unseen(choices)
    found = _named(found, name, Path(table).name)
    if unseen is not None:
        found = validated(found, chosen.networks, unseen)
    return FittedMachine(found, chosen.networks, chosen.free, (*notes, *_far_off(chosen)))


def _far_off(chosen: _Choice) -> Iterator[str]:
    """Networks of which no constants make half or twice of what was measured."""
    for network in chosen.networks:
        if not -0.5 < network.off < 1:
            said = f"{network.network} is off by {100 * network.off:+.3g}%"
            yield f"{said}: see whether its row is right"


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
    group = _group(networks)
    fit, left, free = _best(constants_of(hardware), group)
    off = _off(fit, group)
    told = tuple(
        replace(network, off=off[place], left_out=None if left is None else left[place])
        for place, network in enumerate(networks)
    )
    return _Choice(hardware, told, fit, free, rms(left or off))


def _group(networks: Sequence[MeasuredNetwork]) -> Group:
    return [n.counts for n in networks], [n.fitted_to for n in networks]


def _unseen(choices: Sequence[_Choice]) -> list[float] | None:
    """Error of each network if all that is chosen, too, is chosen by the others alone.

    None where there is but one.
    """
    networks = choices[0].networks
    if len(networks) < 2:
        return None
    return [_error_of(place, choices) for place in range(len(networks))]


def _error_of(place: int, choices: Sequence[_Choice]) -> float:
    found = []
    for choice in choices:
        own = choice.networks[place]
        group = _group([n for n in choice.networks if n is not own])
        fit, left, _ = _best(constants_of(choice.hardware), group)
        off = fit.scales[0] * fit.mac_units(own.counts) / own.fitted_to - 1
        found.append((rms(left or _off(fit, group)), off))
    return min(found, key=lambda pair: pair[0])[1]


def _off(fit: KernelFit, group: Group) -> list[float]:
    """Relative errors of a fit to one group."""
    return [
        fit.scales[0] * fit.mac_units(counts) / value - 1
        for counts, value in zip(*group, strict=True)
    ]


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
        if rms(errors) < rms(best[1]):
            best = found, errors, free
    return best


def _with_free(base: KernelCounts, free: tuple[str, ...], group: Group) -> KernelFit | None:
    return fit_constants([group], base, free)


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
    kept = {key: text for key, text in hardware.sources.items() if key != "validation"}
    update = {
        "name": name,
        "description": f"Microcontroller fitted to {table}, from {hardware.name}",
        "validation": None,
        "sources": {**kept, **dict.fromkeys(_FITTED, said)},
    }
    return hardware.model_copy(update=update)


# --- the file ------------------------------------------------------------------------------------


def board_yaml(hardware: HardwareModel) -> str:
    """The hardware file of a fitted machine; figures have five digits."""
    document = _rounded(hardware.model_dump(by_alias=True, exclude_none=True))
    if hardware.validation is not None:
        document["validation"]["figures"] = HardwareModel.model_validate(document).figures
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_rounded, value))
    return float(f"{value:.5g}") if isinstance(value, float) else value
