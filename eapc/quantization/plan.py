"""What is quantized: which nodes run on integers, and which tensors share a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eapc.energy import GivenBits
from eapc.model import Model, Node, Shapes, TensorSpec
from eapc.operators import Operator, operator_of
from eapc.quantization.grids import TensorGrid

WIDEST = 8
"""Bits of weights and activations that nothing else is said of, and the most that are written."""


@dataclass(frozen=True)
class QuantizedNode:
    """A node that is to run on integers.

    `reads` are the tensors that it reads off grids of activations, `makes` is what it makes on
    one: behind an activation `folded` into the range, if there is one; empty where the result
    stays float. `more` are further results of a node that but moves values. Of a layer `weights`
    are constants of `weight_bits` with a scale per channel along `axis`, and `bias` is the constant
    that is added: one number per channel, or one for all, with ones for further axes.
    """

    node: Node
    reads: tuple[str, ...]
    makes: str
    moves: bool = False
    weights: str = ""
    axis: int = 0
    bias: str = ""
    folded: str = ""
    weight_bits: int = WIDEST
    more: tuple[str, ...] = ()

    @property
    def results(self) -> tuple[str, ...]:
        """All that it makes on grids."""
        return tuple(filter(None, (self.makes, *self.more)))


@dataclass(frozen=True)
class LeftFloat:
    """A node that could run on integers and will not, and why."""

    node: str
    reason: str


@dataclass(frozen=True)
class QuantizationPlan:
    """The nodes that run on integers, and the grids of the tensors between them.

    `tensors` are those with a grid, in data-flow order; `tied` gives for each the tensor that
    stands for all that share its grid, and `bits` the width of that. `left` could run on integers
    and do not, `floats` are operators of nodes that compute on floats in any case. `grids` is empty
    until calibration data have told them; `weight_grids` are those of weights that have been fitted
    to them.
    """

    nodes: tuple[QuantizedNode, ...]
    tensors: tuple[str, ...]
    tied: Mapping[str, str]
    left: tuple[LeftFloat, ...] = ()
    floats: tuple[str, ...] = ()
    bits: Mapping[str, int] = field(default_factory=dict)
    grids: Mapping[str, TensorGrid] = field(default_factory=dict)
    weight_grids: Mapping[str, TensorGrid] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """The tensors whose values are not just moved from others with a grid."""
        moved = {name for each in self.nodes if each.moves for name in each.results}
        return tuple(name for name in self.tensors if name not in moved)

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The sources of each group that shares a grid, by the tensor that stands for it."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.sources:
            found[self.tied[name]] = (*found.get(self.tied[name], ()), name)
        return found


def plan_of(model: Model, shapes: Shapes, bits: GivenBits | None = None) -> QuantizationPlan:
    """The plan of a model whose tensors have these shapes and types.

    Tensors that share a grid have the greatest of the widths that they are given, 8 without any.
    """
    planner = _NodePlanner(model, shapes.by_scope[""], bits or GivenBits())
    nodes = [node for node in model.view.main_nodes if node in model.view.needed]
    for node in reversed(nodes):
        planner.look_behind(node)
    for node in nodes:
        planner.take(node)
    return planner.plan()


class _NodePlanner:
    def __init__(self, model: Model, specs: Mapping[str, TensorSpec], bits: GivenBits) -> None:
        self._model, self._view, self._specs = model, model.view, specs
        self._bits = bits
        self._nodes: list[QuantizedNode] = []
        self._left: list[LeftFloat] = []
        self._floats: list[str] = []
        self._tensors: dict[str, str] = {}
        self._unfolded: dict[str, str] = {}
        self._wanted: set[str] = set()

    def plan(self) -> QuantizationPlan:
        tied = {name: self._standing_for(name) for name in self._tensors}
        left, floats = tuple(self._left), tuple(self._floats)
        bits: dict[str, int] = {}
        for name, group in tied.items():
            bits[group] = max(bits.get(group, 0), self._width(name))
        return QuantizationPlan(tuple(self._nodes), tuple(self._tensors), tied, left, floats, bits)

    def look_behind(self, node: Node) -> None:
        """Note what a node wants on grids, before those in front of it: what comes to a layer.

        Behind the last layers nothing gains by integers: boxes and scores of a detector, or a
        mask and what it is added to, would share a grid that is too coarse for the smaller.
        """
        row = operator_of(node)
        if not row.on_integers:
            return
        if row.on_integers == "same grid":
            reads = tuple(node.inputs) if row.joins else (node.input(0),)
            self._wanted.update(reads if self._is_wanted(node) else ())
            return
        weights, reads = self._operands(node, row)
        is_layer = row.weights is not None and not self._obstacle(node, row, weights, reads)
        if is_layer or (row.weights is None and self._is_wanted(node)):
            self._wanted.update(reads)

    def _is_wanted(self, node: Node) -> bool:
        folded = self._folded(node)
        return not self._wanted.isdisjoint(folded.outputs if folded else node.outputs)

    def take(self, node: Node) -> None:
        """Plan a node, after those in front of it."""
        row = operator_of(node)
        if not row.on_integers or (row.weights is None and not self._is_wanted(node)):
            self._note_float(node)
            return
        if row.on_integers == "same grid":
            self._take_move(node, row)
            return
        weights, reads = self._operands(node, row)
        reason = self._obstacle(node, row, weights, reads)
        if reason:
            self._left.append(LeftFloat(node.key, reason))
            return
        folded = self._folded(node)
        made = folded.outputs[0] if folded else node.outputs[0]
        makes = "" if row.kind == "product" and made not in self._wanted else made
        axis, bias = self._layout(node, row, weights)
        key, width = folded.key if folded else "", self._width(weights)
        self._add(QuantizedNode(node, reads, makes, False, weights, axis, bias, key, width))

    def _note_float(self, node: Node) -> None:
        """Note a node that computes on floats, unless it is folded into a range."""
        folded = any(each.folded == node.key for each in self._nodes)
        computes = node.outputs[0] not in self._model.constants and self._is_float(node.outputs[0])
        if computes and not folded:
            self._floats.append(node.op_type)

    def _take_move(self, node: Node, row: Operator) -> None:
        """Plan a node that moves values, where those it reads have a grid."""
        reads = tuple(node.inputs) if row.joins else (node.input(0),)
        computed = [name for name in reads if name not in self._model.constants]
        if not any(name in self._tensors for name in computed):
            return
        makes, *more = filter(None, node.outputs)
        if not all(self._is_float(name) for name in more):
            self._left.append(LeftFloat(node.key, "it has results that are no floats"))
        elif all(self._is_float(name) for name in reads):
            self._add(QuantizedNode(node, reads, makes, moves=True, more=tuple(more)))
            for name in (*reads, *more):
                self._tie(name, makes)

    def _add(self, planned: QuantizedNode) -> None:
        self._nodes.append(planned)
        if planned.folded:
            self._unfolded[planned.makes] = planned.node.outputs[0]
        for name in (*planned.reads, *planned.results):
            self._tensors.setdefault(name, name)

    def _operands(self, node: Node, row: Operator) -> tuple[str, tuple[str, ...]]:
        """The constant weights of a node, if it has any, and what it reads besides."""
        if row.weights is not None and node.input(1) in self._model.constants:
            return node.input(1), (node.input(0),)
        if row.weights is not None or row.kind == "broadcasting":
            return "", (node.input(0), node.input(1))
        return "", (node.input(0),)

    def _layout(self, node: Node, row: Operator, weights: str) -> tuple[int, str]:
        """The axis of output channels in the weights, and the bias, if there is one."""
        if not weights or row.weights is None:
            return 0, ""
        axis, _ = row.weights.axes(node.attributes, len(self._shape(weights)))
        return axis, row.weights.bias_of(node.inputs)

    def _obstacle(self, node: Node, row: Operator, weights: str, reads: Sequence[str]) -> str:
        """Why a node stays float; empty where it need not."""
        if not all(self._is_float(name) for name in (*reads, *filter(None, (weights,)))):
            return self._no_floats((*reads, *filter(None, (weights,))))
        if row.weights is None:
            return ""
        if not weights:
            return "" if row.weights.bias is None else "its weights are computed"
        attributes, layout = node.attributes, row.weights
        if attributes.get(layout.x_swapped_by, 0):
            return "transA turns what it reads"
        bias = layout.bias_of(node.inputs)
        if bias and not self._is_per_channel(bias):
            return "its bias is no constant with a number per channel"
        if weights and len(self._shape(weights)) < 2:
            return "its weights are no matrix"
        is_scaled = layout.factor(attributes) != 1 or layout.bias_factor(attributes) != 1
        return "alpha or beta change what it computes" if is_scaled else ""

    def _no_floats(self, names: Sequence[str]) -> str:
        """Why operands cannot be quantized, by the first one that is not known to be float32."""
        name = next(name for name in names if not self._is_float(name))
        known = self._specs[name].dtype if name in self._specs else ""
        if name in self._model.constants:
            known = self._model.constants.dtype(name)
        return f"'{name}' is {known}, not float32" if known else f"the type of '{name}' is unknown"

    def _is_per_channel(self, bias: str) -> bool:
        return bias in self._model.constants and math.prod(self._shape(bias)[:-1]) == 1

    def _folded(self, node: Node) -> Node | None:
        """The Relu, or Clip from 0 on, that alone reads what a node makes."""
        made = node.outputs[0]
        readers = self._view.consumers(made)
        if made in self._model.outputs or len(readers) != 1:
            return None
        (reader,) = readers
        is_clip = reader.op_type == "Clip" and reader.input(0) == made
        if is_clip and self._model.constants.scalar(reader.input(1)) == 0:
            return reader
        return reader if reader.op_type == "Relu" else None

    def _is_float(self, name: str) -> bool:
        if name in self._model.constants:
            return self._model.constants.dtype(name) == "float32"
        return name in self._specs and self._specs[name].dtype == "float32"

    def _shape(self, constant: str) -> tuple[int, ...]:
        return self._model.constants.shape(constant) or ()

    def _width(self, name: str) -> int:
        """The bits that a tensor is given, by the name of what is folded into it too."""
        named = name if name in self._bits.of_tensor else self._unfolded.get(name, name)
        return self._bits.of(named, is_constant=name in self._model.constants) or WIDEST

    # --- ties ------------------------------------------------------------------------------------

    def _standing_for(self, name: str) -> str:
        while self._tensors[name] != name:
            name = self._tensors[name]
        return name

    def _tie(self, one: str, other: str) -> None:
        """Let two tensors share a grid."""
        self._tensors[self._standing_for(other)] = self._standing_for(one)
