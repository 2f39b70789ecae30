"""What a dynamic network is expected to take, and which share of inputs that assumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.pipeline import Compilation, estimate_energy
from eapc.routing import RoutedParts, expected_energy
from eapc.runtime import collect_outputs


def routed_energy(
    compilation: Compilation, parts: RoutedParts, share: float | None
) -> tuple[EnergyReport, str]:
    """The expected energy of a dynamic network, and one sentence on the share that it is for.

    The share is the given one, else that of calibration data, else what the file says.
    """
    share, said = _share(compilation, parts, share)
    first, second = part_energies(compilation, parts, share)
    report = expected_energy(compilation.model, parts, first, second, share)
    return report, f"{100 * share:.3g} % of the inputs are taken to be sent on, {said}"


def part_energies(
    compilation: Compilation, parts: RoutedParts, share: float
) -> tuple[EnergyReport, EnergyReport]:
    """What every input takes, and what a hard one takes in addition.

    Of a batch the second network runs the rows that are expected to be sent on, one at least.
    """
    conditions = compilation.conditions
    sent = conditions.batch
    if sent is not None and parts.gathers:
        sent = max(1, round(share * sent))
    hard = replace(compilation, conditions=replace(conditions, batch=sent))
    first = estimate_energy(compilation.with_model(parts.first))
    return first, estimate_energy(hard.with_model(parts.second))


def _share(compilation: Compilation, parts: RoutedParts, given: float | None) -> tuple[float, str]:
    if given is not None:
        if not 0 <= given <= 1:
            raise UsageError(f"--share: expected a fraction in [0, 1], got {given}")
        return given, "as --share says"
    data = compilation.calibration
    if data is not None and not data.synthesised:
        threads = compilation.conditions.engine.threads
        hard = collect_outputs(parts.first, data, threads)[parts.hard]
        return float(np.mean(hard)), "as on the calibration inputs; --share says otherwise"
    return parts.share, "as the file says; --share or --calib say otherwise"
