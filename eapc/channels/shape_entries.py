"""Where the entries of a computed shape come from: a constant, or the length of some axis.

Exporters write a Reshape's target as Shape, Gather and Concat. After channels are removed, an
entry that is the length of an axis follows by itself; one out of a constant must be rewritten;
one that arithmetic made of several lengths cannot be trusted to follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import numpy_helper

from eapc.channels.constants import ConstantOf
from eapc.channels.entries import (
    COMBINING,
    Entries,
    Entry,
    Length,
    Literal,
    Mixture,
    as_shared,
    combined,
    known,
    lengths_in,
)
from eapc.model import Array, GraphView, Node, TensorSpec

LARGEST_ENTRIES = 64
"""No tensor has as many axes; longer integers are data."""


_KEEPING = frozenset(("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten"))
_ARITHMETIC = frozenset(
    """Abs Add And Ceil Div Equal Floor Greater Less Max Min Mod Mul Neg Not Or Pow Range
    ReduceMax ReduceMin ReduceProd ReduceSum Round ScatterND Sqrt Sub Tile Where
    ConstantOfShape""".split()
)
SHAPE_OPERATORS = _KEEPING | _ARITHMETIC | {"Shape", "Size", "Gather", "Slice", "Concat", "Expand"}


class ShapeEntries:
    """Traces integer tensors of a graph back to constants and lengths of axes."""

    def __init__(
        self,
        view: GraphView,
        constant: ConstantOf,
        spec_of: Callable[[str], TensorSpec | None],
    ) -> None:
        self._view, self._constant, self._spec_of = view, constant, spec_of
        self._known: dict[str, Entries | None] = {}

    def of(self, tensor: str, reader: Node | None = None) -> Entries | None:
        """Where the elements of a tensor come from; None where it is no shape."""
        literal = self._literal(tensor, reader)
        if literal is not None:
            return literal
        if tensor not in self._known:
            node = self._view.producer(tensor)
            self._known[tensor] = None  # graphs have no cycles; a malformed one ends here
            self._known[tensor] = None if node is None else self._traced(node)
        return self._known[tensor]

    def _literal(self, tensor: str, reader: Node | None) -> Entries | None:
        array = self._constant(tensor)
        if array is None or array.dtype.kind not in "iub" or array.size > LARGEST_ENTRIES:
            return None
        key = reader.key if reader else ""
        numbers = enumerate(array.reshape(-1).tolist())
        return tuple(Literal(int(value), tensor, i, key, False) for i, value in numbers)

    def _traced(self, node: Node) -> Entries | None:
        if node.domain or node.op_type not in SHAPE_OPERATORS or not self._may_be_shape(node):
            return None
        if node.op_type in _TRACERS:
            found = _TRACERS[node.op_type](self, node)
        elif node.op_type in _KEEPING:
            found = self.of(node.input(0), node)
        else:
            found = self._mixed(node)
        if found is None or len(self._view.consumers(node.outputs[0])) == 1:
            return found
        return tuple(as_shared(entry) for entry in found)

    def _may_be_shape(self, node: Node) -> bool:
        spec = self._spec_of(node.outputs[0])
        return spec is None or (len(spec.shape) < 2 and spec.dtype.kind in "iub")

    def _rank_of(self, tensor: str) -> int | None:
        spec = self._spec_of(tensor)
        return None if spec is None else len(spec.shape)

    def shape(self, node: Node) -> Entries | None:
        """Shape: the lengths of the axes start <= i < end."""
        rank = self._rank_of(node.input(0))
        if rank is None:
            return None
        axes = range(rank)[node.attribute("start", 0) : node.attribute("end", rank)]
        return tuple(Length(node.input(0), axis) for axis in axes)

    def size(self, node: Node) -> Entries | None:
        """Size: the product of all lengths."""
        rank = self._rank_of(node.input(0))
        if rank is None:
            return None
        return (Mixture(frozenset(Length(node.input(0), axis) for axis in range(rank))),)

    def picked(self, node: Node) -> Entries | None:
        """Gather of entries by constant indices."""
        entries, indices = self.of(node.input(0), node), self._constant(node.input(1))
        if entries is None or indices is None or np.any(indices >= len(entries)):
            return self._mixed(node)
        return tuple(entries[int(index)] for index in indices.reshape(-1))

    def cut(self, node: Node) -> Entries | None:
        """Slice of entries, bounds as attributes or constant operands."""
        entries = self.of(node.input(0), node)
        bounds = [self._bound(node, *place) for place in ((1, "starts"), (2, "ends"))]
        step = self._bound(node, 4, "steps") if node.input(4) else 1
        if entries is None or None in bounds or step is None:
            return self._mixed(node)
        return entries[slice(bounds[0], bounds[1], step)]

    def _bound(self, node: Node, operand: int, attribute: str) -> int | None:
        if attribute in node.attributes:
            return int(node.attributes[attribute][0])
        value: Array | None = self._constant(node.input(operand))
        return None if value is None or value.size != 1 else int(value.reshape(-1)[0])

    def joined(self, node: Node) -> Entries | None:
        """Concat of entries."""
        parts = [self.of(name, node) for name in node.inputs]
        whole = [entry for part in parts if part is not None for entry in part]
        return tuple(whole) if None not in parts else self._mixed(node)

    def spread(self, node: Node) -> Entries | None:
        """Expand that leaves entries as many as they are."""
        entries, spec = self.of(node.input(0), node), self._spec_of(node.outputs[0])
        if entries is None or spec is None or spec.shape != (len(entries),):
            return self._mixed(node)
        return entries

    def combined(self, node: Node) -> Entries | None:
        """Arithmetic on two operands, entry by entry."""
        sides = [self.of(name, node) for name in node.inputs]
        pairs = _aligned(sides)
        if pairs is None or len(sides) != 2:
            return self._mixed(node)
        return tuple(combined(node.op_type, a, b, self._length_of) for a, b in pairs)

    def chosen(self, node: Node) -> Entries | None:
        """Where with conditions that are known."""
        triples = _aligned([self.of(name, node) for name in node.inputs])
        if triples is None or not all(isinstance(is_one, Literal) for is_one, *_ in triples):
            return self._mixed(node)
        return tuple(
            one if isinstance(is_one, Literal) and is_one.value else other
            for is_one, one, other in triples
        )

    def filled(self, node: Node) -> Entries | None:
        """ConstantOfShape: as many of a number as there are."""
        spec = self._spec_of(node.outputs[0])
        value = node.attribute("value", None)
        if spec is None or len(spec.shape) != 1 or value is None:
            return self._mixed(node)
        count = spec.shape[0]
        if not isinstance(count, int) or count > LARGEST_ENTRIES:
            return self._mixed(node)
        return (known(int(numpy_helper.to_array(value).reshape(-1)[0])),) * count

    def _length_of(self, length: Length) -> int | None:
        spec = self._spec_of(length.tensor)
        size = spec.shape[length.axis] if spec and length.axis < len(spec.shape) else None
        return size if isinstance(size, int) else None

    def _mixed(self, node: Node) -> Entries | None:
        """One mixture of all lengths that go in; None where none does."""
        lengths: set[Length] = set()
        for name in node.inputs:
            lengths |= lengths_in(self.of(name, node) or ())
        return (Mixture(frozenset(lengths)),) if lengths else None


def _aligned(sides: Sequence[Entries | None]) -> list[tuple[Entry, ...]] | None:
    """The entries of operands side by side; a single one goes with all of another operand."""
    given = [side for side in sides if side is not None]
    longest = max(map(len, given), default=0)
    if len(given) < len(sides) or any(len(side) not in (1, longest) for side in given):
        return None
    return list(zip(*(side * (longest // len(side)) for side in given), strict=True))


_TRACERS: dict[str, Callable[[ShapeEntries, Node], Entries | None]] = {
    "Shape": ShapeEntries.shape,
    "Size": ShapeEntries.size,
    "Gather": ShapeEntries.picked,
    "Slice": ShapeEntries.cut,
    "Concat": ShapeEntries.joined,
    "Expand": ShapeEntries.spread,
    "Where": ShapeEntries.chosen,
    "ConstantOfShape": ShapeEntries.filled,
    **dict.fromkeys(COMBINING, ShapeEntries.combined),
}
