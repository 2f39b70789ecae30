"""Budgets in reports: a line for each, what JSON has of it, what stderr says of those exceeded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from eapc.commands.budgets import MAC_UNITS, MS, PJ, SHARE, CostLimit, Gate, LimitCheck, Spending
from eapc.report.layout import engineering, joules, milliseconds, percent, plain


def budget_facts(gate: Gate) -> Iterator[tuple[str, str]]:
    """A line for each limit, and one for the baseline."""
    baseline = gate.baseline
    if baseline is not None:
        units = [unit for unit in (MAC_UNITS, PJ, MS) if unit in baseline.amounts]
        amounts = ", ".join(_shown(baseline.amounts[unit], unit) for unit in units)
        yield "baseline", plain(f"{baseline.network}: {amounts}")
    for check in gate.checks:
        yield "budget", plain(f"{_asked(check.limit)}: {_outcome(check)}")


def _outcome(check: LimitCheck) -> str:
    value, unit = check.value, check.limit.unit
    if math.isnan(value):
        return "no node is modelled"
    if check.is_within:
        doubt = ": not surely above" if value > check.surely > 0 and check.excess > 0 else ""
        return f"{_shown(value, unit)}, within{doubt}"
    return f"{_shown(value, unit)}, which is {percent(check.excess)} above"


def _asked(limit: CostLimit) -> str:
    return f"{limit.option} {limit.text}"


def _shown(value: float, unit: str) -> str:
    """A figure in its unit: `0.93 mJ`, `31.2 M MAC units`, `4.1 ms`, `93.1%`."""
    if unit == PJ:
        return joules(value)
    if unit == MS:
        return milliseconds(value)
    return percent(value) if unit == SHARE else f"{engineering(value)} {unit}"


def exceeded(network: str, gate: Gate) -> str:
    """What to say on stderr of a network's limits that do not hold; empty where all do."""
    missed = [check for check in gate.checks if not check.is_within]
    said = ", ".join(f"{_asked(check.limit)}: {_outcome(check)}" for check in missed)
    return f"{network}: {said}" if missed else ""


def budget_document(gate: Gate) -> dict[str, Any]:
    """`budget`, `baseline` and `is_within` of a document; nulls where nothing was asked."""
    if not gate.checks:
        return {"budget": None, "baseline": None, "is_within": None}
    return {
        "budget": [_check_document(check) for check in gate.checks],
        "baseline": _spending_document(gate.baseline),
        "is_within": gate.is_within,
    }


def ratio_budget_document(gate: Gate) -> dict[str, Any]:
    """The same of a comparison, whose baseline is its first network."""
    found = budget_document(gate)
    return {key: found[key] for key in ("budget", "is_within")}


def _check_document(check: LimitCheck) -> dict[str, Any]:
    return {
        "option": check.limit.option,
        "quantity": check.limit.quantity,
        "asked": check.limit.text,
        "limit": check.limit.limit,
        "unit": "ratio" if check.limit.unit == SHARE else check.limit.unit,
        "value": check.value,
        "is_within": check.is_within,
    }


def _spending_document(spending: Spending | None) -> dict[str, Any] | None:
    if spending is None:
        return None
    amounts = spending.amounts
    return {
        "model": spending.network,
        "energy_mac_units": amounts.get(MAC_UNITS),
        "energy_pj": amounts.get(PJ),
        "latency_ms": amounts.get(MS),
        "modelled_nodes": spending.modelled,
        "unmodelled_nodes": spending.unmodelled,
    }


def all_exceeded(networks: Sequence[str], gates: Sequence[Gate]) -> str:
    """The same of several networks."""
    return "; ".join(filter(None, map(exceeded, networks, gates)))
