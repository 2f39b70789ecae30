"""What all tables share: their look, names cut to fit, facts in two columns, numbers.

Numbers are as people read them: three significant digits and an SI prefix.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from eapc.evaluation import TOP1_AGREEMENT
from eapc.hardware import Metered
from eapc.report.names import Cut, apart, cells, cropped
from eapc.report.names import plain as plain
from eapc.report.names import shorten as shorten

UNLIMITED = 10_000
"""Width of an output that is no terminal: nothing is cut, wrapped or left out."""

NOT_FINITE = "not finite"
"""In place of a figure that is no number, or has no end."""

_GAP = 2
_ROOM_FOR_NAMES = 28
"""Rather than to cut names to fewer characters, spare columns are left out."""

_PLAIN, _BOLD, _DIM = Style(), Style(bold=True), Style(dim=True)


@dataclass(frozen=True)
class Column:
    """A column of a table; where space is short, names are cut to `least` characters.

    A `spare` column is left out where names would have little room beside it.
    """

    heading: str
    justify: Literal["left", "right"] = "right"
    least: int | None = None
    cut: Cut = "middle"
    spare: bool = False


Row = Sequence[str]


@dataclass(frozen=True)
class TextTable:
    """A table that is laid out: a line of text each, in the style of all of it.

    Rich's own tables take their time over thousands of rows, cell by cell.
    """

    lines: Sequence[tuple[str, Style]]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        for text, style in self.lines:
            yield Segment(cropped(text, options.max_width), style)
            yield Segment.line()


def table(
    columns: Sequence[Column], rows: Sequence[Row], width: int, dimmed: Collection[int] = ()
) -> TextTable:
    """A table of our look in `width` characters; the rows with indices in `dimmed` are dim."""
    cells_of = [[*cells] for cells in zip(*rows, strict=True)] or [[] for _ in columns]
    kept = _kept(columns, cells_of, width)
    columns, cells_of = [columns[i] for i in kept], [cells_of[i] for i in kept]
    for i, most in enumerate(_widths(columns, cells_of, width)):
        column = columns[i]
        if column.least is not None:
            names = apart(cells_of[i], most, column.cut)
            cells_of[i] = [names[cell] for cell in cells_of[i]]
    headings = [column.heading.split("\n") for column in columns]
    height = max(map(len, headings))
    headings = [[""] * (height - len(own)) + own for own in headings]
    texts = _aligned(columns, [[*a, *b] for a, b in zip(headings, cells_of, strict=True)])
    styles = [_DIM if i in dimmed else _PLAIN for i in range(len(rows))]
    rule = "─" * max(map(cells, texts))
    return TextTable(
        [
            *((text, _BOLD) for text in texts[:height]),
            (rule, _DIM),
            *zip(texts[height:], styles, strict=True),
        ]
    )


def _aligned(columns: Sequence[Column], cells_of: Sequence[Sequence[str]]) -> list[str]:
    """The columns side by side, a text for each row; nothing stands behind the last cell."""
    padded = [
        _padded(own, column.justify == "right")
        for column, own in zip(columns, cells_of, strict=True)
    ]
    gap = " " * _GAP
    return [gap.join(row).rstrip() for row in zip(*padded, strict=True)]


def _padded(texts: Sequence[str], to_the_right: bool) -> list[str]:
    """Texts filled up with spaces to the width of the widest."""
    widths = [cells(text) for text in texts]
    most = max(widths)
    if to_the_right:
        return [" " * (most - own) + text for text, own in zip(texts, widths, strict=True)]
    return [text + " " * (most - own) for text, own in zip(texts, widths, strict=True)]


def table_of(columns: Mapping[Column, Iterable[str]], width: int) -> TextTable:
    """The same of columns that each come with their cells."""
    return table(list(columns), list(zip(*columns.values(), strict=True)), width)


def _natural(columns: Sequence[Column], cells_of: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(map(cells, [*column.heading.split("\n"), *own]))
        for column, own in zip(columns, cells_of, strict=True)
    ]


def _kept(columns: Sequence[Column], cells_of: Sequence[Sequence[str]], width: int) -> list[int]:
    """The columns that have a place: without spare ones where names have little room."""
    natural = _natural(columns, cells_of)
    least = [
        own if column.least is None else min(own, column.least if i else _ROOM_FOR_NAMES)
        for i, (column, own) in enumerate(zip(columns, natural, strict=True))
    ]
    is_tight = sum(least) + _GAP * (len(columns) - 1) > width
    return [i for i, column in enumerate(columns) if not (is_tight and column.spare)]


def _widths(columns: Sequence[Column], cells_of: Sequence[Sequence[str]], width: int) -> list[int]:
    """Natural widths, less what columns that may be cut must give up, the last one first."""
    widths = _natural(columns, cells_of)
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
    apart_by_lines: list[RenderableType] = []
    for part in parts:
        apart_by_lines += ["", part] if apart_by_lines else [part]
    return Group(*apart_by_lines)


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


def written_facts(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """The files that were written beside what is printed, a line each."""
    return (("written", plain(str(path))) for path in paths)
