"""Whole networks, dense and pruned, whose energies are printed, and what eapc makes of them.

The printed rows and the zeros of AlexNet are read from references/ under $EAPC_DATA. Those of
GoogLeNet are facts of `data/GoogleNet_v1_Input_File_with_description.txt` in manasiumn37/CNNergy on
GitHub, read: shares of the unpadded maps.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from itertools import product
from typing import Any, NamedTuple

from published_figures import Line, rows, variant
from shared_data import ROOT

from eapc.energy import DensityTable, EnergyReport, NodeWork, estimate, priced_as, work_list
from eapc.hardware import HardwareModel, load_hardware
from eapc.model import Model, infer_shapes, input_shapes

sys.path.insert(0, str(ROOT / "models"))
from plain_nets import INCEPTIONS
from recipes import RECIPES

DENSE, COMPRESSED, GOOGLENET = "AlexNet", "AlexNet Deep Compression", "GoogLeNet"

BATCH = 16
"""Not printed; that of the same authors' own comparison on AlexNet (ISCA 2016)."""

PADDED = {"pool1.out": (31, 27), "pool2.out": (15, 13), "conv3.relu.out": (15, 13)}
PADDED |= {"conv4.relu.out": (15, 13)}
"""Columns of AlexNet's ifmaps with and without their padding, whose zeros were counted too."""

STEM_ZEROS = {
    "conv1.relu.out": 0.50795,
    "pool1.out": 0.16819,
    "norm1.out": 0.16819,
    "conv2_reduce.relu.out": 0.46263,
    "conv2.relu.out": 0.78104,
    "norm2.out": 0.78104,
    "pool5.out": 0.37238,
    "flatten.out": 0.37238,
}
BRANCHES = ("3x3_reduce", "5x5_reduce", "1x1", "3x3", "5x5", "pool", "pool_proj")
INCEPTION_ZEROS = {
    "3a": (0.44773, 0.44790, 0.22350, 0.39539, 0.56404, 0.56669, 0.17617, 0.51960),
    "3b": (0.51666, 0.55038, 0.42644, 0.79524, 0.87695, 0.89092, 0.19323, 0.83240),
    "4a": (0.60454, 0.45604, 0.32302, 0.75257, 0.86153, 0.78590, 0.27255, 0.85351),
    "4b": (0.81258, 0.41921, 0.31260, 0.45415, 0.58684, 0.65885, 0.52507, 0.64691),
    "4c": (0.56188, 0.49496, 0.42149, 0.51385, 0.65075, 0.66116, 0.24935, 0.70312),
    "4d": (0.62436, 0.61335, 0.43616, 0.70145, 0.79598, 0.81679, 0.34701, 0.86487),
    "4e": (0.78681, 0.41313, 0.34645, 0.80816, 0.85828, 0.81700, 0.56732, 0.79955),
    "5a": (0.63326, 0.40529, 0.36527, 0.60979, 0.73172, 0.75541, 0.33007, 0.70020),
    "5b": (0.69300, 0.74558, 0.59445, 0.85606, 0.83731, 0.86947, 0.45658, 0.90020),
}
"""Zeros of a block's ifmap, then of the tensors of BRANCHES."""
POOLED = {"3a": "pool2.out", "4a": "pool3.out", "5a": "pool4.out"}
"""Ifmaps of blocks behind a pool; the others read the block before."""


class Priced(NamedTuple):
    """A network per image: MAC units in all and of CONV and FC layers alone, non-skipped MACs."""

    total: float
    convolved: float
    macs: float


def printed(column: str) -> dict[str, float]:
    """A column of the printed table, by network."""
    table = {row["model"]: float(row[column]) for row in rows("eap_poster.csv")}
    return {name: table[name] for name in (DENSE, COMPRESSED, GOOGLENET)}


def alexnet_densities() -> dict[str, float]:
    """Non-zero shares of AlexNet's feature maps, without padding; LRN makes no zeros."""
    table = rows("alexnet_zeros.csv")
    ifmaps = [density(row["ifmap_zero_percent_of_padded_map"]) for row in table]
    ofmaps = [density(row["ofmap_zero_percent"]) for row in table[:5]]
    readers = ("input", "pool1.out", "pool2.out", "conv3.relu.out", "conv4.relu.out")
    found = dict(
        zip((*readers, "flatten.out", "fc6.relu.out", "fc7.relu.out"), ifmaps, strict=True)
    )
    for tensor, (padded, bare) in PADDED.items():
        found[tensor] *= (padded / bare) ** 2
    found |= {f"conv{i}.relu.out": ofmaps[i - 1] for i in (1, 2, 5)}
    found |= {f"norm{i}.out": ofmaps[i - 1] for i in (1, 2)}
    return {**found, "pool5.out": found["flatten.out"]}


def density(percent: str) -> float:
    return 1 - float(percent) / 100


def googlenet_densities() -> dict[str, float]:
    """Non-zero shares of GoogLeNet's feature maps."""
    found = {tensor: 1 - zeros for tensor, zeros in STEM_ZEROS.items()}
    before = ""
    for block, (ifmap, *branches) in INCEPTION_ZEROS.items():
        name = f"inception_{block}"
        found[POOLED.get(block, f"{before}.concat.out")] = 1 - ifmap
        for branch, zeros in zip(BRANCHES, branches, strict=True):
            tensor = f"{name}.{branch}.out" if branch == "pool" else f"{name}.{branch}.relu.out"
            found[tensor] = 1 - zeros
        found[f"{name}.concat.out"] = joined(name, found)
        before = name
    return found


def joined(name: str, found: Mapping[str, float]) -> float:
    """Density of the four branches of a block together; the reader's own, if given, replaces it."""
    one, _, three, _, five, projection = INCEPTIONS[name.removeprefix("inception_")]
    sizes = {"1x1": one, "3x3": three, "5x5": five, "pool_proj": projection}
    nonzero = sum(size * found[f"{name}.{part}.relu.out"] for part, size in sizes.items())
    return nonzero / sum(sizes.values())


def kept_weights() -> dict[str, float]:
    """Weight densities of Deep Compression's AlexNet, by tensor."""
    table = rows("deep_compression_alexnet.csv")
    return {f"{row['layer'].lower()}.weight": float(row["weight_density"]) for row in table}


@lru_cache(maxsize=1)
def network(recipe: str, batch: int) -> tuple[Model, tuple[NodeWork, ...]]:
    """A recipe's graph, its weights not drawn, and its work."""
    model = Model.from_proto(RECIPES[recipe](None, batch))
    return model, work_list(model, infer_shapes(model, input_shapes(model, {}, batch)))


@cache
def reports(batch: int) -> dict[str, tuple[tuple[NodeWork, ...], EnergyReport]]:
    """Work and report of each printed network on `eyeriss`, as `eapc analyze` makes them."""
    found = {}
    for name, (recipe, densities) in density_tables().items():
        model, works = network(recipe, batch)
        found[name] = works, estimate(model, works, load_hardware("eyeriss"), densities, batch)
    return found


def density_tables() -> dict[str, tuple[str, DensityTable]]:
    """Recipe and densities of each printed network; weights that are not given are dense."""
    alexnet = alexnet_densities()
    tables = {
        DENSE: ("alexnet", alexnet),
        COMPRESSED: ("alexnet", alexnet | kept_weights()),
        GOOGLENET: ("googlenet", googlenet_densities()),
    }
    return {
        name: (recipe, DensityTable(by_tensor=found, weights=1.0))
        for name, (recipe, found) in tables.items()
    }


@cache
def priced(machine: HardwareModel, batch: int) -> dict[str, Priced]:
    """The printed networks on a machine, node by node, at the densities of their reports."""
    found = {}
    for name, (works, report) in reports(batch).items():
        nodes = [(report.by_node[item.node.key], item) for item in works]
        energies = [(node, priced_as(item, machine, report)) for node, item in nodes]
        convolved = sum(energy for node, energy in energies if node.macs)
        total = sum(energy for _, energy in energies)
        found[name] = Priced(total, convolved, report.nonskipped_macs)
    return found


def reading(changes: Mapping[str, Any], batch: int = BATCH) -> dict[str, Priced]:
    """The printed networks on `eyeriss` with some options changed."""
    return priced(variant(load_hardware("eyeriss"), dict(changes)), batch)


def whole_network_lines() -> Iterator[Line]:
    """Non-skipped MACs, energies of CONV and FC layers, of whole networks, and what pruning saves.

    What CONV and FC layers come to is told: the printed figures are held to be whole networks'.
    """
    found, macs, energies = reading({}), printed("nonskipped_macs"), printed("energy_mac_units")
    for name, own in found.items():
        yield Line(f"{name}: non-skipped MACs", own.macs, macs[name], 0.10)
    for name, own in found.items():
        yield Line(f"{name}: CONV and FC layers alone", own.convolved, energies[name], None)
    for name, own in found.items():
        yield Line(f"{name}: whole network", own.total, energies[name], 0.10)
    ratio = found[COMPRESSED].total / found[DENSE].total
    yield Line("Deep Compression of dense", ratio, energies[COMPRESSED] / energies[DENSE], 0.10)


# --- choosing readings by some networks, judged by another ---------------------------------------

RAW = {"code": "none"}
MAPS: dict[str, dict[str, Any]] = {
    "maps raw": {"compression.ifmap": RAW, "compression.ofmap": RAW},
    "ifmaps coded": {"compression.ofmap": RAW},
    "maps coded": {},
}
ACCESSES: dict[str, dict[str, Any]] = {
    "one access": {"ofmap_dram_accesses_per_word": 1},
    "two accesses": {"ofmap_dram_accesses_per_word": 2},
}
FALLBACKS: dict[str, dict[str, Any]] = {
    "weights always coded": {"compression.weights.raw_fallback": False},
    "raw where smaller": {"compression.weights.raw_fallback": True},
}
LEFT_OUT = ((DENSE, COMPRESSED), (GOOGLENET,), (DENSE,), (COMPRESSED,))


def candidates() -> Iterator[tuple[str, dict[str, float]]]:
    """Every combination of the readings in doubt, with its deviation from each printed energy."""
    energies = printed("energy_mac_units")
    for maps, accesses, fallback in product(MAPS, ACCESSES, FALLBACKS):
        changes = MAPS[maps] | ACCESSES[accesses] | FALLBACKS[fallback]
        found = reading(changes)
        name = f"{maps}, {accesses}, {fallback}"
        yield name, {key: own.total / energies[key] - 1 for key, own in found.items()}


def left_out_errors() -> Iterator[tuple[str, str, dict[str, float]]]:
    """What is left out, the reading whose worst deviation on the rest is least, its errors."""
    found = list(candidates())
    for names in LEFT_OUT:
        worst = [
            (max(abs(off) for key, off in offs.items() if key not in names), name, offs)
            for name, offs in found
        ]
        _, chosen, offs = min(worst)
        yield " and ".join(names), chosen, {key: offs[key] for key in names}
