"""Errors of rows and of pairs of rows, as the `validation` of a hardware file has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eapc.hardware import PairErrors, RowErrors, Validation


class Pair(NamedTuple):
    """Two rows: the ratio of their energies as modelled and as known, the share that changed."""

    name: str
    model: float
    known: float
    share: float

    @property
    def error(self) -> float:
        """Of log(ratio)."""
        return math.log(self.model / self.known)


Against = Mapping[str, Validation]


def row_errors(errors: Sequence[float], of: str) -> RowErrors:
    """Root mean square of relative errors, as a file has it."""
    return RowErrors(rms=two_digits(rms(errors)), rows=len(errors), of=of)


def pair_errors(pairs: Sequence[Pair], degrees_of_freedom: int, of: str) -> PairErrors:
    """The same of ratios, see `eapc.energy.ratio_interval`."""
    found = two_digits(rms([pair.error / pair.share for pair in pairs]))
    return PairErrors(rms=found, rows=len(pairs), of=of, degrees_of_freedom=degrees_of_freedom)


def rms(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values) / len(values))


def two_digits(value: float) -> float:
    return float(f"{value:.2g}")
