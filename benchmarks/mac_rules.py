"""MACs of a node by the arrays that it read and wrote, for `count_macs.py`.

Two conventions for convolutions. Each output of a Conv or ConvTranspose sums over all taps that its
place meets, those on padding included: so do `RULES`, papers' counts and eapc. `ON_VALUES` leaves
out taps beyond a map's borders. Neither counts the zeros that a ConvTranspose has between values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

Array = NDArray[Any]


class UncountedError(Exception):
    """A graph that cannot be run or has an operator without a rule."""


Rule = Callable[[NodeProto, Sequence[Array], Sequence[Array]], int]
"""MACs of a node by the arrays that it read and wrote; None stands for one left out."""


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute, or `default`."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return found.get(name, default)


def _conv(weights: int) -> Rule:
    """Each output sums over the kernel and the channels of its group."""
    return lambda _, read, wrote: wrote[0].size * math.prod(read[weights].shape[1:])


def _transposed(node: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    """Each output sums over the taps that its place meets, at the border too, as in Conv."""
    if attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or attribute(node, "output_shape", 0):
        raise UncountedError("a ConvTranspose that pads by itself")
    channels, filters, *_ = read[1].shape
    taps = math.prod(int(meets.sum()) for _, meets in _taps_of_transposed(node, read, wrote))
    return int(read[0].shape[0] * channels * filters * taps)


def _taps_of_transposed(
    node: NodeProto, read: Sequence[Array], wrote: Sequence[Array]
) -> Iterator[tuple[Array, Array]]:
    """For each axis (outputs, taps): indices of the input, and whether the place is one at all."""
    kernel = read[1].shape[2:]
    ones = [1] * len(kernel)
    strides, dilations = attribute(node, "strides", ones), attribute(node, "dilations", ones)
    begins = attribute(node, "pads", [0] * len(kernel))
    for axis, size in enumerate(kernel):
        places = np.arange(wrote[0].shape[2 + axis])[:, None] + begins[axis]
        places = places - np.arange(size) * dilations[axis]
        yield places // strides[axis], places % strides[axis] == 0


def _transposed_on_values(node: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    """N C M/g times the taps that meet a value of the map."""
    batch, channels, *sizes = read[0].shape
    taps = 1
    for size, (index, meets) in zip(sizes, _taps_of_transposed(node, read, wrote), strict=True):
        taps *= int((meets & (index >= 0) & (index < size)).sum())
    return int(batch * channels * read[1].shape[1] * taps)


def _conv_on_values(weights: int) -> Rule:
    """N M C/g times the taps that meet a value of the map."""

    def count(node: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
        filters, channels, *kernel = read[weights].shape
        ones = [1] * len(kernel)
        strides, dilations = attribute(node, "strides", ones), attribute(node, "dilations", ones)
        taps = 1
        for axis, tap_count in enumerate(kernel):
            size, outputs = read[0].shape[2 + axis], wrote[0].shape[2 + axis]
            reach = (outputs - 1) * strides[axis] + (tap_count - 1) * dilations[axis] + 1
            begin = _padding(node, axis, len(kernel), reach - size)
            places = np.arange(outputs)[:, None] * strides[axis] - begin
            places = places + np.arange(tap_count) * dilations[axis]
            taps *= int(((places >= 0) & (places < size)).sum())
        return int(read[0].shape[0] * filters * channels * taps)

    return count


def _padding(node: NodeProto, axis: int, axes: int, missing: int) -> int:
    """Padding in front of an axis; SAME shares out what is missing."""
    way = attribute(node, "auto_pad", b"NOTSET")
    if way == b"NOTSET":
        return int(attribute(node, "pads", [0] * axes)[axis])
    return 0 if way == b"VALID" else (max(missing, 0) + int(way == b"SAME_LOWER")) // 2


def _product(_: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    return int(wrote[0].size * read[0].shape[-1])


def _gemm(node: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    summed = read[0].shape[0 if attribute(node, "transA", 0) else 1]
    return int(wrote[0].size * summed)


def _einsum(node: NodeProto, read: Sequence[Array], _: Sequence[Array]) -> int:
    """All axes of two operands, each once; an ellipsis stands for those that have no letter."""
    if len(read) != 2:
        raise UncountedError("an Einsum of other than two operands")
    terms = attribute(node, "equation", b"").decode().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, array in zip(terms, read, strict=True):
        free = array.ndim - len(term.replace("...", ""))
        axes = [*term.replace("...", "." * free)]
        numbered = [f".{axes[i:].count('.')}" if a == "." else a for i, a in enumerate(axes)]
        for axis, size in zip(numbered, array.shape, strict=True):
            sizes[axis] = max(size, sizes.get(axis, 1))
    return math.prod(sizes.values())


def _recurrent(_: NodeProto, read: Sequence[Array], __: Sequence[Array]) -> int:
    """W and R are gone through once at each step of each sequence of the batch."""
    steps, batch = read[0].shape[:2]  # their product, whatever the layout
    return int(steps * batch * (read[1].size + read[2].size))


def _attention(_: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    """com.microsoft: x times W, then scores and their sums, as wide as q and v together."""
    batch, length, *_width = read[0].shape
    projected = batch * length * read[1].size
    return int(projected + batch * length**2 * (read[1].shape[1] - wrote[0].shape[-1]))


def _fused_product(node: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    """com.microsoft: a MatMul whose first operand may be turned."""
    return int(wrote[0].size * read[0].shape[-2 if attribute(node, "transA", 0) else -1])


def _packed_product(node: NodeProto, _: Sequence[Array], wrote: Sequence[Array]) -> int:
    """com.microsoft: weights of some bits, which stand for K rows each."""
    return int(wrote[0].size * attribute(node, "K", 0))


def _heads(_: NodeProto, read: Sequence[Array], __: Sequence[Array]) -> int:
    """com.microsoft: scores of each query with each key, and their sums of values."""
    if read[0].ndim != 3 or any(each is None or each.ndim != 3 for each in read[1:3]):
        raise UncountedError("a MultiHeadAttention of packed operands")
    batch, queries, width = read[0].shape
    return int(batch * queries * read[1].shape[1] * (width + read[2].shape[2]))


RULES: Mapping[str, Rule] = {
    "Conv": _conv(1),
    "FusedConv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Gemm": _gemm,
    "QGemm": _gemm,
    "Einsum": _einsum,
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    "Attention": _attention,
    "FusedMatMul": _fused_product,
    "MatMulNBits": _packed_product,
    "MultiHeadAttention": _heads,
}

ON_VALUES: Mapping[str, Rule] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger"), _conv_on_values(1)),
    "QLinearConv": _conv_on_values(3),
    "ConvTranspose": _transposed_on_values,
}
"""Where it differs from `RULES`: taps on padding left out."""

OPERATIONS = ("DFT", "STFT")
"""Counted as operations by eapc, as those of pooling are, and as no MACs in both counts."""
