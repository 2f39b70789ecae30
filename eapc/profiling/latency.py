"""The latency of a network on a measured machine: prepared once, read off often.

Preparing asks onnxruntime what it fuses and finds each kernel's layer in the profile. Reading
off takes shapes, as they are or as they would be with fewer channels, and looks counts up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eapc.energy import Unmodelled
from eapc.hardware import MeasuredMachine
from eapc.model import Model, Node, Shapes
from eapc.profiling.kernels import (
    Kernel,
    constant_tensors,
    find_kernels,
    nodes_within,
    running_graph,
)
from eapc.profiling.layer_kinds import ChannelCounts, LayerKind, NotTimedError, layer_kind


@dataclass(frozen=True)
class NetworkLatency:
    """A model's layers in a profile.

    `layers` has them by the key of the node that their time is put down to; `fused_into` the
    other nodes of theirs, each with that key; `missing` the nodes that no measurement covers.
    """

    machine: MeasuredMachine
    layers: Mapping[str, LayerKind]
    fused_into: Mapping[str, str]
    missing: tuple[Unmodelled, ...]

    def counts(self, shapes: Shapes) -> dict[str, ChannelCounts]:
        """(input, output) channels of each layer; input 0 where they are not independent."""
        specs = shapes.by_scope[""]
        return {key: kind.counts(specs) for key, kind in self.layers.items()}

    def network_ms(self, shapes: Shapes) -> dict[str, float]:
        """Milliseconds of each layer, for a batch, by node key.

        `shapes` may differ in channel counts from those that the network was prepared with, in
        nothing else. The network takes the sum and `machine.overhead_ms`.
        """
        read, specs = self.machine.node_ms, shapes.by_scope[""]
        return {key: read(kind.name, *kind.counts(specs)) for key, kind in self.layers.items()}

    def step_edges(self, key: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Largest counts of the steps of a layer's input and output channels, by node key."""
        name = self.layers[key].name
        return self.machine.step_edges(name, "in"), self.machine.step_edges(name, "out")


def prepare_network(
    model: Model, shapes: Shapes, machine: MeasuredMachine, threads: int = 0
) -> NetworkLatency:
    """Find a model's layers in a profile; shapes as inferred at the profile's batch."""
    optimised = running_graph(model, threads)
    constants, kernels = constant_tensors(model, optimised), find_kernels(model, optimised)
    layers: dict[str, LayerKind] = {}
    fused: dict[str, str] = {}
    reasons = {node.key: _why_untraced(node, constants) for node in model.nodes}
    of_kernel = {kernel: _found(kernel, shapes, constants, machine) for kernel in kernels}
    for node, kernel in nodes_within(kernels).items():
        found = of_kernel[kernel]
        if isinstance(found, LayerKind):
            if node is kernel.host:
                layers[node.key] = found
            else:
                fused[node.key] = kernel.host.key
        reasons[node.key] = found if isinstance(found, str) else ""
    missing = (
        Unmodelled(node.key, node.name, node.op_type, reasons[node.key])
        for node in model.nodes
        if reasons[node.key]
    )
    return NetworkLatency(machine, layers, fused, tuple(missing))


def _found(
    kernel: Kernel, shapes: Shapes, constants: frozenset[str], machine: MeasuredMachine
) -> LayerKind | str:
    """The layer that a kernel is, or why the profile does not cover it."""
    try:
        kind = layer_kind(kernel, shapes, constants)
    except NotTimedError as reason:
        return str(reason)
    name = machine.find(kind.name)
    if name is not None:
        return replace(kind, name=name)
    return f"no such layer in {machine.name} (batch {machine.batch}); profile this model"


def _why_untraced(node: Node, constants: frozenset[str]) -> str:
    """Why a node may belong to no kernel; empty if it costs nothing because it is constant."""
    if node.scope:
        return "in a subgraph, which is not timed"
    is_constant = all(name in constants for name in node.outputs if name)
    return "" if is_constant else "no trace of it in the graph that onnxruntime runs"
