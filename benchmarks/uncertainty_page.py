"""The sections of docs/energy-validation.md on how sure energies and their ratios are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from accelerator_validation import chip_lines, network_pairs, validations
from held_against import Pair
from validation_page import comparison, percent, table
from whole_networks import BATCH

from eapc.energy import interval_factor
from eapc.hardware import Validation

CHIP = """## Eyeriss chip, energy on chip

Power times processing latency of each layer (JSSC 2017, Table V; both checked), for a batch of
four, against the model's energy without DRAM, which is not on the chip. The file has no joules:
each layer is told by the joules per MAC unit of the other four. Clocks, leakage and control are in
what was measured and not in the model.

**Where it is wrong.** CONV1, whose ifmap has no zeros, comes out more than a third too dear beside
the others. Both gated MACs that cost something and what is spent by time rather than by MACs would
show so; the model has neither."""

SURE = """## How sure energies and ratios are

The shipped files say under `validation` how far their energies were off, and reports repeat it:
`python benchmarks/hardware_validation.py` prints the lines and fails if a file has others.
`eyeriss` and `isca16-baseline` were held against published estimates, which are not measurements.
[microcontrollers.md](microcontrollers.md#how-sure-energies-are) has the boards."""

RULE = """Two versions of a network share most errors: a price that is wrong is wrong in both. Let
them have the part K in common, one B beside it and the other A, each part with a relative error d.
Then log R = log(K + A) - log(K + B) is off by

    a d_A - b d_B + (b - a) d_K,    a = A / (K + A),  b = B / (K + B)

A factor that all three share cancels, and equal files are equal. For independent errors of size s
the deviation is s sqrt(2 (a^2 + b^2 - a b)), at most s sqrt(2) c, where c = max(a, b) is the share
that changed. Networks without a common part are off by s sqrt(2). So **the error of a ratio is in
proportion to the share that changed**: r is the rms of (error of log R) / c over pairs of rows, and
reports say that R lies between

    R exp(-t r c)  and  R exp(t r c)

with Student's t for 95 % at the pairs' degrees of freedom. Nodes of one name, operator and width
have the lesser of their energies in common. Where no more than half of all nodes have such a
partner, the files are taken for different networks, and c is 1.

A difference is *within what the estimate can tell* if the range includes 1. What is merely left out
is not paid for at whatever price, so a plain saving is not within it unless t r is above 1; it
happens where some layers became cheaper and others dearer.

Pairs of the printed networks on `eyeriss`. One of them is of two versions of a network, and it is
off most for its share; that of different networks bounds it only if errors are independent."""

MEANS = """r is {rms:.3g} %, and t that of {freedom} degrees of freedom, one less than networks.
Where a network is said to keep half of its energy, it keeps {low:.0f} to {high:.0f} %. The rows do
not tell of other batches than {batch}, of other widths, and of layers of other kinds."""


def sections() -> Iterator[str]:
    """Texts and tables, in order."""
    found = validations()
    yield from (CHIP, comparison(chip_lines()))
    yield from (SURE, machines_table(found.items()))
    yield from (RULE, pairs_table(network_pairs()), meaning(found["eyeriss"]))


def machines_table(found: Iterable[tuple[str, Validation]]) -> str:
    header = ("machine", "energies off, rms", "rows", "against")
    return table(
        header,
        (
            (
                f"`{name}`",
                f"{100 * own.energy.rms:.3g} %",
                f"{own.energy.rows} {own.energy.of}",
                own.against,
            )
            for name, own in found
            if own.energy
        ),
    )


def pairs_table(pairs: Iterable[Pair]) -> str:
    header = ("ratio", "model", "printed", "error of log R", "share changed", "error / share")
    return table(header, map(pair_cells, pairs))


def pair_cells(pair: Pair) -> tuple[str, ...]:
    ratios = f"{pair.model:.3f}", f"{pair.known:.3f}"
    return (
        pair.name,
        *ratios,
        percent(pair.error),
        f"{100 * pair.share:.1f} %",
        percent(pair.error / pair.share),
    )


def meaning(validation: Validation) -> str:
    errors = validation.ratio
    assert errors is not None
    factor = interval_factor(errors, 0.5)
    return MEANS.format(
        rms=100 * errors.rms,
        freedom=errors.degrees_of_freedom,
        low=50 / factor,
        high=50 * factor,
        batch=BATCH,
    )
