"""eapc profile, the whole way: a model's layers timed here, and the file of the machine."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import yaml

from eapc.checkpoints import Finished, digest, model_digest, software
from eapc.commands.results import kept_beside
from eapc.errors import DataError
from eapc.hardware import MeasuredMachine, MeasuredPower
from eapc.model import InputShapes, Model, infer_shapes, input_shapes
from eapc.profiling import (
    Meter,
    MeterLog,
    NetworkTimer,
    Probe,
    Profiler,
    meter_in_turns,
    notes_on_weights,
)
from eapc.progress import Progress, silent
from eapc.runtime import Stopwatch, runtime_version
from eapc.showing import Shown

_CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class ProfileSettings:
    """How a model is profiled; `threads` 0 is all cores, `minutes` about the time it may take."""

    batch: int | None = None
    input_shapes: InputShapes = field(default_factory=dict)
    threads: int = 0
    repeats: int = 15
    minutes: float = 4.0


@dataclass(frozen=True, repr=False)
class Profiled(Shown):
    """A machine as measured, and the layers that were not, by node, with the reason.

    `sum_ms` is what the layers that were timed add up to, with what a run costs by itself;
    `whole_ms` what the whole network took meanwhile, None where it could not be run.
    """

    machine: MeasuredMachine
    missing: tuple[tuple[str, str], ...]
    sum_ms: float
    whole_ms: float | None
    notes: tuple[str, ...] = ()


def profile(
    model: str | Path | Model,
    settings: ProfileSettings | None = None,
    *,
    name: str = "measured",
    output: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    meter: Meter | None = None,
) -> Profiled:
    """Time the layers of a model on this machine; with a `meter`, measure its power too, first.

    With `output` finished layers are kept beside it until all is done, and `resume` uses those
    of a run that was killed; the file itself is the caller's to write, see `machine_yaml`.
    """
    settings = settings or ProfileSettings()
    loaded = model if isinstance(model, Model) else Model.load(model)
    sizes = input_shapes(loaded, settings.input_shapes, settings.batch)
    _require_makeable(sizes)
    batch = next((shape[0] for shape in sizes.values() if len(shape) > 1), 1)
    log = _metered(loaded, sizes, settings.threads, meter) if meter else None
    run = digest("profile", software(), _cpu(), model_digest(loaded), repr(settings), repr(sizes))
    with kept_beside(output, run, resume) as checkpoints:
        profiler = Profiler(
            model=loaded,
            shapes=infer_shapes(loaded, sizes),
            threads=settings.threads,
            repeats=settings.repeats,
            seconds=60 * settings.minutes,
            finished=Finished(checkpoints),
            progress=progress,
            network=NetworkTimer(_whole(loaded, sizes), settings.threads),
        )
        found = profiler.run()
    threads = settings.threads or os.cpu_count() or 1
    machine = MeasuredMachine(
        schema_version="eapc.measured/1",
        kind="measured",
        name=name,
        description=f"layers of {loaded.name}, timed with {threads} threads on {_cpu()}",
        cpu=_cpu(),
        runtime=runtime_version(),
        threads=threads,
        batch=batch,
        repeats=settings.repeats,
        date=date.today().isoformat(),
        overhead_ms=found.overhead_ms,
        steps=found.steps,
        layers=found.layers,
        scans=found.scans,
        power=_power(log, loaded, batch, found.whole_ms) if log and found.whole_ms else None,
    )
    notes = notes_on_weights(loaded)
    return Profiled(machine, found.missing, found.sum_ms, found.whole_ms, notes)


_MOST_ELEMENTS = 1 << 31
"""Elements of an input that can be made at all."""


def _require_makeable(sizes: InputShapes) -> None:
    for name, shape in sizes.items():
        if math.prod(shape) > _MOST_ELEMENTS:
            said = f"input '{name}': {shape} is too large to be made up"
            raise DataError(f"{said}; --input-shape gives another size")


def _whole(model: Model, sizes: InputShapes) -> Probe | None:
    """The model as a user runs it, fed with noise; None if it takes more than real numbers."""
    if any(not spec.is_float for spec in model.inputs):
        return None
    rng = np.random.default_rng(0)
    feed = {s.name: rng.normal(0, 1, sizes[s.name]).astype(s.dtype) for s in model.inputs}
    return Probe(model.to_proto(embed=True), feed)


def _metered(model: Model, sizes: InputShapes, threads: int, meter: Meter) -> MeterLog:
    """The whole network under a meter, as a user runs it."""
    network = _whole(model, sizes)
    if network is None:
        raise DataError(
            f"{model.name} takes inputs other than real numbers, so it is not run as a whole and "
            "its energy not measured: leave out --energy"
        )
    return meter_in_turns(meter, [Stopwatch(network.model, network.feed, threads).run])


def _power(log: MeterLog, model: Model, batch: int, whole_ms: float) -> MeasuredPower:
    return MeasuredPower(
        meter=log.meter,
        network=model.name,
        idle_w=log.idle_w.times(1),
        active_w=log.power_w(0).times(1),
        inference_j=log.run_j(0).times(1 / batch),
        inference_ms=float(f"{whole_ms / batch:.6g}"),
    )


def _cpu() -> str:
    """The processor's model, as the system has it."""
    if _CPU_FACTS.is_file():
        for line in _CPU_FACTS.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_yaml(machine: MeasuredMachine) -> str:
    """The machine's file."""
    document = machine.model_dump(mode="json", by_alias=True, exclude_none=True)
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100)
