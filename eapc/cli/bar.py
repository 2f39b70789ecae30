"""A progress bar on stderr, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eapc.progress import Progress, Step, silent

if TYPE_CHECKING:
    from rich import progress as rich_progress

_WINDOW_SECONDS = 3600.0
"""Layers take from milliseconds to minutes: the time left goes by all of them."""


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """What to tell of a long pass: a bar while there is one on a terminal, nobody otherwise."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    with _shown() as shown:
        yield _Bar(shown)


def _shown() -> rich_progress.Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[layer]}{task.fields[error]}", markup=False),
        console=Console(stderr=True, highlight=False),
        transient=True,
        refresh_per_second=4,
        speed_estimate_period=_WINDOW_SECONDS,
    )


class _Bar:
    """One line for the stage that runs; none between stages."""

    def __init__(self, shown: rich_progress.Progress) -> None:
        self._shown = shown
        self._stage = ""
        self._task = shown.add_task("", visible=False, layer="", error="")

    def __call__(self, step: Step) -> None:
        is_running = step.done < step.total
        line: dict[str, Any] = {
            "description": step.stage,
            "total": step.total,
            "completed": step.done,
            "visible": is_running,
            "layer": step.layer,
            "error": "" if step.error is None else f"; output error of the last {step.error:.3f}",
        }
        if step.stage == self._stage:
            self._shown.update(self._task, **line)
        else:  # the time left goes by this stage alone
            self._shown.reset(self._task, **line)
        self._stage = step.stage if is_running else ""
