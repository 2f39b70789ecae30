"""An analysis as comma-separated values: one row per node, in file order."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict

from eapc.energy import OPERANDS, EnergyReport, NodeEnergy

_PLAIN = (
    "key",
    "name",
    "op_type",
    "energy_mac_units",
    "energy_share",
    "macs",
    "nonskipped_macs",
    "operations",
    "weight_density",
    "ifmap_density",
    "ofmap_density",
    "weights_bits",
    "ifmap_bits",
    "ofmap_bits",
    "fused_into",
    "kept_on_chip",
)


def analysis_csv(report: EnergyReport) -> str:
    """A heading and one row per node; nodes without a model have a reason and no figures.

    Columns of the form `energy_LEVEL` and `accesses_LEVEL_OPERAND` follow the machine's
    memory levels; energies are in MAC units, accesses in words, all per inference.
    """
    levels = ("mac", *report.hardware.memories)
    accesses = [f"accesses_{level}_{part}" for level in levels[1:] for part in OPERANDS]
    operands = [f"energy_{part}" for part in ("compute", *OPERANDS)]
    columns = [
        *_PLAIN,
        *operands,
        *(f"energy_{level}" for level in levels),
        *accesses,
        "unmodelled",
    ]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(report))
    return stream.getvalue()


def _rows(report: EnergyReport) -> Iterator[dict[str, object]]:
    total = report.energy_mac_units or 1.0
    for node in report.nodes:
        yield {**_figures(node, total), **_breakdown(node)}
    for missing in report.unmodelled:
        yield {
            "key": missing.key,
            "name": missing.name,
            "op_type": missing.op_type,
            "unmodelled": missing.reason,
        }


def _figures(node: NodeEnergy, total: float) -> dict[str, object]:
    return {
        "key": node.key,
        "name": node.name,
        "op_type": node.op_type,
        "energy_mac_units": node.energy_mac_units,
        "energy_share": node.energy_mac_units / total,
        "macs": node.macs,
        "nonskipped_macs": node.nonskipped_macs,
        "operations": node.operations,
        "weight_density": node.densities.weights,
        "ifmap_density": node.densities.ifmap,
        "ofmap_density": node.densities.ofmap,
        **{f"{operand}_bits": bits for operand, bits in asdict(node.bits).items()},
        "fused_into": node.fused_into,
        "kept_on_chip": " ".join(node.stay.operands),
    }


def _breakdown(node: NodeEnergy) -> dict[str, object]:
    by_operand = {f"energy_{name}": value for name, value in node.by_operand.items()}
    by_level = {f"energy_{name}": value for name, value in node.by_level.items()}
    accesses = {
        f"accesses_{level}_{operand}": getattr(words, operand)
        for level, words in node.accesses.items()
        for operand in OPERANDS
    }
    return {**by_operand, **by_level, **accesses}
