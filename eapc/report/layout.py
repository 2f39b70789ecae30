"""What all tables share: their look, names cut to fit, facts in two columns, numbers.

Numbers are as people read them: three significant digits and an SI prefix.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eapc.evaluation import TOP1_AGREEMENT
from eapc.hardware import Metered

UNLIMITED = 10_000
"""Width of an output that is no terminal: nothing is cut, wrapped or left out."""

NOT_FINITE = "not finite"
"""In place of a figure that is no number, or has no end."""

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


# --- numbers -------------------------------------------------------------------------------------


_PREFIXES = dict(
    zip(range(-15, 18, 3), ("f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P"), strict=True)
)


def engineering(value: float, unit: str = "") -> str:
    """Three significant digits: `3.97 G`, `843 k`, `1.75 µJ` with unit `J`; `12` if whole.

    Numbers without a unit get no prefix below one.
    """
    if not math.isfinite(value):
        return "unknown"
    if value == 0 or (not unit and abs(value) < 1000 and value == int(value)):
        return f"{value:.0f} {unit}".rstrip()
    rounded = float(f"{value:.3g}")
    if not unit and abs(rounded) < 1:
        return f"{rounded:g}"
    thousands = 3 * math.floor(math.log10(abs(rounded)) / 3 + 1e-12)
    exponent = min(max(thousands, min(_PREFIXES)), max(_PREFIXES))
    scaled = rounded / 10.0**exponent
    decimals = max(0, 3 - len(str(int(abs(scaled)))))
    return f"{scaled:.{decimals}f} {_PREFIXES[exponent]}{unit}".rstrip()


def joules(picojoules: float) -> str:
    """An energy with the prefix that suits it: `3.3 µJ` of 3.3e6 pJ."""
    return engineering(picojoules * 1e-12, "J")


def metered(amount: Metered, unit: str) -> str:
    """`5.10 W (4.90 W to 5.30 W)`: the median and what holds it with 95 % confidence."""
    median, low, high = (engineering(x, unit) for x in (amount.median, amount.low, amount.high))
    return f"{median} ({low} to {high})"


def milliseconds(time: float) -> str:
    """A latency with the prefix that suits it: `3.3 ms`, `330 µs`."""
    return engineering(time * 1e-3, "s")


def percent(fraction: float | None) -> str:
    """`41.2%`; what rounds to nothing but is not nothing is `<0.1%`, the unknown a dash."""
    if fraction is None or not math.isfinite(fraction):
        return "-"
    if 0 < fraction < 0.0005:
        return "<0.1%"
    return f"{100 * fraction:.1f}%"


def likeness_of(metric: str, value: float) -> str:
    """Three digits of an error; what is a share of samples as `41.2%`."""
    if metric != TOP1_AGREEMENT:
        return f"{value:.3g}" if math.isfinite(value) else NOT_FINITE
    return percent(value)


def count(number: int, noun: str) -> str:
    """`1 node`, `1,200 inputs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def judged_on(samples: int, fitted: bool) -> str:
    """`32 inputs kept out of the fit`, or what to think of those that were not."""
    were = "was" if samples == 1 else "were"
    told = f"that {were} fitted: others agree less" if fitted else "kept out of the fit"
    return f"{count(samples, 'input')} {told}"


def seconds(duration: float) -> str:
    """`0.42 s`, `12.3 s`, `3 min 20 s`."""
    if duration < 60:
        return f"{duration:.{2 if duration < 10 else 1}f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s"
