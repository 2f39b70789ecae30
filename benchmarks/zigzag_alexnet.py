#!/usr/bin/env python3
"""AlexNet, dense, batch 1: `eapc analyze` beside zigzag-dse on its Eyeriss-like machine.

    python -m venv zz && zz/bin/pip install zigzag-dse six      # tried: zigzag-dse 3.9.1
    ZIGZAG_PYTHON=zz/bin/python python benchmarks/zigzag_alexnet.py

CPU seconds of both as whole processes, and each convolution's share of the energy of all five.
The machines differ: zigzag's has 8-bit words, three buffers and prices of its own, and knows no
zeros or run-length code. Absolute energies and fully connected layers (DRAM and little else) are
therefore not compared. Measured: 1.4 CPU seconds
against 72; shares of 17.8, 30.0, 23.0, 17.4, 11.8 % against 14.5, 33.0, 23.2, 17.5, 11.8 %.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from shared_data import ROOT

Energies = dict[str, float]

LAYERS = tuple(f"conv{i}" for i in range(1, 6))


def run(*command: str) -> tuple[str, float]:
    """Standard output of a process, and the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout.decode(), seconds


def zigzag_energies(model: str, folder: str) -> Energies:
    """Energy of each layer by zigzag; runs in the interpreter that has it."""
    onnx, zigzag = importlib.import_module("onnx"), importlib.import_module("zigzag.api")
    inputs = Path(str(zigzag.__file__)).parent / "inputs"
    found = zigzag.get_hardware_performance_zigzag(
        onnx.shape_inference.infer_shapes(onnx.load(model)),
        str(inputs / "hardware/eyeriss_like.yaml"),
        str(inputs / "mapping/default.yaml"),
        opt="energy",
        dump_folder=folder,
        loma_show_progress_bar=False,
    )
    return {layer.layer.name: float(layer.energy_total) for layer, *_ in found[2][0][1]}


def eapc_energies(report: str) -> Energies:
    """Energy of each node of a report."""
    return {node["name"]: node["energy_mac_units"] for node in json.loads(report)["nodes"]}


def shares(energies: Energies) -> list[float]:
    total = sum(energies[name] for name in LAYERS)
    return [100 * energies[name] / total for name in LAYERS]


def compare(python: str, folder: str) -> None:
    model = f"{folder}/alexnet.onnx"
    run(sys.executable, str(ROOT / "models/recipes.py"), "alexnet", model, "--batch", "1")
    ours, our_seconds = run(
        sys.executable, "-m", "eapc.cli", "analyze", model, "--density", "1", "--json"
    )
    theirs, their_seconds = run(python, __file__, "worker", model, f"{folder}/zigzag")
    energies = json.loads(theirs.splitlines()[-1])
    print(f"{'':16}{'CPU s':>8}" + "".join(f"{name:>9}" for name in LAYERS))
    for name, seconds, found in (
        ("eapc, eyeriss", our_seconds, shares(eapc_energies(ours))),
        ("zigzag-dse", their_seconds, shares(energies)),
    ):
        print(f"{name:16}{seconds:>8.1f}" + "".join(f"{share:>7.1f} %" for share in found))


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["worker"]:
        print(json.dumps(zigzag_energies(*arguments[1:])))
        return
    python = os.environ.get("ZIGZAG_PYTHON", sys.executable)
    check = [python, "-c", "import zigzag.api"]
    if subprocess.run(check, capture_output=True, check=False).returncode:
        sys.exit(f"skipped: {python} cannot import zigzag.api; set ZIGZAG_PYTHON to one that can")
    with tempfile.TemporaryDirectory() as folder:
        compare(python, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
