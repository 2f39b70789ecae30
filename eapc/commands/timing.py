"""A model's latency on a measured machine: node by node, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eapc.commands.preparation import Settings
from eapc.energy import Unmodelled
from eapc.errors import UsageError
from eapc.hardware import MeasuredMachine, Metered
from eapc.model import Model, batch_of, infer_shapes, input_shapes, require_one_batch
from eapc.profiling import NetworkLatency, notes_on_weights, prepare_network
from eapc.runtime import runtime_version, verifier
from eapc.showing import Shown


@dataclass(frozen=True)
class NodeLatency:
    """What one node takes per inference; nothing if it is fused into another, which has all.

    Channels are those that the profile was read at; `in_channels` 0 where they follow.
    """

    key: str
    name: str
    op_type: str
    latency_ms: float
    in_channels: int = 0
    out_channels: int = 0
    fused_into: str = ""


@dataclass(frozen=True, repr=False)
class Timing(Shown):
    """The latency of every node of a model, per inference; `overhead_ms` is that of a run."""

    model: Model
    machine: MeasuredMachine
    batch: int
    nodes: tuple[NodeLatency, ...]
    unmodelled: tuple[Unmodelled, ...]
    notes: tuple[str, ...]

    @property
    def overhead_ms(self) -> float:
        """What a run costs by itself, per inference."""
        return self.machine.overhead_ms / self.batch

    @property
    def latency_ms(self) -> float:
        """The sum of all nodes that are covered, and the overhead."""
        return self.overhead_ms + sum(node.latency_ms for node in self.nodes)

    @property
    def energy_j(self) -> Metered | None:
        """Joules above idling: as many per time as the metered network's; None where none was."""
        power = self.machine.power
        return (
            None if power is None else power.inference_j.times(self.latency_ms / power.inference_ms)
        )

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the annotated model once it has been verified."""
        self.model.save(path, verifier(self.model, frozenset(), None), force)


def time_nodes(model: str | Path | Model, machine: MeasuredMachine, settings: Settings) -> Timing:
    """The latency of every node of a model, read off a machine's measurements.

    The batch is the machine's unless the settings give another, which it then has no layers of.
    """
    _refuse_unused(settings)
    loaded = model if isinstance(model, Model) else Model.load(model)
    require_one_batch(loaded, settings.input_shapes, settings.batch)
    sizes = input_shapes(loaded, settings.input_shapes, settings.batch or machine.batch)
    batch = batch_of(loaded.inputs, sizes)
    shapes = infer_shapes(loaded, sizes)
    network = prepare_network(loaded, shapes, machine, settings.threads)
    ms, counts = network.network_ms(shapes), network.counts(shapes)
    missing = {entry.key for entry in network.missing}
    nodes = tuple(
        NodeLatency(
            node.key,
            node.name,
            node.op_type,
            ms.get(node.key, 0.0) / batch,
            *counts.get(node.key, (0, 0)),
            fused_into=network.fused_into.get(node.key, ""),
        )
        for node in loaded.nodes
        if node.key not in missing
    )
    annotated = loaded.with_annotations(_annotations(nodes, network))
    return Timing(annotated, machine, batch, nodes, network.missing, _notes(machine, loaded))


def _refuse_unused(settings: Settings) -> None:
    given = {
        "--calib": settings.calibration,
        "--density": settings.density,
        "--bits": settings.bits,
    }
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option}: decides about energies, and a measured machine has none")


def _annotations(
    nodes: tuple[NodeLatency, ...], network: NetworkLatency
) -> dict[str, dict[str, str]]:
    found = {node.key: _annotation(node) for node in nodes}
    return found | {entry.key: {"eapc.unmodelled": entry.reason} for entry in network.missing}


def _annotation(node: NodeLatency) -> dict[str, str]:
    fused = {"eapc.fused_into": node.fused_into} if node.fused_into else {}
    return {"eapc.latency_ms": f"{node.latency_ms:.6g}", **fused}


def _notes(machine: MeasuredMachine, model: Model) -> tuple[str, ...]:
    here, notes = runtime_version(), notes_on_weights(model)
    if here == machine.runtime:
        return notes
    return (f"measured with {machine.runtime}; fusions are those of {here}", *notes)
