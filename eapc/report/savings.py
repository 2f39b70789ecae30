"""What would save most, as people and programs read it: figures, and the commands that do it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from eapc.commands.compiler import Analysis
from eapc.commands.preparation import DEFAULT_HARDWARE, Settings
from eapc.commands.savings import Saving
from eapc.report.layout import engineering, facts, percent, plain, shorten

_NAME_WIDTH = 32


SAVINGS_NOTE = "each by itself, as modelled; prune tells how answers fare"


def savings_part(analysis: Analysis, settings: Settings) -> Iterator[Group]:
    """A line for each change and its command; nothing where no change is worth it."""
    if lines := savings_facts(analysis, settings):
        yield Group(Text(f"what would save most, {SAVINGS_NOTE}"), facts(lines))


def savings_facts(analysis: Analysis, settings: Settings | None) -> list[tuple[str, str]]:
    """What each change saves, and the change with its command, for pages too."""
    return [
        (f"-{percent(saving.saved)}", plain(_line(saving, analysis, settings)))
        for saving in analysis.savings
    ]


def _line(saving: Saving, analysis: Analysis, settings: Settings | None) -> str:
    """`50% zeros in all layers, 42.0% of that in conv1 and conv2 (eapc prune ...)`."""
    said, command = saving.change, command_of(saving, analysis, settings)
    if saving.layers:
        names = ", ".join(shorten(name, _NAME_WIDTH) for name in saving.layers)
        said += f", {percent(saving.layers_share)} of that in {names}"
    if saving.room_bytes is not None:
        said += f", which would take {engineering(saving.room_bytes, 'B')} there"
    return f"{said} ({command})" if command else said


def command_of(saving: Saving, analysis: Analysis, settings: Settings | None) -> str | None:
    """The command that makes the change; None where there is none, or the model is no file."""
    path = analysis.model.path
    if not saving.options or path is None:
        return None
    more = [] if settings is None else _options(settings)
    return shlex.join(["eapc", "prune", str(path), *saving.options, *more])


def _options(settings: Settings) -> Iterator[str]:
    """The machine, where it was chosen by name or file, and the shapes of an analysis."""
    machine = settings.hardware
    if isinstance(machine, str | Path) and machine != DEFAULT_HARDWARE:
        yield from ("--hw", str(machine))
    if settings.batch is not None:
        yield from ("--batch", str(settings.batch))
    for name, shape in settings.input_shapes.items():
        yield from ("--input-shape", f"{name}:{','.join(map(str, shape))}")


def savings_document(analysis: Analysis, settings: Settings | None) -> list[dict[str, Any]]:
    """`savings` of a document: the most first, each with its command or null."""
    return [
        {
            "kind": saving.kind,
            "change": saving.change,
            "energy_mac_units": saving.energy_mac_units,
            "saved": saving.saved,
            "layers": list(saving.layers),
            "layers_share": saving.layers_share,
            "level": saving.level or None,
            "room_bytes": saving.room_bytes,
            "command": command_of(saving, analysis, settings),
        }
        for saving in analysis.savings
    ]
