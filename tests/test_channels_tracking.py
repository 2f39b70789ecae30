"""Counting the channels that are left, by hand."""

from __future__ import annotations

import numpy as np
from builders import Array, ints
from channel_builders import groups_of
from test_channels import plain

from eapc.channels import ChannelTracker


def counted(*removed: Array) -> list[int]:
    """Channels of `three` (7 of them) behind each removal along the axis that is followed."""
    model = plain()
    tracker = ChannelTracker.of(groups_of(model).by_name()["three"], model)
    left = [tracker.left_in(model)]
    for indices in removed:
        tracker = tracker.without({(tracker.tensor, "", tracker.axis): indices})
        left.append(tracker.left_in(model))
    return left


def test_indices_are_those_of_the_smaller_axis() -> None:
    """7, then without 0 and 6; of what was 1 to 5 the last two are 3 and 4 now."""
    assert counted(ints(0, 6), ints(3, 4), ints(0, 1, 2)) == [7, 5, 3, 0]


def test_a_channel_that_keeps_one_of_its_places_is_left() -> None:
    model = plain()
    group = groups_of(model).by_name()["three"]
    pairs = ChannelTracker(group, "f", 1, np.arange(6), np.repeat(np.arange(3), 2))
    made = ChannelTracker.of(group, model).tensor
    once = ChannelTracker(group, made, 1, pairs.places, pairs.channels).without(
        {(made, "", 1): ints(0, 2)}
    )
    assert once.left_in(model) == 3
    assert once.without({(made, "", 1): ints(0)}).left_in(model) == 2


def test_other_axes_and_tensors_do_not_count() -> None:
    model = plain()
    tracker = ChannelTracker.of(groups_of(model).by_name()["one"], model)
    assert tracker.without({("other", "", tracker.axis): ints(0)}) is tracker
    assert tracker.without({(tracker.tensor, "", tracker.axis + 1): ints(0)}) is tracker


def test_a_tensor_that_went_has_no_channels() -> None:
    model = plain()
    tracker = ChannelTracker.of(groups_of(model).by_name()["one"], model)
    other = plain().to_proto()
    for node in other.graph.node:
        for names in (node.input, node.output):
            names[:] = ["else" if name == tracker.tensor else name for name in names]
    assert tracker.left_in(type(model).from_proto(other)) == 0
