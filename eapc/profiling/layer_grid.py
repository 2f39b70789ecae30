"""The channel counts at which a layer is measured, and what is known of it meanwhile.

And how wide the steps are that its latencies show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from eapc.hardware import MeasuredLayer
from eapc.profiling.layer_kinds import ChannelCounts, LayerKind
from eapc.profiling.layer_timer import Reading

DEEPEST_LEVEL = 5
_ALIGNMENT = 4
"""Counts that are no multiple of 4 leave the blocked layouts of CPU kernels."""

_WIDTHS = (32, 16, 8, 4, 2)


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


def counts_at(level: int, most: int) -> tuple[int, ...]:
    """Counts up to `most` at a level of detail: at level k about 2^k, evenly spaced.

    They are multiples of 4, and each level holds those of the levels before; from level 2 on
    the powers of two are there too, so small counts lie denser.
    """
    counts = {most}
    for k in range(1, level + 1):
        parts = 1 << k
        counts |= {-(-i * most // (parts * _ALIGNMENT)) * _ALIGNMENT for i in range(1, parts)}
    if level >= 2:
        counts |= {_ALIGNMENT << doublings for doublings in range(most.bit_length())}
    return tuple(sorted(count for count in counts if count <= most))


def step_width(scans: Sequence[Mapping[int, float]]) -> int:
    """The widest step that explains scans, each milliseconds by single counts; 1 if none does.

    A width explains them if more than half of what latency rises by, it does from one multiple of
    the width to the next count. Without steps that share is one over the width. Latencies are
    cleaned by a running minimum from the larger counts; the first quarter of each scan is left
    out, since kernels treat the smallest counts apart.
    """
    rises = [rise for scan in scans for rise in _rises(scan)]
    total = sum(ms for _, ms in rises)
    at_ends = {w: sum(ms for count, ms in rises if count % w == 0) for w in _WIDTHS}
    return next((width for width, ms in at_ends.items() if ms * 2 > total), 1)


def _rises(scan: Mapping[int, float]) -> list[tuple[int, float]]:
    """Each count of a scan with what the next adds, as a share of the scan's last latency."""
    counts = sorted(scan)
    cleaned = np.minimum.accumulate([scan[count] for count in reversed(counts)])[::-1]
    steps = zip(counts, np.diff(cleaned) / (cleaned[-1] or 1.0), strict=False)
    return [(count, float(rise)) for count, rise in steps if 4 * count >= counts[-1]]
