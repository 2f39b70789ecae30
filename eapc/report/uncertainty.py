"""How sure modelled energies and their ratios are, in a line and as documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eapc.energy import EnergyReport, RatioInterval, have_equal_widths, ratio_interval
from eapc.hardware import HardwareModel, RowErrors, Validation
from eapc.report.layout import plain

_DIGITS = (1, 2, 3)
UNKNOWN = "unknown: not held against measurements"
_AGAINST = {
    "measurements": "as measured",
    "published estimates": "as published (estimates, not measurements)",
}


def energy_uncertainty(hardware: HardwareModel) -> str:
    """How far energies of the machine were off: `off by 20.0% rms on 5 layers, as measured`."""
    validation = hardware.validation
    if validation is None:
        return UNKNOWN
    against = _AGAINST[validation.against]
    errors = validation.energy
    if errors is None:
        return f"unknown: ratios alone were held against {validation.against}"
    return f"off by {100 * errors.rms:.3g}% rms on {_rows(errors)}, {against}"


def ratio_uncertainty(before: EnergyReport, after: EnergyReport) -> Iterator[tuple[str, str]]:
    """Where the ratio of two energies lies, and whether they can be told apart; none if unknown."""
    validation, interval = before.hardware.validation, ratio_interval(before, after)
    if validation is None or validation.ratio is None:
        return
    if interval is None:
        if not have_equal_widths(before, after):
            yield "energy ratio", "not held against anything between files of other widths"
        return
    if not interval.changed_share:
        yield "energy ratio", "100.0%: no node's modelled energy differs"
        return
    yield "energy ratio", _between(interval) + _told(interval)
    yield "", f"by {_rows(validation.ratio)}, {_AGAINST[validation.against]}"


def _between(interval: RatioInterval) -> str:
    """Ratio and bounds, with the digits that it takes to tell these and 1 apart."""
    shares = interval.ratio, interval.low, interval.high, 1.0
    for digits in _DIGITS:
        texts = [f"{100 * share:.{digits}f}%" for share in shares]
        if len(set(texts)) == len(texts):
            break
    ratio, low, high, _ = texts
    return f"{ratio}, between {low} and {high} with {100 * interval.confidence:g} % confidence"


def _told(interval: RatioInterval) -> str:
    return "; the difference is within what the estimate can tell" * interval.is_within


def _rows(errors: RowErrors) -> str:
    return f"{errors.rows} {plain(errors.of)}"


def validation_document(validation: Validation | None) -> dict[str, Any] | None:
    """The fields of the machine's file; null where it was not held against anything."""
    return None if validation is None else validation.model_dump(mode="json", exclude={"figures"})


def interval_document(interval: RatioInterval | None) -> dict[str, Any] | None:
    """Bounds of a ratio of energies; null where the machine's file knows no errors of ratios."""
    if interval is None:
        return None
    return {
        "low": interval.low,
        "high": interval.high,
        "confidence": interval.confidence,
        "changed_share": interval.changed_share,
        "within": interval.is_within,
    }
