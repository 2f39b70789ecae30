"""A page: facts and sections, as one HTML file that opens without a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from eapc.pages.chart import Chart
from eapc.report.layout import plain

if TYPE_CHECKING:
    import jinja2

WIDE, NARROW = 860, 350
"""Pixels of a chart on a screen and on a phone; a page shows the one that fits."""


@dataclass(frozen=True)
class Facts:
    """Names and what is to be said of each."""

    entries: Sequence[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Entry:
    """What a table shows, and the number that it is sorted by; text is sorted as text."""

    text: str
    value: float | None = None

    @property
    def data(self) -> Any:
        """As it stands in the page's data."""
        text = self.text if self.text.isprintable() else plain(self.text)
        known = self.value is not None and math.isfinite(self.value)
        return [text, float(f"{self.value:.7g}")] if known else text


@dataclass(frozen=True)
class Sheet:
    """A table that can be sorted by each column, and searched where it is long.

    The first `names` columns hold text, the others figures.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    names: int = 1
    kind: str = "table"

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script lays out."""
        rows = [[cell.data for cell in row] for row in self.rows]
        return {"columns": list(self.columns), "names": self.names, "rows": rows}


@dataclass(frozen=True)
class Drawing:
    """A network to move about in: boxes with their share of the energy, and lines between.

    Of each node there is x, y, the share of the largest, below 0 where it has none, a short name
    and what to say of it, both printable; of each line the coordinates along it. All are in boxes.
    """

    title: str
    note: str
    nodes: Sequence[tuple[float, float, float, str, str]]
    lines: Sequence[Sequence[float]]
    kind: str = "drawing"

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script draws."""
        nodes = [
            [round(x, 2), round(y, 2), round(depth, 4), name, text]
            for x, y, depth, name, text in self.nodes
        ]
        return {"nodes": nodes, "lines": [[round(at, 2) for at in line] for line in self.lines]}


@dataclass(frozen=True)
class Switch:
    """Parts of which one is shown: the first, until another name is chosen.

    Names are buttons; more than `most_buttons` are a list that opens.
    """

    label: str
    options: Mapping[str, Part]
    kind: str = "choice"
    most_buttons: int = 6


def one_of(label: str, options: Mapping[str, Part]) -> Part:
    """A choice among several parts; one part is no choice."""
    parts = list(options.values())
    return parts[0] if len(parts) == 1 else Switch(label, options)


Part = Chart | Switch | Drawing | Facts | Sheet


@dataclass(frozen=True)
class PageSection:
    """A heading with parts below it."""

    title: str
    parts: Sequence[Part]
    note: str = ""


@dataclass(frozen=True)
class Page:
    """Everything of one result: what matters most as facts, the rest in sections."""

    title: str
    facts: Iterable[tuple[str, str]]
    sections: Sequence[PageSection]

    def html(self) -> str:
        """The page as one file."""
        return _environment().get_template("page.html").render(page=self)


@cache
def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["plain"] = plain
    made.filters["pictures"] = _pictures
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    made.globals["style"] = Markup(_template("page.css"))
    made.globals["script"] = Markup(_template("page.js"))
    return made


def _template(name: str) -> str:
    return (files("eapc.pages") / "templates" / name).read_text(encoding="utf-8")


def _pictures(chart: Chart) -> list[tuple[str, Any]]:
    """The chart for a screen and for a phone, with the class that shows each."""
    from markupsafe import Markup

    from eapc.pages.plot import inline_svg

    return [
        (name, Markup(inline_svg(chart, w))) for name, w in (("wide", WIDE), ("narrow", NARROW))
    ]
