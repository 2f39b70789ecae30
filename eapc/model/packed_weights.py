"""Weights of a few bits that an operator holds packed in bytes: unpacked, packed, counted."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from eapc.model.codes import Codes, Dequantization
from eapc.model.constants import Constants
from eapc.model.graph import Node
from eapc.model.tensors import Array
from eapc.operators import operator_of

_PACKED_BITS = (2, 4, 8)

_TYPES = {2: np.dtype(ml_dtypes.uint2), 4: np.dtype(ml_dtypes.uint4), 8: np.dtype(np.uint8)}


@dataclass(frozen=True)
class Packing:
    """How a MatMulNBits packs its codes (outputs, inputs): blocks of inputs, lower bits first.

    The last block of a row may reach beyond the inputs; what stands there means nothing.
    """

    bits: int
    outputs: int
    inputs: int
    block: int

    @property
    def shape(self) -> tuple[int, int]:
        """That of the codes."""
        return self.outputs, self.inputs

    @property
    def blocks(self) -> int:
        """Of one row."""
        return -(-self.inputs // self.block)

    def unpacked(self, packed: Array) -> Array:
        """Codes (outputs, inputs), uint8 each."""
        return self._padded(packed)[:, : self.inputs]

    def packed(self, codes: Array, before: Array) -> Array:
        """The inverse; `before` has the bytes' shape, and what is to stand beyond the inputs."""
        padded = self._padded(before)
        padded[:, : self.inputs] = codes.astype(np.uint8)
        each = 8 // self.bits
        words = padded.reshape(self.outputs, self.blocks, self.block // each, each)
        shifts = np.arange(0, 8, self.bits, dtype=np.uint8)
        found: Array = np.bitwise_or.reduce(words << shifts, axis=-1).astype(before.dtype)
        return found.reshape(before.shape)

    def codes(self, constants: Constants, reading: Dequantization) -> Codes:
        """How the codes are read, each with its block's scale and zero point."""
        scales = constants[reading.scales[0]].reshape(self.outputs, self.blocks)
        zero: Array = np.full(scales.shape, 1 << (self.bits - 1))
        if reading.zero:
            zero = self.zero_points(constants[reading.zero])
        scale, zero = (
            np.repeat(each, self.block, axis=1)[:, : self.inputs] for each in (scales, zero)
        )
        return Codes(_TYPES[self.bits], scale, zero)

    def zero_points(self, given: Array) -> Array:
        """One for each block, (outputs, blocks), of a node's operand: packed likewise, or not."""
        if given.dtype != np.uint8:
            return given.reshape(self.outputs, self.blocks)
        rows = _unpacked(given.reshape(self.outputs, -1), self.bits)
        return rows.reshape(self.outputs, -1)[:, : self.blocks]

    def _padded(self, packed: Array) -> Array:
        words = _unpacked(packed.view(np.uint8).reshape(self.outputs, self.blocks, -1), self.bits)
        return words.reshape(self.outputs, self.blocks * self.block)


def packing_of(node: Node) -> Packing | None:
    """How a node packs its weights; None where none are known of it."""
    bits, block = node.attribute("bits", 4), node.attribute("block_size", 32)
    if node.attribute("weight_prepacked", 0) or bits not in _PACKED_BITS or block * bits % 8:
        return None
    return Packing(bits, node.attribute("N", 0), node.attribute("K", 0), block)


def is_packed(node: Node, tensor: str) -> bool:
    """Whether a node reads a tensor as packed weights, of a product's K by N."""
    places = operator_of(node).quantized
    holds = places is not None and places.packed is not None and "K" in node.attributes
    return holds and places is not None and node.input(places.packed or 0) == tensor


def count_packed(constants: Constants, node: Node) -> tuple[int, int] | None:
    """(non-zero, all) weights of a MatMulNBits; None where they are no constant.

    B (N, blocks, bytes of a block), lower bits first; the last block of a row may reach beyond K. A
    weight is zero at its block's zero point, 2^(bits - 1) where none are given, packed likewise or
    one number each, and in a block of scale 0. What cannot be unpacked counts as not zero.
    """
    packed, inputs, outputs = (
        constants.value(node.input(1)), node.attribute("K", 0), node.attribute("N", 0)
    )  # fmt: skip
    if packed is None:
        return None
    if not packed.size:
        return 0, 0
    bits, block = node.attribute("bits", 4), node.attribute("block_size", 32)
    blocks = -(-inputs // block)
    zero = _zero_points(constants, node, bits, outputs, blocks)
    if bits not in _PACKED_BITS or node.attribute("weight_prepacked", 0) or zero is None:
        return inputs * outputs, inputs * outputs
    words = _unpacked(packed, bits).reshape(outputs, blocks, -1)[:, :, :block]
    held = words != zero[:, :, None]
    scales = constants.value(node.input(2))
    if scales is not None:
        held &= (scales.reshape(outputs, blocks) != 0)[:, :, None]
    held = held.reshape(outputs, -1)[:, :inputs]
    return int(np.count_nonzero(held)), inputs * outputs


def _zero_points(
    constants: Constants, node: Node, bits: int, outputs: int, blocks: int
) -> Array | None:
    """One for each block, (outputs, blocks); None where they are computed."""
    name = node.input(3)
    if not name:
        return np.full((outputs, blocks), 1 << (bits - 1))
    given = constants.value(name)
    if given is None or bits not in _PACKED_BITS:
        return None
    if given.dtype == np.uint8:
        return _unpacked(given.reshape(outputs, -1), bits).reshape(outputs, -1)[:, :blocks]
    return given.reshape(outputs, blocks)


def _unpacked(packed: Array, bits: int) -> Array:
    """Words of `bits` bits (..., 8 / bits), the lowest of each byte first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    words: Array = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return words
