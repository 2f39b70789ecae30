"""Fewer target classes in reports: which are kept, and what is left of the uncut network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eapc.classes import ClassMap, class_map
from eapc.energy import EnergyReport
from eapc.goals import Pruned
from eapc.report.layout import percent, plain

_LISTED = 12


def classes_said(kept: ClassMap) -> str:
    """`3 cat, 5 dog`; of a long list the first ones."""
    names = kept.names or ("",) * len(kept.classes)
    pairs = zip(kept.classes[:_LISTED], names, strict=False)
    said = ", ".join(f"{number} {name}".strip() for number, name in pairs)
    more = len(kept.classes) - _LISTED
    return plain(f"{said} and {more} more" if more > 0 else said)


def class_facts(pruned: Pruned) -> Iterator[tuple[str, str]]:
    """Which classes are kept, and what the cut and the pruned network have of the uncut one."""
    kept, uncut = class_map(pruned.model), pruned.uncut
    if kept is None:
        return
    yield "classes", classes_said(kept)
    if uncut is not None:
        yield "left of uncut", f"{_shares(pruned.before, uncut)} once cut"
        yield "", f"{_shares(pruned.after, uncut)} once pruned{_faster(pruned.after, uncut)}"


def map_document(kept: ClassMap) -> dict[str, Any]:
    """The numbers of the classes as the uncut network has them, and their names where known."""
    return {"kept": list(kept.classes), "names": list(kept.names) or None}


def ratios_of(report: EnergyReport, uncut: EnergyReport) -> dict[str, float | None]:
    """Non-zero weights, MACs of two non-zero operands and energy over those of the uncut one."""
    pairs = {
        "weights": (report.nonzero_weights, uncut.nonzero_weights),
        "macs": (report.nonskipped_macs, uncut.nonskipped_macs),
        "energy": (report.energy_mac_units, uncut.energy_mac_units),
    }
    return {name: own / whole if whole else None for name, (own, whole) in pairs.items()}


def _shares(report: EnergyReport, uncut: EnergyReport) -> str:
    """`12.1% of weights, 15.0% of MACs, 31.2% of energy`."""
    ratios = ratios_of(report, uncut)
    named = (("weights", "weights"), ("MACs", "macs"), ("energy", "energy"))
    return ", ".join(f"{percent(ratios[key])} of {name}" for name, key in named)


def _faster(report: EnergyReport, uncut: EnergyReport) -> str:
    ratios = ratios_of(report, uncut)
    weights, energy = ratios["weights"], ratios["energy"]
    if weights is None or energy is None or weights >= energy:
        return ""
    return ": weights fall faster than energy"
