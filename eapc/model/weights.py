"""Where a node's weights come from: the constant behind Identity, Transpose and the like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eapc.model.codes import Codes, Dequantization, is_code
from eapc.model.float_types import in_types
from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.model.packed_weights import Packing
from eapc.model.rounded_constants import code_ends, code_type, rounding_fault, roundings
from eapc.model.rounding import told_bits
from eapc.model.scaled_integers import scaled_integers
from eapc.model.tensors import Array, Shape, is_float, numpy_type
from eapc.operators import operator_of


@dataclass(frozen=True)
class WeightSource:
    """A constant and the nodes between it and the tensor that a layer reads, root first.

    `reading` says how integers are read where no DequantizeLinear of the chain does, `packing` how
    bytes hold them. The root of a chain with a QuantizeLinear holds real numbers, which it rounds.
    """

    tensor: str
    root: str
    chain: tuple[Node, ...] = ()
    reading: Dequantization | None = None
    packing: Packing | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """The constant and what each node of the chain makes of it."""
        return (self.root, *(node.outputs[0] for node in self.chain))

    @property
    def quantizer(self) -> Node | None:
        """What rounds the root's real numbers."""
        return self._first("QuantizeLinear")

    @property
    def reader(self) -> Node | None:
        """What makes real numbers of integers."""
        return self._first("DequantizeLinear")

    @property
    def clip(self) -> Node | None:
        """What cuts the codes off that the quantizer makes."""
        return self._first("Clip")

    def _first(self, op_type: str) -> Node | None:
        return next((node for node in self.chain if node.op_type == op_type), None)


def find_weights(model: Model, tensor: str) -> WeightSource | None:
    """The constant whose values `tensor` holds, through nodes that keep values; else None.

    DequantizeLinear and Cast count too: what they read is a constant, whatever its type; so do
    Cast, Sub and Mul where they do what DequantizeLinear does. A constant that is computed of
    others is one as well.
    """
    chain: list[Node] = []
    name, reading = tensor, None
    while name not in model.constants.stored:
        node = model.view.producer(name)
        scaled = None if node is None or reading else scaled_integers(model, node)
        if scaled is not None:
            steps, reading = scaled
            chain += steps
        elif node is None or not operator_of(node).shows_weights:
            if model.constants.value(name) is None:
                return None
            break
        else:
            chain += [node, *roundings(model, node)]
        name = chain[-1].input(0)
    return WeightSource(tensor, name, tuple(reversed(chain)), reading)


def obstacle(model: Model, source: WeightSource) -> str:
    """Why new values cannot be written back through the chain; empty where they can."""
    is_read = source.reading is not None
    for node in source.chain:
        if node.op_type == "DequantizeLinear":
            is_read = True
        elif node.op_type in (_ROUNDING if source.reading is None else ("Mul", "Sub")):
            continue
        elif node.op_type == "Cast":
            if not is_read and is_code(model.constants.dtype(source.root)):
                break
            if not is_float(numpy_type(node.attribute("to", 0))):
                return "weights are cast to integers; prune the float model first"
        elif not operator_of(node).invertible:
            return f"weights are behind {node.op_type}; fold it into them"
        elif node.input(1) and node.input(1) not in model.constants:
            return f"weights are behind a {node.op_type} to a computed shape; {_FIX_SHAPES}"
    dtype = model.constants.dtype(source.root)
    if is_read:
        return _grid_obstacle(model, source, dtype)
    return "" if is_float(dtype) else f"weights have type {dtype}; prune the float model first"


def _grid_obstacle(model: Model, source: WeightSource, dtype: np.dtype[Any]) -> str:
    """The same of weights behind DequantizeLinear."""
    reading, readers = reading_of(source), [n for n in source.chain if n.op_type == _READER]
    quantizer = source.quantizer
    if quantizer is not None:
        reason = rounding_fault(model, source.chain)
        if reason or not is_float(dtype):
            return reason or f"weights that are quantized have type {dtype}; fold them"
        dtype = code_type(model, quantizer)
    if reading is None or len(readers) > 1 or not is_code(dtype):
        return f"quantized weights have type {dtype}; prune the float model first"
    values = [model.constants.value(name) for name in reading.names]
    if any(value is None for value in values):
        return "weights have scales or zero points that are computed; fold them"
    if not all(all_finite(value) for value in values if value is not None):
        return "weights have scales that are no finite numbers; quantize them anew"
    return ""


_FIX_SHAPES = "fix the model's input shapes and simplify it"


_READER = "DequantizeLinear"

_ROUNDING = ("QuantizeLinear", "Clip")
"""What may stand in front of a reader; no other chain has them."""


def reading_of(source: WeightSource) -> Dequantization | None:
    """How the root's integers are read; None where it holds real numbers."""
    reader = source.reader
    if source.reading is not None or reader is None:
        return source.reading
    axis, block = reader.attribute("axis", 1), reader.attribute("block_size", 0) or 1
    return Dequantization((reader.input(1),), reader.input(2), axis, block)


def codes_of(model: Model, source: WeightSource) -> Codes | None:
    """How the root's integers are read, by its own axes; None where it holds real numbers."""
    reading = reading_of(source)
    if reading is None:
        return None
    if source.packing is not None:
        return source.packing.codes(model.constants, reading)
    quantizer, reader = source.quantizer, source.reader
    dtype = model.constants.dtype(source.root)
    if quantizer is not None:
        dtype = code_type(model, quantizer)
    kinds, first = [node.op_type for node in source.chain], _READER if reader else "Cast"
    place = kinds.index(first) if first in kinds else 0
    before = WeightSource("", source.root, source.chain[:place])
    shape = seen_shapes(model, before)[-1]

    def spread(values: Array) -> Array:
        shown = _spread(values, shape, reading)
        return as_stored(model, before, np.broadcast_to(shown, shape))

    scale = np.ones((), np.float32)
    for name in reading.scales:
        scale = scale * spread(model.constants[name])
    zero = model.constants[reading.zero] if reading.zero else np.zeros(1, dtype)
    own = model.view.producer(reader.outputs[0]) if reader else None
    told = told_bits(model, own) if own else None
    ends = code_ends(model, quantizer, source.clip) if quantizer else None
    whole = np.broadcast_to(scale, seen_shapes(model, source)[0])
    return Codes(dtype, whole, spread(zero), told, ends)


def _spread(values: Array, shape: Shape, reading: Dequantization) -> Array:
    if reading.axis is None:
        return values
    if reading.block == 1 and values.ndim == len(shape):
        if sum(size > 1 for size in values.shape) != 1:
            return values
        values = values.reshape(-1)
    return spread_zero_points(values, shape, reading.axis, reading.block)


def float_types(model: Model, source: WeightSource) -> list[np.dtype[Any]]:
    """The types that the root's real numbers go through: their own, then that of each Cast.

    Those that are read of integers have their scale's.
    """
    reading = reading_of(source)
    named = source.root
    if reading is not None and source.quantizer is None:
        named = "".join(reading.scales[:1])
    casts = (node for node in source.chain if node.op_type == "Cast")
    return [
        model.constants.dtype(named) if named else np.dtype(np.float32),
        *(numpy_type(node.attribute("to", 0)) for node in casts),
    ]


def seen_shapes(model: Model, source: WeightSource) -> list[Shape]:
    """Shapes of the root and after each node of its chain; the last is what the layer sees."""
    stored = model.constants.shape(source.root) or ()
    array = np.empty(source.packing.shape if source.packing else stored, np.bool_)
    shapes: list[Shape] = [array.shape]
    for node in source.chain:
        array = model.constants.view_of(node, array)
        shapes.append(array.shape)
    return shapes


def real_values(model: Model, source: WeightSource) -> Array:
    """What the root's values stand for, in its own shape, or that of what it packs."""
    root, codes = model.constants[source.root], codes_of(model, source)
    return root if codes is None else codes.values(_own_codes(source, codes, root))


def _own_codes(source: WeightSource, codes: Codes, root: Array) -> Array:
    """The integers that a layer reads, in the root's shape or that of what it packs."""
    if source.packing is not None:
        return source.packing.unpacked(root)
    return codes.rounded(root) if source.quantizer is not None else root


def as_seen(model: Model, source: WeightSource) -> Array:
    """The root's values as the layer sees them: their axes, and what casts leave of them."""
    seen = seen_through(model, source, real_values(model, source))
    with np.errstate(over="ignore"):
        for dtype in float_types(model, source)[1:]:
            seen = seen.astype(dtype, copy=False)
    return seen


def value_seen(model: Model, tensor: str) -> Array | None:
    """The value of a constant, one behind DequantizeLinear included; else None."""
    value = model.constants.value(tensor)
    if value is not None:
        return value
    source = find_weights(model, tensor)
    return None if source is None or obstacle(model, source) else as_seen(model, source)


def seen_through(model: Model, source: WeightSource, array: Array) -> Array:
    """Other values of the root's shape with the axes that the layer sees."""
    for node in source.chain:
        array = model.constants.view_of(node, array)
    return array


def as_stored(model: Model, source: WeightSource, seen: Array) -> Array:
    """The inverse of `seen_through`: what has the layer's axes in the root's own shape."""
    array = seen
    before = seen_shapes(model, source)[:-1]
    for node, shape in zip(reversed(source.chain), reversed(before), strict=True):
        if node.op_type == "Transpose":
            perm = node.attribute("perm", None)
            array = np.transpose(array, None if perm is None else np.argsort(perm))
        array = array.reshape(shape)
    return np.ascontiguousarray(array)


def weights_stored(model: Model, source: WeightSource, seen: Array) -> Array:
    """The inverse of `as_seen`: new weights in the root's own shape and type.

    Casts on the way make neither zeros nor infinities of them, nor does a grid make zeros.
    """
    return values_stored(model, source, as_stored(model, source, seen))


def values_stored(model: Model, source: WeightSource, values: Array) -> Array:
    """The inverse of `real_values`: the nearest that the root's type holds."""
    real, codes = in_types(values, float_types(model, source)), codes_of(model, source)
    if codes is None:
        return real
    nearest = codes.nearest(real)
    if source.quantizer is not None:
        return codes.values(nearest).astype(model.constants.dtype(source.root))
    packing = source.packing
    return packing.packed(nearest, model.constants[source.root]) if packing else nearest


def count_nonzero(
    model: Model, source: WeightSource, zero_point: Array | None = None, axis: int = 0
) -> tuple[int, int]:
    """(non-zero, all) elements of the weights; a quantized zero is its zero point.

    That is `zero_point`, a list of which runs along `axis`, or what DequantizeLinear says.
    """
    root = model.constants[source.root]
    block, is_read = 1, reading_of(source) is not None
    if source.reading is not None or (is_read and not obstacle(model, source)):
        codes = codes_of(model, source)
        assert codes is not None  # there is a reading
        own = _own_codes(source, codes, root)
        return int(np.count_nonzero((own != codes.zero) & (codes.scale != 0))), own.size
    dequantize = source.reader
    if dequantize is not None and dequantize.input(2):
        zero_point = model.constants.value(dequantize.input(2))
        if zero_point is None:
            return root.size, root.size
        axis = dequantize.attribute("axis", 1)
        block = dequantize.attribute("block_size", 0) or 1
        before = source.chain[: source.chain.index(dequantize)]
        if before:
            earlier = WeightSource(dequantize.input(0), source.root, before)
            shape = seen_shapes(model, earlier)[-1]
            spread = np.broadcast_to(spread_zero_points(zero_point, shape, axis, block), shape)
            return int(np.count_nonzero(root != as_stored(model, earlier, spread))), root.size
    if zero_point is None:
        return int(np.count_nonzero(root)), root.size
    zeros = spread_zero_points(zero_point, root.shape, axis, block)
    return int(np.count_nonzero(root != zeros)), root.size


def spread_zero_points(zero_point: Array, shape: Shape, axis: int, block: int = 1) -> Array:
    """Zero points, one per tensor, per index of an axis or per block, against the weights.

    A cell's are one per direction, or one per direction and gate, which run along its last axis.
    """
    if zero_point.size == 1:
        return zero_point.reshape(())
    if len(shape) == 3 and zero_point.shape == (shape[0], shape[2]):
        return zero_point[:, None]
    if zero_point.ndim < len(shape):
        return np.moveaxis(zero_point.reshape(-1, *(1,) * (len(shape) - 1)), 0, axis)
    return np.take(np.repeat(zero_point, block, axis), range(shape[axis]), axis)


def all_finite(array: Array) -> bool:
    """True unless a floating-point array holds NaN or infinity."""
    if not is_float(array.dtype):
        return True
    wide = array if array.dtype.kind == "f" else array.astype(np.float32)
    return bool(np.isfinite(wide).all())
