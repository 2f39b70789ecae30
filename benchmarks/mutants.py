#!/usr/bin/env python3
"""How many small faults in energy, solvers and channels the tests of each package notice.

    python benchmarks/mutants.py --count 100 --seed 0
    python benchmarks/mutants.py --count 20 --checkout ../before --package energy

Draws seeded places where one operator, number, condition or result can be changed, and runs
`tests/test_<package>*.py` on each change by itself, in a copy of the checkout, until a test fails
(the file named after the changed module goes first). A mutant that makes the tests take
three times as long as they take without it counts as caught. Prints a line per mutant, survivors
at the end.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("energy", "solvers", "channels")
COPIED = ("eapc", "passes", "hwmodels", "models", "tests", "benchmarks", "docs", "pyproject.toml")
COMPARISONS = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In},
}
OPERATORS = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}
LEFT_ALONE = {"annotation", "returns", "decorator_list", "exc", "msg", "type_params"}


class Change(NamedTuple):
    """One change of a syntax tree: its line, what stood there, and how to make it."""

    line: int
    text: str
    make: Callable[[], None]


def changes(node: ast.AST) -> Iterator[Change]:
    """Every change of a tree, types, decorators and error messages left alone."""
    for field, content in ast.iter_fields(node):
        children = content if isinstance(content, list) else [content]
        for at, child in enumerate(children):
            if not isinstance(child, ast.AST) or field in LEFT_ALONE:
                continue
            changed = _changed(child)
            if changed is not None:

                def make(new: ast.AST = changed, field: str = field, at: int = at) -> None:
                    if isinstance(getattr(node, field), list):
                        getattr(node, field)[at] = new
                    else:
                        setattr(node, field, new)

                assert isinstance(child, ast.expr | ast.stmt)
                text = f"{ast.unparse(child)}  ->  {ast.unparse(changed)}"
                yield Change(child.lineno, " ".join(text.split()), make)
            yield from changes(child)


def _changed(node: ast.AST) -> ast.expr | ast.stmt | None:
    """What is put in place of a node; None where nothing is."""
    match node:
        case ast.Compare(left, [operator], right) if type(operator) in COMPARISONS:
            return ast.Compare(left, [COMPARISONS[type(operator)]()], right)
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            return ast.BinOp(left, OPERATORS[type(operator)](), right)
        case ast.BoolOp(operator, operands):
            return ast.BoolOp(ast.And() if isinstance(operator, ast.Or) else ast.Or(), operands)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            return operand
        case ast.Constant(bool(value)):
            return ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            return ast.Constant(value + 1)
        case ast.IfExp(test, first, second):
            return ast.IfExp(test, second, first)
        case ast.Return(ast.expr() as result) if not isinstance(result, ast.Constant):
            return ast.Return(ast.Constant(None))
        case ast.Continue():
            return ast.Break()
    return None


def mutants(checkout: Path, packages: list[str]) -> list[tuple[Path, int]]:
    """Every change in the packages: its file within the checkout, its number in that file."""
    found = []
    for package in packages:
        for path in sorted((checkout / "eapc" / package).rglob("*.py")):
            count = len(list(changes(ast.parse(path.read_text()))))
            found += [(path.relative_to(checkout), number) for number in range(count)]
    return found


def tests_of(copy: Path, source: Path) -> list[str]:
    """The test files of a source's package, those of its own module first."""
    package, module = source.parts[1], source.stem
    files = sorted(path.name for path in (copy / "tests").glob(f"test_{package}*.py"))
    files.sort(key=lambda name: not name.startswith(f"test_{package}_{module}"))
    return [f"tests/{name}" for name in files]


def run(copy: Path, python: Path, source: Path, limit: float | None = None) -> str:
    """How the tests of a source's package end: passed, failed or timed out."""
    command = [str(python), "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["OMP_NUM_THREADS"] = "1"
    try:
        done = subprocess.run(
            [*command, *tests_of(copy, source)],
            cwd=copy,
            env=environment,
            timeout=limit,
            capture_output=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "timed out"
    return "passed" if done.returncode == 0 else "failed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--package", action="append", choices=PACKAGES)
    options = parser.parse_args()
    checkout, packages = options.checkout.resolve(), options.package or list(PACKAGES)
    python = checkout / ".venv/bin/python"
    python = python if python.exists() else Path(sys.executable)
    every = mutants(checkout, packages)
    drawn = random.Random(options.seed).sample(every, min(options.count, len(every)))
    ends: Counter[str] = Counter()
    survivors, limits = [], {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for name in COPIED:
            into, of = copy / name, checkout / name
            into.parent.mkdir(exist_ok=True)
            shutil.copytree(of, into) if of.is_dir() else shutil.copy(of, into)
        for package in {source.parts[1] for source, _ in drawn}:
            begun = time.perf_counter()
            if run(copy, python, Path("eapc", package, "__init__.py")) != "passed":
                sys.exit(f"the tests of {package} fail without a mutant")
            limits[package] = 3 * (time.perf_counter() - begun)
        for source, number in sorted(drawn):
            text = (checkout / source).read_text()
            tree = ast.parse(text)
            change = list(changes(tree))[number]
            change.make()
            (copy / source).write_text(ast.unparse(ast.fix_missing_locations(tree)))
            end = run(copy, python, source, limits[source.parts[1]])
            (copy / source).write_text(text)
            ends[end] += 1
            said = f"{'SURVIVED' if end == 'passed' else 'caught'} {source}:{change.line}"
            survivors += [f"{said}  {change.text}"] if end == "passed" else []
            print(f"{said}  {change.text}", flush=True)
    print(f"\n{len(drawn)} mutants of {len(every)}: {len(drawn) - ends['passed']} caught")
    print("\n".join(survivors))
    return 0


if __name__ == "__main__":
    sys.exit(main())
