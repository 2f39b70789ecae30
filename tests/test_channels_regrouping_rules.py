"""Factors of a Reshape where both sides have several axes."""

from __future__ import annotations

from builders import ints, normal, op
from channel_builders import axes_of, net, removal_error


def test_a_batch_that_merges_with_heads() -> None:
    """(5, 2, 12) as (5, 2 * 3, 4): of 6, what two batches have of a head goes with it."""
    nodes = [
        op("MatMul", "x w", "a", "one"),
        op("Reshape", "a apart", "b"),
        op("Relu", "b", "r"),
        op("Reshape", "r back", "c"),
        op("MatMul", "c wo", "y", "two"),
    ]
    tensors = {"w": normal((7, 12)), "wo": normal((12, 3), 1)}
    numbers = {"apart": ints(5, 6, 4), "back": ints(5, 2, 12)}
    model = net(nodes, (5, 2, 7), {**tensors, **numbers})
    assert axes_of(model) == {}  # the batch is the outer factor and comes first
    nodes[1] = op("Reshape", "a apart", "b")
    tall = net(nodes, (5, 1, 7), {**tensors, "apart": ints(5, 3, 4), "back": ints(5, 1, 12)})
    assert axes_of(tall) == {"one": (3, {("w", 1): 4, ("wo", 0): 4})}
    assert removal_error(tall, {"one": ints(1)}) < 1e-6


def test_axes_that_overlap_otherwise_stay() -> None:
    """(4, 6) as (6, 4) has no common factors but 2, which is nowhere in order."""
    nodes = [
        op("MatMul", "x w", "a", "one"),
        op("Reshape", "a turned", "b"),
        op("MatMul", "b wo", "y", "two"),
    ]
    tensors = {"w": normal((5, 6)), "wo": normal((4, 3), 1), "turned": ints(6, 4)}
    assert axes_of(net(nodes, (4, 5), tensors)) == {}


def test_groups_in_the_middle_of_other_axes() -> None:
    """(N, 6, 4) as (N, 3, 8) and back: three pairs of channels."""
    nodes = [
        op("Conv", "x w1", "a", "one"),
        op("Reshape", "a apart", "b"),
        op("Relu", "b", "r"),
        op("Reshape", "r back", "c"),
        op("Conv", "c w2", "y", "two"),
    ]
    tensors = {"w1": normal((6, 2, 1)), "w2": normal((3, 6, 1), 1)}
    model = net(nodes, ("N", 2, 4), {**tensors, "apart": ints(0, 3, 8), "back": ints(0, 6, 4)})
    assert axes_of(model) == {"one": (3, {("w1", 0): 2, ("w2", 1): 2})}
    assert removal_error(model, {"one": ints(0, 2)}) < 1e-6
