"""What is trained of a model: constants by name, zeros and grids as the file has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from eapc.autograd.arrays import tensor_of
from eapc.autograd.quantization import rounded, spread, within
from eapc.autograd.rules import rule_of
from eapc.model import Array, Model, Node, code_range, is_float, told_bits


@dataclass(frozen=True)
class CodeGrid:
    """What codes stand for: (codes - zero) scale, of codes from `low` to `high`."""

    scale: Tensor
    zero: Tensor
    low: int
    high: int


@dataclass
class Parameter:
    """One constant that is trained: `value` is the number meant, whatever the file stores.

    `kept` is False where a zero stays zero; None lets all of them move.
    """

    name: str
    value: Tensor
    kept: Tensor | None = None
    grid: CodeGrid | None = None

    def seen(self) -> Tensor:
        """What the graph reads: the value, or its codes on the grid."""
        value = self.value if self.kept is None else self.value * self.kept
        if self.grid is None:
            return value
        codes = rounded(value / self.grid.scale) + self.grid.zero
        return within(codes, self.grid.low, self.grid.high)

    def stored(self) -> Array:
        """The same as the file stores it: numbers, or whole codes."""
        with torch.no_grad():
            found: Array = self.seen().detach().numpy()
        return found if self.grid is None else np.rint(found).astype(np.int64)


def parameters_of(model: Model, train: Mapping[str, bool] | None = None) -> dict[str, Parameter]:
    """The constants of the main graph that are trained, by name.

    That is what layers, normalisations and recurrent cells take as weights and biases, also
    behind views, casts and DequantizeLinear. `train` names operators and whether theirs are:
    those that it leaves out are.
    """
    found: dict[str, Parameter] = {}
    for node in model.view.main_nodes:
        rule = rule_of(node.op_type, node.domain)
        if rule is None or not (train or {}).get(node.op_type, True):
            continue
        for place in (*rule.weights, *rule.shifts):
            for leaf in _leaves(model, node.input(place)):
                if rule.arithmetic and not _is_by_channel(model.constants.shape(leaf.name)):
                    continue
                _enter(model, leaf, place in rule.weights, found)
    return found


@dataclass(frozen=True)
class _Leaf:
    """A stored constant behind an operand, and the DequantizeLinear that reads it, if one does."""

    name: str
    reader: Node | None = field(default=None)


_VIEWS = ("Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Cast", "Flatten")


def _leaves(model: Model, tensor: str) -> Iterator[_Leaf]:
    """The constant behind an operand, through views and a DequantizeLinear; none if computed."""
    reader = None
    while tensor and tensor not in model.constants.stored:
        producer = model.view.producer(tensor)
        if producer is None or producer.op_type not in (*_VIEWS, "DequantizeLinear"):
            return
        reader = producer if producer.op_type == "DequantizeLinear" else reader
        tensor = producer.input(0)
    if not tensor or tensor in model.view.outputs:
        return
    dtype = model.constants.dtype(tensor)
    if is_float(dtype) if reader is None else dtype.kind in "iu" or "int" in dtype.name:
        yield _Leaf(tensor, reader)


def _is_by_channel(shape: tuple[int, ...] | None) -> bool:
    """Whether a shape has one axis longer than 1: a number per channel, not a map of constants."""
    return shape is not None and sum(length > 1 for length in shape) == 1


def _enter(model: Model, leaf: _Leaf, zeros_stay: bool, found: dict[str, Parameter]) -> None:
    """Make a parameter of a constant; what is a weight anywhere keeps its zeros."""
    known = found.get(leaf.name)
    if known is None:
        known = found[leaf.name] = _parameter(model, leaf)
    if zeros_stay and known.kept is None:
        known.kept = (known.value.detach() != 0).to(known.value.dtype)


def _parameter(model: Model, leaf: _Leaf) -> Parameter:
    array = model.constants[leaf.name]
    if leaf.reader is None:
        return Parameter(leaf.name, tensor_of(array).clone().requires_grad_())
    grid = _grid(model, leaf.reader, array)
    value = (tensor_of(array).to(grid.scale.dtype) - grid.zero) * grid.scale
    return Parameter(leaf.name, value.requires_grad_(), grid=grid)


def _grid(model: Model, reader: Node, codes: Array) -> CodeGrid:
    scale = tensor_of(model.constants[reader.input(1)])
    zero = torch.zeros(())
    if reader.input(2):
        zero = tensor_of(model.constants[reader.input(2)]).to(scale.dtype)
    axis, block = reader.attribute("axis", 1), reader.attribute("block_size", 0)
    like, ends = tensor_of(codes), code_range(codes.dtype, told_bits(model, reader))
    zero = spread(zero, like, axis, block) if zero.dim() else zero
    return CodeGrid(spread(scale, like, axis, block), zero, *ends)
