"""Kernels that move over a map: whether they fit into it at all."""

from __future__ import annotations

from typing import NamedTuple

from eapc.model.graph import Node
from eapc.model.tensors import Shape


class Excess(NamedTuple):
    """An axis of a map that is shorter, padding included, than what a kernel spans there."""

    axis: int
    room: int
    span: int

    def __str__(self) -> str:
        return (
            f"its kernel spans {self.span} along axis {self.axis}, where its input has "
            f"{self.room} with padding; see --input-shape"
        )


def excess_of(node: Node, x: Shape, kernel: Shape) -> Excess | None:
    """The first axis of x (N, C, *spatial) that a convolution's or pooling's kernel exceeds.

    `kernel` is the weights' spatial extent, which `kernel_shape` goes before.
    """
    kernel = tuple(node.attribute("kernel_shape", None) or kernel)
    if len(kernel) != len(x) - 2 or node.attribute("auto_pad", "NOTSET").startswith("SAME"):
        return None
    none = (0,) * len(kernel)
    pads = tuple(node.attribute("pads", none + none))
    steps = node.attribute("dilations", (1,) * len(kernel))
    for axis, (size, begin, end, taps, step) in enumerate(
        zip(x[2:], pads, pads[len(kernel) :], kernel, steps, strict=False), 2
    ):
        room, span = size + begin + end, step * (taps - 1) + 1
        if room < span:
            return Excess(axis, room, span)
    return None


def weights_fault(node: Node, weights: Shape) -> str:
    """Where a convolution's attributes contradict the shape of its weights; empty if nowhere.

    The first axis of weights is what groups share out: filters, of a transposed one channels.
    """
    said, groups = node.attribute("kernel_shape", None), node.attribute("group", 1)
    axes = len(weights) - 2
    if axes < 1:
        return f"its weights have shape {list(weights)}, a kernel has three axes or more"
    for name, needed in (("strides", axes), ("dilations", axes), ("pads", 2 * axes)):
        if len(node.attribute(name, None) or (1,) * needed) != needed:
            return f"{name} is {list(node.attribute(name, ()))}, its kernel has {axes} axes"
    if said and tuple(said) != weights[2:]:
        return f"kernel_shape is {list(said)}, its weights' kernel is {list(weights[2:])}"
    if weights[0] % groups:
        return f"its weights' {weights[0]} channels do not divide into {groups} groups"
    return ""
