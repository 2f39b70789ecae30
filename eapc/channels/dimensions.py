"""Symbolic dimensions: what a number of a computed shape is made of, and whether it follows.

Exporters write a Reshape's target as Shape, Gather and Concat. After channels are removed, a
number that is the length of an axis follows by itself; one out of a constant must be rewritten;
one that arithmetic made of several lengths cannot be trusted to follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import numpy_helper

from eapc.model import Array, GraphView, Node, TensorSpec

Length = tuple[str, int]
"""The length of an axis: (tensor, axis)."""


@dataclass(frozen=True)
class Dimension:
    """A number that is made of lengths of axes, or of none.

    Where it is made of one length, `values[n]` is what it is where that is n, up to what it is
    now; a number that depends on no length has that one value; others have none. A number that
    stands in a file does so at `index` of a constant that `reader` reads, `shared` where others
    depend on it too.
    """

    lengths: frozenset[Length]
    values: Sequence[int]
    constant: str = ""
    index: int = 0
    reader: str = ""
    shared: bool = True

    @property
    def is_number(self) -> bool:
        """True where it depends on no length."""
        return bool(self.values) and not self.lengths

    @property
    def now(self) -> int | None:
        """What it is as long as no axis shrinks; None where nobody knows."""
        return self.values[-1] if self.values else None


Dimensions = tuple[Dimension, ...]


def number(value: int) -> Dimension:
    """A number that stands in no constant of its own."""
    return Dimension(frozenset(), (value,))


def length(tensor: str, axis: int, size: int | str | None) -> Dimension:
    """The length of an axis, `size` now if that is a number."""
    return Dimension(frozenset({(tensor, axis)}), range(size + 1) if isinstance(size, int) else ())


def mixture(dimensions: Iterable[Dimension]) -> Dimension:
    """A number that depends on these in a way that nobody knows."""
    return Dimension(lengths_in(dimensions), ())


def lengths_in(dimensions: Iterable[Dimension]) -> frozenset[Length]:
    """Every length that the numbers come from."""
    return frozenset().union(*(dimension.lengths for dimension in dimensions))


def as_shared(dimension: Dimension) -> Dimension:
    """The number where others are made of it too."""
    return replace(dimension, shared=True)


ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.floor_divide,
    "Mod": np.mod,
    "Max": np.maximum,
    "Min": np.minimum,
    "Equal": np.equal,
}


def combined(op_type: str, one: Dimension, other: Dimension) -> Dimension:
    """What an operator of `ARITHMETIC` makes of two numbers."""
    lengths = lengths_in((one, other))
    left, right = np.asarray(one.values), np.asarray(other.values)
    is_division = op_type in ("Div", "Mod")
    if len(lengths) > 1 or not (one.values and other.values):
        return mixture((one, other))
    if is_division and (np.any(left < 0) or np.any(right <= 0)):
        return mixture((one, other))
    values = ARITHMETIC[op_type](left, right).astype(np.int64)
    if op_type == "Equal" and lengths:
        return number(0) if not values.any() else mixture((one, other))
    return Dimension(lengths, tuple(values.tolist()))


def follows(dimension: Dimension, size: int) -> tuple[int, int] | None:
    """(a, b) where the number is `size` now and b / a of its length whenever a divides that.

    None where it is not, or not made of one length: an axis that it describes need not follow.
    """
    source = len(dimension.values) - 1
    if source < 1 or size < 1 or dimension.now != size:
        return None
    common = int(np.gcd(source, size))
    whole, part = source // common, size // common
    fitting = np.arange(whole, source + 1, whole)
    values = np.asarray(dimension.values)[fitting]
    return (whole, part) if np.array_equal(values * whole, fitting * part) else None


# --- tracing --------------------------------------------------------------------------------------

LARGEST = 64
"""No tensor has as many axes; longer integers are data."""

_KEEPING = frozenset(("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten"))
SHAPE_OPERATORS = _KEEPING | frozenset(
    """Abs Add And Ceil Concat ConstantOfShape Div Equal Expand Floor Gather Greater Less Max Min
    Mod Mul Neg Not Or Pow Range ReduceMax ReduceMin ReduceProd ReduceSum Round ScatterND Shape
    Size Slice Sqrt Sub Tile Where""".split()
)


class DimensionTracer:
    """Traces integer tensors of a graph back to constants and lengths of axes."""

    def __init__(
        self,
        view: GraphView,
        constant: Callable[[str], Array | None],
        spec_of: Callable[[str], TensorSpec | None],
    ) -> None:
        self._view, self._constant, self._spec_of = view, constant, spec_of
        self._known: dict[str, Dimensions | None] = {}

    def of(self, tensor: str, reader: Node | None = None) -> Dimensions | None:
        """Where the elements of a tensor come from; None where it is no shape."""
        array = self._constant(tensor)
        if array is not None and array.dtype.kind in "iub" and array.size <= LARGEST:
            key = reader.key if reader else ""
            values = enumerate(array.reshape(-1).tolist())
            return tuple(
                Dimension(frozenset(), (int(value),), tensor, place, key, False)
                for place, value in values
            )
        if tensor not in self._known:
            node = self._view.producer(tensor)
            self._known[tensor] = None  # graphs have no cycles; a malformed one ends here
            self._known[tensor] = None if node is None else self._traced(node)
        return self._known[tensor]

    def _traced(self, node: Node) -> Dimensions | None:
        spec = self._spec_of(node.outputs[0])
        may_be_shape = spec is None or (len(spec.shape) < 2 and spec.dtype.kind in "iub")
        if node.domain or node.op_type not in SHAPE_OPERATORS or not may_be_shape:
            return None
        if node.op_type in ("Shape", "Size"):
            return self._lengths(node)
        sides = [self.of(name, node) for name in node.inputs]
        found = _TRACERS[node.op_type](self, node, sides) if node.op_type in _TRACERS else None
        if node.op_type in _KEEPING:
            found = sides[0]
        elif found is None and lengths_in(_all(sides)):
            found = (mixture(_all(sides)),)
        if found is None or len(self._view.consumers(node.outputs[0])) == 1:
            return found
        return tuple(map(as_shared, found))

    def _lengths(self, node: Node) -> Dimensions | None:
        """Shape: the lengths of the axes start <= i < end. Size: what is made of all lengths."""
        tensor = node.input(0)
        spec = self._spec_of(tensor)
        if spec is None:
            return None
        lengths = tuple(length(tensor, axis, size) for axis, size in enumerate(spec.shape))
        if node.op_type == "Size":
            return (mixture(lengths),)
        return lengths[node.attribute("start", 0) : node.attribute("end", len(lengths))]

    def picked(self, node: Node, sides: Sequence[Dimensions | None]) -> Dimensions | None:
        """Gather by constant indices."""
        whole, indices = sides[0], self._constant(node.input(1))
        if whole is None or indices is None or (indices >= len(whole)).any():
            return None
        return tuple(whole[int(index)] for index in indices.reshape(-1))

    def cut(self, node: Node, sides: Sequence[Dimensions | None]) -> Dimensions | None:
        """Slice with bounds as attributes or constant operands."""
        start, end = self._bound(node, 1, "starts"), self._bound(node, 2, "ends")
        step = self._bound(node, 4, "steps") if node.input(4) else 1
        if sides[0] is None or start is None or end is None or step is None:
            return None
        return sides[0][slice(start, end, step)]

    def _bound(self, node: Node, operand: int, attribute: str) -> int | None:
        if attribute in node.attributes:
            return int(node.attributes[attribute][0])
        value: Array | None = self._constant(node.input(operand))
        return None if value is None or value.size != 1 else int(value.reshape(-1)[0])

    def joined(self, _: Node, sides: Sequence[Dimensions | None]) -> Dimensions | None:
        """Concat."""
        return None if None in sides else _all(sides)

    def expanded(self, node: Node, sides: Sequence[Dimensions | None]) -> Dimensions | None:
        """Expand that leaves numbers as many as they are."""
        spec = self._spec_of(node.outputs[0])
        fits = sides[0] is not None and spec is not None and spec.shape == (len(sides[0]),)
        return sides[0] if fits else None

    def combined(self, node: Node, sides: Sequence[Dimensions | None]) -> Dimensions | None:
        """Arithmetic on two operands, number by number."""
        pairs = _aligned(sides)
        if pairs is None or len(sides) != 2:
            return None
        return tuple(combined(node.op_type, one, other) for one, other in pairs)

    def chosen(self, _: Node, sides: Sequence[Dimensions | None]) -> Dimensions | None:
        """Where with conditions that are known."""
        triples = _aligned(sides)
        if triples is None or not all(condition.is_number for condition, *_ in triples):
            return None
        return tuple(one if condition.now else other for condition, one, other in triples)

    def filled(self, node: Node, _: Sequence[Dimensions | None]) -> Dimensions | None:
        """ConstantOfShape: as many of a number as there are."""
        spec, value = self._spec_of(node.outputs[0]), node.attribute("value", None)
        if spec is None or len(spec.shape) != 1 or value is None:
            return None
        count = spec.shape[0]
        if not isinstance(count, int) or count > LARGEST:
            return None
        return (number(int(numpy_helper.to_array(value).reshape(-1)[0])),) * count


def _all(sides: Sequence[Dimensions | None]) -> Dimensions:
    return tuple(dimension for side in sides for dimension in side or ())


def _aligned(sides: Sequence[Dimensions | None]) -> list[Dimensions] | None:
    """The numbers of operands side by side; a single one goes with all of another operand."""
    given = [side for side in sides if side is not None]
    longest = max(map(len, given), default=0)
    if len(given) < len(sides) or any(len(side) not in (1, longest) for side in given):
        return None
    return list(zip(*(side * (longest // len(side)) for side in given), strict=True))


_Tracer = Callable[[DimensionTracer, Node, Sequence[Dimensions | None]], Dimensions | None]
_TRACERS: dict[str, _Tracer] = {
    "Gather": DimensionTracer.picked,
    "Slice": DimensionTracer.cut,
    "Concat": DimensionTracer.joined,
    "Expand": DimensionTracer.expanded,
    "Where": DimensionTracer.chosen,
    "ConstantOfShape": DimensionTracer.filled,
    **dict.fromkeys(ARITHMETIC, DimensionTracer.combined),
}
