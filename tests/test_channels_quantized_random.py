"""Seeded random networks of codes: what is dead is found, goes, and chosen channels go with it."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array
from channel_builders import a_third, feed_of, groups_of, outputs_of, silenced
from quantized_builders import quantized, types
from structured_builders import compiled
from test_channels_random import RandomNet, staying

from eapc.channels import dead_channels, remove_channels
from eapc.model import Model, infer_shapes, input_shapes
from eapc.pipeline import Compilation, Pipeline, load_passes

FORMS = {"int8 uint8": True, "uint8 uint8": False, "int8 int8": False}
"""Types of weights and activations -> whether each filter has a scale."""

SEEDS = [(seed, "QDQ") for seed in (0, 1, 3, 6, 9, 14, 41, 47, 55, 63, 71)]
SEEDS += [(seed, "QOperator") for seed in (0, 2, 5, 6, 11, 12, 46, 63)]


def dead_of(model: Model) -> dict[str, Array]:
    """The dead channels of each group."""
    return dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))[1]


def codes_of(model: Model, form: str, kind: str) -> Model:
    """A network's codes, calibrated on four inputs."""
    return quantized(model, [feed_of(model, seed) for seed in range(4)], form, FORMS[kind], kind)


def kind_of(seed: int) -> str:
    return list(FORMS)[seed % 3]


def is_within_a_step(found: Array, wanted: Array) -> bool:
    """Whether no number is further off than the smallest difference between those wanted."""
    apart = np.diff(np.unique(wanted))
    step = apart.min() if len(apart) else 0.0
    return bool(np.abs(found - wanted).max() <= 1.001 * step)


@pytest.mark.parametrize(("seed", "form"), SEEDS)
def test_dead_channels_of_codes(seed: int, form: str) -> None:
    """Silent channels are found in codes as among real numbers, and go without a change."""
    source = RandomNet(seed).model()
    groups = groups_of(source)
    quiet = silenced(source, groups, a_third(groups, seed))
    model = codes_of(quiet, form, kind_of(seed))
    dead, silent = dead_of(model), dead_of(quiet)
    named = {name.replace("_quant", ""): channels for name, channels in dead.items()}
    assert all(set(channels) <= set(named[name]) for name, channels in silent.items())
    found = groups_of(model)
    kept = {group.name: staying(group, dead[group.name]) for group in found.groups}
    smaller = remove_channels(model, found, kept)
    assert types(smaller) == {name: types(model)[name] for name in types(smaller)}
    feed = feed_of(model, 9)
    wanted, answer = outputs_of(model, feed)["y"], outputs_of(smaller, feed)["y"]
    assert is_within_a_step(answer, wanted)


def masked(seed: int) -> Compilation:
    """A network of codes with zero points where a third of its channels were."""
    model = codes_of(RandomNet(seed).model(), "QDQ", kind_of(seed))
    return compiled(model, "prune-channels{fraction=0.3, criterion=l1}")


@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5, 7, 8, 10, 14, 22])
def test_chosen_channels_of_codes_go_without_a_change(seed: int) -> None:
    before = masked(seed)
    after = Pipeline.parse("shrink-channels", load_passes()).run(before)
    assert any(group.after < group.before for group in after.record.groups)
    feed = feed_of(before.model, 9)
    wanted, answer = outputs_of(before.model, feed)["y"], outputs_of(after.model, feed)["y"]
    assert is_within_a_step(answer, wanted)
