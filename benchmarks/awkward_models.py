#!/usr/bin/env python3
"""What `analyze` and `prune` make of awkward models, exit codes and messages included.

python benchmarks/awkward_models.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from shared_data import shared_folder

MODELS = (
    "mnist-8",
    "cifar10_resnet20_external",
    "silero_vad",
    "ultraface_rfb320",
    "superres_prepost_op18",
    "cifar10_resnet20_qdq_int8",
)


def eapc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "eapc.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def analysis(model: Path) -> str:
    """Totals of `analyze`, and what it could not model."""
    done = eapc("analyze", str(model), "--json")
    if done.returncode:
        return f"exit {done.returncode}: {done.stderr.strip()}"
    document = json.loads(done.stdout)
    totals = document["totals"]
    reasons = Counter(f"{node['op_type']}: {node['reason']}" for node in document["unmodelled"])
    listed = "; ".join(f"{count}x {reason}" for reason, count in reasons.most_common()) or "none"
    energy = f"{totals['energy_mac_units']:.3g} MAC units, {totals['macs']:.3g} MACs"
    nodes = f"{totals['modelled_nodes']} nodes modelled"
    return f"{energy}, {nodes}; unmodelled: {listed}"


def pruning(model: Path, output: Path) -> str:
    """Result of `prune` at half the weights, or its one line."""
    done = eapc("prune", str(model), "--sparsity", "0.5", "-o", str(output), "--force", "--json")
    if done.returncode:
        return f"exit {done.returncode}: {done.stderr.strip().splitlines()[-1]}"
    document = json.loads(done.stdout)
    after = document["after"]
    zeros = 1 - after["nonzero_weights"] / after["weights"]
    return f"energy {document['energy_ratio']:.3f}, {100 * zeros:.0f} % zeros"


def main() -> None:
    """Print two lines for each model."""
    shared = shared_folder()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            model = shared / f"models/{name}.onnx"
            print(f"{name}\n  analyze: {analysis(model)}", flush=True)
            print(f"  prune:   {pruning(model, Path(folder) / 'out.onnx')}", flush=True)


if __name__ == "__main__":
    main()
