"""JSON documents: what `--json` prints. Units are in the names; energies are per inference.

A document never holds NaN or infinity: what is no number is null. Under one schema number
fields may be added, but none changes its meaning.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eapc.classes import class_map
from eapc.commands.compiler import Analysis, Ran
from eapc.commands.planning import DryRun
from eapc.energy import EnergyReport, NodeEnergy
from eapc.evaluation import Accuracy, Agreement
from eapc.goals import Pruned, Trial
from eapc.hardware import HardwareModel, MeasuredMachine
from eapc.model import Model
from eapc.pipeline import LatencyRecord, LayerRecord, NearDead
from eapc.repair import Repaired
from eapc.report.classes import map_document, ratios_of
from eapc.report.uncertainty import interval_document, validation_document
from eapc.report.widths import widths_of
from eapc.tuning import Tuned

Document = dict[str, Any]


def analysis_document(
    analysis: Analysis, warnings: Sequence[str] = (), output: Path | None = None
) -> Document:
    """`eapc.analyze/1`: totals, every node, and what is not modelled."""
    report = analysis.energy
    return {
        "schema": "eapc.analyze/1",
        "model": model_name(analysis.model),
        "hardware": report.hardware.name,
        "validation": validation_document(report.hardware.validation),
        "batch": report.batch,
        "calibration_samples": analysis.samples,
        "totals": totals(report),
        "near_dead": near_dead_document(analysis.near_dead),
        **_memory(report),
        **_nodes(report),
        "output": path_of(output),
        "warnings": [*analysis.notes, *warnings],
    }


def near_dead_document(found: NearDead) -> Document:
    """Weights and channels below the last bit of the sums that they are added to."""
    return {
        "weights": found.weights,
        "channels": found.channels,
        "layers": [asdict(layer) for layer in found.layers],
    }


def prune_document(pruned: Pruned, warnings: Sequence[str] = ()) -> Document:
    """`eapc.prune/1`: before and after, every layer, what was skipped, whether the goal is met."""
    return {
        "schema": "eapc.prune/1",
        "model": model_name(pruned.model),
        "hardware": pruned.after.hardware.name,
        "validation": validation_document(pruned.after.hardware.validation),
        "batch": pruned.after.batch,
        "pipeline": pruned.pipeline,
        "goal_met": pruned.goal_met,
        "reason": pruned.reason or pruned.doubt or None,
        "held_by": [asdict(holder) for holder in pruned.held.holders],
        "before": totals(pruned.before),
        "after": totals(pruned.after),
        "energy_ratio": pruned.energy_ratio,
        "energy_ratio_interval": interval_document(pruned.energy_ratio_interval),
        "bits": {"before": widths_of(pruned.before), "after": widths_of(pruned.after)},
        "accuracy": accuracy_of(pruned.accuracy),
        "decided": accuracy_of(pruned.decided),
        "confirmed": pruned.confirmed,
        "confidence": pruned.confidence,
        "agreement": agreement_of(pruned.agreement),
        "agreement_fitted": pruned.fitted,
        "latency": _latency(pruned.latency, lowest_ratio=pruned.floor),
        "lowest_energy_ratio": None if pruned.latency else pruned.floor,
        "trials": [trial_document(trial) for trial in pruned.trials],
        "repair": repair_of(pruned.compilation.record.repaired),
        "training": training_of(pruned.compilation.record.tuned),
        "channels": [asdict(group) for group in pruned.groups],
        "layers": layers(pruned.layers, pruned.before, pruned.after),
        "skipped": [asdict(entry) for entry in pruned.skipped],
        "notes": list(pruned.compilation.record.notes),
        **_classes(pruned),
        "synthesised": pruned.synthesised,
        "synthesised_inputs": pruned.inputs or None,
        "assumed_sizes": list(pruned.assumed),
        "output": path_of(pruned.output),
        "seconds": dict(pruned.seconds),
        "warnings": list(warnings),
    }


def trial_document(trial: Trial) -> Document:
    """A network that a search has tried; costs are ratios to the dense network's."""
    return {
        "costs": dict(trial.costs),
        "loss": trial.loss,
        "kept": trial.is_kept,
        "chosen": trial.is_chosen,
    }


def _classes(pruned: Pruned) -> Document:
    """`classes` where the network was cut; what cut and pruned network have of the uncut one."""
    found = class_document(pruned)
    if pruned.uncut is not None:
        found["classes"]["pruned_over_uncut"] = ratios_of(pruned.after, pruned.uncut)
    return found


def class_document(pruned: Pruned) -> Document:
    """`classes`: which are kept, and all figures of the uncut network; empty where none was cut."""
    kept, uncut = class_map(pruned.model), pruned.uncut
    if kept is None:
        return {}
    found: Document = map_document(kept)
    if uncut is not None:
        found |= {"uncut": totals(uncut), "cut_over_uncut": ratios_of(pruned.before, uncut)}
    return {"classes": found}


def _latency(found: LatencyRecord | None, **more: float | None) -> Document | None:
    """What measurements of single layers add up to, and more; None without them."""
    if found is None:
        return None
    return {
        "machine": found.machine,
        "before_ms": found.before_ms,
        "after_ms": found.after_ms,
        "ratio": found.ratio,
        **({} if found.bits is None else {"bits": found.bits}),
        **more,
    }


def run_document(ran: Ran, warnings: Sequence[str] = ()) -> Document:
    """`eapc.run/1`: what a typed pipeline made; `totals` is null if it does not end priced."""
    done = ran.compilation
    report = done.energy
    return {
        "schema": "eapc.run/1",
        "model": model_name(done.model),
        "hardware": done.hardware.name,
        "validation": validation_document(done.hardware.validation),
        "pipeline": ran.pipeline,
        "totals": totals(report) if report else None,
        **(_nodes(report) if report else {"nodes": [], "unmodelled": []}),
        "layers": layers(tuple(done.record.layers.values()), None, report),
        "skipped": [asdict(entry) for entry in done.record.skipped],
        "notes": list(done.record.notes),
        "repair": repair_of(done.record.repaired),
        "output": path_of(ran.output),
        "seconds": dict(done.record.seconds),
        "warnings": list(warnings),
    }


def plan_document(plan: DryRun, warnings: Sequence[str] = ()) -> Document:
    """`eapc.plan/1`: what a dry run would have run; no energies where the budget is searched."""
    expected = plan.expected
    before, after = (expected.before, expected.after) if expected else (None, None)
    return {
        "schema": "eapc.plan/1",
        "model": model_name(plan.model),
        "pipeline": plan.pipeline,
        "before": totals(before) if before else None,
        "after": totals(after) if after else None,
        "energy_ratio": expected.energy_ratio if expected else None,
        "bits": {"before": widths_of(before), "after": widths_of(after)}
        if before and after
        else None,
        "latency": _latency(expected.latency) if expected else None,
        "channels": [asdict(group) for group in expected.groups] if expected else [],
        "layers": layers(expected.layers, before, after) if expected else [],
        "warnings": list(warnings),
    }


def hardware_document(hardware: HardwareModel | MeasuredMachine) -> Document:
    """`eapc.hardware/1` or `eapc.measured/1`: the machine's file, its defaults filled in."""
    found: Document = hardware.model_dump(mode="json", by_alias=True)
    return found


def totals(report: EnergyReport) -> Document:
    """The sums of a report."""
    return {
        "energy_mac_units": report.energy_mac_units,
        "energy_pj": report.energy_pj,
        "latency_ms": report.latency_ms,
        "static_energy_pj": report.static_energy_pj,
        "macs": report.macs,
        "nonskipped_macs": report.nonskipped_macs,
        "operations": sum(node.operations for node in report.nodes),
        "weights": report.weights,
        "nonzero_weights": report.nonzero_weights,
        "modelled_nodes": len(report.nodes),
        "unmodelled_nodes": len(report.unmodelled),
        "kept_feature_maps": len(report.residency.tensor_bytes),
        "kept_spares_mac_units": report.residency.spared,
    }


def layers(
    records: Sequence[LayerRecord], before: EnergyReport | None, after: EnergyReport | None
) -> list[Document]:
    """What became of each pruned weight tensor; energies are its shares of its first node's."""
    return [
        {
            "name": record.name,
            "sparsity": record.sparsity,
            "relative_output_error": record.relative_output_error,
            "energy_before": layer_energy(before, record),
            "energy_after": layer_energy(after, record),
            "weights": record.weights,
            "nonzero_weights": record.nonzero_weights,
        }
        for record in records
    ]


def layer_energy(report: EnergyReport | None, record: LayerRecord) -> float | None:
    """Energy of a layer in MAC units: the node's, or its weights' share; None if unknown."""
    node = report.by_node.get(record.node or record.name) if report else None
    return None if node is None else node.share(record.tensor)


def to_json(document: Document) -> str:
    """The document as text: indented, ASCII, the order of its fields kept."""
    return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def _nodes(report: EnergyReport) -> Document:
    return {
        "nodes": [{**node_document(node), **absolute(node, report)} for node in report.nodes],
        "unmodelled": [asdict(node) for node in report.unmodelled],
    }


def _memory(report: EnergyReport) -> Document:
    """What the network takes of a machine whose memories hold it whole."""
    held = report.footprint
    if held is None:
        return {}
    node, most = held.peak
    found = {
        "weight_bytes": held.weight_bytes,
        "peak_feature_map_bytes": most,
        "peak_at": node or None,
        "size_bytes": dict(zip(held.levels, held.sizes, strict=True)),
        "fits": not held.shortfalls,
    }
    return {"memory": found}


ABSOLUTE = ("energy_pj", "latency_ms", "feature_map_bytes")


def absolute(node: NodeEnergy, report: EnergyReport) -> Document:
    """A node's time, joules and bytes alive, for machines whose energy goes with time."""
    hardware, held = report.hardware, report.footprint
    if hardware.machine.cycles_of_mac_unit is None:
        return {}
    pj = hardware.mac_unit_pj
    return {
        "energy_pj": None if pj is None else node.energy_mac_units * pj,
        "latency_ms": None if node.cycles is None else hardware.milliseconds(node.cycles),
        "feature_map_bytes": held and held.feature_map_bytes.get(node.key),
    }


def node_document(node: NodeEnergy) -> Document:
    """Everything known of one node."""
    return {
        "key": node.key,
        "name": node.name,
        "op_type": node.op_type,
        "energy_mac_units": node.energy_mac_units,
        "macs": node.macs,
        "nonskipped_macs": node.nonskipped_macs,
        "nonskipped_counted": node.nonskipped_counted,
        "operations": node.operations,
        "cycles": node.cycles,
        "weight_density": node.densities.weights,
        "ifmap_density": node.densities.ifmap,
        "ofmap_density": node.densities.ofmap,
        "bits": asdict(node.bits),
        "by_operand": dict(node.by_operand),
        "by_level": dict(node.by_level),
        "accesses": {level: asdict(words) for level, words in node.accesses.items()},
        "fused_into": node.fused_into or None,
        "kept_on_chip": list(node.stay.operands),
        "note": node.note or None,
    }


def accuracy_of(accuracy: Accuracy | None) -> Document | None:
    """Accuracy before and after; null where there is none."""
    if accuracy is None:
        return None
    return {
        "metric": accuracy.metric,
        "before": accuracy.before,
        "after": accuracy.after,
        "samples": accuracy.samples,
        "loss_interval_95": list(accuracy.loss_interval),
    }


def agreement_of(agreement: Agreement | None) -> Document | None:
    """Agreement, and whether it is within its limit; null where there is none."""
    if agreement is None:
        return None
    return {**asdict(agreement), "met": agreement.is_met}


def training_of(tuned: Tuned | None) -> Document | None:
    """What training has come to, if there was any; losses are those on the inputs held out."""
    if tuned is None:
        return None
    return {
        "loss_before": tuned.before,
        "loss_after": tuned.after,
        "learning_rate": tuned.learning_rate,
        "augmentation": tuned.augmentation,
        "samples": tuned.samples,
        "held_out": tuned.held_out,
        "epochs": [asdict(epoch) for epoch in tuned.epochs],
        "planned_epochs": tuned.planned,
    }


def repair_of(repaired: Repaired | None) -> Document | None:
    """What repair has come to, if there was any; errors are those on the inputs held out."""
    if repaired is None:
        return None
    return {
        "error_before": repaired.before,
        "error_after": repaired.after,
        "errors": list(repaired.errors),
        "planned_rounds": repaired.planned,
        "samples": repaired.samples,
        "held_out": repaired.held_out,
    }


def model_name(model: Model) -> str:
    """The model's path, or its name where it has none."""
    return str(model.path) if model.path else model.name


def path_of(path: Path | None) -> str | None:
    """The path as text; null where there is none."""
    return None if path is None else str(path)


def _finite(value: Any) -> Any:
    """The value with null where JSON has no number for it."""
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
