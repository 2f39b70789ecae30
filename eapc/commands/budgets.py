"""Budgets for build servers: bounds of a network's energy and latency, and whether they hold.

An amount (`0.8mJ`, `31M` MAC units, `5ms`) bounds what the network takes, a percentage what it
takes of what another does, the baseline. Energies are those of the nodes that are modelled.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eapc.commands.compiler import analyze
from eapc.commands.preparation import Settings
from eapc.commands.timing import Timing, time_nodes
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.hardware import HardwareModel, MeasuredMachine
from eapc.model import Model
from eapc.routing import routed_parts

if TYPE_CHECKING:
    from eapc.commands.comparison import Comparison

logger = logging.getLogger(__name__)

MAC_UNITS = "MAC units"
PJ = "pJ"
MS = "ms"
SHARE = "of the baseline"

Quantity = Literal["energy", "latency"]

ENERGY_OPTION, LATENCY_OPTION = "--max-energy", "--max-latency"
ENERGY_RATIO_OPTION, LATENCY_RATIO_OPTION = "--max-energy-ratio", "--max-latency-ratio"

_UNITS: Mapping[Quantity, Mapping[str, tuple[str, float]]] = {
    "energy": {
        "pJ": (PJ, 1.0),
        "nJ": (PJ, 1e3),
        "uJ": (PJ, 1e6),
        "mJ": (PJ, 1e9),
        "J": (PJ, 1e12),
        **{
            prefix + name: (MAC_UNITS, factor)
            for prefix, factor in (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))
            for name in ("", "MAC", "MACs", "MACunits")
            if prefix + name
        },
    },
    "latency": {"ns": (MS, 1e-6), "us": (MS, 1e-3), "ms": (MS, 1.0), "s": (MS, 1e3)},
}
"""By unit as it is typed, less spaces, the unit that figures have and the factor to it."""

_SAID: Mapping[Quantity, str] = {
    "energy": "0.8mJ (pJ, nJ, uJ, mJ, J), 31M for MAC units, or 90% of a --baseline",
    "latency": "5ms (ns, us, ms, s), or 90% of a --baseline",
}

_TYPED = re.compile(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)(.*)")

_ROUNDING = 1e-9
"""By this fraction a figure may exceed its limit: sums of floats differ by as much."""


@dataclass(frozen=True)
class CostLimit:
    """What a network may take: `text` as it was typed for `option`, which comes to `limit`.

    `unit` is `pJ`, `MAC units`, `ms` or `of the baseline`: then `limit` is a fraction.
    """

    option: str
    quantity: Quantity
    text: str
    limit: float
    unit: str


@dataclass(frozen=True)
class LimitCheck:
    """A limit and the figure that it bounds, in the limit's unit.

    `surely` is the least that the figure may be where it was measured, else the figure; a limit
    is exceeded where that is more.
    """

    limit: CostLimit
    value: float
    surely: float

    @property
    def is_within(self) -> bool:
        """Whether the limit holds; never of what is no number."""
        return self.surely <= self.limit.limit * (1 + _ROUNDING)

    @property
    def excess(self) -> float:
        """By which fraction of the limit the figure lies above it; negative below."""
        return self.value / self.limit.limit - 1


@dataclass(frozen=True)
class Spending:
    """What a network takes on a machine, by unit, and how many of its nodes that is known of."""

    network: str
    machine: str
    amounts: Mapping[str, float]
    modelled: int
    unmodelled: int

    @classmethod
    def of(cls, network: str, report: EnergyReport | Timing) -> Spending:
        """The figures of an analysis or of a timing."""
        machine = report.machine if isinstance(report, Timing) else report.hardware
        known = len(report.nodes), len(report.unmodelled)
        return cls(network, machine.name, dict(_amounts(report)), *known)

    @property
    def gap(self) -> str:
        """`3 of 72 nodes`: those that are not modelled."""
        return f"{self.unmodelled} of {self.modelled + self.unmodelled} nodes"


def _amounts(report: EnergyReport | Timing) -> Iterator[tuple[str, float]]:
    if isinstance(report, EnergyReport):
        yield MAC_UNITS, report.energy_mac_units
        if report.energy_pj is not None:
            yield PJ, report.energy_pj
    if report.latency_ms is not None:
        yield MS, report.latency_ms


@dataclass(frozen=True)
class Gate:
    """What came of some limits; `baseline` is there where one of them is a fraction of its."""

    checks: tuple[LimitCheck, ...] = ()
    baseline: Spending | None = None

    @property
    def is_within(self) -> bool:
        """Whether all limits hold."""
        return all(check.is_within for check in self.checks)


NO_GATE = Gate()
"""Of a network that nothing was asked of."""


@dataclass(frozen=True)
class CostLimits:
    """The limits of an analysis, and the network that percentages are of."""

    limits: tuple[CostLimit, ...] = ()
    baseline: Path | None = None

    @classmethod
    def read(
        cls, energy: str | None, latency: str | None, baseline: Path | None = None
    ) -> CostLimits:
        """Limits as they are typed.

        Raises UsageError for texts that are none, for a percentage without a baseline, and for a
        baseline without a percentage.
        """
        typed: list[tuple[str, Quantity, str | None]] = [
            (ENERGY_OPTION, "energy", energy),
            (LATENCY_OPTION, "latency", latency),
        ]
        limits = tuple(
            read_limit(option, quantity, text)
            for option, quantity, text in typed
            if text is not None
        )
        shares = [each for each in limits if each.unit == SHARE]
        if shares and baseline is None:
            each = shares[0]
            raise UsageError(f"{each.option} {each.text}: of what? give --baseline old.onnx")
        if baseline is not None and not shares:
            raise UsageError("--baseline: goes with a percentage, such as --max-energy 90%")
        return cls(limits, baseline)

    def require_units(self, machine: HardwareModel | MeasuredMachine) -> None:
        """Raise UsageError where a machine has no figures that a limit could bound."""
        for each in self.limits:
            if isinstance(machine, MeasuredMachine):
                if each.quantity == "energy":
                    raise UsageError(
                        f"{each.option}: {machine.name} has measured latencies and no energies; "
                        "bound its --max-latency"
                    )
            elif each.unit == PJ and machine.mac_unit_pj is None:
                raise UsageError(
                    f"{each.option} {each.text}: {machine.name} is priced in MAC units, its file "
                    "has no mac_energy_pj; give MAC units, such as 31M, or a percentage"
                )
            elif each.quantity == "latency" and machine.clock_mhz is None:
                raise UsageError(
                    f"{each.option}: {machine.name} has energies and no time, its file has no "
                    "clock_mhz; bound its --max-energy"
                )

    def check(self, spending: Spending, baseline: Spending | None = None) -> Gate:
        """Hold a network's figures against the limits; warn of what they leave out.

        Raises UsageError where a figure is missing or the baseline takes nothing.
        """
        checks = tuple(_checked(each, spending, baseline) for each in self.limits)
        if checks:
            _warn_of_gaps("a budget", spending, baseline)
        return Gate(checks, baseline)


def read_limit(option: str, quantity: Quantity, text: str) -> CostLimit:
    """A limit of its text: an amount with a unit, or a percentage. Raises UsageError."""
    match = _TYPED.fullmatch(text.strip())
    unit = "".join(match[2].split()).replace("\u00b5", "u").replace("\u03bc", "u") if match else ""
    known = {**_UNITS[quantity], "%": (SHARE, 0.01)}
    if match is None or unit not in known:
        raise UsageError(f"{option}: expected an amount such as {_SAID[quantity]}, got '{text}'")
    name, factor = known[unit]
    return CostLimit(
        option, quantity, text, _positive(option, text, float(match[1]) * factor), name
    )


def read_ratio(option: str, quantity: Quantity, text: str) -> CostLimit:
    """A limit of a ratio, such as `0.9` or `90%`. Raises UsageError."""
    match = _TYPED.fullmatch(text.strip())
    if match is None or match[2].strip() not in ("", "%"):
        raise UsageError(f"{option}: expected a ratio such as 0.9 or 90%, got '{text}'")
    value = float(match[1]) * (0.01 if match[2].strip() else 1.0)
    return CostLimit(option, quantity, text, _positive(option, text, value), SHARE)


def _positive(option: str, text: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise UsageError(f"{option}: expected more than 0, and an end, got '{text}'")
    return value


def _checked(limit: CostLimit, spending: Spending, baseline: Spending | None) -> LimitCheck:
    if limit.unit != SHARE:
        value = _figure(limit, limit.unit, spending)
    else:
        assert baseline is not None  # `read` has seen to it
        unit = MAC_UNITS if limit.quantity == "energy" else MS
        whole = _figure(limit, unit, baseline)
        if not whole:
            raise UsageError(f"{limit.option} {limit.text}: {baseline.network} takes nothing")
        value = _figure(limit, unit, spending) / whole
    if spending.unmodelled and not spending.modelled:
        value = math.nan
    return LimitCheck(limit, value, value)


def _figure(limit: CostLimit, unit: str, spending: Spending) -> float:
    if unit not in spending.amounts:
        raise UsageError(
            f"{limit.option}: {spending.machine} times no node of {spending.network}; "
            "bound its --max-energy"
        )
    return spending.amounts[unit]


def _warn_of_gaps(what: str, spending: Spending, baseline: Spending | None) -> None:
    """Say how many nodes a limit says nothing of, and where that makes a ratio unfair."""
    if spending.unmodelled:
        logger.warning(
            f"{what} covers modelled nodes only: {spending.gap} of {spending.network} are not "
            "modelled"
        )
    if baseline is not None and spending.unmodelled != baseline.unmodelled:
        logger.warning(
            f"{spending.network} leaves out {spending.gap}, {baseline.network} "
            f"{baseline.gap.removesuffix(' nodes')}: the ratio is unfair"
        )


def gate_of(
    limits: CostLimits,
    model: Model,
    report: EnergyReport | Timing,
    settings: Settings,
    share: float | None = None,
) -> Gate:
    """Hold what was found of a model against limits; the baseline is looked at alike.

    `share` is that of `analyze`, and of a baseline that is a dynamic network too.
    """
    spending, baseline = Spending.of(model.name, report), None
    if limits.baseline is not None:
        other = Model.load(limits.baseline)
        if isinstance(report, Timing):
            baseline = Spending.of(other.name, time_nodes(other, report.machine, settings))
        else:
            share = share if routed_parts(other) is not None else None
            baseline = Spending.of(other.name, analyze(other, settings, share).energy)
    return limits.check(spending, baseline)


# --- ratios of a comparison ----------------------------------------------------------------------


@dataclass(frozen=True)
class RatioLimits:
    """What one network may take of what another does, energy as modelled, latency as measured."""

    limits: tuple[CostLimit, ...] = ()

    @classmethod
    def read(cls, energy: str | None, latency: str | None, *, is_timed: bool) -> RatioLimits:
        """Limits as they are typed; UsageError for others, and for latency that isn't measured."""
        if latency is not None and not is_timed:
            raise UsageError(f"{LATENCY_RATIO_OPTION}: --no-latency leaves latency out")
        typed: list[tuple[str, Quantity, str | None]] = [
            (ENERGY_RATIO_OPTION, "energy", energy),
            (LATENCY_RATIO_OPTION, "latency", latency),
        ]
        return cls(
            tuple(
                read_ratio(option, quantity, text)
                for option, quantity, text in typed
                if text is not None
            )
        )

    def check(self, compared: Sequence[Comparison]) -> tuple[Gate, ...]:
        """Hold each comparison against the limits; warn of what energies leave out.

        A latency is above its limit where the least that its ratio may be, with 95 % confidence,
        is. Raises UsageError where the first network takes nothing.
        """
        return tuple(Gate(tuple(self._checks(each))) for each in compared)

    def _checks(self, compared: Comparison) -> Iterator[LimitCheck]:
        for limit in self.limits:
            if limit.quantity == "energy":
                before, after = (
                    Spending.of(side.model.name, side.energy)
                    for side in (compared.before, compared.after)
                )
                yield _checked(limit, after, before)
                _warn_of_gaps(limit.option, after, before)
            elif compared.latency is not None:
                ratio = compared.latency.ratio
                yield LimitCheck(limit, ratio.median, ratio.low)
