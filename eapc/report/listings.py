"""What there is to choose from: passes and machines, as people read them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from eapc.hardware import HardwareModel, KnownWidths, MeasuredMachine, Memory
from eapc.pipeline import Pass
from eapc.report.layout import engineering, facts, page, plain, title
from eapc.report.timings import machine_summary
from eapc.report.uncertainty import energy_uncertainty


def passes_table(passes: Mapping[str, type[Pass]]) -> Group:
    """Every pass with its options, their types, defaults and meaning."""
    parts = [_pass(name, kind) for name, kind in sorted(passes.items())]
    example = 'eapc run MODEL --pipeline "annotate-energy, prune-weights{sparsity=0.8}"'
    return page(*parts, Text(f"To use them: {example}", style="dim"))


def hardware_list(machines: Iterable[HardwareModel]) -> Table:
    """The machines by name, with what each is."""
    return facts((machine.name, plain(machine.description)) for machine in machines)


def hardware_summary(machine: HardwareModel | MeasuredMachine) -> list[str]:
    """A machine in a few lines: arithmetic, array, memory levels outermost first; or its grids."""
    if isinstance(machine, MeasuredMachine):
        return machine_summary(machine)
    pj, kept_in = machine.mac_unit_pj, machine.feature_maps_kept_in
    kind = f"{machine.dataflow.replace('_', ' ')}, {machine.word_bits}-bit words"
    return [
        f"{machine.name}: {machine.description}",
        kind + (f", 1 MAC unit is {pj:g} pJ" if pj else ""),
        "",
        f"{'level':<14}{'MAC units per word':>18}{'size':>10}",
        *(_level(name, memory) for name, memory in machine.memories.items()),
        *(["", f"feature maps are kept in {kept_in} between layers"] if kept_in else []),
        *(["", _widths(machine.widths)] if machine.widths else []),
        *["", f"uncertainty of energies: {energy_uncertainty(machine)}"],
    ]


def _widths(widths: KnownWidths) -> str:
    weights, activations = (
        ", ".join(map(str, each)) for each in (widths.weights, widths.activations)
    )
    return f"widths: weights of {weights} bits, activations of {activations}"


def _level(name: str, memory: Memory) -> str:
    size = engineering(memory.size_bytes, "B") if memory.size_bytes else "-"
    return f"{name:<14}{memory.energy_mac_units_per_word:>18g}{size:>10}"


def _pass(name: str, kind: type[Pass]) -> Group:
    grid = Table.grid(padding=(0, 2))
    hints, options = typing.get_type_hints(kind), dataclasses.fields(kind)
    for option in options:
        about = str(option.metadata.get("help", ""))
        if "choices" in option.metadata:
            about = f"{about}: {', '.join(option.metadata['choices'])}"
        grid.add_row(f"  {option.name}", type_name(hints[option.name]), _default(option), about)
    return Group(title(name), Text(plain(kind.summary())), *([grid] if options else []))


def _default(option: dataclasses.Field[object]) -> str:
    if option.default_factory is not dataclasses.MISSING:
        return f"= {option.default_factory()}"
    if option.default is dataclasses.MISSING:
        return "required"
    return "" if option.default is None else f"= {option.default}".lower()


def type_name(hint: object) -> str:
    """A type as an option's reader wants it: `float or none`, `admm|eap`, `true|false`."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return "|".join(str(argument) for argument in arguments)
    if hint is bool:
        return "true|false"
    if hint is type(None):
        return "none"
    if arguments and typing.get_origin(hint) not in (tuple, list, dict):
        return " or ".join(type_name(argument) for argument in arguments)
    return hint.__name__ if isinstance(hint, type) and not arguments else str(hint)
