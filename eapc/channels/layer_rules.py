"""Axis rules of the operators that have weights: convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eapc.channels.axis_rules import (
    Effect,
    LeftWholeError,
    Options,
    Port,
    Site,
    Tie,
    Weights,
    axis_rule,
    axis_rule_of,
    no_rule,
    span,
)
from eapc.channels.elementwise_rules import tie_last_axes
from eapc.channels.groups import Number
from eapc.operators import operator_of


@axis_rule("Conv")
def convolution(site: Site) -> Iterator[Effect]:
    """Weights (M, C / groups, *kernel): filters make axis 1 of y, their inputs read axis 1 of x."""
    yield from _convolved(site, transposed=False)


@axis_rule("ConvTranspose")
def transposed_convolution(site: Site) -> Iterator[Effect]:
    """Weights (C, M / groups, *kernel): the axes of a convolution's weights change places."""
    yield from _convolved(site, transposed=True)


def _convolved(site: Site, transposed: bool) -> Iterator[Effect]:
    x, w, y = site.input(0), site.input(1), site.output()
    groups = int(site.node.attribute("group", 1))
    yield Tie(x, 0, y, 0)
    for bias in site.given(2):
        yield Tie(bias, 0, y, 1)
    kinds = _ways(groups, x.shape[1] // groups, y.shape[1] // groups)
    yield Options(len(kinds))
    whole = site.chosen(kinds) == "whole groups"
    long, short = (x, y) if transposed else (y, x)
    yield from (_whole_groups if whole else _same_positions)(w, long, short, groups)
    if whole:
        per = w.shape[0] // groups
        yield Number(site.node.key, 0, w.tensor, 0, 0, w.shape[0], per, attribute="group")
    if site.is_weights(w.tensor):
        makes, reads = (0, 0) if whole else (1, 0) if transposed else (0, 1)
        yield Weights(w, makes, makes=True)
        yield Weights(w, reads, makes=False)


def _ways(groups: int, inputs: int, outputs: int) -> tuple[str, ...]:
    """Ways to keep groups equal, the one with more channels to choose from first.

    A group can go whole, input and output channels with it; or the same position can go in all
    groups, inputs and outputs apart.
    """
    if groups == 1:
        return ("same positions",)
    if inputs == 1 or outputs == 1:
        return ("whole groups",)
    ways = ("whole groups", "same positions")
    return ways if groups >= inputs + outputs else ways[::-1]


def _whole_groups(w: Port, long: Port, short: Port, groups: int) -> Iterator[Tie]:
    """All of a group is one channel; `long` has the channels of the weights' axis 0."""
    rows = np.arange(w.shape[0])
    firsts = rows // (w.shape[0] // groups) * (w.shape[0] // groups)
    yield Tie(w, 0, long, 1)
    yield Tie(w, 0, w, 0, rows, firsts)
    others = np.arange(short.shape[1]) // (short.shape[1] // groups)
    yield Tie(short, 1, w, 0, None, others * (w.shape[0] // groups))


def _same_positions(w: Port, long: Port, short: Port, groups: int) -> Iterator[Tie]:
    """The channel at one position of every group is one channel, inputs and outputs apart."""
    rows = np.arange(w.shape[0])
    yield Tie(w, 0, long, 1)
    yield Tie(w, 0, w, 0, rows, rows % (w.shape[0] // groups))
    others = np.arange(short.shape[1])
    yield Tie(short, 1, w, 1, None, others % (short.shape[1] // groups))


@axis_rule_of("product")
def product(site: Site) -> Iterator[Effect]:
    """Y = A' B' + C, A' (..., m, k) and B' (k, n) turned as the attributes of the layout say."""
    row, attributes = operator_of(site.node), site.node.attributes
    if row.weights is None:
        raise no_rule(row.full_name)
    a, b, y = site.input(0), site.input(row.weights.operand), site.output()
    if b.rank != 2 or a.rank < 2:
        raise LeftWholeError("its weights are no matrix, or what it reads is none")
    turned = int(bool(attributes.get(row.weights.x_swapped_by, 0)))
    makes, reads = row.weights.axes(attributes, b.rank)
    yield from _stacked(a, y, 2)
    yield Tie(a, a.rank - 2 + turned, y, y.rank - 2)
    yield Tie(a, a.rank - 1 - turned, b, reads)
    yield Tie(b, makes, y, y.rank - 1)
    for bias in site.given(2):
        yield from tie_last_axes(bias, y)
    if site.is_weights(b.tensor):
        yield Weights(b, makes, makes=True)
        yield Weights(b, reads, makes=False)


@axis_rule("MatMul")
def matmul(site: Site) -> Iterator[Effect]:
    """(..., m, k) @ (..., k, n); an operand of one axis has only its k."""
    a, b, y = site.input(0), site.input(1), site.output()
    yield Tie(a, a.rank - 1, b, max(b.rank - 2, 0))
    if a.rank > 1:
        yield Tie(a, a.rank - 2, y, y.rank - 2 if b.rank > 1 else y.rank - 1)
    if b.rank > 1:
        yield Tie(b, b.rank - 1, y, y.rank - 1)
    tail = int(a.rank > 1) + int(b.rank > 1)
    yield from _stacked(a, y, tail)
    yield from _stacked(b, y, tail)
    if site.is_weights(b.tensor) and b.rank == 2:
        yield Weights(b, 1, makes=True)
        yield Weights(b, 0, makes=False)


def _stacked(port: Port, y: Port, tail: int) -> Iterator[Tie]:
    """Tie the axes before an operand's matrix to those before the result's."""
    count = port.rank - 2
    for axis in range(count):
        target = y.rank - tail - count + axis
        if port.shape[axis] == y.shape[target]:
            yield Tie(port, axis, y, target)


@axis_rule("DepthToSpace")
def depth_to_space(site: Site) -> Iterator[Effect]:
    """One channel of y is made of blocksize^2 channels of x, in the order that `mode` says."""
    x, y = site.input(0), site.output()
    if site.node.attribute("mode", "DCR") == "CRD":
        shallow = np.arange(x.shape[1]) // (x.shape[1] // y.shape[1])
    else:
        shallow = np.arange(x.shape[1]) % y.shape[1]
    yield Tie(x, 0, y, 0)
    yield Tie(x, 1, y, 1, None, shallow)


@axis_rule("SpaceToDepth")
def space_to_depth(site: Site) -> Iterator[Effect]:
    """One channel of x becomes blocksize^2 channels of y."""
    x, y = site.input(0), site.output()
    yield Tie(x, 0, y, 0)
    yield Tie(y, 1, x, 1, None, span(0, y.shape[1]) % x.shape[1])
