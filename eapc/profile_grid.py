"""Which channel counts of a layer are measured, and how wide the steps are that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

DEEPEST_LEVEL = 5
_ALIGNMENT = 4
"""Counts that are no multiple of 4 leave the blocked layouts of CPU kernels."""

_WIDTHS = (32, 16, 8, 4, 2)
_NOISE = 0.06
_SHARE_WITHIN = 0.9


def counts_at(level: int, most: int) -> tuple[int, ...]:
    """Counts up to `most` at a level of detail: at level k about 2^k, evenly spaced.

    They are multiples of 4, and each level holds those of the levels before; from level 2 on
    the powers of two are there too, so small counts lie denser.
    """
    counts = {most}
    for k in range(1, level + 1):
        parts = 1 << k
        counts |= {-(-i * most // (parts * _ALIGNMENT)) * _ALIGNMENT for i in range(1, parts)}
    power = _ALIGNMENT
    while level >= 2 and power < most:
        counts.add(power)
        power *= 2
    return tuple(sorted(count for count in counts if count <= most))


def step_width(channels: Sequence[int], ms: Sequence[float]) -> int:
    """The widest step that explains a scan of single counts; 1 if none does.

    A width explains it if nine in ten counts take as long as the end of their step, within 6 %.
    Latencies are cleaned by a running minimum from the larger counts; the lower half of the scan
    is left out, since kernels treat the smallest counts apart.
    """
    cleaned = np.minimum.accumulate(np.asarray(ms)[::-1])[::-1]
    known = {c: t for c, t in zip(channels, cleaned, strict=True) if 2 * c > channels[-1]}
    return next((width for width in _WIDTHS if _explains(width, known)), 1)


def _explains(width: int, known: Mapping[int, float]) -> bool:
    ends = {count: -(-count // width) * width for count in known}
    off = [abs(known[c] / known[e] - 1) > _NOISE for c, e in ends.items() if e in known and c != e]
    return len(off) >= width - 1 and float(np.mean(off)) <= 1 - _SHARE_WITHIN
