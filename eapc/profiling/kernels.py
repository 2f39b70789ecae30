"""What onnxruntime runs as one: the nodes of a model that its optimiser fuses, and their layouts.

Read off the graph that onnxruntime makes of the model with its default optimisations. Its nodes
keep the names of the tensors they compute; convolutions and pools in the blocked layout of CPU
kernels (`NCHWc`) hand on tokens instead, from and to which `ReorderInput` and `ReorderOutput`
convert. A tensor that no longer occurs is computed within the kernel that it leads to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import onnx
from onnx import numpy_helper

from eapc.model import Array, Model, Node
from eapc.operators import operator_of

Layout = Literal["blocked", "plain"]

_BLOCKED_DOMAIN = "com.microsoft.nchwc"
_BLOCKED_SUFFIX = "_nchwc"
_SUM_INPUT = 3
_SMALL = 1024


@dataclass(frozen=True)
class Kernel:
    """Nodes that run as one, in file order; `host` is the one that the time is put down to.

    `inputs` are the computed tensors it reads, the host's first, with the layouts they are read
    in; `outputs` what it computes for others; `read_as` the layouts these read the first in.
    `given` are weights that a caller may replace: onnxruntime neither folds nor packs them.
    """

    host: Node
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    layouts: tuple[Layout, ...]
    outputs: tuple[str, ...]
    read_as: tuple[Layout, ...]
    given: frozenset[str] = frozenset()


def find_kernels(model: Model, optimised: onnx.ModelProto) -> tuple[Kernel, ...]:
    """The kernels of a model's main graph, in the order in which they run.

    `optimised` is what onnxruntime made of the model. A node in several kernels (onnxruntime may
    compute a thing twice) counts in each.
    """
    traced = _Tracer(model, constant_tensors(model, optimised))
    kernels = [kernel for node in optimised.graph.node if (kernel := traced.kernel(node))]
    readers = traced.readers(optimised.graph)
    return tuple(
        replace(kernel, read_as=tuple(sorted(readers.get(kernel.outputs[0], ()))))
        for kernel in kernels
    )


@dataclass
class _Tracer:
    """Follows an optimised graph in its order and finds each node's part of the original."""

    model: Model
    constants: frozenset[str]
    tensor_of: dict[str, str] = field(default_factory=dict)
    boundaries: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        view = self.model.view
        self.boundaries |= {spec.name for spec in view.inputs}
        self._producer = {name: node for node in view.main_nodes for name in node.outputs if name}
        self._place = {node: place for place, node in enumerate(view.main_nodes)}
        self._named = {node.name: node for node in view.main_nodes if node.name}

    def kernel(self, node: onnx.NodeProto) -> Kernel | None:
        """The part of an optimised node; None if it converts layouts or leaves no trace.

        How others read it is not known before all of them are.
        """
        if node.op_type in ("ReorderInput", "ReorderOutput"):
            source, result = node.input[0], node.output[0]
            if result not in self._producer:
                self.tensor_of[result] = self.tensor_of.get(source, source)
            return None
        results = self._results(node)
        if not results:
            return None
        last = self._fused_end(node, results[0])
        outputs = (last, *results[1:])
        nodes, inputs = self._cone(outputs)
        self.boundaries |= set(outputs)
        if node.output[0] not in self._producer:
            self.tensor_of[node.output[0]] = last
        read = (self.tensor_of[name] for name in node.input if name in self.tensor_of)
        blocked = {name for name in read if name in self._producer}  # inputs are plain
        read_by_nodes = (name for each in nodes for name in each.inputs)
        return Kernel(
            host=next((each for each in nodes if operator_of(each).weights), nodes[-1]),
            nodes=nodes,
            inputs=inputs,
            layouts=tuple("blocked" if name in blocked else "plain" for name in inputs),
            outputs=outputs,
            read_as=(),
            given=self.model.view.replaceable.intersection(read_by_nodes),
        )

    def readers(self, graph: onnx.GraphProto) -> Mapping[str, set[Layout]]:
        """The layouts in which each original tensor is read, as an output of the model included."""
        found: dict[str, set[Layout]] = {name: {"plain"} for name in self.model.outputs}
        for node in graph.node:
            for name in () if node.op_type.startswith("Reorder") else node.input:
                blocked = name in self.tensor_of
                layout: Layout = "blocked" if blocked else "plain"
                found.setdefault(self.tensor_of.get(name, name), set()).add(layout)
        return found

    def _results(self, node: onnx.NodeProto) -> tuple[str, ...]:
        """The original tensors that an optimised node is named after."""
        plain = tuple(name for name in node.output if name in self._producer)
        if plain:
            return plain
        base = node.name.removesuffix(_BLOCKED_SUFFIX)
        if base in self._producer:
            return (base,)
        original = self._named.get(node.name) or self._alike(node)
        return original.outputs[:1] if original else ()

    def _alike(self, node: onnx.NodeProto) -> Node | None:
        """The reader of a node's inputs that has its operator: for nodes without a name."""
        sources = [self.tensor_of.get(name, name) for name in node.input if name]
        readers = self.model.view.consumers(sources[0]) if sources else ()
        alike = (r for r in readers if r.op_type == node.op_type and set(sources) <= set(r.inputs))
        return next(alike, None)

    def _fused_end(self, node: onnx.NodeProto, tensor: str) -> str:
        """The last tensor of what a blocked convolution computes, a sum and an activation too."""
        if node.domain != _BLOCKED_DOMAIN or node.op_type != "Conv":
            return tensor
        if len(node.input) > _SUM_INPUT and node.input[_SUM_INPUT]:
            tensor = self._next(tensor, "sum")
        active = any(a.name == "activation" and a.s for a in node.attribute)
        if active and operator_of(self._producer[tensor]).absorbed_as != "activation":
            tensor = self._next(tensor, "activation")
        return tensor

    def _next(self, tensor: str, absorbed_as: str) -> str:
        consumers = self.model.view.consumers(tensor)
        readers = [r for r in consumers if operator_of(r).absorbed_as == absorbed_as]
        return readers[0].outputs[0] if readers else tensor

    def _cone(self, ends: Sequence[str]) -> tuple[tuple[Node, ...], tuple[str, ...]]:
        """The nodes between some tensors and what other kernels compute, and what they read."""
        nodes: set[Node] = set()
        inputs: dict[str, None] = {}
        open_ends = [self._producer[name] for name in ends]
        while open_ends:
            node = open_ends.pop()
            if node in nodes:
                continue
            nodes.add(node)
            for name in self.model.view.dependencies(node):
                if name in self.boundaries:
                    inputs[name] = None
                elif name not in self.constants and name in self._producer:
                    open_ends.append(self._producer[name])
        ordered = tuple(sorted(nodes, key=self._place.__getitem__))
        read = dict.fromkeys(name for node in ordered for name in node.inputs if name in inputs)
        return ordered, tuple({**read, **inputs})


def constant_tensors(model: Model, optimised: onnx.ModelProto) -> frozenset[str]:
    """Tensors of the main graph that no run computes.

    They depend on constants alone, or onnxruntime has worked them out from shapes that it knows,
    or nothing but such tensors is made of them.
    """
    known = set(model.constants.stored)
    known |= {tensor.name for tensor in optimised.graph.initializer}
    for node in model.view.main_nodes:
        read = model.view.dependencies(node)
        if node.op_type == "Constant" or (read and known.issuperset(read)):
            known.update(node.outputs)
    for node in reversed(model.view.main_nodes):
        if _serves_only(node, known, model):
            known.update(node.outputs)
    return frozenset(known)


def notes_on_weights(model: Model) -> tuple[str, ...]:
    """That a caller may replace weights, which makes a network slow, and what to do about it."""
    layouts = ((node, operator_of(node).weights) for node in model.view.main_nodes)
    read = {node.input(layout.operand) for node, layout in layouts if layout}
    found = len(read & model.view.replaceable)
    if not found:
        return ()
    return (
        f"{found} weights are inputs of the model as well: onnxruntime neither fuses nor packs "
        "what a caller may replace; without these inputs it may run several times as fast",
    )


def folded_constants(model: Model, optimised: onnx.ModelProto) -> dict[str, Array]:
    """Small constants that onnxruntime has computed, by the names that the model has for them."""
    computed = {name for node in model.view.main_nodes for name in node.outputs}
    known = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in optimised.graph.initializer
        if tensor.name in computed and math.prod(tensor.dims) <= _SMALL
    }
    for node in model.view.main_nodes:  # what changes nothing is dropped, with its result's name
        if node.op_type in ("Cast", "Identity") and node.inputs[0] in known:
            known.setdefault(node.outputs[0], known[node.inputs[0]])
    return known


def _serves_only(node: Node, known: set[str], model: Model) -> bool:
    """Whether whatever is computed from a node is known, so that it need not run."""
    written = [name for name in node.outputs if name]
    if any(name in model.outputs for name in written):
        return False
    readers = (reader for name in written for reader in model.view.consumers(name))
    return all(reader.outputs and known.issuperset(reader.outputs) for reader in readers)


def nodes_within(kernels: Sequence[Kernel]) -> dict[Node, Kernel]:
    """Every node with the first kernel that it runs in."""
    first: dict[Node, Kernel] = {}
    for kernel in kernels:
        for node in kernel.nodes:
            first.setdefault(node, kernel)
    return first
