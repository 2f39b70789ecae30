"""The expected energy of a dynamic network: all of the first, a share of the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from eapc.dataflow import OPERANDS, Accesses
from eapc.energy import EnergyReport, Footprint, NodeEnergy
from eapc.model import Model
from eapc.routing.parts import RoutedParts
from eapc.workload import OperandDensities


def expected_energy(
    model: Model, parts: RoutedParts, first: EnergyReport, second: EnergyReport, share: float
) -> EnergyReport:
    """The report of the whole file: E = E_first + share * E_second, node by node.

    Nodes of the second network have their energy times `share`, under their keys in the file.
    """
    known = {node.key for node in model.nodes}
    scope = parts.scope
    hard = [
        replace(_scaled(node, share), key=f"{scope}{node.key}", fused_into=_within(scope, node))
        for node in second.nodes
        if f"{scope}{node.key}" in known
    ]
    missing = [replace(node, key=f"{scope}{node.key}") for node in second.unmodelled]
    holder = model.view.node(parts.node)
    route = _nothing(parts.node, holder.name, first, f"{100 * share:.3g} % of inputs are sent on")
    return EnergyReport(
        hardware=first.hardware,
        batch=first.batch,
        nodes=(*first.nodes, route, *hard),
        unmodelled=(*first.unmodelled, *(each for each in missing if each.key in known)),
        weights=first.weights + second.weights,
        nonzero_weights=first.nonzero_weights + second.nonzero_weights,
        residency=first.residency,
        footprint=_footprint(first.footprint, second.footprint, scope),
    )


def _within(scope: str, node: NodeEnergy) -> str:
    return f"{scope}{node.fused_into}" if node.fused_into else ""


def _scaled(node: NodeEnergy, share: float) -> NodeEnergy:
    """What a node costs that runs for a share of the inputs."""
    return replace(
        node,
        energy_mac_units=node.energy_mac_units * share,
        macs=node.macs * share,
        nonskipped_macs=node.nonskipped_macs * share,
        operations=node.operations * share,
        by_operand=_times(node.by_operand, share),
        by_level=_times(node.by_level, share),
        by_weights=_times(node.by_weights, share),
        accesses={level: _accesses(words, share) for level, words in node.accesses.items()},
        cycles=None if node.cycles is None else node.cycles * share,
    )


def _times(energies: Mapping[str, float], share: float) -> dict[str, float]:
    return {name: energy * share for name, energy in energies.items()}


def _accesses(words: Accesses, share: float) -> Accesses:
    return Accesses(**{f.name: getattr(words, f.name) * share for f in fields(words)})


def _nothing(key: str, name: str, report: EnergyReport, note: str) -> NodeEnergy:
    """The node that holds the branches: it costs nothing itself."""
    levels = report.hardware.memories
    return NodeEnergy(
        key=key,
        name=name,
        op_type="If",
        energy_mac_units=0.0,
        macs=0.0,
        nonskipped_macs=0.0,
        operations=0.0,
        densities=OperandDensities(),
        by_operand=dict.fromkeys(("compute", *OPERANDS), 0.0),
        by_level=dict.fromkeys(("mac", *levels), 0.0),
        accesses={level: Accesses() for level in levels},
        note=note,
    )


def _footprint(first: Footprint | None, second: Footprint | None, scope: str) -> Footprint | None:
    """Weights of both networks; feature maps of one after the other."""
    if first is None or second is None:
        return None
    maps = {f"{scope}{key}": size for key, size in second.feature_map_bytes.items()}
    return replace(
        first,
        weight_bytes=first.weight_bytes + second.weight_bytes,
        feature_map_bytes={**first.feature_map_bytes, **maps},
    )
