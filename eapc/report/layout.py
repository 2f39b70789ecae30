"""What all tables share: their look, names cut to fit, facts in two columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000
"""Width of an output that is no terminal: nothing is cut, wrapped or left out."""

_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of a table; where space is short, names are cut to `least` characters."""

    heading: str
    justify: Literal["left", "right"] = "right"
    least: int | None = None
    cut: Literal["middle", "end"] = "middle"


Row = Sequence[str]


def table(
    columns: Sequence[Column], rows: Sequence[Row], width: int, dimmed: Collection[int] = ()
) -> Table:
    """A table of our look in `width` characters; the rows with indices in `dimmed` are dim."""
    grid = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        header_style="bold",
        border_style="dim",
        show_edge=False,
    )
    widths = _widths(columns, rows, width)
    for column in columns:
        grid.add_column(column.heading, justify=column.justify, no_wrap=True, vertical="bottom")
    for i, row in enumerate(rows):
        cells = [
            cell if column.least is None else shorten(cell, most, column.cut)
            for column, cell, most in zip(columns, row, widths, strict=True)
        ]
        grid.add_row(*cells, style="dim" if i in dimmed else None)
    return grid


def table_of(columns: Mapping[Column, Iterable[str]], width: int) -> Table:
    """The same of columns that each come with their cells."""
    return table(list(columns), list(zip(*columns.values(), strict=True)), width)


def _widths(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[int]:
    """Natural widths, less what columns that may be cut must give up, the last one first."""
    texts = [
        [*column.heading.split("\n"), *cells] for column, *cells in zip(columns, *rows, strict=True)
    ]
    widths = [max(map(len, column)) for column in texts]
    excess = sum(widths) + _GAP * (len(columns) - 1) - width
    for i, column in reversed(list(enumerate(columns))):
        if column.least is not None and excess > 0:
            given = min(excess, max(0, widths[i] - column.least))
            widths[i] -= given
            excess -= given
    return widths


def facts(entries: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names in bold on the left, what is to be said of each on the right; wraps."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for name, said in entries:
        grid.add_row(name, said)
    return grid


def title(text: str) -> Text:
    """The line that an output starts with."""
    return Text(plain(text), style="bold")


def page(*parts: RenderableType) -> Group:
    """The parts one below the other, with an empty line before each but the first."""
    return Group(
        *(Padding(part, (1 if i else 0, 0, 0, 0), expand=False) for i, part in enumerate(parts))
    )


def plain(text: str) -> str:
    """The text with anything that could steer a terminal or break a line replaced."""
    return "".join(c if c.isprintable() else "�" for c in text)


def shorten(name: str, width: int, cut: Literal["middle", "end"] = "middle") -> str:
    """The name in at most `width` characters: where it is too long, something is left out.

    Of a node's name the end says most: cut in the middle, it gets two thirds of the space.
    """
    name = plain(name)
    if len(name) <= width:
        return name
    tail = 2 * (width - 1) // 3 if cut == "middle" else 0
    head = width - 1 - tail
    return f"{name[:head]}…{name[len(name) - tail :]}"
