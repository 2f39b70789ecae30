"""Picked channels: by constant indices, in steps, and by bounds that a graph computes."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array, ints, op
from channel_builders import a_third, axes_of, error_without_dead, groups_of, net, removal_error
from onnx import NodeProto
from test_channels import IMAGE, weights

from eapc.channels import remove_channels
from eapc.model import Model


def picked(nodes: list[NodeProto], read: int, tensors: dict[str, Array]) -> Model:
    """`one` makes 8 channels c, nodes pick `read` of them to d, `two` reads those."""
    made = [op("Conv", "x w1", "c", "one"), *nodes, op("Conv", "d w2", "y", "two")]
    return net(made, IMAGE, {**weights(w1=(8, 3, 1, 1), w2=(4, read, 1, 1)), **tensors})


def gathered(*indices: int) -> Model:
    return picked([op("Gather", "c order", "d", axis=1)], len(indices), {"order": ints(*indices)})


def kept_indices(model: Model, *stay: int) -> list[int]:
    """What is left of the indices once these of the group's channels stay."""
    name = groups_of(model).groups[0].name
    found = remove_channels(model, groups_of(model), {name: ints(*stay)}).constants.value("order")
    assert found is not None
    return [int(index) for index in found]


def test_a_permutation() -> None:
    """Of the channels 0, 3 and 6, in the order 6, 3, 0, all move up."""
    model = gathered(7, 6, 5, 4, 3, 2, 1, 0)
    assert axes_of(model) == {"one": (8, {("w1", 0): 1, ("order", 0): 1, ("w2", 1): 1})}
    assert kept_indices(model, 0, 3, 6) == [2, 1, 0]
    assert removal_error(model, {"one": ints(1, 4)}) < 1e-6


def test_a_selection() -> None:
    """2, 5 and -1, which is 7, are read; whatever is not goes with nothing."""
    model = gathered(5, 2, -1)
    found = axes_of(model)
    assert found == {
        "one": (5, {("w1", 0): 1}),
        "one#2": (3, {("w1", 0): 1, ("order", 0): 1, ("w2", 1): 1}),
    }
    smaller = remove_channels(model, groups_of(model), {"one": ints(4), "one#2": ints(0, 2)})
    order = smaller.constants.value("order")
    assert order is not None
    assert order.tolist() == [0, 2]  # 2, 6 and 7 stay: 2 is the first of them, 7 the last
    assert removal_error(model, {"one": ints(0, 1), "one#2": ints(1)}) < 1e-6


def test_an_index_that_is_read_twice() -> None:
    model = gathered(1, 0, 3, 2, 5, 4, 7, 6, 0, 1, 2, 3, 4, 5, 6, 7)
    assert axes_of(model) == {"one": (8, {("w1", 0): 1, ("order", 0): 2, ("w2", 1): 2})}
    assert kept_indices(model, 0, 1, 7) == [1, 0, 2, 0, 1, 2]
    assert removal_error(model, {"one": ints(0, 6)}) < 1e-6


def test_indices_that_another_node_reads_are_copied() -> None:
    nodes = [
        op("Gather", "c order", "a", axis=1),
        op("Gather", "x2 order", "b", axis=1),
        op("Add", "a b", "d"),
    ]
    model = picked(
        [op("Conv", "x w3", "x2", "other"), *nodes],
        4,
        {**weights(w3=(5, 3, 1, 1)), "order": ints(3, 1, 2, 0)},
    )
    assert removal_error(model, a_third(groups_of(model))) < 1e-6
    tied = next(group for group in groups_of(model).groups if "other" in group.producers)
    smaller = remove_channels(model, groups_of(model), {tied.name: ints(1, 3)})
    assert removal_error(smaller, a_third(groups_of(smaller))) < 1e-6


def test_every_other_channel() -> None:
    """Evens plus odds: pairs go, and the same steps pick what is left."""
    nodes = [
        op("Slice", "c zero end one_ two_", "a"),
        op("Slice", "c one_ end one_ two_", "b"),
        op("Add", "a b", "d"),
    ]
    numbers = {"zero": ints(0), "one_": ints(1), "two_": ints(2), "end": ints(99)}
    model = picked(nodes, 4, numbers)
    assert axes_of(model) == {"one": (4, {("w1", 0): 2, ("w2", 1): 1})}
    assert removal_error(model, {"one": ints(1, 2)}) < 1e-6


def test_channels_back_to_front() -> None:
    numbers = {"last": ints(-1), "end": ints(-99), "one_": ints(1), "back": ints(-1)}
    model = picked([op("Slice", "c last end one_ back", "d")], 8, numbers)
    assert axes_of(model) == {"one": (8, {("w1", 0): 1, ("w2", 1): 1})}
    assert removal_error(model, {"one": ints(0, 5)}) < 1e-6


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [(-7, 99, 2), (1, 6, 3), (0, 99, 3), (2, 99, 2), (-2, -99, -1)],
)
def test_steps_that_would_pick_others_of_what_is_left(start: int, end: int, step: int) -> None:
    read = len(range(8)[start:end:step])
    numbers = {"s": ints(start), "e": ints(end), "axis": ints(1), "t": ints(step)}
    assert axes_of(picked([op("Slice", "c s e axis t", "d")], read, numbers)) == {}


def halves(scale: int = 2) -> Model:
    """tanh of the first half by sigmoid of the second, at (n + 1) // 2 channels."""
    nodes = [
        op("Shape", "c", "s"),
        op("Gather", "s at", "n", axis=0),
        op("Add", "n one_", "n1"),
        op("Div", "n1 two_", "half"),
        op("Slice", "c zero half at", "a"),
        op("Mul", "half scale", "end"),
        op("Slice", "c half end at", "b"),
        op("Tanh", "a", "ta"),
        op("Sigmoid", "b", "sb"),
        op("Mul", "ta sb", "d"),
    ]
    numbers = {"at": ints(1), "one_": ints(1), "two_": ints(2), "zero": ints(0)}
    return picked(nodes, 4, {**numbers, "scale": ints(scale)})


def test_halves_at_computed_bounds() -> None:
    model = halves()
    assert axes_of(model) == {"one": (4, {("w1", 0): 2, ("w2", 1): 1})}
    assert error_without_dead(model, {"w2": (slice(None), ints(0, 2))}) < 1e-6
    smaller = remove_channels(model, groups_of(model), {"one": ints(0, 3)})
    assert np.array_equal(smaller.constants["two_"], ints(2))


def test_a_computed_end_beyond_the_last_channel() -> None:
    assert axes_of(halves(3)) == {"one": (4, {("w1", 0): 2, ("w2", 1): 1})}


def test_parts_that_must_stay_halves_of_the_whole() -> None:
    """They are read apart: a channel of one half cannot go without one of the other."""
    nodes = [
        op("Shape", "c", "s"),
        op("Gather", "s at", "n", axis=0),
        op("Div", "n two_", "half"),
        op("Slice", "c zero half at", "a"),
        op("Slice", "c half far at", "b"),
        op("Conv", "a w3", "e", "three"),
        op("Conv", "b w3", "f", "four"),
        op("Add", "e f", "d"),
    ]
    numbers = {"at": ints(1), "two_": ints(2), "zero": ints(0), "far": ints(99)}
    apart = [*nodes[:6], op("Conv", "b w4", "f", "four"), nodes[-1]]
    tensors = {**weights(w3=(6, 4, 1, 1), w4=(6, 4, 1, 1)), **numbers}
    tied = axes_of(picked(nodes, 6, tensors))
    assert tied["one"] == (4, {("w1", 0): 2, ("w3", 1): 1})
    assert "one" not in axes_of(picked(apart, 6, tensors))


def test_a_bound_that_the_input_decides_leaves_the_axis_whole() -> None:
    """As many channels as x has rows: at another height others would be read."""
    nodes = [
        op("Shape", "x", "s"),
        op("Gather", "s at", "rows", axis=0),
        op("Slice", "c zero rows one_", "b"),
        op("ReduceSum", "b one_", "d"),
    ]
    numbers = {"at": ints(2), "zero": ints(0), "one_": ints(1)}
    assert "one" not in axes_of(picked(nodes, 1, numbers))
