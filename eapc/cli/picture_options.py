"""Options for pictures: a page of the result, and its chart as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from eapc.errors import UsageError

if TYPE_CHECKING:
    from eapc.pages import Chart, Page

_RESULT = "Result"


@dataclass(frozen=True)
class PictureOptions:
    """A page and a picture of what a command finds; both need `eapc[report]`."""

    html: Annotated[
        Path | None,
        Option(
            "--html",
            metavar="PATH",
            help="Write a page with charts and tables; needs eapc[report].",
            rich_help_panel=_RESULT,
        ),
    ] = None
    plot: Annotated[
        Path | None,
        Option(
            "--plot",
            metavar="PATH.svg|.png",
            help="Write the main chart as a picture; needs eapc[report].",
            rich_help_panel=_RESULT,
        ),
    ] = None

    @property
    def paths(self) -> list[Path]:
        """The files that are asked for."""
        return [path for path in (self.html, self.plot) if path is not None]

    def check(self, force: bool, taken: Iterable[Path | None] = ()) -> None:
        """Raise UsageError, before any work, where a file could not be written in the end."""
        if not self.paths:
            return
        from eapc.pages import require_extra
        from eapc.report.csv import require_writable

        require_extra("--html" if self.html else "--plot")
        others = list(taken)
        for path in self.paths:
            require_writable(path, force, others)
            others.append(path)
        if self.plot is not None:
            from eapc.pages.plot import require_ending

            require_ending("--plot", self.plot)

    def write(self, page: Callable[[], Page], chart: Callable[[], Chart]) -> None:
        """Write what is asked for; raises UsageError where the file system refuses."""
        from eapc.report.csv import write_report

        if self.html is not None:
            write_report(self.html, page().html())
        if self.plot is not None:
            from eapc.pages.plot import write_plot

            write_plot(self.plot, chart())

    def refuse(self, why: str) -> None:
        """Raise UsageError where a picture is asked for that there is not."""
        if self.paths:
            raise UsageError(f"{'--html' if self.html else '--plot'}: {why}")
