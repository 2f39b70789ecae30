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
    """One line for the stage that runs."""

    def __init__(self, shown: rich_progress.Progress) -> None:
        self._shown = shown
        self._stage = ""
        self._task: rich_progress.TaskID | None = None

    def __call__(self, step: Step) -> None:
        error = "" if step.error is None else f"; output error of the last {step.error:.3f}"
        fields: dict[str, Any] = {"layer": step.layer, "error": error}
        is_over = step.done == step.total
        if self._task is not None and (is_over or step.stage != self._stage):
            self._shown.remove_task(self._task)
            self._task = None
        if is_over:
            return
        if self._task is None:
            self._stage = step.stage
            self._task = self._shown.add_task(
                step.stage, total=step.total, completed=step.done, **fields
            )
        else:
            self._shown.update(self._task, completed=step.done, **fields)
