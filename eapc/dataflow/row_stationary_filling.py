"""How far a mapping has to fill the array: the machine's `filling`.

Chen et al. (JSSC 2017) map a layer in sets of R x E PEs. A set of more PEs than the array has is
cut into strips of e ofmap rows; a smaller one stays whole, in segments where it is too wide; and
sets are repeated r t times over channels and filters as far as the array goes. A search for the
fewest DRAM words alone may leave half of the array idle: the strip that reads least can be one
that fits it once. So mappings that keep too few PEs at work are left out before any comparison.

What counts are PEs at work on average, MACs over cycles of computing: a last strip of fewer
rows, and sets without a channel or a filter of their own, leave PEs idle as well.
"""

from __future__ import annotations

import math

from eapc.dataflow.integers import ceil_div
from eapc.dataflow.row_stationary_nest import Nest, filters_that_fit, pe_sets
from eapc.dataflow.row_stationary_search import sets_that_fit


def most_computing_cycles(nest: Nest) -> float:
    """Cycles of computing that leave enough of the array at work; infinite where any will do."""
    filling = nest.machine.filling
    if filling is None:
        return math.inf
    return fewest_computing_cycles(nest, filling.strips == "needed") / filling.least_utilisation


def fewest_computing_cycles(nest: Nest, whole_sets: bool) -> float:
    """Cycles of computing under the mapping that fills the array best; infinite if none fits.

    With `whole_sets` all ofmap rows are mapped at a time where a set of them fits.

    One filter, channel and ifmap at a time in a PE (p = q = n = 1) is never worse: to divide what
    the sets leave to a PE into larger parts can only round it up, and takes more room. So they
    are B S F groups times the least of ceil(E / e) ceil(M / t) ceil(C / r).
    """
    loops = nest.loops
    fits = pe_sets(nest.machine, loops.filter_rows, loops.rows) > 0
    whole = _rounds(nest, loops.rows) if whole_sets and fits else math.inf
    rounds = whole if whole < math.inf else _fewest_rounds(nest)
    return rounds * nest.layer.groups * loops.batch * loops.filter_columns * loops.columns


def _fewest_rounds(nest: Nest) -> float:
    """The fewest `_rounds` of any strip height, the likeliest of which are tried first."""
    machine, loops = nest.machine, nest.loops
    tallest = machine.array_columns * (machine.array_rows // loops.filter_rows)
    pairs = loops.filters * loops.channels
    bounds = {
        e: ceil_div(loops.rows, e) * ceil_div(pairs, pe_sets(machine, loops.filter_rows, e))
        for e in loops.heights(tallest).tolist()
    }
    fewest = math.inf
    for e in sorted(bounds, key=bounds.__getitem__):
        if bounds[e] >= fewest:
            break
        fewest = min(fewest, _rounds(nest, e))
    return fewest


def _rounds(nest: Nest, strip: int) -> float:
    """Strips times the (filter, channel) pairs of a PE, for the best (r, t) that fit."""
    r, t = sets_that_fit(nest, strip)
    fits = filters_that_fit(nest, 1, strip, r) >= t
    pairs = ceil_div(nest.loops.filters, t) * ceil_div(nest.loops.channels, r)
    return ceil_div(nest.loops.rows, strip) * min(pairs[fits].tolist(), default=math.inf)
