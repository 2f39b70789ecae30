"""What every command starts with: logging on stderr, BLAS threads; and what prints its results."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from eapc.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from eapc.report.documents import Document

STDOUT = Path("-")

_BLAS_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class _Log(logging.Handler):
    """Writes `eapc: message` lines from `least` on to stderr; remembers warnings in any case."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least = least
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a traceback follows its line."""
        message = one_line(record.getMessage())
        prefix = ""
        if record.levelno >= logging.WARNING:
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
    from eapc.report.files import require_writable

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
    from eapc.report.documents import to_json
    from eapc.report.files import write_report

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
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table(console.width))
    lines = capture.get().splitlines()
    write("".join(f"{line.rstrip()}\n" for line in lines))
