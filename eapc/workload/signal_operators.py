"""Workloads of Fourier transforms: DFT and STFT.

A transform is priced as the fast one that runtimes run it by, not as a product with a matrix of
cosines: whoever means that product exports a MatMul, which has a rule of its own. Operations are
real additions and multiplications by the convention that FFTs are compared by (Frigo, Johnson,
Proc. IEEE 93(2), 2005): 5 n log2 n for n complex values and half of that for real ones, whatever
n's factors. They count as operations and not as MACs, as those of pooling do: few of them
accumulate, and no weights take part that could be zero.
"""

from __future__ import annotations

import math

from eapc.workload.loop_nests import StreamWorkload
from eapc.workload.rules import Operands, Part, UnmodelledError, Work, workload_rule

_COMPLEX = 5.0
_REAL = 2.5
"""Operations for each of n log2 n."""


def _operations(transforms: int, length: int, each: float) -> int:
    """Of so many transforms of a length; one of a single value is that value."""
    return math.ceil(transforms * each * length * math.log2(length)) if length > 1 else 0


def _streamed(operands: Operands, operations: int) -> Work:
    """The signal is read once, frames that overlap included, and the spectrum written once."""
    node = operands.node
    load = StreamWorkload(
        operations=operations,
        ifmap_words=math.prod(operands.input(0)),
        ofmap_words=math.prod(operands.output()),
    )
    return Work((Part(load, ifmap=node.inputs[0], ofmap=node.outputs[0]),))


@workload_rule("DFT")
def dft(operands: Operands) -> Work:
    """x (*lead, n, *rest, 1 or 2) along one axis: c n log2 n operations for each other index.

    c is 5, of a real signal (one part per value, on either side) 2.5. Of a one-sided spectrum of
    b values whose length is computed n is taken to be 2 (b - 1).
    """
    x, y, node = operands.input(0), operands.output(), operands.node
    axis = _axis(operands, len(x))
    halved = node.attribute("onesided", 0) and not node.attribute("inverse", 0)
    length = y[axis]
    if halved:
        given = operands.number(1) if node.input(1) else x[axis]
        length = 2 * (y[axis] - 1) if given is None else given
    others = math.prod(y[:-1]) // max(1, y[axis])
    each = _REAL if 1 in (x[-1], y[-1]) else _COMPLEX
    return _streamed(operands, _operations(others, length, each))


_AXIS_IS_INPUT_FROM = 20
"""Opset from which the axis is an input, -2 where it is left out; before an attribute, or 1."""


def _axis(operands: Operands, rank: int) -> int:
    if operands.opset < _AXIS_IS_INPUT_FROM:
        return int(operands.node.attribute("axis", 1)) % rank
    if not operands.node.input(2):
        return rank - 2
    given = operands.number(2)
    if given is None:
        raise UnmodelledError("its axis is computed, not constant")
    return given % rank


@workload_rule("STFT")
def stft(operands: Operands) -> Work:
    """x (batch, samples[, 1 or 2]) in frames of n: batch * frames * (c n log2 n + n of a window).

    c is 5, of a real signal 2.5; a window multiplies each value of a frame. The length is that
    of the window, or given, or what the spectrum tells, as of a DFT.
    """
    x, y, node = operands.input(0), operands.output(), operands.node
    windowed = bool(node.input(2))
    if windowed:
        (length,) = operands.input(2)
    elif node.input(3):
        halved = node.attribute("onesided", 1)
        length = operands.number(3) or (2 * (y[2] - 1) if halved else y[2])
    else:
        length = x[1]
    frames, parts = y[0] * y[1], x[2] if len(x) > 2 else 1
    operations = _operations(frames, length, _REAL if parts == 1 else _COMPLEX)
    return _streamed(operands, operations + windowed * frames * length * parts)
