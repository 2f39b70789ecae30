#!/usr/bin/env python3
"""Kill `eapc prune` at ten random moments, resume it each time, and compare the bytes.

    python benchmarks/kill_resume.py [--seed N]
    python benchmarks/kill_resume.py --structured --target-energy 0.7

ResNet-20 of EAPC_DATA, pruned to 80 % by layer or as options of `eapc prune` say. Prints a row per
kill: seconds until then and parts that were kept; leaves with 1 if the resumed result is not that
of an undisturbed run.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared_data import shared_folder

KILLS = 10


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill, resume and compare; goals as in prune.")
    parser.add_argument("--seed", type=int, default=0)
    known, goal = parser.parse_known_args()
    rng = random.Random(known.seed)
    shared = shared_folder()
    model = shared / "models" / "cifar10_resnet20_folded.onnx"
    calibration = shared / "data" / "cifar10_calibration.npz"
    command = [sys.executable, "-m", "eapc.cli", "prune", str(model), "--calib", str(calibration)]
    command += [*(goal or ["--sparsity", "0.8"]), "--samples", "512", "--quiet", "--resume", "-o"]
    with tempfile.TemporaryDirectory() as name:
        whole, output = Path(name) / "whole.onnx", Path(name) / "resumed.onnx"
        start = time.perf_counter()
        subprocess.run([*command, str(whole)], check=True, capture_output=True)
        longest = time.perf_counter() - start
        print(f"undisturbed: {longest:.1f} s")
        for number in range(1, KILLS + 1):
            if not killed([*command, str(output)], rng.uniform(0, 0.6 * longest)):
                print(f"kill {number}: the run came to its end before")
                break
            parts = len(list(Path(f"{output}.partial").glob("*.part")))
            print(f"kill {number}: {parts} parts kept", flush=True)
        if not output.exists():
            subprocess.run([*command, str(output)], check=True, capture_output=True)
        same = whole.read_bytes() == output.read_bytes()
        left = sorted(path.name for path in Path(name).iterdir())
        print(f"{'the same bytes' if same else 'OTHER BYTES'}; files: {', '.join(left)}")
    return 0 if same else 1


def killed(command: list[str], seconds: float) -> bool:
    """Start a command and kill it after so long; False where it has ended by then."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"after {seconds:.1f} s, ", end="")
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
