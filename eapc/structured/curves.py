"""Error curves of channel groups: what the outputs lose as a group's channels go in turn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eapc.channels import ChannelGroup

FRACTIONS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.0)
"""Points of an error curve, in channels left: each costs a pass of the inputs."""

_LEAST_ERROR = 1e-12

_WORST_ERROR = 1e12
"""Of outputs that cannot be compared: not finite, or of another number, such as detections."""


@dataclass(frozen=True)
class ChannelCurve:
    """One group: the order in which its channels go, and what that does to the outputs.

    `counts` fall from all channels to the fewest that may be left; `errors` go with them, and
    are empty where nobody asked.
    """

    name: str
    order: NDArray[np.intp]
    counts: tuple[int, ...]
    errors: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """Channels of the group."""
        return len(self.order)

    @property
    def fewest(self) -> int:
        """Channels that must stay."""
        return self.counts[-1]

    def kept(self, count: int) -> list[int]:
        """The channels that stay, ascending."""
        return sorted(self.order[self.size - count :].tolist())

    def removed(self, count: int) -> list[int]:
        """The channels that go, ascending."""
        return sorted(self.order[: self.size - count].tolist())

    def error_at(self, count: int) -> float:
        """The error between the points: its logarithm is linear in the count; 0 for all.

        Next to all channels, where the logarithm has no end, the error itself is. It is finite,
        so that errors have a difference.
        """
        if count >= self.size:
            return 0.0
        errors = np.minimum(self.errors[1:], _WORST_ERROR)
        if count > self.counts[1]:
            return float(errors[0] * (self.size - count) / (self.size - self.counts[1]))
        logs = np.log(np.maximum(errors, _LEAST_ERROR))
        return math.exp(float(np.interp(count, self.counts[:0:-1], logs[::-1])))


def counts_of(size: int, fewest: int) -> tuple[int, ...]:
    """The counts of a curve's points."""
    counts = {max(fewest, round(fraction * size)) for fraction in FRACTIONS}
    return tuple(sorted({*counts, size, fewest}, reverse=True))


def ends_of(group: ChannelGroup) -> tuple[int, ...]:
    """All channels of a group, and the fewest that may be left."""
    return (group.size, 0 if group.may_vanish else 1)
