"""How sure modelled energies and their ratios are, in a line and as documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eapc.energy import RatioInterval
from eapc.hardware import HardwareModel, RowErrors, Validation
from eapc.report.layout import percent, plain

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


def ratio_uncertainty(
    interval: RatioInterval | None, hardware: HardwareModel
) -> Iterator[tuple[str, str]]:
    """Where the ratio of two energies lies, and whether they can be told apart; none if unknown."""
    validation = hardware.validation
    if interval is None or validation is None or validation.ratio is None:
        return
    if not interval.changed_share:
        yield "energy ratio", "100.0%: no node's modelled energy differs"
        return
    yield "energy ratio", _between(interval) + _told(interval)
    yield "", f"by {_rows(validation.ratio)}, {_AGAINST[validation.against]}"


def _between(interval: RatioInterval) -> str:
    low, high = percent(interval.low), percent(interval.high)
    sure = f"{100 * interval.confidence:g} % confidence"
    return f"{percent(interval.ratio)}, between {low} and {high} with {sure}"


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
