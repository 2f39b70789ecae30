"""The row-stationary search against brute force."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eapc.dataflow.integers import smallest_divisors
from eapc.dataflow.row_stationary_filling import fewest_computing_cycles
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Prices,
    Tiles,
    access_words,
    computing_cycles,
    cycles,
    nests,
    pe_sets,
    total_cost,
)
from eapc.dataflow.row_stationary_search import best_mapping
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import BitWidths, ConvWorkload

EYERISS = load_hardware("eyeriss")


def variant(hardware: HardwareModel, **changes: Any) -> HardwareModel:
    """The machine with some fields changed; `__` stands for the dot of a path."""
    fields = hardware.model_dump(by_alias=True)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = fields
        for parent in parents:
            section = section[parent]
        section[last] = value
    return HardwareModel.model_validate(fields)


@pytest.mark.parametrize(
    ("total", "limit"), list(itertools.product((1, 7, 48, 1000, 9999), (1, 5, 300, 9999)))
)
def test_smallest_divisors_have_every_ceiling_once(total: int, limit: int) -> None:
    found = smallest_divisors(total, limit).tolist()
    ceilings = {math.ceil(total / x): x for x in range(min(limit, total), 0, -1)}
    assert found == sorted(ceilings.values())


small_machines = st.fixed_dictionaries(
    {
        "machine__array_rows": st.integers(3, 6),
        "machine__array_columns": st.integers(2, 5),
        "machine__filter_spad_words": st.integers(6, 14),
        "machine__ifmap_spad_words": st.integers(3, 6),
        "machine__psum_spad_words": st.integers(2, 4),
        "machine__filter_load": st.sampled_from(["serial", "overlapped"]),
        "memories__glb": st.integers(3, 12).map(
            lambda n: {"energy_mac_units_per_word": 6, "size_bytes": 64 * n, "bank_bytes": 64}
        ),
    }
)
small_layers = st.builds(
    ConvWorkload,
    batch=st.integers(1, 3),
    groups=st.integers(1, 2),
    filters_per_group=st.integers(1, 8),
    channels_per_group=st.integers(1, 6),
    ofmap_rows=st.integers(1, 6),
    ofmap_columns=st.integers(1, 6),
    filter_rows=st.integers(1, 3),
    filter_columns=st.integers(1, 3),
    stride_rows=st.integers(1, 3),
    stride_columns=st.integers(1, 3),
    dilation_rows=st.integers(1, 2),
    bits=st.builds(BitWidths, *[st.sampled_from([None, 4, 8, 12, 32])] * 3),
)
PRICES = {"energy": Prices(100.0, 200.0, 400.0, 6.0, 2.0), "throughput": Prices(1, 1, 1, 0, 0)}


def every_rank(
    nest: Nest, prices: Prices, limit: float = math.inf
) -> list[tuple[float, float, float]]:
    """The best rank of each (e, n), over every mapping that fits, without any shortcut."""
    room, pads, width = nest.room, nest.pads, nest.loops.filter_columns
    ranks = []
    for e, n in itertools.product(range(1, nest.loops.rows + 1), range(1, nest.loops.batch + 1)):
        sets = pe_sets(nest.machine, nest.loops.filter_rows, e)
        candidates = [
            range(1, nest.loops.filters + 1),
            range(1, pads.psums + 1),
            range(1, pads.ifmaps // width + 1),
            range(1, sets + 1),
            range(1, sets + 1),
        ]
        grid = np.meshgrid(*(np.array(c, dtype=np.int64) for c in candidates), indexing="ij")
        m, p, q, r, t = (axis.ravel() for axis in grid)
        ifmap = n * q * r * nest.loops.rows_touched(e) * nest.loops.ifmap_columns
        banks = -(-ifmap // room.ifmaps_per_bank) - (
            -n * m * e * nest.loops.columns // room.psums_per_bank
        )
        whole = ((m % (p * t) == 0) & (m >= p * t)) | (m == nest.loops.filters)
        fits = (p * q * width <= pads.filters) & (r * t <= sets)
        kept = fits & whole & (banks <= room.banks)
        kept &= computing_cycles(nest, Tiles(n, e, m, p, q, r, t)) <= limit
        if kept.any():
            tiles = Tiles(n, e, *(axis[kept] for axis in (m, p, q, r, t)))
            glb = access_words(nest, tiles)["glb"]
            cost, time_ = (
                total_cost(access_words(nest, tiles), prices),
                cycles(nest, tiles),
            )
            buffer = glb.ifmap + glb.ofmap
            best = np.lexsort((buffer, time_, cost))[0]
            ranks.append((float(cost[best]), float(time_[best]), float(buffer[best])))
    return ranks


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_layers, small_machines, st.sampled_from(["energy", "throughput"]))
def test_search_finds_what_brute_force_finds(
    work: ConvWorkload, changes: dict[str, Any], objective: str
) -> None:
    machine = variant(EYERISS, **changes)
    nest = next(nests(work, machine))
    found = best_mapping(nest, PRICES[objective])
    ranks = every_rank(nest, PRICES[objective])
    if found is None:
        assert not ranks
    else:
        assert found.rank == pytest.approx(min(ranks), rel=1e-9)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_layers, small_machines, st.sampled_from([0.5, 0.88, 1.0]), st.booleans())
def test_search_among_full_arrays_finds_what_brute_force_finds(
    work: ConvWorkload, changes: dict[str, Any], share: float, whole: bool
) -> None:
    nest = next(nests(work, variant(EYERISS, **changes)))
    fewest = fewest_computing_cycles(nest, whole)
    found = best_mapping(nest, PRICES["throughput"], limit=fewest / share)
    ranks = every_rank(nest, PRICES["throughput"], fewest / share * (1 + 1e-12))
    if found is None:
        assert not ranks
        assert fewest == math.inf
    else:
        assert found.rank == pytest.approx(min(ranks), rel=1e-9)
