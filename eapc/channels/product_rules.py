"""Axis rules of the operators that have weights or multiply matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from eapc.channels.constraints import (
    Axis,
    Constraint,
    Dependency,
    FixedNodeError,
    Operand,
    Ways,
    Weights,
    last_axes,
)
from eapc.channels.nodes import NodeAxes, axis_rule
from eapc.operators import WeightLayout


@axis_rule("Conv", "ConvTranspose")
def convolution(node: NodeAxes) -> Iterator[Constraint]:
    """Weights (M, C / groups, *kernel): filters make axis 1 of y, their inputs read axis 1 of x.

    Of a transposed one they are (C, M / groups, *kernel). Whole groups can go, or what stands at
    one position of every group, inputs and outputs apart.
    """
    yield from convolved(node, node.input(0), node.input(1), node.given(2))


def convolved(
    node: NodeAxes, x: Operand, w: Operand, vectors: Iterable[Operand]
) -> Iterator[Constraint]:
    """The same of any operands; the vectors have one number for each filter."""
    y, groups = node.output(), int(node.attribute("group", 1))
    yield Dependency(x.axis(0), y.axis(0))
    for vector in vectors:
        yield Dependency(vector.axis(0), y.axis(1))
    ways = _ways(groups, x.shape[1] // groups, y.shape[1] // groups)
    yield Ways(len(ways))
    transposed = node.op_type == "ConvTranspose"
    first, second = (x.axis(1), y.axis(1)) if transposed else (y.axis(1), x.axis(1))
    makes, reads = (w.axis(1), w.axis(0)) if transposed else (w.axis(0), w.axis(1))
    rows, width = np.arange(w.shape[0]), w.shape[0] // groups
    group_of_second, place_of_second = np.divmod(np.arange(second.size), second.size // groups)
    yield Dependency(w.axis(0), first)
    if node.chosen(ways) == "whole groups":
        makes = reads = w.axis(0)
        yield Dependency(w.axis(0), w.axis(0), rows, rows // width * width)
        yield Dependency(second, w.axis(0), None, group_of_second * width)
        yield node.count(w.axis(0), 0, w.shape[0], "group", per=width)
    else:
        yield Dependency(w.axis(0), w.axis(0), rows, rows % width)
        yield Dependency(second, w.axis(1), None, place_of_second)
    yield from _weights(node, makes, reads)


def _ways(groups: int, inputs: int, outputs: int) -> tuple[str, ...]:
    """Ways to keep groups equal, the one with more channels to choose from first."""
    if groups == 1:
        return ("same positions",)
    if inputs == 1 or outputs == 1:
        return ("whole groups",)
    ways = ("whole groups", "same positions")
    return ways if groups >= inputs + outputs else ways[::-1]


def _weights(node: NodeAxes, makes: Axis, reads: Axis) -> Iterator[Constraint]:
    if node.graph.is_weights(makes.operand.tensor):
        yield Weights(makes, makes=True)
        yield Weights(reads, makes=False)


@axis_rule("product")
def product(node: NodeAxes) -> Iterator[Constraint]:
    """Y = A' B' + C, A' (..., m, k) and B' (..., k, n) turned as the attributes of the layout say.

    An operand of one axis has only its k.
    """
    layout = node.row.weights
    if layout is None:
        raise FixedNodeError(f"no axis rule for {node.row.full_name}")
    a, b = node.input(0), node.input(layout.operand)
    yield from multiplied(node, layout, a, b, node.given(2))


def multiplied(
    node: NodeAxes, layout: WeightLayout, a: Operand, b: Operand, biases: Iterable[Operand]
) -> Iterator[Constraint]:
    """The same of any operands; what is added to Y is broadcast."""
    attributes, y = node.node.attributes, node.output()
    makes, reads = layout.axes(attributes, b.rank)
    rows = ["k", "m"] if attributes.get(layout.x_swapped_by, 0) else ["m", "k"]
    columns = ["n", "k"] if makes < reads else ["k", "n"]
    kept = ["m"][: a.rank - 1] + ["n"][: b.rank - 1]
    terms = [(a, _stack(a.rank - 2) + rows[-a.rank :]), (b, _stack(b.rank - 2) + columns[: b.rank])]
    yield from _contraction(terms, y, _stack(y.rank - len(kept)) + kept)
    for bias in biases:
        yield from last_axes(bias, y)
    if b.rank >= 2:
        yield from _weights(node, b.axis(makes), b.axis(reads))
    if a.rank >= 2 and not node.graph.is_weights(b.tensor):
        stack = a.rank - 2
        yield from _weights(node, a.axis(stack + rows.index("m")), a.axis(stack + rows.index("k")))


def _stack(count: int) -> list[str]:
    """Letters of the axes before a matrix, which are aligned at their end."""
    return [str(place) for place in range(-count, 0)]


_Terms = Sequence[tuple[Operand, Sequence[str]]]


def _contraction(terms: _Terms, y: Operand, result: Sequence[str]) -> Iterator[Constraint]:
    """One or two operands, a letter for each axis: a letter that y lacks is summed away."""
    for axis, letter in zip(y.axes(), result, strict=True):
        for operand, term in terms:
            if letter in term and operand.shape[term.index(letter)] == axis.size:
                yield Dependency(operand.axis(term.index(letter)), axis)
    (first, letters), *others = terms
    for other, term in others:
        for axis, letter in zip(first.axes(), letters, strict=True):
            if letter in term and letter not in result:
                yield Dependency(axis, other.axis(term.index(letter)))


@axis_rule("Einsum")
def einsum(node: NodeAxes) -> Iterator[Constraint]:
    """A letter of the result ties its operands to that; one that is summed away ties the two.

    Letters that one operand alone has, and sums, stay whole. So does everything where letters are
    repeated or left to dots, and where there are more than two operands, or one twice.
    """
    given = node.attribute("equation", "")
    equation = (given.decode() if isinstance(given, bytes) else str(given)).replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    is_plain = arrow and all(len(set(term)) == len(term) for term in (*terms, result))
    if not is_plain or "." in equation:
        raise FixedNodeError("its equation is more than products of axes")
    if len(terms) > 2 or len(set(node.node.inputs)) < len(terms):
        raise FixedNodeError("it multiplies more than two tensors, or one by itself")
    operands = [node.input(place) for place in range(len(terms))]
    ranks = [operand.rank for operand in (*operands, node.output())]
    if ranks != [len(term) for term in (*terms, result)]:
        raise FixedNodeError("its operands do not fit its equation")
    yield from _contraction(list(zip(operands, terms, strict=True)), node.output(), result)
