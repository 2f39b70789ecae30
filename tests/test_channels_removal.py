"""Counting the channels that are left, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from builders import ints
from channel_builders import groups_of
from test_channels import plain, residual

from eapc.channels import channels_left, remove_channels
from eapc.model import Model


def cut(model: Model, name: str, *kept: int) -> Model:
    return remove_channels(model, groups_of(model), {name: ints(*kept)})


def test_indices_are_those_of_the_smaller_axis() -> None:
    """Of 7 without 0 and 6, then without the last two, then all but one."""
    model = plain()
    group = groups_of(model).by_name()["three"]
    first = cut(model, "three", 1, 2, 3, 4, 5)
    second = cut(first, "three", 0, 1, 2)
    third = cut(second, "three", 2)
    models = (model, first, second, third)
    assert [channels_left(group, model, each) for each in models] == [7, 5, 3, 1]
    group = groups_of(second).by_name()["three"]
    assert [channels_left(group, second, each) for each in (second, third)] == [3, 1]


def test_a_channel_that_keeps_one_of_its_places_is_left() -> None:
    """Pairs of the places of `three` are taken for channels."""
    model = plain()
    group = groups_of(model).by_name()["three"]
    made = next(each for each in group.slices if each.tensor not in model.constants.plain)
    pairs = replace(group, slices=(replace(made, indices=np.arange(6).reshape(3, 2)),))
    assert channels_left(pairs, model, cut(model, "three", 1, 3, 4, 5, 6)) == 3
    assert channels_left(pairs, model, cut(model, "three", 3, 4, 5, 6)) == 2


def test_other_groups_do_not_count() -> None:
    model = plain()
    group = groups_of(model).by_name()["one"]
    assert channels_left(group, model, cut(model, "three", 0)) == group.size


def test_a_tensor_that_went_has_no_channels() -> None:
    model = residual()
    groups = groups_of(model)
    group = next(each for each in groups.groups if each.may_vanish)
    assert channels_left(group, model, cut(model, group.name)) == 0
