#!/usr/bin/env python3
"""Do two checkouts give the same results? The same bytes, row by row, for a list of commands.

    python benchmarks/same_results.py --before PATH --after PATH
    python benchmarks/same_results.py --before PATH --after PATH --only 'prune*2:4*'

Each command is run by the interpreter of each checkout (PATH/.venv), both at once, in an empty
folder, on one thread. Compared are the exit code, every file that is written and the JSON document
without `seconds`, as far as both have its entries. Where channels are taken out and zeros follow
(`--structured --zeros`), results may change a little: there the goal has to be met alike, energy to
be within 1 % or lower, and the accuracy is shown. A row with `--resume` is killed once parts are
kept, and run again. Leaves with 1 where a row differs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from checkouts import Checkout, Done
from shared_data import ROOT
from small_networks import write_machine, write_networks

ENERGY_TOLERANCE = 0.01

DIGITS = "digits.onnx --calib digits.npz --samples 128"
MADE = "{0}.onnx --calib {0}.npz"
RESIDUAL, DEPTHWISE, BRANCHES, PERCEPTRON, TRANSFORMER = (
    MADE.format(name) for name in ("residual", "depthwise", "branches", "perceptron", "transformer")
)
MACHINES = (
    "eyeriss",
    "eyeriss-jssc2017",
    "isca16-baseline",
    "microcontroller",
    "mobile-cpu",
    "nvdla-like",
    "simba-like",
    "tpu-v1",
)
CHANNELS = (
    "annotate-energy, prune-channels{fraction=0.25}, reconstruct-outputs{keep_mask=true}, "
    "shrink-channels, annotate-energy"
)
SHRUNK = "prune-weights{sparsity=0.9, pattern=kernel}, shrink-channels"

COMMANDS = (
    *(f"analyze digits.onnx --hw {machine} --batch 4" for machine in MACHINES),
    *(f"analyze {DIGITS} --hw {machine}" for machine in ("eyeriss", "mobile-cpu", "tpu-v1")),
    "analyze digits.onnx --hw made-up.yaml",
    "analyze digits.onnx --bits weights=8,activations=8 --density 0.5 --annotate out.onnx",
    f"analyze {RESIDUAL} --csv out.csv",
    f"analyze {DEPTHWISE} --batch 8 --hw microcontroller",
    f"analyze {BRANCHES}",
    f"analyze {TRANSFORMER} --hw simba-like",
    f"prune {DIGITS} --eval eval.npz",
    f"prune {DIGITS} --eval eval.npz --max-drop 0.01",
    f"prune {DIGITS} --target-energy 0.7",
    f"prune {DIGITS} --target-energy 0.6 --order energy --hw nvdla-like",
    f"prune {DIGITS} --target-energy 0.6 --order uniform --batch 4",
    f"prune {DIGITS} --target-energy 0.01",
    f"prune {DIGITS} --densities densities.yaml",
    "prune digits.onnx --sparsity 0.5",
    *(
        f"prune {DIGITS} --sparsity 0.7 --method {method}"
        for method in ("admm", "eap", "sparsegpt", "wanda", "magnitude")
    ),
    f"prune {DIGITS} --sparsity 0.5 --pattern 2:4",
    f"prune {DIGITS} --sparsity 0.6 --pattern block:4x1 --method sparsegpt",
    f"prune {DIGITS} --target-energy 0.8 --pattern kernel",
    f"prune {DIGITS} --sparsity 0.8 --thorough --include 'block*' --include Gemm",
    f"prune {DIGITS} --target-energy 0.8 --exclude merge --seed 3",
    f"prune {DIGITS} --sparsity 0.8 --dry-run",
    f"prune {RESIDUAL} --target-energy 0.6",
    f"prune {DEPTHWISE} --target-energy 0.7",
    f"prune {BRANCHES} --sparsity 0.6",
    f"prune {PERCEPTRON} --min-agreement 0.9",
    "prune perceptron.onnx --sparsity 0.75 --method eap",
    f"prune {TRANSFORMER} --target-energy 0.7",
    f"prune {DIGITS} --structured --sparsity 0.3",
    f"prune {DIGITS} --structured --target-energy 0.6",
    f"prune {DIGITS} --structured --max-drop 0.02 --eval eval.npz --criterion l2",
    f"prune {DIGITS} --structured --target-latency 0.7 --hw made-up.yaml",
    f"prune {RESIDUAL} --structured --target-energy 0.6 --criterion activation",
    f"prune {DEPTHWISE} --structured --target-energy 0.7",
    f"prune {BRANCHES} --structured --sparsity 0.25 --criterion nuclear",
    f"prune {TRANSFORMER} --structured --target-energy 0.7",
    f"sweep {DIGITS} --target-energy 0.9,0.7,0.01 --eval eval.npz -o out",
    f"sweep {RESIDUAL} --sparsity 0.5,0.8",
    f"sweep {PERCEPTRON} --structured --target-energy 0.8,0.6",
    f"run {RESIDUAL} --pipeline '{CHANNELS}'",
    f"run {DIGITS} --pipeline '{SHRUNK}'",
    f"prune {DIGITS} --target-energy 0.7 --resume",
    f"prune {DIGITS} --structured --target-energy 0.7 --resume",
    f"sweep {DIGITS} --sparsity 0.5,0.7,0.9 --resume -o out",
    f"prune {DIGITS} --structured --zeros --target-energy 0.3 --eval eval.npz",
    f"prune {DIGITS} --structured --zeros --max-drop 0.01 --eval eval.npz",
    f"prune {RESIDUAL} --structured --zeros --target-energy 0.4",
)

DENSITIES = "merge: 0.4\nwide: 0.5\nblock.conv2: 0.75\n"


@dataclass(frozen=True)
class Result:
    """What one checkout made of a command: code, document, written files, CPU seconds."""

    code: int
    document: Any
    files: dict[str, bytes]
    cpu_seconds: float

    @property
    def summary(self) -> str:
        """Goal, energy ratio and accuracy of a pruned network."""
        accuracy = (self.document.get("accuracy") or {}).get("after")
        shown = "" if accuracy is None else f", accuracy {accuracy:.4f}"
        met = "met" if self.document["goal_met"] else "missed"
        return f"{met} at {self.document['energy_ratio']:.4f}{shown}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run commands on two checkouts and compare.")
    parser.add_argument("--before", type=Path, required=True, help="a checkout with a .venv")
    parser.add_argument("--after", type=Path, required=True, help="another one")
    parser.add_argument("--only", metavar="GLOB", default="*", help="commands like this one")
    known = parser.parse_args()
    commands = [command for command in COMMANDS if fnmatch(command, known.only)]
    checkouts = {"before": Checkout(known.before), "after": Checkout(known.after)}
    differing, totals = 0, [0.0, 0.0]
    print(f"{'result':10}{'exit':>5}{'before':>8}{'after':>8}  CPU seconds of the command")
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        inputs = Path(name) / "inputs"
        write_inputs(inputs)
        for index, command in enumerate(commands):
            folders = [Path(name) / f"{side}{index}" for side in checkouts]
            before, after = pool.map(
                result_of, checkouts.values(), (command, command), folders, (inputs, inputs)
            )
            found = list(differences(command, before, after))
            differing += bool(found)
            totals = [totals[0] + before.cpu_seconds, totals[1] + after.cpu_seconds]
            seconds = f"{before.cpu_seconds:8.2f}{after.cpu_seconds:8.2f}"
            word = "DIFFERENT" if found else verdict(command)
            print(f"{word:10}{after.code:5}{seconds}  {command}")
            if may_change(command) and pruned(before, after):
                print(f"{'':33}before: {before.summary}; after: {after.summary}")
            for line in found:
                print(f"{'':33}{line}")
            sys.stdout.flush()
    print(f"{'':15}{totals[0]:8.1f}{totals[1]:8.1f}  all {len(commands)}; {differing} different")
    return 1 if differing else 0


def may_change(command: str) -> bool:
    """Whether a command takes channels out and zeros weights then."""
    return "--zeros" in command


def pruned(*results: Result) -> bool:
    """Whether all have a document of a pruned network, rather than a message of an error."""
    return all(isinstance(result.document, dict) for result in results)


def verdict(command: str) -> str:
    """What a row without differences is called."""
    return "alike" if may_change(command) else "same"


def write_inputs(folder: Path) -> None:
    """Fill a folder with the networks, data and files that the commands name."""
    folder.mkdir()
    write_networks(folder)
    write_machine(folder / "made-up.yaml")
    (folder / "densities.yaml").write_text(DENSITIES)
    shipped = {
        "digits.onnx": "digits.onnx",
        "digits.npz": "digits_calibration.npz",
        "eval.npz": "digits_eval.npz",
    }
    for name, source in shipped.items():
        (folder / name).write_bytes((ROOT / "models" / source).read_bytes())


def result_of(checkout: Checkout, command: str, folder: Path, inputs: Path) -> Result:
    """Run a command in a new folder that the inputs are linked into."""
    (folder / "out").mkdir(parents=True)
    for path in inputs.iterdir():
        (folder / path.name).symlink_to(path)
    arguments = [*shlex.split(command), "--json", "--threads", "1"]
    if not {"analyze", "sweep", "--dry-run"} & set(arguments):
        arguments += ["-o", "out.onnx"]
    killed = 0.0
    if "--resume" in arguments:
        killed = checkout.eapc(arguments, folder, kill_at="*.part").cpu_seconds
    done = checkout.eapc(arguments, folder)
    written = (path for path in sorted(folder.rglob("*")) if path.is_file())
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in written
        if not path.is_symlink()
    }
    return Result(done.code, document_of(done), files, done.cpu_seconds + killed)


def document_of(done: Done) -> Any:
    """The JSON document without `seconds`, or what was printed in its place."""
    try:
        return without_seconds(json.loads(done.output))
    except json.JSONDecodeError:
        return done.output + done.errors


def without_seconds(document: Any) -> Any:
    """A document without the entries that tell times."""
    if isinstance(document, dict):
        return {key: without_seconds(x) for key, x in document.items() if key != "seconds"}
    if isinstance(document, list):
        return [without_seconds(x) for x in document]
    return document


def differences(command: str, before: Result, after: Result) -> Iterator[str]:
    """A line for each difference that should not be."""
    if before.code != after.code:
        yield f"exit code {before.code} before, {after.code} after"
        messages = [x.document for x in (before, after) if isinstance(x.document, str)]
        yield from (message.strip().rpartition("\n")[2] for message in messages)
        return
    if may_change(command) and pruned(before, after):
        yield from disagreements(before.document, after.document)
        return
    place = first_difference(before.document, after.document)
    if place:
        yield f"document: {place}"
    for name in sorted(before.files.keys() | after.files.keys()):
        if before.files.get(name) != after.files.get(name):
            yield f"file {name}"


def disagreements(before: Any, after: Any) -> Iterator[str]:
    """Another answer to whether the goal is met, or more energy than the tolerance."""
    if before["goal_met"] != after["goal_met"]:
        yield f"goal met: {before['goal_met']} before, {after['goal_met']} after"
    change = after["energy_ratio"] / before["energy_ratio"] - 1
    if change > ENERGY_TOLERANCE:
        yield f"energy {100 * change:+.1f} %"


def first_difference(before: Any, after: Any, place: str = "") -> str:
    """Where two documents part, and both values; entries that are new are no difference."""
    if before == after and type(before) is type(after):
        return ""
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(before, dict) and isinstance(after, dict):
        if list(before) == [key for key in after if key in before]:
            pairs = [(key, before[key], after[key]) for key in before]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = list(zip(range(len(before)), before, after, strict=True))
    if not pairs:
        return f"{place}: {str(before)[:200]} -> {str(after)[:200]}"
    found = (first_difference(x, y, f"{place}.{key}") for key, x, y in pairs)
    return next(filter(None, found), "")


if __name__ == "__main__":
    sys.exit(main())
