#!/usr/bin/env python3
"""Milliseconds that mapping searches take: python benchmarks/search_times.py [machine ...].

Every distinct layer of all recipes, at batch 1 and 16, on every shipped machine. Each layer is
searched three times and the shortest counts, in CPU time of one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

from shared_data import ROOT

from eapc.energy import work_list
from eapc.hardware import HardwareModel, load_hardware, shipped_hardware
from eapc.model import Model, infer_shapes, input_shapes
from eapc.registry import DATAFLOWS
from eapc.workload import ConvWorkload

sys.path.insert(0, str(ROOT / "models"))
from recipes import RECIPES

REPEATS = 3
BATCHES = (1, 16)


def layers(recipe: str, batch: int) -> Iterator[ConvWorkload]:
    """Loop nests of a recipe's nodes."""
    model = Model.from_proto(RECIPES[recipe](None, batch))
    for node in work_list(model, infer_shapes(model, input_shapes(model, {}, batch))):
        yield from (work for work in node.work.workloads if isinstance(work, ConvWorkload))


def milliseconds(work: ConvWorkload, machine: HardwareModel) -> float:
    """The shortest of some searches."""
    search, times = DATAFLOWS[machine.dataflow].execute, []
    for _ in range(REPEATS):
        start = time.thread_time()
        search(work, machine)
        times.append(1e3 * (time.thread_time() - start))
    return min(times)


def report(name: str, batch: int, works: list[ConvWorkload]) -> None:
    """Print one line of the table."""
    machine = load_hardware(name)
    times = sorted(milliseconds(work, machine) for work in works)
    p95 = times[int(0.95 * len(times))]
    print(
        f"{name:20}{batch:>6}{len(times):>8}{statistics.median(times):>9.1f}{p95:>9.1f}"
        f"{times[-1]:>9.1f}{sum(t > 10 for t in times):>8}",
        flush=True,
    )


def main(machines: list[str]) -> None:
    columns = ("layers", "median", "p95", "max", "> 10 ms")
    print(f"{'machine':20}{'batch':>6}{columns[0]:>8}" + "".join(f"{c:>9}" for c in columns[1:]))
    for batch in BATCHES:
        works = {work: None for name in RECIPES for work in layers(name, batch)}
        for name in machines:
            report(name, batch, list(works))


if __name__ == "__main__":
    main(sys.argv[1:] or list(shipped_hardware()))
