"""Which channel counts of a layer are measured, and how wide the steps are that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

DEEPEST_LEVEL = 5
_ALIGNMENT = 4
"""Counts that are no multiple of 4 leave the blocked layouts of CPU kernels."""

_WIDTHS = (32, 16, 8, 4, 2)


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
