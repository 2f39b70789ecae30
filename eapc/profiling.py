"""Profiling a model: its distinct layers timed over grids of channel counts, within a time.

Level by level: first every layer at the counts it has in the model, then ever finer grids, a
layer's next level being left out once it would no longer fit the time. So the grid is as fine
as time allows, and finest where layers are quick. With each level the model's own counts are
timed again, since the machine may be busy for a while: the least counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field

import onnx

from eapc.checkpoints import Finished, Part
from eapc.hardware_measured import Axis, MeasuredLayer, Scan
from eapc.kernels import constant_tensors, find_kernels, folded_constants
from eapc.layer_kinds import LayerKind, NotTimedError, layer_kind
from eapc.layer_sizes import Sizing, sized
from eapc.layer_timer import LayerTimer, NetworkTimer, Reading
from eapc.model import Model
from eapc.probes import ProbeMaker
from eapc.profile_grid import DEEPEST_LEVEL, counts_at, step_width
from eapc.progress import Progress, Step
from eapc.runtime import optimised_model
from eapc.shapes import Shapes

Counts = tuple[int, int]

_STAGE = "time layers"
_SCAN_LEVEL = 3
_SCANNED_LAYERS = 3
_LONGEST_SCAN = 64
_CARE = 3
"""Times the repeats for the counts that the model itself has."""


@dataclass
class _Grid:
    """One distinct layer: the kernels that are one of it, and what was measured so far."""

    kinds: list[LayerKind]
    own: list[Counts]
    fixed_in: bool
    fixed_out: bool
    readings: dict[Counts, Reading] = field(default_factory=dict)
    axes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    seconds_per_point: float = 0.0
    problem: str = ""

    @property
    def name(self) -> str:
        return self.kinds[0].name

    @property
    def most(self) -> Counts:
        return max(ins for ins, _ in self.own), max(outs for _, outs in self.own)

    def axes_at(self, level: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Input and output counts of the grid at a level; none for the input where it follows."""
        kind = self.kinds[0]
        rows = self._along(0, level, self.fixed_in) if kind.independent else (0,)
        return rows, self._along(1, level, self.fixed_out or not kind.is_free)

    def _along(self, place: int, level: int, fixed: bool) -> tuple[int, ...]:
        own = {counts[place] for counts in self.own}
        more = () if fixed or level == 0 else counts_at(level, max(own))
        return tuple(sorted({*own, *more}))

    def kind_at(self, counts: Counts) -> LayerKind:
        """The kernel to resize: one of these counts where there is one, else the largest."""
        pairs = zip(self.own, self.kinds, strict=True)
        same = [kind for own, kind in pairs if own == counts]
        largest = max(range(len(self.own)), key=lambda i: math.prod(filter(None, self.own[i])))
        return same[0] if same else self.kinds[largest]

    def add(self, readings: Mapping[Counts, Reading]) -> None:
        """Take up readings, the least of those of one count."""
        for counts, reading in readings.items():
            self.readings[counts] = reading.least(self.readings.get(counts))

    def measured(self) -> MeasuredLayer:
        """The grid as the profile has it."""
        rows, columns = self.axes
        ms = tuple(tuple(_digits(self.readings[r, c].layer_ms) for c in columns) for r in rows)
        independent = self.kinds[0].independent
        return MeasuredLayer(
            layer=self.name,
            in_channels=rows if independent else (),
            out_channels=columns,
            ms=ms,
        )


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
        optimised = optimised_model(self.model.to_proto(embed=True), self.threads)
        grids = self._grids(optimised)
        maker = ProbeMaker(self.model, folded_constants(self.model, optimised))
        sizings = [self._sizing(grid, counts) for grid in grids for counts in grid.own]
        footprint = _weight_bytes(self.model) + max((s.bytes for s in sizings), default=0)
        timer = LayerTimer(maker, self.threads, self.repeats, footprint)
        timer.calibrate(sizings)
        scans: list[Scan] = []
        for level in range(DEEPEST_LEVEL + 1):
            if level == _SCAN_LEVEL:
                scans = list(self._scans(timer, grids))
            self.network.look(self.repeats)
            for place, grid in enumerate(grids):
                done, total = level * len(grids) + place, (DEEPEST_LEVEL + 1) * len(grids)
                self.progress(Step(_STAGE, done, total, grid.kinds[0].kernel.host.key))
                self._refine(timer, grid, level)
        self.progress(Step(_STAGE, 1, 1))
        known = [grid for grid in grids if not grid.problem]
        self._missing += [(g.kinds[0].kernel.host.key, g.problem) for g in grids if g.problem]
        overhead = timer.overhead_ms()
        layers, steps = tuple(grid.measured() for grid in known), _steps(scans)
        own = (
            layer.latency_ms(*counts, steps)
            for grid, layer in zip(known, layers, strict=True)
            for counts in grid.own
        )
        return Profile(
            overhead_ms=_digits(overhead),
            layers=layers,
            scans=tuple(scans),
            steps=steps,
            missing=tuple(self._missing),
            sum_ms=overhead + sum(own),
            whole_ms=self.network.least_ms,
        )

    def _grids(self, optimised: onnx.ModelProto) -> list[_Grid]:
        """The distinct layers in the order in which they first run."""
        constants = constant_tensors(self.model)
        given = {spec.name for spec in self.model.inputs}
        grids: dict[str, _Grid] = {}
        for kernel in find_kernels(self.model, optimised):
            try:
                kind = layer_kind(kernel, self.shapes, constants)
            except NotTimedError as reason:
                self._missing.append((kernel.host.key, str(reason)))
                continue
            grid = grids.setdefault(kind.name, _Grid([], [], True, True))
            grid.kinds.append(kind)
            grid.own.append(kind.counts(self.shapes.by_scope[""]))
            grid.fixed_in &= kernel.inputs[0] in given
            grid.fixed_out &= kernel.outputs[0] in self.model.outputs
        return list(grids.values())

    def _refine(self, timer: LayerTimer, grid: _Grid, level: int) -> None:
        """Measure what a level adds, if it fits the time, and the model's own counts once more."""
        axes = grid.axes_at(level)
        new = [(r, c) for r in axes[0] for c in axes[1] if (r, c) not in grid.readings]
        expected = self._spent + len(new) * grid.seconds_per_point
        if grid.problem or (level and expected > self.seconds):
            return
        points = dict.fromkeys((*new, *grid.own))
        part = self._part(timer, grid, f"level {level}", tuple(points))
        grid.problem = part.facts["problem"]
        grid.add(_readings(part))
        grid.seconds_per_point = part.facts["seconds"] / len(points)
        grid.axes = axes

    def _part(self, timer: LayerTimer, grid: _Grid, label: str, points: Sequence[Counts]) -> Part:
        """Points of a layer, timed now or by a run that was killed."""
        key = f"{grid.name} {label}"
        part = self.finished.load(key)
        if part is None:
            part = self._timed(timer, grid, points)
            self.finished.save(key, part)
        self._spent += part.facts["seconds"]
        return part

    def _timed(self, timer: LayerTimer, grid: _Grid, points: Sequence[Counts]) -> Part:
        """Time some points, one after the other and then once more: disturbances pass."""
        start, found, problem = time.perf_counter(), dict[Counts, Reading](), ""
        try:
            for counts in (*points, *points):
                repeats = self.repeats * (_CARE if counts in grid.own else 1)
                reading = timer.read(self._sizing(grid, counts), repeats)
                found[counts] = reading.least(found.get(counts))
        except NotTimedError as reason:
            problem = str(reason)
        readings = [(*counts, *astuple(reading)) for counts, reading in found.items()]
        seconds = time.perf_counter() - start
        return Part(facts={"readings": readings, "problem": problem, "seconds": seconds})

    def _sizing(self, grid: _Grid, counts: Counts) -> Sizing:
        return sized(grid.kind_at(counts), self.shapes, *counts)

    def _scans(self, timer: LayerTimer, grids: Sequence[_Grid]) -> Iterator[Scan]:
        """Single counts of the widest layers, slow ones first, along both of their axes."""
        able = [grid for grid in grids if grid.kinds[0].independent and not grid.problem]
        able = [grid for grid in able if not (grid.fixed_in or grid.fixed_out)]
        able.sort(
            key=lambda grid: (-min(*grid.most, _LONGEST_SCAN), -grid.readings[grid.most].layer_ms)
        )
        for grid in able[:_SCANNED_LAYERS]:
            for place, axis in enumerate[Axis](("in", "out")):
                yield self._scan(timer, grid, place, axis)

    def _scan(self, timer: LayerTimer, grid: _Grid, place: int, axis: Axis) -> Scan:
        most = grid.most
        channels = range(1, min(most[place], _LONGEST_SCAN) + 1)
        points = [(c, most[1]) if place == 0 else (most[0], c) for c in channels]
        found = _readings(self._part(timer, grid, f"scan {axis}", points))
        ms = {counts[place]: _digits(reading.layer_ms) for counts, reading in found.items()}
        return Scan(layer=grid.name, axis=axis, channels=tuple(ms), ms=tuple(ms.values()))


def _readings(part: Part) -> dict[Counts, Reading]:
    return {(ins, outs): Reading(*reading) for ins, outs, *reading in part.facts["readings"]}


def _weight_bytes(model: Model) -> int:
    return sum(4 * math.prod(tensor.dims) for tensor in model.view.constants.values())


def _steps(scans: Sequence[Scan]) -> dict[Axis, int]:
    """The width of the steps that the scans of each axis show together."""
    of_axis: dict[Axis, list[Scan]] = {
        axis: [scan for scan in scans if scan.axis == axis] for axis in ("in", "out")
    }
    return {
        axis: step_width([dict(zip(scan.channels, scan.ms, strict=True)) for scan in found])
        for axis, found in of_axis.items()
    }


def _digits(ms: float) -> float:
    """Five digits: timers give no more."""
    return float(f"{ms:.5g}")
