#!/usr/bin/env python3
"""The energy model against published figures of AlexNet and GoogLeNet.

    python benchmarks/validate_energy.py [--write docs/energy-validation.md]

Prints every figure beside the published one, or writes them as a page. Exits with 1 if one is
outside its tolerance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from published_figures import (
    Line,
    isca_lines,
    pinned_lines,
    references,
    searched_lines,
)
from uncertainty_page import sections
from validation_page import page
from whole_networks import whole_network_lines

TABLES = (
    ("Eyeriss chip, batch 4, published mappings (partly recalled)", pinned_lines),
    ("Eyeriss chip, batch 4, mappings by the chip's rule (cells partly recalled)", searched_lines),
    ("Row-stationary baseline of ISCA 2016, batch 16 (second-hand figures)", isca_lines),
    ("Energy-aware pruning, whole networks, batch 16 (printed figures)", whole_network_lines),
)


def verdict(line: Line) -> str:
    if line.tolerance is None:
        return "not held"
    return f"within {100 * line.tolerance:g} %: {'OUTSIDE' if line.outside else 'ok'}"


def show(lines: list[Line]) -> None:
    for line in lines:
        figures = f"{line.model:>12.4g}{line.published:>12.4g}{100 * line.off:>+9.1f} %"
        print(f"  {line.name:<38}{figures}  ({verdict(line)})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write a page of Markdown")
    target = parser.parse_args().write
    if not references().is_dir():
        print(f"skipped: {references()} is absent; set EAPC_DATA to the folder of references/")
        return 0
    tables = [(title, list(lines())) for title, lines in TABLES]
    if target:
        pinned, searched, isca, whole = (lines for _, lines in tables)
        text = page(pinned, searched, isca, whole, sections())
        target.write_text(text, encoding="utf-8")
    else:
        for title, lines in tables:
            print(f"{title}\n  {'':<38}{'model':>12}{'published':>12}{'off':>11}")
            show(lines)
    return int(any(line.outside for _, lines in tables for line in lines))


if __name__ == "__main__":
    sys.exit(main())
