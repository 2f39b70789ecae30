"""A microcontroller fitted to measured networks, as people read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group

from eapc.commands.board_fit import FittedMachine
from eapc.commands.board_table import MeasuredNetwork
from eapc.commands.kernel_fit import constants_of
from eapc.dataflow import IntegerKernelsMachine
from eapc.report.documents import Document
from eapc.report.layout import Column, facts, page, plain, table, title
from eapc.report.uncertainty import energy_uncertainty, validation_document

_COLUMNS = (
    Column("network", "left", least=12),
    Column("ms"),
    Column("microjoules"),
    Column("off"),
    Column("off, left out"),
)


def fit_table(fitted: FittedMachine, width: int, written: Path) -> Group:
    """Every network with its errors, the constants, and what was not measured."""
    rows = [
        [
            plain(network.network),
            _amount(network.ms),
            _amount(network.microjoules),
            _percent(network.off),
            _percent(network.left_out),
        ]
        for network in fitted.networks
    ]
    return page(
        title(fitted.hardware.name), table(_COLUMNS, rows, width), facts(_facts(fitted, written))
    )


def fit_document(fitted: FittedMachine, written: Path, warnings: Sequence[str] = ()) -> Document:
    """`eapc.fit/1`: constants, and every network with its errors; shares, not per cent."""
    hardware = fitted.hardware
    return {
        "schema": "eapc.fit/1",
        "machine": hardware.name,
        "fitted": ["mac", *fitted.free],
        "constants_mac_units": constants_of(hardware)._asdict(),
        "cycles_per_mac_unit": hardware.machine.cycles_of_mac_unit,
        "clock_mhz": hardware.clock_mhz,
        "active_power_mw": hardware.active_power_mw,
        "dead_channels": hardware.machine_as(IntegerKernelsMachine).dead_channels,
        "validation": validation_document(hardware.validation),
        "networks": [
            {
                "network": network.network,
                "ms": network.ms,
                "microjoules": network.microjoules,
                "off": network.off,
                "off_left_out": network.left_out,
            }
            for network in fitted.networks
        ],
        "output": str(written),
        "warnings": [*fitted.notes, *warnings],
    }


def _facts(fitted: FittedMachine, written: Path) -> Iterator[tuple[str, str]]:
    machine, constants = fitted.hardware.machine_as(IntegerKernelsMachine), fitted.hardware
    found = constants_of(constants)
    yield "fitted", f"{', '.join(('MAC', *fitted.free))}; what else costs keeps its ratio to a MAC"
    yield "errors", _errors(fitted.networks)
    yield "uncertainty", energy_uncertainty(constants)
    cycles = f"{machine.cycles_per_mac_unit:.4g} cycles a MAC unit"
    clock, power = constants.clock_mhz, constants.active_power_mw
    board = [f"{clock:g} MHz"] * (clock is not None) + [f"{power or 0:.4g} mW"] * bool(power)
    yield "board", ", ".join([cycles, *board])
    yield (
        "constants",
        f"depthwise MAC {found.depthwise:.3g}, weight {found.weight:.3g}, "
        f"output {found.output:.3g} MAC units",
    )
    yield "dead channels", "are " + machine.dead_channels
    yield from (("note", note) for note in fitted.notes)
    yield "written", plain(str(written))


def _errors(networks: tuple[MeasuredNetwork, ...]) -> str:
    """Root mean squares of the errors, and of those of networks left out."""
    text = f"{_rms([n.off for n in networks])} rms"
    left_out = [n.left_out for n in networks if n.left_out is not None]
    if not left_out:
        return f"{text}; one network cannot be left out"
    return f"{text}, {_rms(left_out)} of networks left out"


def _rms(errors: list[float]) -> str:
    return f"{100 * math.sqrt(math.fsum(e * e for e in errors) / len(errors)):.1f}%"


def _amount(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.1f}%"
