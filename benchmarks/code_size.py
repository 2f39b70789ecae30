#!/usr/bin/env python3
"""How much code there is, and how much of it a command goes through, in one checkout or two.

    python benchmarks/code_size.py PATH [PATH]
    python benchmarks/code_size.py PATH [PATH] --no-routes     # sizes only, at once

Statements are those of the syntax tree without docstrings (of attributes too). A file is entered
by a command when one of its functions is called, other than while a module is loaded (decorators,
registrations); functions are those of modules and classes, without nested ones, lambdas and
comprehensions. Commands run with `--quiet` on the digits network, by each checkout's .venv. Calls
of layer finding and the like are those of functions by name, see `route_tracer.py`.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from checkouts import Checkout
from shared_data import ROOT

LONG_FILE = 400
LONG_FUNCTION = 60
TOP = ("eapc", "passes")
MODELS = ROOT / "models"
DATA = ("--calib", str(MODELS / "digits_calibration.npz"))
DROP = ("--max-drop", "0.01", "--eval", str(MODELS / "digits_eval.npz"))
COMMANDS: dict[str, tuple[str, ...]] = {
    "analyze": ("analyze",),
    "prune --target-energy 0.7": ("prune", "--target-energy", "0.7", "-o", "out.onnx"),
    "prune --structured --zeros --max-drop 0.01": (
        "prune",
        "--structured",
        "--zeros",
        *DROP,
        "-o",
        "out.onnx",
    ),
}

Table = dict[str, float]
"""Rows of one checkout, by name."""


@dataclass(frozen=True)
class SourceFile:
    """Sizes of one file: lines, statements, and the lines of each function by name."""

    path: str
    lines: int
    statements: int
    functions: dict[str, int]

    @property
    def package(self) -> str:
        """`eapc/model` of `eapc/model/file.py`, `eapc` of a module that stands in no package."""
        return str(Path(self.path).parent)


def main() -> int:
    parser = argparse.ArgumentParser(description="Sizes and routes of one checkout or two.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="PATH", help="a checkout")
    parser.add_argument("--no-routes", action="store_true", help="run no commands")
    known = parser.parse_args()
    if len(known.folders) > 2:
        parser.error("one checkout or two")
    sources = [source_files(folder) for folder in known.folders]
    print(f"{'':44}" + "".join(f"{str(folder)[-20:]:>21}" for folder in known.folders))
    show("statements", [statements(files) for files in sources])
    show("sizes", [sizes(files) for files in sources])
    for folder, files in zip(known.folders, sources, strict=True):
        print(f"\ntoo long in {folder}")
        for line in too_long(files):
            print(f"  {line}")
    if not known.no_routes:
        for name, arguments in COMMANDS.items():
            show(name, [route(Checkout(folder), arguments) for folder in known.folders])
    return 0


def source_files(folder: Path) -> list[SourceFile]:
    """Every Python file of the packages, in order."""
    paths = [path for top in TOP for path in sorted((folder / top).rglob("*.py"))]
    return [source_file(path, str(path.relative_to(folder))) for path in paths]


def source_file(path: Path, name: str) -> SourceFile:
    """Read and count one file."""
    text = path.read_text()
    nodes = list(ast.walk(ast.parse(text)))
    counted = sum(isinstance(node, ast.stmt) and not is_docstring(node) for node in nodes)
    functions = {
        f"{node.name}:{node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return SourceFile(name, len(text.splitlines()), counted, functions)


def is_docstring(node: ast.AST) -> bool:
    """Whether a statement is nothing but a string."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return False
    return isinstance(node.value.value, str)


def statements(files: Sequence[SourceFile]) -> Table:
    """Statements by package, and all of them."""
    table: Counter[str] = Counter()
    for file in files:
        table[file.package] += file.statements
    return {**dict(sorted(table.items())), "all": sum(table.values())}


def sizes(files: Sequence[SourceFile]) -> Table:
    """Counts of files and functions, and how many are too long."""
    functions = [lines for file in files for lines in file.functions.values()]
    return {
        "files": len(files),
        "lines": sum(file.lines for file in files),
        "functions": len(functions),
        "median lines of a function": median(functions),
        f"files over {LONG_FILE} lines": sum(file.lines > LONG_FILE for file in files),
        f"functions over {LONG_FUNCTION} lines": sum(x > LONG_FUNCTION for x in functions),
    }


def too_long(files: Sequence[SourceFile]) -> list[str]:
    """A line for each file and function that is too long."""
    lines = [f"{file.path}: {file.lines} lines" for file in files if file.lines > LONG_FILE]
    lines += [
        f"{file.path}: {name.split(':')[0]} has {length} lines"
        for file in files
        for name, length in file.functions.items()
        if length > LONG_FUNCTION
    ]
    return lines or ["nothing"]


def route(checkout: Checkout, arguments: Sequence[str]) -> Table:
    """Files and functions that a command enters, and how often it makes some analyses."""
    command, *rest = arguments
    tracer = str(Path(__file__).resolve().parent / "route_tracer.py")
    with tempfile.TemporaryDirectory() as name:
        model = str(MODELS / "digits.onnx")
        traced = [tracer, "route.json", command, model, *DATA, "--quiet", *rest]
        done = checkout.run(traced, Path(name))
        if done.code:
            sys.exit(f"{checkout.folder}: {command} left with {done.code}: {done.errors}")
        document: dict[str, Any] = json.loads((Path(name) / "route.json").read_text())
    functions = document["functions"]
    entered = {"files entered": len({file for file, *_ in functions}), "functions": len(functions)}
    return {**entered, **dict(sorted(document["calls"].items()))}


def show(title: str, tables: Sequence[Table]) -> None:
    """Print tables side by side, and the second as a share of the first."""
    print(f"\n{title}")
    for row in dict.fromkeys(name for table in tables for name in table):
        values = [table.get(row, 0) for table in tables]
        share = f"{100 * values[1] / values[0]:8.1f} %" if len(values) > 1 and values[0] else ""
        print(f"  {row:42}" + "".join(f"{value:21,g}" for value in values) + share)


if __name__ == "__main__":
    sys.exit(main())
