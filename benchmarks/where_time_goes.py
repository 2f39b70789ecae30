#!/usr/bin/env python3
"""Where a run's time goes, beside the time that its matrix products alone would take.

    python benchmarks/where_time_goes.py                      # ResNet-20 at 90 % zeros
    python benchmarks/where_time_goes.py resnet20 --energy 0.532
    python benchmarks/where_time_goes.py resnet50 alexnet     # recipes, on 64 made-up inputs

CPU seconds of `eapc.prune` by stage, each without the stages inside it. `products` is how
long the stage's matrix products would take at the machine's float32 rate, (1024, 1024) by
(1024, 1024) on one thread. Operations are counted from the shapes of every product that is made:

- (m, k) by (k, n): 2 m k n; a matrix by its own transpose: half of it, since the result is
  symmetric, so the moments of n rows count n k (k + 2 m);
- an inverse of (k, k) by Cholesky k^3, the factor of an inverse 2/3 k^3, a solution 1/3 k^3;
- networks that onnxruntime runs: 2 operations per MAC, for one pass of the original and one of the
  pruned network over all inputs. Passes beyond these (densities, error curves) could be avoided.
"""

from __future__ import annotations

import argparse
import functools
import pkgutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
from layer_problem import product_rate
from shared_data import ROOT
from tasks import TASKS

from eapc.commands.compiler import analyze, prune
from eapc.commands.preparation import Settings, load_dataset
from eapc.goals import Goal, Sparsity, TargetEnergy
from eapc.model import Model
from eapc.solvers import blas, single_thread

sys.path.insert(0, str(ROOT / "models"))
from recipes import RECIPES

NETWORKS, REST = "networks", "the rest"
STAGES = {
    # function: the stage that its time counts as
    "eapc.runtime.Session.run": NETWORKS,
    "eapc.runtime.Session.__init__": "sessions",
    "eapc.layers.forms.ConvForm.inputs": "unrolling",
    "eapc.layers.forms.DenseForm.inputs": "unrolling",
    "eapc.calibration.statistics.LayerRows._targets": "targets",
    "eapc.solvers.MomentAccumulator.add": "moments",
    "eapc.solvers.MomentAccumulator.finish": "moments",
    "eapc.solvers.MovedTargets.add": "moved targets",
    "eapc.passes.reconstruct_outputs.rectified": "moved targets",
    "eapc.passes.reconstruct_outputs.solve": "solver",
    "eapc.passes.reconstruct_outputs.refit": "refits",
    "eapc.calibration.sensitivity.quick_prune": "quick solver",
    "eapc.passes.annotate_energy.AnnotateEnergy.run": "annotate-energy",
}
FACTORISATIONS = {"inverses": 1.0, "inverse_factors": 2 / 3, "solve": 1 / 3}
"""Functions of eapc.solvers.blas, and the operations of each over k^3."""

MADE_UP = 64


@dataclass
class Meter:
    """CPU seconds and operations by stage; time counts for the innermost stage only."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    operations: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _stages: list[str] = field(default_factory=lambda: [REST])
    _since: float = field(default_factory=time.process_time)

    def charge(self) -> None:
        """Count the time since the last call for the present stage."""
        now = time.process_time()
        self.seconds[self._stages[-1]] += now - self._since
        self._since = now

    def staged(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted for a stage."""

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            self.charge()
            self._stages.append(stage)
            try:
                return function(*arguments, **options)
            finally:
                self.charge()
                self._stages.pop()

        return timed

    def product(self, a: Any, b: Any, **options: Any) -> Any:
        """np.matmul, counted."""
        is_own_transpose = a.ctypes.data == b.ctypes.data and a.size == b.size
        self.operations[self._stages[-1]] += (1 if is_own_transpose else 2) * a.size * b.shape[-1]
        return _MATMUL(a, b, **options)

    def factorising(self, factor: float, function: Callable[..., Any]) -> Callable[..., Any]:
        """A factorisation of (..., k, k), counted."""

        def counted(matrices: Any, *arguments: Any) -> Any:
            self.operations[self._stages[-1]] += factor * matrices.size * matrices.shape[-1]
            return function(matrices, *arguments)

        return counted


_MATMUL = np.matmul


@contextmanager
def metered() -> Iterator[Meter]:
    """Measure what is done inside."""
    meter = Meter()
    with ExitStack() as stack:
        for path, stage in STAGES.items():
            function = meter.staged(stage, pkgutil.resolve_name(path))
            stack.enter_context(mock.patch(path, function))
        for name, factor in FACTORISATIONS.items():
            function = meter.factorising(factor, getattr(blas, name))
            stack.enter_context(mock.patch.object(blas, name, function))
        stack.enter_context(mock.patch.object(np, "matmul", meter.product))
        yield meter
        meter.charge()


def task(name: str) -> tuple[Model, Settings]:
    """A network and its calibration inputs, made up for a recipe."""
    if name in RECIPES:
        return Model.from_proto(RECIPES[name](0, None)), Settings(samples=MADE_UP, threads=1)
    return TASKS[name].load(), TASKS[name].settings(threads=1)


def inputs_of(model: Model, settings: Settings) -> int:
    """How many inputs are fitted."""
    if settings.calibration is None:
        return MADE_UP
    return len(load_dataset(settings.calibration, model.inputs).first(settings.samples))


def report(name: str, goal: Goal, rate: float) -> None:
    """Print one run's table."""
    model, settings = task(name)
    macs = analyze(model, Settings(batch=1)).energy.macs
    with metered() as meter:
        prune(model, settings, goal=goal)
    meter.operations[NETWORKS] += 2 * 2 * macs * inputs_of(model, settings)
    total, products = sum(meter.seconds.values()), sum(meter.operations.values()) / rate
    print(f"{name}: {total:.1f} CPU s, of which products need {products:.1f}")
    for stage, seconds in sorted(meter.seconds.items(), key=lambda item: -item[1]):
        needed = meter.operations[stage] / rate
        print(f"  {stage:18}{seconds:9.2f}{needed:10.2f}{needed / max(seconds, 1e-9):9.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time by stage, beside that of its products.")
    parser.add_argument("networks", nargs="*", help=f"of {', '.join((*TASKS, *RECIPES))}")
    parser.add_argument("--energy", type=float, help="a budget, instead of 90 %% zeros everywhere")
    options = parser.parse_args()
    goal = Sparsity(0.9) if options.energy is None else TargetEnergy(options.energy)
    with single_thread():
        rate = product_rate(1024, 1024)
        print(f"float32 products, one thread: {rate / 1e9:.1f} GFLOP/s")
        print(f"  {'stage':18}{'CPU s':>9}{'products':>10}{'share':>9}")
        for name in options.networks or ("resnet20",):
            report(name, goal, rate)


if __name__ == "__main__":
    main()
