"""The page docs/energy-validation.md: published figures beside the model's, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import vgg16_on_chip
from published_figures import Line, Row, chip_layers, megabytes, milliseconds
from vgg16_on_chip import HEADER, one_channel_a_pass
from whole_networks import (
    BATCH,
    COMPRESSED,
    DENSE,
    GOOGLENET,
    RAW,
    Priced,
    left_out_errors,
    printed,
    reading,
)

from eapc.dataflow import execute
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import ConvWorkload

INTRODUCTION = """# The energy model against published figures

Written by `python benchmarks/validate_energy.py --write docs/energy-validation.md`; the figures
to compare with are read from `references/` under `$EAPC_DATA`. [energy-model.md](energy-model.md)
has the equations. Layers are AlexNet's; whole networks are AlexNet and GoogLeNet. "Held" says
within what a deviation must stay for the command to succeed; a dash means that the deviation is
told and nothing is asked of it."""

PINNED = """## Eyeriss chip, published mappings

`eyeriss-jssc2017`, batch 4, the mappings of JSSC 2017 (Table III) against its measurements
(Table V), MB of 1e6 bytes, 200 MHz. Read in print or checked against citing sources: the totals,
and processing latency layer by layer. Recalled: all mappings, and the layers' cells of buffer
and DRAM MB and active PEs, whose columns do sum to the totals. Read elsewhere, in the inputs of
CNNergy (`alexnet_zeros.csv`): zeros in ofmaps, which the table lacks. Second-hand, from a
transcription of the paper's text and not from its print: the code of 5-bit runs and 16-bit levels,
that ReLU comes before it, that of all feature maps only the first layer's input is stored raw, and
that 88 % of the PEs are active on average.

**Where it is wrong.** With the recalled mapping of CONV3 the model moves over a third more
through the buffer than the table says. One of the two recollections must be at fault: on the
other layers the buffer is within 1 %, and the mapping that the chip's rule finds for CONV3 (next
table) moves what was measured. Latency is 5 to 11 % short on CONV1, 2 and 4: cycles count MACs
and transfers, no ramp-up and no stalls."""

SEARCHED = """## Eyeriss chip, mappings by its own rule

The same measurements with nothing pinned. Of the mappings that fill the array (`machine.filling`:
at least 0.88 of the PEs that the layer can keep at work, in sets that are cut into strips only
where the array has too few PEs for them), that of the fewest DRAM words, then the fewest cycles,
then the least buffer traffic. Filling decides nothing here: the five fill the array without it, and
up to a share of 0.99 nothing changes. Five layers are few facts for such a rule."""

VGG16 = """## VGG-16 on the chip, recalled

`eyeriss-jssc2017` at batch 3, mapped by its rule. **The three columns on the right are recalled
from Table VI of JSSC 2017, and so are the ifmap zeros behind "DRAM MB"**; ofmap zeros are taken to
be those of the next ifmap. "Uncoded" needs no zeros. Milliseconds are without DRAM transfers. What
speaks for the recollection: the columns sum to the 321.1 MB of a transcription of the paper's text,
within 0.1 %, and with DRAM transfers to its 0.7 frames per second. The mean of PEs, like the
model's, is weighted with time. `python benchmarks/vgg16_on_chip.py` prints the table.

What was set by these layers: that there is `machine.filling` at all. Without it the rule left 90
PEs at work on CONV3 and 144 on CONV1 and 2, and CONV3-2 took 1392 ms and 1754 MB of the buffer. Its
share is that of AlexNet; from 0.86 to 0.95 it gives every layer 156 PEs or more and 1549 to 1558 ms
and 335 to 343 DRAM MB in sum, at 0.85 CONV1 stays at 144 PEs.

**Where it is wrong.** Time of CONV1 to CONV3, which is half to a quarter of what is recalled. Early
layers took the chip more passes, the paper says; the rule takes several channels a pass and needs
few. With one channel a pass, by hand (32 filters on strips of 13 rows, four sets), CONV2-1 has
{pes} PEs, {ms:.1f} ms and {dram:.1f} DRAM MB: the equations fit what is recalled, and the
mapping was another. Why is not known. DRAM MB of CONV1-2 are a third too many, of CONV4 a fifth
too few."""

ZEROS = """## How far the chip's DRAM figures hang on the ofmap zeros

The chip's table does not give the zeros of ofmaps before pooling. Before some were read, those of
the next layer's ifmap stood in for CONV3 and CONV4, which count its padding as well, and guesses
for the others. DRAM MB with those, with the zeros read (as in the tables above), and with 10
percentage points fewer and more (at most 100 %); nothing else moves with them. The zeros read bring
a layer {closer} points closer on average, and the sum from {before} to {now}. A deviation of the
size of the range says nothing against the model, and agreement inside it little for it."""

ISCA = """## Row-stationary baseline of ISCA 2016

`isca16-baseline`, batch 16, 1e9 MAC units. All published cells are second-hand. The register file
is four accesses a MAC by definition, so the DRAM rows are the informative ones.

**Where it is wrong.** CONV1's DRAM energy is 11 % too low and CONV2's 6 % too high: the mappings
behind the published figures are not known, and the model's buffer is allotted in 4 KiB banks."""

WHOLE = """## Energy-aware pruning: whole networks

`eyeriss`, MAC units per image, against the printed table of CVPR 2017. The networks are the recipes
of `models/`, priced as `eapc analyze` does, pools and normalisations included. The printed energies
are taken to be whole networks'; what CONV and FC layers alone come to is told, and is what would be
left if pools and normalisations cost nothing. Where each assumption is from:

- read: zeros of AlexNet's feature maps (`alexnet_zeros.csv`) and of GoogLeNet's (see
  `benchmarks/whole_networks.py`), both from the inputs of CNNergy. AlexNet's are shares of padded
  maps: the padding is taken out of the densities, and MACs on padding are counted one by one, since
  fewer filters' taps meet a word of it than one of the image;
- printed elsewhere: weight densities of Deep Compression (its own paper);
- second-hand: that the chip stores the image raw. The paper's batch is recalled as 44 to 48;
- guessed: batch {batch}, after the same authors' comparison on AlexNet (ISCA 2016); that pruning by
  Deep Compression leaves feature maps the zeros of the dense network; that weights are coded as the
  chip codes feature maps, and never raw; that pools and normalisations, which the chip does not do,
  are nodes that fetch their input, write their output once and spend a MAC's energy an operation;
- held by construction: nothing. No density, price or option was set by these rows.

The paper's own network is left out: its densities by layer are not printed.

**Where it is wrong.** Non-skipped MACs are 3 to 9 % too many, those of GoogLeNet most: its zeros
are from another training of it and other images. With the printed MACs in place of them, a unit for
the MAC and four for its operands each, energies would be off by {at_printed}."""

READINGS = """### What each reading is worth

Whole networks, and in brackets CONV and FC layers alone. Every row changes the named option of the
hardware file, or the batch, and nothing else. [energy-model.md](energy-model.md) gives the reasons.

Until whole networks were tried the machine had two accesses per ofmap word, one of which stood for
activation and pooling, and raw feature maps. CONV and FC layers of the dense network come out right
that way, and pools, which are nodes with accesses of their own, are paid for twice."""

LEFT_OUT = """### Errors on networks that chose nothing

Of the twelve combinations of coding (maps raw, ifmaps coded, both), accesses per ofmap word (one,
two) and weights that would grow (coded, raw), the one whose worst deviation on the other printed
rows is least, and its error on those left out. The shipped machine is not chosen in this way; this
says what choosing by evidence would have been worth. The twelve were drawn up by someone who had
seen the rows, so the errors are on the low side."""

PUBLISHED_BEFORE = {
    "ofmap_dram_accesses_per_word": 2,
    "compression.ifmap": RAW,
    "compression.ofmap": RAW,
}
OPTIONS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("as shipped", BATCH, {}),
    ("two accesses and maps raw, as before", BATCH, PUBLISHED_BEFORE),
    ("`ofmap_dram_accesses_per_word: 2`", BATCH, {"ofmap_dram_accesses_per_word": 2}),
    ("`compression.ifmap: {code: none}`", BATCH, {"compression.ifmap": RAW}),
    ("`compression.ofmap: {code: none}`", BATCH, {"compression.ofmap": RAW}),
    (
        "`compression.ifmap`, `.ofmap`: `raw_fallback: false`",
        BATCH,
        {"compression.ifmap.raw_fallback": False, "compression.ofmap.raw_fallback": False},
    ),
    (
        "`compression.weights.raw_fallback: true`",
        BATCH,
        {"compression.weights.raw_fallback": True},
    ),
    ("`compression.weights: {code: none}`", BATCH, {"compression.weights": RAW}),
    ("`zeros.skip_register_file: []`", BATCH, {"zeros.skip_register_file": ()}),
    ("`zeros.skip_mac: ifmap`", BATCH, {"zeros.skip_mac": "ifmap"}),
    ("`objective: throughput`", BATCH, {"objective": "throughput"}),
    ("`machine.ofmap_columns: whole`", BATCH, {"machine.ofmap_columns": "whole"}),
    ("`machine.filter_load: overlapped`", BATCH, {"machine.filter_load": "overlapped"}),
    ("batch 1", 1, {}),
    ("batch 48", 48, {}),
)


def page(
    pinned: list[Line],
    searched: list[Line],
    isca: list[Line],
    whole: list[Line],
    more: Iterable[str],
) -> str:
    """The whole page: lines of its four tables of comparison, and sections at the end."""
    parts = [
        INTRODUCTION,
        *(PINNED, comparison(pinned)),
        *(SEARCHED, comparison(searched)),
        *(vgg16_text(), vgg16_table()),
        *(zeros_text(), zeros_table()),
        *(ISCA, comparison(isca)),
        *(WHOLE.format(batch=BATCH, at_printed=at_printed_macs()), comparison(whole)),
        *(READINGS, readings_table()),
        *(LEFT_OUT, left_out_table()),
        *more,
    ]
    return "\n\n".join(parts) + "\n"


def table(header: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    rule = ("---", *("---:" for _ in header[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *body))


def percent(share: float) -> str:
    """Signed, to a tenth of a point, and never -0.0."""
    return f"{round(100 * share, 1) + 0.0:+.1f} %"


def comparison(lines: list[Line]) -> str:
    return table(("figure", "model", "published", "off", "held"), map(cells, lines))


def cells(line: Line) -> tuple[str, ...]:
    held = "-" if line.tolerance is None else f"{100 * line.tolerance:.3g} %"
    if line.tolerance is not None and line.tolerance < 1e-3:
        held = "exact"
    warning = " (OUTSIDE)" if line.outside else ""
    return (
        line.name,
        f"{line.model:.4g}",
        f"{line.published:.4g}",
        percent(line.off),
        held + warning,
    )


def zeros_table() -> str:
    header = ("layer", "assumed before", "DRAM MB", "read", "DRAM MB")
    return table((*header, "-10 points", "+10 points", "published"), zeros_rows())


def zeros_rows() -> Iterator[tuple[str, ...]]:
    chip = load_hardware("eyeriss-jssc2017")
    for row, measured, work in chip_layers():
        published = float(measured["dram_access_MB"])
        assumed, read = assumed_zeros(measured), 1 - work.densities.ofmap
        found = [dram_at(work, chip, zeros) for zeros in (assumed, read, read - 0.1, read + 0.1)]
        before, now, *moved = (f"{mb:.3f} ({percent(mb / published - 1)})" for mb in found)
        zeros = (f"{100 * share:.4g} %" for share in (assumed, read))
        then, since = zeros
        yield row["layer"], then, before, since, now, *moved, f"{published:g}"


def assumed_zeros(measured: Row) -> float:
    return float(measured["zeros_in_ofmap_percent_assumed"]) / 100


def zeros_text() -> str:
    """The text above the table, with what the zeros read have changed."""
    chip = load_hardware("eyeriss-jssc2017")
    layers = [(float(m["dram_access_MB"]), assumed_zeros(m), work) for _, m, work in chip_layers()]
    total = sum(published for published, _, _ in layers)
    before = [dram_at(work, chip, zeros) for _, zeros, work in layers]
    now = [dram_at(work, chip, 1 - work.densities.ofmap) for _, _, work in layers]
    off = [
        statistics.fmean(abs(mb / row[0] - 1) for mb, row in zip(found, layers, strict=True))
        for found in (before, now)
    ]
    return ZEROS.format(
        closer=f"{100 * (off[0] - off[1]):.1f}",
        before=percent(sum(before) / total - 1),
        now=percent(sum(now) / total - 1),
    )


def dram_at(work: ConvWorkload, chip: HardwareModel, zeros: float) -> float:
    """DRAM MB with another share of zeros in the ofmap, mapped by the chip's rule."""
    density = min(1.0, max(0.0, 1 - zeros))
    moved = replace(work, densities=replace(work.densities, ofmap=density))
    return megabytes(execute(moved, chip), "dram")


def vgg16_text() -> str:
    """The text above the table of VGG-16, with CONV2-1 as mapped by hand."""
    done = one_channel_a_pass()
    return VGG16.format(pes=done.active_pes, ms=milliseconds(done), dram=megabytes(done, "dram"))


def vgg16_table() -> str:
    header = [*HEADER[:6], *(f"recalled {name}" for name in HEADER[6:])]
    return table(tuple(header), map(vgg16_on_chip.cells, vgg16_on_chip.on_chip()))


def at_printed_macs() -> str:
    """Deviations of whole networks if their non-skipped MACs were the printed ones."""
    macs, energies = printed("nonskipped_macs"), printed("energy_mac_units")
    moved = {name: own.total + 5 * (macs[name] - own.macs) for name, own in reading({}).items()}
    dense, compressed, other = (percent(moved[name] / energies[name] - 1) for name in moved)
    return f"{dense}, {compressed} and {other}"


def readings_table() -> str:
    header = ("reading", DENSE, "Deep Compression", GOOGLENET, "ratio of the first two")
    return table(header, (reading_row(*option) for option in OPTIONS))


def reading_row(name: str, batch: int, changes: dict[str, Any]) -> tuple[str, ...]:
    found, energies = reading(changes, batch), printed("energy_mac_units")
    cells = (deviations(own, energies[network]) for network, own in found.items())
    return name, *cells, f"{found[COMPRESSED].total / found[DENSE].total:.3f}"


def deviations(own: Priced, energy: float) -> str:
    return f"{percent(own.total / energy - 1)} ({percent(own.convolved / energy - 1)})"


def left_out_table() -> str:
    header = ("left out", "error", "reading that fits the others best")
    return table(
        header,
        (
            (names, " and ".join(map(percent, errors.values())), chosen)
            for names, chosen, errors in left_out_errors()
        ),
    )
