"""What channels leave of weights, MACs and bytes: prices are those of the smaller network."""

from __future__ import annotations

import pytest
from channel_builders import groups_of
from structured_builders import MODELS, estimated, works_of
from test_channels import plain
from test_structured_prices import PRICED, drawn

from eapc.channels import remove_channels
from eapc.energy import nonskipped_macs_of
from eapc.model import Model, stored_bytes
from eapc.pipeline import counted_by_name
from eapc.structured import ChannelCosts, constant_costs, energy_costs


def priced(model: Model, objective: str, whole: float) -> ChannelCosts:
    groups, report = groups_of(model).groups, estimated(model)
    amounts = counted_by_name(model, objective)
    return constant_costs(works_of(model), report, groups, amounts, whole)


@pytest.mark.parametrize("name", PRICED)
def test_weights_are_those_of_the_smaller_network(name: str) -> None:
    model = MODELS[name]()
    groups, whole = groups_of(model), float(estimated(model).nonzero_weights)
    costs = priced(model, "weights", whole)
    assert costs.total({}) == pytest.approx(whole)
    for seed in range(3):
        kept = drawn(groups, seed)
        left = estimated(remove_channels(model, groups, kept)).nonzero_weights
        counts = {name: len(stay) for name, stay in kept.items()}
        assert costs.total(counts) == pytest.approx(left, abs=0.5)


@pytest.mark.parametrize("name", PRICED)
def test_bytes_are_those_of_the_smaller_file(name: str) -> None:
    """But for the lengths of numbers, such as a smaller shape's."""
    model = MODELS[name]()
    groups, whole = groups_of(model), float(stored_bytes(model))
    costs = priced(model, "size", whole)
    assert costs.total({}) == pytest.approx(whole)
    for seed in range(3):
        kept = drawn(groups, seed)
        left = stored_bytes(remove_channels(model, groups, kept))
        counts = {name: len(stay) for name, stay in kept.items()}
        assert abs(costs.total(counts) - left) < 0.02 * whole + 64


@pytest.mark.parametrize("name", PRICED)
def test_macs_are_those_of_the_smaller_network(name: str) -> None:
    model = MODELS[name]()
    groups, report = groups_of(model), estimated(model)
    costs = energy_costs(works_of(model), report, groups.groups, nonskipped_macs_of)
    assert costs.total({}) == pytest.approx(report.nonskipped_macs)
    kept = drawn(groups, 0)
    left = estimated(remove_channels(model, groups, kept)).nonskipped_macs
    counts = {name: len(stay) for name, stay in kept.items()}
    assert costs.total(counts) == pytest.approx(left, rel=1e-9)


def test_weights_by_hand() -> None:
    """6 x 27, 5 x 54, 7 x 20 and 7 x 4 weights; then 3 x 27, 4 x 27, 7 x 16 and 7 x 4."""
    costs = priced(plain(), "weights", 600.0)
    assert set(costs.sizes) == {"one", "two", "three"}
    assert costs.total({}) == 162 + 270 + 140 + 28
    assert costs.total({"one": 3, "two": 4}) == 81 + 108 + 112 + 28
