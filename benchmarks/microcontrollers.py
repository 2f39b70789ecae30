#!/usr/bin/env python3
"""The microcontrollers against boards of MLPerf Tiny, and what is left out of a fit.

    python benchmarks/microcontrollers.py [--write docs/microcontrollers.md]

Reads references/mlperf_tiny.csv, references/cortex_m4_kws_layers.csv and the four networks under
$EAPC_DATA (default: `shared` beside the project). Exits with 1 if a figure that is held is outside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from board_validation import sure_lines
from boards import (
    HEADING,
    Row,
    errors,
    layer_errors,
    machine,
    percents,
    refitted,
    rows,
    scale_of,
    without_each,
    without_network,
)
from held_against import rms
from published_figures import references

EACH, RMS, LAYER = 0.12, 0.08, 0.30


TIMED = HEADING.replace("toolchain |", "toolchain | c |").replace("--- |", "--- | ---: |", 1)


def sections(all_rows: Sequence[Row]) -> Iterator[str]:
    yield from ("## Time", "", TIME, "", TIMED)
    for row in all_rows:
        c = scale_of(row.ms, row) * (machine(row.core, row.skips).clock_mhz or 0.0) * 1e3
        yield f"| {row.name} | {c:.2f} | {percents(errors(row.ms, row))} |"
    yield from ("", "## Energy", "", ENERGY, "", HEADING)
    for row in all_rows:
        if row.uj:
            yield f"| {row.name} | {percents(errors(row.uj, row))} |"
    yield from ("", "## A network left out", "", NETWORK, "", HEADING)
    for row in all_rows:
        yield f"| {row.name} | {percents(without_each(row.ms, row))} |"
    yield from ("", "## A network left out of the constants, too", "", UNSEEN, "", HEADING)
    for row in all_rows:
        yield f"| {row.name} | {percents(without_network(row, all_rows))} |"
    yield from ("", "## A board left out", "", BOARD, "", HEADING)
    for row in all_rows:
        others = [other for other in all_rows if other.name != row.name]
        yield f"| {row.name} | {percents(refitted(row, others))} |"
    yield from ("", "## A core left out", "", CORE, "", HEADING)
    for row in all_rows:
        others = [other for other in all_rows if other.core != row.core]
        yield f"| {row.name} | {percents(refitted(row, others))} |"
    yield from ("", "## How sure energies are", "", *sure_lines(all_rows))
    yield from ("", "## Layers", "", LAYERS, "", "| layer | off |", "| --- | ---: |")
    for kind, off in layer_errors().items():
        yield f"| {kind} | {100 * off:+.1f} % |"


INTRODUCTION = """# Microcontrollers against measured boards

Written by `python benchmarks/microcontrollers.py --write docs/microcontrollers.md`. The figures are
those of MLPerf Tiny's rounds 0.7 to 1.2, closed division, four int8 networks: ad (ten fully
connected layers), ic (a ResNet), kws (depthwise separable) and vww (MobileNet of a quarter width).
`cortex-m4`, `cortex-m33` and `cortex-m7` share their constants but for cycles, clock, power and
memories: a MAC of a depthwise kernel is 3 others, a weight 0.9, an output 25, a call 500.
[hardware.md](hardware.md#microcontrollers) says what they mean. Errors are modelled over measured,
in per cent, with one figure for each board and toolchain.

**Where it is wrong.** Plumerai's library is another one: its dense products are faster and its
depthwise kernels relatively slower, so it is told and not held; `eapc hw fit` on its four times
finds a depthwise MAC of 9.3 and errors of 1.8 % rms (3.7 % for networks left out).
Dead channels are told by one network alone, vww, and the versions that leave them out by its
time. Boards of other makers were not at hand. The shipped powers are of one board each, in round
1.2: the same chip took 42 and 75 mW at two submitters', so measure your own.
"""
TIME = (
    """`c` is `cycles_per_mac_unit`, what a toolchain is told apart by. Held: 12 % each, 8 % rms."""
)
ENERGY = (
    """The figure is power times c. Held alike; power varies by a few per cent between networks."""
)
NETWORK = """The figure comes from the three other networks; constants are the shipped ones."""
UNSEEN = """Constants are fitted to the three other networks of all rows (without Plumerai's), the
figure to those of the row. Without ad little is known of what a weight costs."""
CORE = """All constants are fitted to the rows of the two other cores, then one figure is the row's
own."""
BOARD = """All constants are fitted to the other rows (without Plumerai's), then one figure is the
row's own."""
LAYERS = """Cycles per MAC of kws by layer with another library on another Cortex-M4 (Apollo4L), up
to one scale. Held: 30 % each."""


def outside(all_rows: Sequence[Row]) -> Iterator[str]:
    """What is held and missed."""
    for row in filter(lambda one: one.held, all_rows):
        for what, measured in (("time", row.ms), ("energy", row.uj)):
            off = list(errors(measured, row).values()) if measured else [0.0]
            if max(map(abs, off)) > EACH or rms(off) > RMS:
                yield f"{what} of {row.name}"
    if max(map(abs, layer_errors().values())) > LAYER:
        yield "layers of kws"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write a page of Markdown")
    target = parser.parse_args().write
    if not references().is_dir():
        print(f"skipped: {references()} is absent; set EAPC_DATA to the folder of references/")
        return 0
    all_rows = rows()
    text = "\n".join([INTRODUCTION, *sections(all_rows), ""])
    if target:
        target.write_text(text, encoding="utf-8")
    else:
        print(text)
    missed = list(outside(all_rows))
    for what in missed:
        print(f"outside: {what}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
