"""What is known of one distinct layer while a model is profiled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from eapc.hardware import MeasuredLayer
from eapc.profiling.grid import counts_at
from eapc.profiling.layer_kinds import ChannelCounts, LayerKind
from eapc.profiling.layer_timer import Reading


@dataclass
class LayerGrid:
    """One distinct layer: the kernels that are one of it, and what was measured so far.

    `own` has the counts of each of `kinds`; `axes` are those of the last level that was finished.
    `fixed_in` and `fixed_out` hold for a layer that only ever reads the model's inputs, or writes
    its outputs. `problem` says why it could not be timed; `is_final` that it is not refined.
    """

    kinds: list[LayerKind]
    own: list[ChannelCounts]
    fixed_in: bool
    fixed_out: bool
    readings: dict[ChannelCounts, Reading] = field(default_factory=dict)
    axes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    seconds_per_point: float = 0.0
    problem: str = ""
    is_final: bool = False

    @property
    def name(self) -> str:
        """What the profile lists it under."""
        return self.kinds[0].name

    @property
    def node(self) -> str:
        """The key of the first node that is one."""
        return self.kinds[0].kernel.host.key

    @property
    def most(self) -> ChannelCounts:
        """The largest count of each axis."""
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

    def kind_at(self, counts: ChannelCounts) -> LayerKind:
        """The kernel to resize: one of these counts where there is one, else the largest."""
        pairs = zip(self.own, self.kinds, strict=True)
        same = [kind for own, kind in pairs if own == counts]
        largest = max(range(len(self.own)), key=lambda i: math.prod(filter(None, self.own[i])))
        return same[0] if same else self.kinds[largest]

    def add(self, readings: Mapping[ChannelCounts, Reading]) -> None:
        """Take up readings, the least of those of one count."""
        for counts, reading in readings.items():
            self.readings[counts] = reading.least(self.readings.get(counts))

    def measured(self) -> MeasuredLayer:
        """The grid as the profile has it."""
        rows, columns = self.axes
        ms = tuple(tuple(digits(self.readings[r, c].layer_ms) for c in columns) for r in rows)
        independent = self.kinds[0].independent
        return MeasuredLayer(
            layer=self.name,
            in_channels=rows if independent else (),
            out_channels=columns,
            ms=ms,
        )


def digits(ms: float) -> float:
    """Five digits: timers give no more."""
    return float(f"{ms:.5g}")
