"""What is written into a model of its nodes' energies."""

from __future__ import annotations

from eapc.energy.estimation import EnergyReport, NodeEnergy


def node_annotations(report: EnergyReport) -> dict[str, dict[str, str]]:
    """Metadata for every node, by key: its energy and share, or why it has none."""
    total = report.energy_mac_units or 1.0
    found = {node.key: _annotation(node, total) for node in report.nodes}
    for missing in report.unmodelled:
        found[missing.key] = {"eapc.unmodelled": missing.reason}
    return found


def _annotation(node: NodeEnergy, total: float) -> dict[str, str]:
    entries = {
        "eapc.energy_mac_units": f"{node.energy_mac_units:.6g}",
        "eapc.energy_percent": f"{100 * node.energy_mac_units / total:.4g}",
    }
    if node.macs:
        entries["eapc.macs"] = f"{node.macs:.12g}"
        entries["eapc.weight_density"] = f"{node.densities.weights:.4g}"
    if node.fused_into:
        entries["eapc.fused_into"] = node.fused_into
    if node.stay.operands:
        entries["eapc.kept_on_chip"] = " ".join(node.stay.operands)
    return entries
