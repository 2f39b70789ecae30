#!/usr/bin/env python3
"""What becomes of every model at hand: a result, or one clear line; counts by outcome.

    python benchmarks/every_model.py                     # every group, about an hour at one worker
    python benchmarks/every_model.py cases broken        # groups whose name has one of the words
    python benchmarks/every_model.py --every 10 --seconds 20 --json FILE

Groups are the folders `models`, `cases` and `broken` of EAPC_DATA, as far as it is there, and
the backend tests of the onnx package (`node` tests are made by it, the others are its files).
Each model goes through `eapc analyze` and `eapc prune --sparsity 0.5`, each in a forked process
that may take so many CPU seconds, and as many times more by the clock as `PATIENCE` says: the
machine may be busy, and this runs at the lowest priority. Outcomes:

    result          exit 0; of prune, onnx's checker takes the written file too
    refused         exit 2, 3, 4 or 5 and one line, which is counted by its words
    unclear         more than one line, or none, or an exit code that eapc does not have
    internal error  exit 1
    timeout, signal

All but the first two are listed one by one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import pkgutil
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import onnx

import eapc
from eapc.cli import main as eapc_command

COMMANDS = ("analyze", "prune")
PATIENCE = 30
KEPT = ("result", "refused")
SHARED = {"models": "models", "cases": "cases", "broken": "cases/broken"}
BACKEND = ("pytorch-converted", "pytorch-operator", "simple", "light")


@dataclass(frozen=True)
class Outcome:
    """What a command made of a model; `said` is what it wrote on stderr, warnings left out."""

    group: str
    model: str
    command: str
    kind: str
    said: str
    seconds: float


def import_all() -> None:
    """Import what commands would import one by one, once for all processes to be forked."""
    for module in pkgutil.walk_packages(eapc.__path__, "eapc."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for library in ("onnxruntime", "onnx_graphsurgeon"):
        importlib.import_module(library)


def models_of(group: str, folder: Path) -> list[tuple[str, Path]]:
    """[(model's name, file)]; `folder` takes the files that the onnx package makes."""
    if group == "node":
        return list(_node_tests(folder))
    if group in SHARED:
        data = Path(os.environ.get("EAPC_DATA", Path(__file__).parents[2] / "shared"))
        return [(path.stem, path) for path in sorted((data / SHARED[group]).glob("*.onnx"))]
    found = sorted((Path(onnx.__file__).parent / "backend/test/data" / group).rglob("*.onnx"))
    return [(path.parent.name if path.stem == "model" else path.stem, path) for path in found]


def _node_tests(folder: Path) -> Iterator[tuple[str, Path]]:
    """Those that the package has as code; each is written when it is asked for."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        if case.model is not None:
            path = folder / f"{case.name}.onnx"
            path.write_bytes(case.model.SerializeToString())
            yield case.name, path


def outcome(group: str, name: str, path: Path, command: str, seconds: float) -> Outcome:
    """Run one command in a process of its own; the seconds are those of a CPU."""
    with tempfile.TemporaryDirectory() as place:
        written = Path(place) / "pruned.onnx"
        options = ["--sparsity", "0.5", "-o", str(written)] if command == "prune" else []
        done = _forked([command, str(path), *options, "--json"], Path(place), seconds)
        kind = _kind(done, written if command == "prune" else None)
    text = " / ".join(done.said).replace(str(path), "FILE")
    return Outcome(group, name, command, kind, text, done.seconds)


class Done(NamedTuple):
    """How a process ended: wait status, None when time was up; CPU seconds; lines on stderr."""

    status: int | None
    seconds: float
    said: list[str]


def _forked(arguments: list[str], place: Path, seconds: float) -> Done:
    errors = place / "stderr"
    child = os.fork()
    if child == 0:
        limit = math.ceil(seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        _run(arguments, place / "stdout", errors)
    status, spent = _wait(child, time.monotonic() + PATIENCE * seconds)
    lines = errors.read_text(errors="replace").splitlines() if errors.exists() else []
    return Done(status, spent, [line for line in lines if not line.startswith("eapc: warning: ")])


def _run(arguments: list[str], output: Path, errors: Path) -> None:
    for stream, path in ((1, output), (2, errors)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, stream)
    code = 70
    try:
        code = eapc_command(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, deadline: float) -> tuple[int | None, float]:
    """(wait status, CPU seconds); None where either time is up."""
    pause = 0.005
    while time.monotonic() < deadline:
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            is_late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
            return None if is_late else status, used.ru_utime + used.ru_stime
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    os.kill(child, signal.SIGKILL)
    _, _, used = os.wait4(child, 0)
    return None, used.ru_utime + used.ru_stime


def _kind(done: Done, written: Path | None) -> str:
    status, said = done.status, done.said
    if status is None:
        return "timeout"
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    code = os.WEXITSTATUS(status)
    if code == 1:
        return "internal error"
    if code == 0 and not said:
        return "result" if written is None or _is_sound(written) else "unsound file"
    return "refused" if code in (2, 3, 4, 5) and len(said) == 1 else "unclear"


def _is_sound(written: Path) -> bool:
    try:
        onnx.checker.check_model(str(written))
    except (onnx.checker.ValidationError, OSError):
        return False
    return True


_CHANGING = (
    (re.compile(r"^eapc: (FILE: )?"), ""),
    (re.compile(r"'[^']*'"), "'…'"),
    (re.compile(r"[\[(][-\d, ]+[\])]"), "[…]"),
    (re.compile(r"\b\d[\d.,e+^-]*\b"), "#"),
)


def kind_of_reason(said: str) -> str:
    """A refusal without the names and numbers that differ from model to model."""
    for pattern, instead in _CHANGING:
        said = pattern.sub(instead, said)
    return said if len(said) <= 110 else f"{said[:109]}…"


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Counts by group and command, refusals by reason, then whatever must not be."""
    by_row: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for each in outcomes:
        by_row[each.group, each.command][each.kind] += 1
    kinds = [*KEPT, *sorted({each.kind for each in outcomes} - {*KEPT})]
    yield f"{'group':20}{'command':10}" + "".join(f"{kind:>16}" for kind in kinds)
    for (group, command), counts in by_row.items():
        yield f"{group:20}{command:10}" + "".join(f"{counts[kind]:16}" for kind in kinds)
    for command in COMMANDS:
        refused = [e for e in outcomes if e.kind == "refused" and e.command == command]
        reasons = Counter(kind_of_reason(each.said) for each in refused)
        yield f"\n{command}: {len(refused)} refused"
        for reason, count in reasons.most_common():
            example = next(e.model for e in refused if kind_of_reason(e.said) == reason)
            yield f"{count:6}  {reason}  [{example}]"
    wrong = [each for each in outcomes if each.kind not in KEPT]
    yield f"\n{len(wrong)} neither"
    for each in wrong:
        yield f"  {each.kind}: {each.command} {each.group}/{each.model}: {each.said[:300]}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Counts by outcome over every model at hand.")
    parser.add_argument("groups", nargs="*", help="words of groups' names; all by default")
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="CPU seconds of a command at most"
    )
    parser.add_argument("--every", type=int, default=1, help="take one model in so many")
    parser.add_argument("--only", default="", help="models whose name has this word")
    parser.add_argument("--json", type=Path, help="add each outcome to this file as a line")
    return parser.parse_args()


def outcomes(given: argparse.Namespace, folder: Path) -> Iterator[Outcome]:
    """Those of every model that was asked for, as they come."""
    for group in (*SHARED, *BACKEND, "node"):
        if given.groups and not any(word in group for word in given.groups):
            continue
        for name, path in models_of(group, folder)[:: given.every]:
            if given.only in name:
                yield from (outcome(group, name, path, c, given.seconds) for c in COMMANDS)


def main() -> int:
    """Exit code 1 where a model ended neither in a result nor in one line."""
    given = parsed()
    os.nice(19 - os.nice(0))
    import_all()
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for each in outcomes(given, Path(folder)):
            found.append(each)
            if given.json:
                with given.json.open("a") as lines:
                    lines.write(f"{json.dumps(asdict(each))}\n")
    print("\n".join(table(found)))
    return int(any(each.kind not in KEPT for each in found))


if __name__ == "__main__":
    sys.exit(main())
