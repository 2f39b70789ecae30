"""How sure energies of a fitted microcontroller are: each network is predicted from the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from eapc.commands.board_table import MeasuredNetwork
from eapc.commands.kernel_fit import report_of, rms
from eapc.energy import changed_share
from eapc.hardware import HardwareModel, PairErrors, RowErrors, Validation
from eapc.model import Model

_UNSEEN = "each left out of the fit"


def validated(
    hardware: HardwareModel, networks: Sequence[MeasuredNetwork], unseen: Sequence[float]
) -> HardwareModel:
    """The machine with errors of energies; without microjoules with those of times' ratios alone.

    `unseen` are the errors of what was fitted, milliseconds or microjoules, of each network.
    """
    energies = _energy_errors(networks, unseen)
    by = "" if energies else ", by their times"
    energy = energies and RowErrors(
        rms=_two_digits(rms(energies)), rows=len(energies), of=f"networks, {_UNSEEN}"
    )
    ratio = _pair_errors(hardware, networks, energies or unseen, by)
    if not (energy or ratio):
        return hardware
    validation = Validation(against="measurements", energy=energy or None, ratio=ratio)
    said = "Errors of the networks in the table, each predicted from the others, by eapc hw fit."
    sources = {**hardware.sources, "validation": said}
    return hardware.model_copy(update={"validation": validation, "sources": sources})


def _energy_errors(
    networks: Sequence[MeasuredNetwork], unseen: Sequence[float]
) -> list[float] | None:
    """Errors of energies: those of times come with that of the others' power."""
    if networks[0].ms is None:
        return list(unseen)
    powers = [(n.microjoules or 0.0) / (n.ms or 1.0) for n in networks]
    if not all(powers):
        return None
    logs = [math.log(power) for power in powers]
    others = [(math.fsum(logs) - log) / (len(logs) - 1) - log for log in logs]
    return [(1 + off) * math.exp(log) - 1 for off, log in zip(unseen, others, strict=True)]


def _pair_errors(
    hardware: HardwareModel,
    networks: Sequence[MeasuredNetwork],
    errors: Sequence[float],
    by: str,
) -> PairErrors | None:
    """Errors of log(ratio) over the share that changed, of all pairs that differ."""
    reports = [report_of(Model.load(n.file), hardware) for n in networks]
    known = [
        (math.log((1 + errors[j]) / (1 + errors[i])), share)
        for i, j in combinations(range(len(networks)), 2)
        if (share := changed_share(reports[i], reports[j]))
    ]
    if not known:
        return None
    versions = sum(share < 1 for _, share in known)
    kinds = f"networks, {versions} of versions of one" if versions else "different networks"
    return PairErrors(
        rms=_two_digits(rms([error / share for error, share in known])),
        rows=len(known),
        of=f"pairs of {kinds}{by}",
        degrees_of_freedom=min(len(known), len(networks) - 1),
    )


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
