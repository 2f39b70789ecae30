"""How sure a ratio of two modelled energies is, by what the machine was held against.

Let two versions of a network have the part K in common, let one have B beside it and the other A:

    log R = log(K + A) - log(K + B)

With relative errors d of the three parts, and a = A / (K + A), b = B / (K + B), the error is

    a d_A - b d_B + (b - a) d_K

A factor that all parts share cancels, and equal files are surely equal. For independent errors of
one size s its deviation is s sqrt(2 (a^2 + b^2 - a b)), at most s sqrt(2) max(a, b). Two networks
without a common part are off by s sqrt(2). So one figure, the error of log R over the share
max(a, b) that changed, holds for pairs that have much in common and for those that have nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtrit

from eapc.energy.estimation import EnergyReport, NodeEnergy
from eapc.hardware import PairErrors

CONFIDENCE = 0.95


@dataclass(frozen=True)
class RatioInterval:
    """A ratio of energies and where it lies with `confidence`, by the machine's `ratio` errors.

    `changed_share` is what it hangs on: see `changed_share`.
    """

    ratio: float
    low: float
    high: float
    changed_share: float
    confidence: float = CONFIDENCE

    @property
    def is_within(self) -> bool:
        """Whether energies that differ differ by no more than the estimate can tell."""
        return self.changed_share > 0 and self.low <= 1 <= self.high


def ratio_interval(before: EnergyReport, after: EnergyReport) -> RatioInterval | None:
    """After over before: R exp(-t r c) to R exp(t r c).

    r are the errors of the machine, t is Student's for their degrees of freedom, c the share that
    changed. None where the machine's file knows no errors of ratios, before or after is nothing, or
    their MACs are not of the same widths: that has other errors, of which no row tells.
    """
    validation = before.hardware.validation
    errors = validation and validation.ratio
    energies = before.energy_mac_units, after.energy_mac_units
    if not errors or not all(energies) or not have_equal_widths(before, after):
        return None
    share, ratio = changed_share(before, after), energies[1] / energies[0]
    factor = interval_factor(errors, share)
    return RatioInterval(ratio, ratio / factor, ratio * factor, share)


def have_equal_widths(before: EnergyReport, after: EnergyReport) -> bool:
    """Whether the MACs of both are of operands of the same widths."""
    one, other = ({_bits(n, r) for n in r.nodes if n.macs} for r in (before, after))
    return one == other


def interval_factor(errors: PairErrors, share: float) -> float:
    """exp(t r c): by what a ratio may be too high or too low if a `share` changed."""
    quantile = float(stdtrit(errors.degrees_of_freedom, (1 + CONFIDENCE) / 2))
    return math.exp(quantile * errors.rms * share)


def changed_share(before: EnergyReport, after: EnergyReport) -> float:
    """The larger of the shares of either energy that the other report does not have, 0 to 1.

    Nodes of one key, operator and width have the lesser of their energies in common; others have
    nothing. Where no more than half of all nodes have such a partner these are no versions of one
    network, and what bears the same name by chance does not count.
    """
    one, other = (_energies(report) for report in (before, after))
    both = one.keys() & other.keys()
    if 2 * len(both) <= len(one.keys() | other.keys()):
        return 1.0
    common = math.fsum(min(one[key], other[key]) for key in both)
    totals = (math.fsum(own.values()) for own in (one, other))
    return max((1 - common / total for total in totals if total > 0), default=0.0)


def _energies(report: EnergyReport) -> dict[tuple[object, ...], float]:
    """Energies by what two versions of one node have in common."""
    return {(n.key, n.op_type, _bits(n, report)): n.energy_mac_units for n in report.nodes}


def _bits(node: NodeEnergy, report: EnergyReport) -> tuple[int, int, int]:
    """Widths of a node's weights, ifmap and ofmap."""
    bits, word = node.bits, report.hardware.word_bits
    return bits.weights or word, bits.ifmap or word, bits.ofmap or word
