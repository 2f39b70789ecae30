"""What every command starts with: logging on stderr, BLAS threads; and what prints its results.

A progress bar on stderr, where that is a terminal.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eapc.errors import UsageError
from eapc.progress import Progress, Step, silent

if TYPE_CHECKING:
    from rich import progress as rich_progress
    from rich.console import RenderableType

    from eapc.report.documents import Document

STDOUT = Path("-")

_BLAS_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class _Log(logging.Handler):
    """Writes `eapc: message` lines from `least` on to stderr; remembers warnings in any case.

    The same warning is told once: a file may be read more than once.
    """

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least = least
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a traceback follows its line."""
        message = one_line(record.getMessage())
        prefix = ""
        if record.levelno >= logging.WARNING:
            if message in self.warnings:
                return
            prefix = f"{record.levelname.lower()}: "
            self.warnings.append(message)
        if record.levelno < self._least:
            return
        sys.stderr.write(f"eapc: {prefix}{message}\n")
        if record.exc_info:
            sys.stderr.write(logging.Formatter().formatException(record.exc_info) + "\n")


def begin(
    verbose: int = 0, quiet: bool = False, debug: bool = False, threads: int = 0
) -> list[str]:
    """Set up logging and BLAS threads; the list that is returned takes up warnings to come.

    Comes before numpy is imported: BLAS reads its number of threads once.
    """
    for name in _BLAS_SETTINGS if threads else ():
        os.environ[name] = str(threads)
    log = _Log(_level(verbose, quiet, debug))
    logger = logging.getLogger("eapc")
    logger.handlers[:] = [log]
    logger.propagate = False
    logger.setLevel(min(_level(verbose, quiet, debug), logging.WARNING))
    return log.warnings


def _level(verbose: int, quiet: bool, debug: bool) -> int:
    if debug or verbose > 1:
        return logging.DEBUG
    if quiet:
        return logging.ERROR
    return logging.INFO if verbose else logging.WARNING


def one_line(text: str) -> str:
    """The text on one line, without anything that could steer a terminal."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


def require_rows(csv: Path | None, json: bool, force: bool, taken: Iterable[Path | None]) -> None:
    """Raise UsageError where --csv has nowhere to go: stdout or the file is another's."""
    from eapc.report.csv import require_writable

    if csv == STDOUT and json:
        raise UsageError("--json and --csv -: only one can have stdout")
    if csv not in (None, STDOUT):
        require_writable(csv, force, taken)


def publish(
    table: Callable[[int], RenderableType],
    document: Callable[[], Document],
    json: bool,
    csv: Path | None = None,
    rows: Callable[[], str] = str,
) -> None:
    """Print a result as the table for a width or as its document; write its rows where asked."""
    from eapc.report.csv import write_report
    from eapc.report.documents import to_json

    if csv == STDOUT:
        write(rows())
        return
    if csv is not None:
        write_report(csv, rows())
    if json:
        write(to_json(document()))
    else:
        show(table)


def write(text: str) -> None:
    """Put text on stdout; what its encoding cannot say becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def show(table: Callable[[int], RenderableType]) -> None:
    """Print what `table` makes for the terminal's width; in full where there is no terminal."""
    from rich.console import Console

    from eapc.report.layout import UNLIMITED

    width = None if sys.stdout.isatty() else UNLIMITED
    console = Console(
        width=width, color_system=_colors(), markup=False, emoji=False, highlight=False
    )
    with console.capture() as capture:
        console.print(table(console.width))
    lines = capture.get().splitlines()
    write("".join(f"{line.rstrip()}\n" for line in lines))


# --- progress ------------------------------------------------------------------------------------


_WINDOW_SECONDS = 3600.0
"""Layers take from milliseconds to minutes: the time left goes by all of them."""

_BAR_WIDTH = 16
_CLOCK_WIDTH = 7
_BAR_GAPS = 5
_LEAST_SUBJECT = 8


@contextmanager
def progress_bar(quiet: bool, stage: str = "", subject: str = "") -> Iterator[Progress]:
    """What to tell of a long pass: a bar while there is one on a terminal, nobody otherwise.

    It starts with a stage, if one is given, and what that is about.
    """
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    with _shown() as shown:
        bar = _Bar(shown)
        if stage:
            bar(Step(stage, 0, None, subject=subject))
        yield bar


def _shown() -> rich_progress.Progress:
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    whole = Column(no_wrap=True)
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=whole),
        progress.BarColumn(bar_width=_BAR_WIDTH, table_column=whole),
        progress.TextColumn("{task.fields[count]}", markup=False, table_column=whole),
        progress.TimeRemainingColumn(compact=True, table_column=whole),
        progress.TextColumn("{task.fields[layer]}", markup=False, table_column=whole),
        console=Console(stderr=True, highlight=False, color_system=_colors()),
        transient=True,
        refresh_per_second=4,
        speed_estimate_period=_WINDOW_SECONDS,
    )


def _colors() -> Literal["auto"] | None:
    """No escape codes for colours and the like where NO_COLOR is set, see no-color.org."""
    return None if os.environ.get("NO_COLOR") else "auto"


def _last(error: float | None) -> str:
    """What the last layer lost, where that is known and a number."""
    if error is None or not math.isfinite(error):
        return ""
    return f"; output error of the last {error:.3f}"


class _Bar:
    """One line for the stage that runs; none between stages."""

    def __init__(self, shown: rich_progress.Progress) -> None:
        self._shown = shown
        self._stage = ""
        self._trial = 0
        self._task = shown.add_task("", visible=False, total=None, layer="", count="")

    def __call__(self, step: Step) -> None:
        if step.trial is not None:
            self._trial = step.trial
        is_running = step.total is None or step.done < step.total
        trial = f"trial {self._trial}: " if self._trial else ""
        stage = f"{trial}{step.stage}"
        count = "" if step.total is None else f"{step.done}/{step.total}"
        line: dict[str, Any] = {
            "description": stage,
            "total": step.total,
            "completed": step.done,
            "visible": is_running,
            "count": count,
            "layer": self._subject(step, len(stage) + len(count)),
        }
        if stage == self._stage:
            self._shown.update(self._task, **line)
        else:  # the time left goes by this stage alone
            self._shown.remove_task(self._task)
            self._task = self._shown.add_task(**line)
            self._shown.refresh()
        self._stage = stage if is_running else ""

    def _subject(self, step: Step, taken: int) -> str:
        """The layer and the last error as far as the line has room for them."""
        from eapc.report.names import shorten

        room = self._shown.console.width - taken - _BAR_WIDTH - _CLOCK_WIDTH - _BAR_GAPS
        subject = step.layer or step.subject
        if len(subject) + len(_last(step.error)) <= room:
            return f"{subject}{_last(step.error)}"
        return shorten(subject, room) if room >= _LEAST_SUBJECT else ""
