"""How sure energies of the microcontrollers are, as their hardware files and their page say it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from boards import (
    CORES,
    HEADING,
    Row,
    counts,
    fit_without,
    machine,
    percents,
    priced,
    refitted,
)
from held_against import Against, Pair, pair_errors, row_errors

from eapc.commands.kernel_fit import KernelCounts, KernelFit, with_constants
from eapc.energy import EnergyReport, changed_share
from eapc.hardware import Validation

VERSIONS = "vww"
"""The network with dead channels."""

SURE = """The shipped files say under `validation` how far energies are off for a network that
neither the constants nor the board's figure have seen, on the board that the file is of (`python
benchmarks/hardware_validation.py` prints the lines). Most of it is ad, the one network from which
the cost of a weight is known: of networks of fully connected layers the files, which have seen it,
should know more, but no row shows how much."""
VERSION = """The error of a ratio, by [this
rule](energy-validation.md#how-sure-energies-and-ratios-are), takes two versions of one network: vww
without its dead channels, in round 1.2, and with them, before. Toolchains differ, so either is in
units of the other networks' energies on its row. Constants and figures are those of the other
networks alone."""
PAIRED = """| ratio | model | measured | error of log R | share changed | error / share |
| --- | ---: | ---: | ---: | ---: | ---: |"""
RATIOS = """Degrees of freedom are as many as boards, three, since pairs of one board share a row.
All errors have one sign: without vww the fit takes outputs for free and a depthwise MAC for dearer
than it is. That round 1.2 leaves dead channels out was itself told by the times of vww."""


def unseen_energies(row: Row, all_rows: Sequence[Row]) -> dict[str, float]:
    """Errors of each network's energy if neither the constants nor the figure have seen it."""
    return {name: refitted(row, all_rows, name, row.uj)[name] for name in row.uj}


def version_pairs(all_rows: Sequence[Row]) -> Iterator[Pair]:
    """Energy of vww without its dead channels over that with them, on one board.

    Toolchains differ, so either is in units of the row's other networks. These and the times of
    other networks alone have made the constants.
    """
    fit = fit_without(VERSIONS, all_rows[0], all_rows)
    if fit is None:
        return
    pairs = [(old, new) for new in all_rows if new.skips for old in all_rows if not old.skips]
    for old, new in pairs:
        if old.core == new.core and old.held and VERSIONS in old.uj:
            yield version_pair(fit, old, new)


def version_pair(fit: KernelFit, old: Row, new: Row) -> Pair:
    before, after = (refit_report(VERSIONS, row, fit.constants) for row in (old, new))
    logs = [
        math.log(new.uj[name] / old.uj[name])
        - math.log(fit.mac_units(counts(name, new.core, new.skips)))
        + math.log(fit.mac_units(counts(name, old.core, old.skips)))
        for name in new.uj
        if name in old.uj and name != VERSIONS
    ]
    figures = math.exp(sum(logs) / len(logs))
    return Pair(
        f"{new.name} of {old.name}",
        after.energy_mac_units / before.energy_mac_units,
        new.uj[VERSIONS] / old.uj[VERSIONS] / figures,
        changed_share(before, after),
    )


def refit_report(network: str, row: Row, constants: KernelCounts) -> EnergyReport:
    """A network on the machine of a row with other constants."""
    return priced(network, with_constants(machine(row.core, row.skips), constants))


def validations(all_rows: Sequence[Row]) -> Against:
    """What the files of the three cores are to say: energies of their own board, ratios of all."""
    pairs = list(version_pairs(all_rows))
    of = "pairs of one network with and without its dead channels, on three boards"
    ratio = pair_errors(pairs, len(CORES), of)
    return {
        row.core: Validation(
            against="measurements",
            energy=row_errors(
                list(unseen_energies(row, all_rows).values()),
                "networks, each unseen by all that was fitted",
            ),
            ratio=ratio,
        )
        for row in all_rows
        if row.skips
    }


def sure_lines(all_rows: Sequence[Row]) -> Iterator[str]:
    """Lines of the page."""
    yield from (SURE, "", HEADING)
    for row in filter(lambda one: one.skips, all_rows):
        yield f"| {row.name} | {percents(unseen_energies(row, all_rows))} |"
    yield from ("", VERSION, "", PAIRED)
    for pair in version_pairs(all_rows):
        figures = f"{pair.model:.3f} | {pair.known:.3f} | {100 * pair.error:+.1f}"
        share = f"{100 * pair.share:.1f} | {100 * pair.error / pair.share:+.1f}"
        yield f"| {pair.name} | {figures} | {share} |"
    yield from ("", RATIOS)
