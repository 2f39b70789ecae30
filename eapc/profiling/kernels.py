"""What onnxruntime runs as one: the nodes of a model that its optimiser fuses, and their layouts.

Read off the graph that onnxruntime makes of the model with its default optimisations. Its nodes
keep the names of the tensors they compute; convolutions and pools in the blocked layout of CPU
kernels (`NCHWc`) hand on tokens instead, from and to which `ReorderInput` and `ReorderOutput`
convert, and those on integers in the layout with the channels last, from and to which Transposes
do. A tensor that no longer occurs is computed within the kernel that it leads to.

A layer between DequantizeLinear and QuantizeLinear that runs on integers computes the codes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import onnx
from onnx import numpy_helper

from eapc.model import Array, Model, Node
from eapc.operators import operator_of
from eapc.profiling.integer_layers import is_rounding, weight_layout
from eapc.runtime import optimised_model

Layout = Literal["blocked", "channels-last", "plain"]

_BLOCKED_DOMAIN = "com.microsoft.nchwc"
_BLOCKED_SUFFIX = "_nchwc"
_SUM_INPUT = 3
_SMALL = 1024

_LEAST_RANK = 3
"""Of tensors whose channels may come last."""

_MARK = "eapc@"
_TOKEN = re.compile(r"_token_\d+$")
"""What onnxruntime adds to a node's name where it puts another node in its place."""


@dataclass(frozen=True)
class Kernel:
    """Nodes that run as one, in file order; `host` is the one that the time is put down to.

    `inputs` are the computed tensors it reads, the host's first, with the layouts they are read
    in; `outputs` what it computes for others; `read_as` the layouts these read the first in.
    `given` are weights that a caller may replace: onnxruntime neither folds nor packs them.
    `runs` is the operator that onnxruntime runs in their place. Of what is read and computed
    `unsigned` are codes of uint8 then, which in the file may be those of int8.
    """

    host: Node
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    layouts: tuple[Layout, ...]
    outputs: tuple[str, ...]
    read_as: tuple[Layout, ...]
    given: frozenset[str] = frozenset()
    runs: str = ""
    unsigned: frozenset[str] = frozenset()


def running_graph(model: Model, threads: int = 0, blocked: bool = True) -> onnx.ModelProto:
    """What onnxruntime makes of a model whose nodes all have names that are found again.

    Without `blocked` tensors and constants keep their layouts.
    """
    proto = model.to_proto(embed=True)
    for place, node in enumerate(proto.graph.node):
        node.name = f"{_MARK}{place}"
    return optimised_model(proto, threads, blocked)


def find_kernels(model: Model, optimised: onnx.ModelProto) -> tuple[Kernel, ...]:
    """The kernels of a model's main graph, in the order in which they run.

    `optimised` is what onnxruntime made of the model. A node in several kernels (onnxruntime may
    compute a thing twice) counts in each.
    """
    types = {tensor.name: tensor.data_type for tensor in optimised.graph.initializer}
    traced = _Tracer(model, constant_tensors(model, optimised), types)
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
    stored_types: Mapping[str, int]
    tensor_of: dict[str, str] = field(default_factory=dict)
    layout_of: dict[str, Layout] = field(default_factory=dict)
    boundaries: set[str] = field(default_factory=set)
    unsigned: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        view = self.model.view
        self.boundaries |= {spec.name for spec in view.inputs}
        self._producer = {name: node for node in view.main_nodes for name in node.outputs if name}
        self._place = {node: place for place, node in enumerate(view.main_nodes)}
        self._named = {node.name: node for node in view.main_nodes if node.name}
        self._named |= {f"{_MARK}{place}": node for node, place in self._place.items()}

    def kernel(self, node: onnx.NodeProto) -> Kernel | None:
        """The part of an optimised node; None if it converts layouts or leaves no trace.

        How others read it is not known before all of them are.
        """
        if self._converts(node):
            return None
        results = self._results(node)
        if not results:
            self._pass_on(node)
        if self.constants.issuperset(results):
            return None
        last = self._fused_end(node, results[0])
        outputs = (last, *results[1:])
        read = {self.tensor_of[name]: self._layout(name) for name in node.input if name in self}
        nodes, inputs = self._cone(outputs, set(map(self._source, node.input)))
        self.boundaries |= set(outputs)
        if self._writes_unsigned(node):
            self.unsigned.add(last)
        if self._writes_codes(node):
            self.codes.add(last)
        if node.output[0] not in self._producer:
            self.tensor_of[node.output[0]] = last
            self.layout_of[node.output[0]] = self._written_layout(node)
        read_by_nodes = (name for each in nodes for name in each.inputs)
        return Kernel(
            host=_host_of(nodes),
            nodes=nodes,
            inputs=inputs,
            layouts=tuple(self._handed(name, read) for name in inputs),
            outputs=outputs,
            read_as=(),
            given=self.model.view.replaceable.intersection(read_by_nodes),
            runs=node.op_type,
            unsigned=frozenset(self.unsigned.intersection((*inputs, last))),
        )

    def _pass_on(self, node: onnx.NodeProto) -> None:
        """Take what a node that leaves no trace writes for what it reads, in another form."""
        if not node.output or node.output[0] in self._producer or not node.input:
            return
        result = node.output[0]
        self.layout_of[result] = self._written_layout(node)
        self.tensor_of[result] = self._source(node.input[0])
        if self._writes_codes(node):
            self.codes.add(result)
        if self._writes_unsigned(node):
            self.unsigned.add(result)

    def _source(self, name: str) -> str:
        """The original tensor that an optimised one is, or stands for."""
        return self.tensor_of.get(name, name)

    def _zero_point(self, node: onnx.NodeProto) -> str | None:
        """That of a node's result; None where the node does no more than move what it reads."""
        quantized = operator_of(node).quantized
        if quantized is None:
            return None
        place = quantized.output
        return node.input[place] if place is not None and place < len(node.input) else ""

    def _writes_codes(self, node: onnx.NodeProto) -> bool:
        zero = self._zero_point(node)
        return self._reads(node, self.codes) if zero is None else bool(zero)

    def _writes_unsigned(self, node: onnx.NodeProto) -> bool:
        zero = self._zero_point(node)
        if zero is None:
            return self._reads(node, self.unsigned)
        return self.stored_types.get(zero) == onnx.TensorProto.UINT8

    def _reads(self, node: onnx.NodeProto, tensors: Collection[str]) -> bool:
        return any(name in tensors or self._source(name) in tensors for name in node.input)

    def __contains__(self, name: str) -> bool:
        """Whether an optimised tensor has another name than the original has for it."""
        return name in self.tensor_of

    def _layout(self, name: str) -> Layout:
        return self.layout_of.get(name, "plain")

    def _handed(self, name: str, read: Mapping[str, Layout]) -> Layout:
        """The layout that a kernel reads a tensor in; the model's inputs are plain."""
        return read.get(name, "plain") if name in self._producer else "plain"

    def _converts(self, node: onnx.NodeProto) -> bool:
        """Whether a node only converts layouts; what it writes is noted."""
        turned = _turned(node) if self._original(node, "Transpose") is None else None
        if node.op_type not in ("ReorderInput", "ReorderOutput") and turned is None:
            return False
        source, result = node.input[0], node.output[0]
        if result not in self._producer:
            self.tensor_of[result] = self.tensor_of.get(source, source)
            self.layout_of[result] = turned or "blocked"
        return True

    def _written_layout(self, node: onnx.NodeProto) -> Layout:
        """The layout of what a node writes under a name of onnxruntime's own."""
        if node.domain == _BLOCKED_DOMAIN:
            return "blocked"
        if any(a.name == "channels_last" and a.i for a in node.attribute):
            return "channels-last"
        return next((self._layout(name) for name in node.input if name in self), "plain")

    def readers(self, graph: onnx.GraphProto) -> Mapping[str, set[Layout]]:
        """The layouts in which each original tensor is read, as an output of the model included."""
        found: dict[str, set[Layout]] = {name: {"plain"} for name in self.model.outputs}
        for node in graph.node:
            for name in () if self._converts(node) else node.input:
                found.setdefault(self.tensor_of.get(name, name), set()).add(self._layout(name))
        return found

    def _results(self, node: onnx.NodeProto) -> tuple[str, ...]:
        """The original tensors that an optimised node is named after."""
        plain = tuple(name for name in node.output if name in self._producer)
        if plain:
            return plain
        base = node.name.removesuffix(_BLOCKED_SUFFIX)
        if base in self._producer:
            return (base,)
        original = self._original(node) or self._alike(node)
        return self._computed(node, original) if original and original.outputs else ()

    def _original(self, node: onnx.NodeProto, op_type: str = "") -> Node | None:
        """The node that an optimised one has its name from, if that is of an operator."""
        found = self._named.get(node.name) or self._named.get(_TOKEN.sub("", node.name))
        return found if found and op_type in ("", found.op_type) else None

    def _computed(self, node: onnx.NodeProto, original: Node) -> tuple[str, ...]:
        """What stands in the original for an optimised node's result, if anything does.

        Of codes it is the QuantizeLinear behind the operator that writes them.
        """
        result = original.outputs[0]
        if not self._writes_codes(node) or operator_of(original).quantized is not None:
            return (result,)
        codes = self._codes_behind(result)
        return (codes,) if codes else ()

    def _codes_behind(self, tensor: str) -> str:
        """The codes of a tensor, or of what an activation behind it makes; empty without any."""
        readers = self.model.view.consumers(tensor)
        rounded = [each for each in readers if each.op_type == "QuantizeLinear"]
        if rounded:
            return rounded[0].outputs[0]
        active = [each for each in readers if operator_of(each).absorbed_as == "activation"]
        return self._codes_behind(active[0].outputs[0]) if len(readers) == 1 and active else ""

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

    def _cone(
        self, ends: Sequence[str], read: Collection[str]
    ) -> tuple[tuple[Node, ...], tuple[str, ...]]:
        """The nodes between some tensors and what other kernels compute, and what they read.

        Where codes are read, as `read` says, the real numbers that others make of them are not.
        """
        nodes: set[Node] = set()
        inputs: dict[str, None] = {}
        open_ends = [self._producer[name] for name in ends]
        while open_ends:
            node = open_ends.pop()
            if node in nodes:
                continue
            nodes.add(node)
            for name in self.model.view.dependencies(node):
                if name in self.boundaries and not self._is_passed(name, read):
                    inputs[name] = None
                elif name not in self.constants and name in self._producer:
                    open_ends.append(self._producer[name])
        ordered = tuple(sorted(nodes, key=self._place.__getitem__))
        first = dict.fromkeys(name for node in ordered for name in node.inputs if name in inputs)
        return ordered, tuple({**first, **inputs})

    def _is_passed(self, name: str, read: Collection[str]) -> bool:
        maker = self._producer.get(name)
        is_real = maker is not None and maker.op_type == "DequantizeLinear"
        return maker is not None and is_real and name not in read and maker.inputs[0] in read


def _host_of(nodes: Sequence[Node]) -> Node:
    """The node with weights, else the last; of those between codes the first that computes."""
    weighted = [node for node in nodes if weight_layout(node)]
    computing = [node for node in nodes if not is_rounding(node)]
    if weighted:
        return weighted[0]
    return computing[0] if computing and len(computing) < len(nodes) else nodes[-1]


def _turned(node: onnx.NodeProto) -> Layout | None:
    """The layout that a Transpose leads to; None where it is another, or no Transpose."""
    perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
    rank = len(perm)
    if node.op_type != "Transpose" or rank < _LEAST_RANK:
        return None
    if perm == [0, *range(2, rank), 1]:
        return "channels-last"
    return "plain" if perm == [0, rank - 1, *range(1, rank - 1)] else None


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
