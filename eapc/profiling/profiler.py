"""Profiling a model: its distinct layers timed over grids of channel counts, within a time.

Level by level: first every layer at the counts it has in the model, then ever finer grids, a
layer's next level being left out once it would no longer fit the time. So the grid is as fine
as time allows, and finest where layers are quick. With each level the model's own counts are
timed again, since the machine may be busy for a while: the least counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field

import onnx

from eapc.checkpoints import Checkpoint, Finished
from eapc.hardware import Axis, MeasuredLayer, Scan
from eapc.model import Array, Model, Shapes, numpy_type
from eapc.profiling.integer_layers import is_rounding
from eapc.profiling.kernels import (
    constant_tensors,
    find_kernels,
    folded_constants,
    running_graph,
)
from eapc.profiling.layer_grid import DEEPEST_LEVEL, LayerGrid, digits, step_width
from eapc.profiling.layer_kinds import ChannelCounts, NotTimedError, Sizing, layer_kind, sized
from eapc.profiling.layer_timer import LayerTimer, NetworkTimer, Reading
from eapc.profiling.probe_models import ProbeMaker
from eapc.progress import Progress, Step

_STAGE = "time layers"
_SCAN_STAGE = "look for steps"
_SCAN_LEVEL = 3
_SCANNED_LAYERS = 3
_LONGEST_SCAN = 64
_AXES: tuple[Axis, ...] = ("in", "out")
_CARE = 3
"""Times the repeats for the counts that the model itself has."""


@dataclass(frozen=True)
class Profile:
    """What was measured of a model, and the layers that could not be, with the reason."""

    overhead_ms: float
    layers: tuple[MeasuredLayer, ...]
    scans: tuple[Scan, ...]
    steps: dict[Axis, int]
    missing: tuple[tuple[str, str], ...]
    sum_ms: float
    whole_ms: float | None


@dataclass
class Profiler:
    """Times the layers of one model, for about `seconds` in all."""

    model: Model
    shapes: Shapes
    threads: int
    repeats: int
    seconds: float
    finished: Finished
    progress: Progress
    network: NetworkTimer
    _spent: float = 0.0
    _missing: list[tuple[str, str]] = field(default_factory=list)

    def run(self) -> Profile:
        """Measure; parts that are finished already are taken as they are, with their times."""
        optimised = running_graph(self.model, self.threads)
        grids = self._grids(optimised)
        maker = ProbeMaker(self.model, self._folded(optimised))
        sizings = [self._sizing(grid, counts) for grid in grids for counts in grid.own]
        constants = self.model.constants.plain.values()
        weight_bytes = sum(
            numpy_type(tensor.data_type).itemsize * math.prod(tensor.dims) for tensor in constants
        )
        footprint = weight_bytes + max((sizing.bytes for sizing in sizings), default=0)
        timer = LayerTimer(maker, self.threads, self.repeats, footprint)
        timer.calibrate(sizings)
        scans = self._levels(timer, grids)
        known = [grid for grid in grids if not grid.problem]
        self._missing += [(grid.node, grid.problem) for grid in grids if grid.problem]
        layers, steps = tuple(grid.measured() for grid in known), _steps(scans)
        overhead = timer.overhead_ms()
        own = (
            layer.latency_ms(*counts, steps)
            for grid, layer in zip(known, layers, strict=True)
            for counts in grid.own
        )
        return Profile(
            overhead_ms=digits(overhead),
            layers=layers,
            scans=tuple(scans),
            steps=steps,
            missing=tuple(self._missing),
            sum_ms=overhead + sum(own),
            whole_ms=self.network.least_ms,
        )

    def _folded(self, optimised: onnx.ModelProto) -> dict[str, Array]:
        """Constants that onnxruntime computes; in quantized models it turns some for layouts."""
        known = folded_constants(self.model, optimised)
        if not any(map(is_rounding, self.model.view.main_nodes)):
            return known
        return known | folded_constants(
            self.model, running_graph(self.model, self.threads, blocked=False)
        )

    def _levels(self, timer: LayerTimer, grids: Sequence[LayerGrid]) -> list[Scan]:
        """Refine all grids level by level; the scans made in between."""
        scans: list[Scan] = []
        for level in range(DEEPEST_LEVEL + 1):
            if level == _SCAN_LEVEL:
                scans = list(self._scans(timer, grids))
            self.network.look(self.repeats)
            for place, grid in enumerate(grids):
                done, total = level * len(grids) + place, (DEEPEST_LEVEL + 1) * len(grids)
                self.progress(Step(_STAGE, done, total, grid.node))
                self._refine(timer, grid, level)
        self.progress(Step(_STAGE, 1, 1))
        return scans

    def _grids(self, optimised: onnx.ModelProto) -> list[LayerGrid]:
        """The distinct layers in the order in which they first run."""
        constants = constant_tensors(self.model, optimised)
        given = {spec.name for spec in self.model.inputs}
        grids: dict[str, LayerGrid] = {}
        for kernel in find_kernels(self.model, optimised):
            try:
                kind = layer_kind(kernel, self.shapes, constants)
            except NotTimedError as reason:
                self._missing.append((kernel.host.key, str(reason)))
                continue
            grid = grids.setdefault(kind.name, LayerGrid([], [], True, True))
            grid.kinds.append(kind)
            grid.own.append(kind.counts(self.shapes.by_scope[""]))
            grid.fixed_in &= kernel.inputs[0] in given
            grid.fixed_out &= kernel.outputs[0] in self.model.outputs
        return list(grids.values())

    def _refine(self, timer: LayerTimer, grid: LayerGrid, level: int) -> None:
        """Measure what a level adds, if it fits the time, and the model's own counts once more."""
        axes = grid.axes_at(level)
        new = [(r, c) for r in axes[0] for c in axes[1] if (r, c) not in grid.readings]
        expected = self._spent + len(new) * grid.seconds_per_point
        if grid.is_final or (level and expected > self.seconds):
            return
        points = dict.fromkeys((*new, *grid.own))
        part = self._part(timer, grid, f"level {level}", tuple(points))
        problem = part.facts["problem"]
        grid.is_final = bool(problem)
        if problem:
            grid.problem = "" if level else problem
            return
        grid.add(_readings(part))
        grid.seconds_per_point = part.facts["seconds"] / len(points)
        grid.axes = axes

    def _part(
        self, timer: LayerTimer, grid: LayerGrid, label: str, points: Sequence[ChannelCounts]
    ) -> Checkpoint:
        """Points of a layer, timed now or by a run that was killed."""
        key = f"{grid.name} {label}"
        part = self.finished.load(key)
        if part is None:
            part = self._timed(timer, grid, points)
            self.finished.save(key, part)
        self._spent += part.facts["seconds"]
        return part

    def _timed(
        self, timer: LayerTimer, grid: LayerGrid, points: Sequence[ChannelCounts]
    ) -> Checkpoint:
        """Time some points, one after the other and then once more: disturbances pass."""
        start, found, problem = time.perf_counter(), dict[ChannelCounts, Reading](), ""
        try:
            for counts in (*points, *points):
                repeats = self.repeats * (_CARE if counts in grid.own else 1)
                reading = timer.read(self._sizing(grid, counts), repeats)
                found[counts] = reading.least(found.get(counts))
        except NotTimedError as reason:
            problem = str(reason)
        readings = [(*counts, *astuple(reading)) for counts, reading in found.items()]
        seconds = time.perf_counter() - start
        return Checkpoint(facts={"readings": readings, "problem": problem, "seconds": seconds})

    def _sizing(self, grid: LayerGrid, counts: ChannelCounts) -> Sizing:
        return sized(grid.kind_at(counts), self.shapes, *counts)

    def _scans(self, timer: LayerTimer, grids: Sequence[LayerGrid]) -> Iterator[Scan]:
        """Single counts of the widest layers, slow ones first, along both of their axes."""
        able = [
            grid
            for grid in grids
            if grid.kinds[0].independent and not (grid.is_final or grid.fixed_in or grid.fixed_out)
        ]
        able.sort(
            key=lambda grid: (-min(*grid.most, _LONGEST_SCAN), -grid.readings[grid.most].layer_ms)
        )
        wanted = [(grid, axis) for grid in able[:_SCANNED_LAYERS] for axis in _AXES]
        for done, (grid, axis) in enumerate(wanted):
            self.progress(Step(_SCAN_STAGE, done, len(wanted), grid.node))
            expected = self._spent + _LONGEST_SCAN * grid.seconds_per_point
            if expected <= self.seconds:
                yield self._scan(timer, grid, axis)

    def _scan(self, timer: LayerTimer, grid: LayerGrid, axis: Axis) -> Scan:
        place, most = int(axis == "out"), grid.most
        channels = range(1, min(most[place], _LONGEST_SCAN) + 1)
        points = [(c, most[1]) if place == 0 else (most[0], c) for c in channels]
        found = _readings(self._part(timer, grid, f"scan {axis}", points))
        ms = {counts[place]: digits(reading.layer_ms) for counts, reading in found.items()}
        return Scan(layer=grid.name, axis=axis, channels=tuple(ms), ms=tuple(ms.values()))


def _readings(part: Checkpoint) -> dict[ChannelCounts, Reading]:
    return {(ins, outs): Reading(*reading) for ins, outs, *reading in part.facts["readings"]}


def _steps(scans: Sequence[Scan]) -> dict[Axis, int]:
    """The width of the steps that the scans of each axis show together."""
    ms = [(scan.axis, dict(zip(scan.channels, scan.ms, strict=True))) for scan in scans]
    return {axis: step_width([scan for of, scan in ms if of == axis]) for axis in _AXES}
