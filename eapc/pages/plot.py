"""Charts as pictures: SVG and PNG files, and SVG that stands within a page."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import vl_convert

from eapc.errors import UsageError
from eapc.pages.chart import PAPER, TEXT, Chart
from eapc.report.csv import write_report

WIDTH = 760
"""Pixels of a picture of its own."""

_PIXELS = 2
"""Of a PNG for each pixel of the SVG, so that it is sharp in print."""

_DARK = {TEXT: "#e6edf3", PAPER: "#0d1117"}
"""What readers who prefer dark pages see in place of a colour."""

ENDINGS = (".svg", ".png")


def require_ending(option: str, path: Path) -> None:
    """Raise UsageError where the ending of a picture's name is none that can be written."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{option}: {path}: expected a name that ends in .svg or .png")


def svg(chart: Chart, width: int = WIDTH) -> str:
    """The chart as SVG, light or dark as its reader prefers."""
    drawn = _draw(chart, width)
    rules = "".join(
        f"[{name}='{light}']{{{name}:{dark}}}"
        for light, dark in _DARK.items()
        for name in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
    title = f"<title>{escape(chart.title)}</title>"
    return re.sub(r"(<svg\b[^>]*>)", lambda found: found[1] + title + style, drawn, count=1)


def inline_svg(chart: Chart, width: int) -> str:
    """The chart as SVG for a page: its text has the colour of the page's, its ground none."""
    drawn = _draw(chart, width).replace(TEXT, "currentColor")
    drawn = drawn.replace(f'fill="{PAPER}"', 'fill="none"')
    name = f'role="img" aria-label="{escape(chart.title)}"'
    return re.sub(r"<svg\b", f"<svg {name}", drawn, count=1)


def png(chart: Chart, width: int = WIDTH) -> bytes:
    """The chart as PNG on white."""
    return vl_convert.vegalite_to_png(chart.sized(width), scale=_PIXELS)


def write_plot(path: Path, chart: Chart) -> None:
    """Write a picture whole or not at all; raises UsageError where the file system refuses."""
    write_report(path, png(chart) if path.suffix.lower() == ".png" else svg(chart))


_LONG_FRACTION = re.compile(r"(\d\.\d\d)\d+")
_COORDINATES = re.compile(r' (?:d|x|y|x2|y2|width|height|transform)="[^"]*"')
_UNSEEN = re.compile(r'<text[^>]* opacity="0">[^<]*</text>')


def _draw(chart: Chart, width: int) -> str:
    """What the library draws, without labels that nobody sees and digits beyond a hundredth."""
    drawn = vl_convert.vegalite_to_svg(chart.sized(width))
    return _COORDINATES.sub(_shortened, _UNSEEN.sub("", drawn))


def _shortened(attribute: re.Match[str]) -> str:
    return _LONG_FRACTION.sub(r"\1", attribute[0])
