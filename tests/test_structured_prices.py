"""Prices of channel counts: what the model costs once they are taken out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import Array, op
from channel_builders import groups_of, net
from structured_builders import MODELS, estimated, works_of
from test_channels import IMAGE, plain, weights
from test_profiling_latency import MODEL, machine
from test_profiling_layer_kinds import shapes_of

from eapc.channels import ChannelGroups, remove_channels
from eapc.model import Model
from eapc.profiling import prepare_network
from eapc.structured import ChannelCosts, energy_costs, latency_costs


def priced(model: Model, hardware: str = "eyeriss") -> ChannelCosts:
    groups = groups_of(model).groups
    return energy_costs(works_of(model), estimated(model, hardware), groups)


def drawn(groups: ChannelGroups, seed: int) -> dict[str, Array]:
    """Some channels of each group, one at least."""
    rng = np.random.default_rng(seed)
    return {
        group.name: np.sort(rng.choice(group.size, rng.integers(1, group.size + 1), replace=False))
        for group in groups.groups
    }


def check(model: Model, hardware: str = "eyeriss") -> None:
    """The price of counts is the energy of the model without the other channels."""
    groups, costs = groups_of(model), priced(model, hardware)
    assert costs.total({}) == pytest.approx(estimated(model, hardware).energy_mac_units, rel=1e-9)
    for seed in range(3):
        kept = drawn(groups, seed)
        smaller = remove_channels(model, groups, kept)
        counts = {name: len(stay) for name, stay in kept.items()}
        wanted = estimated(smaller, hardware).energy_mac_units
        assert costs.total(counts) == pytest.approx(wanted, rel=1e-9)


PRICED = [name for name in MODELS if groups_of(MODELS[name]()).groups]


@pytest.mark.parametrize("name", PRICED)
def test_counts_cost_what_the_smaller_model_costs(name: str) -> None:
    check(MODELS[name]())


@pytest.mark.parametrize("hardware", ["eyeriss-jssc2017", "tpu-v1", "mobile-cpu"])
@pytest.mark.parametrize("name", ["plain", "depthwise", "same positions", "unet"])
def test_on_machines_of_other_dataflows(name: str, hardware: str) -> None:
    check(MODELS[name](), hardware)


def test_the_shipped_network(digits: Path) -> None:
    check(Model.load(digits))


@pytest.mark.parametrize(("groups", "ins", "outs"), [(6, 1, 1), (8, 2, 3), (8, 3, 1), (2, 5, 6)])
def test_transposed_convolutions_of_groups(groups: int, ins: int, outs: int) -> None:
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("ConvTranspose", "c w2", "u", "up", group=groups, strides=[2, 2]),
        op("Conv", "u w3", "y", "three"),
    ]
    wide, deep = groups * ins, groups * outs
    check(net(nodes, IMAGE, weights(w1=(wide, 3, 1, 1), w2=(wide, outs, 2, 2), w3=(4, deep, 1, 1))))


def resized_map() -> Model:
    """A Resize whose regions of interest are an empty constant, as exporters write it."""
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Resize", "c roi scales", "big", "resize", mode="nearest"),
        op("Conv", "big w2", "y", "two"),
    ]
    tensors = weights(w1=(6, 3, 1, 1), w2=(4, 6, 1, 1))
    rest = {"roi": np.empty(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
    return net(nodes, IMAGE, {**tensors, **rest})


def test_an_operand_that_was_always_empty_makes_nothing_free() -> None:
    assert estimated(resized_map()).by_node["resize"].energy_mac_units > 0
    check(resized_map())


def test_a_branch_without_channels_costs_nothing() -> None:
    model = MODELS["residual"]()
    report, costs = estimated(model), priced(model)
    gone = sum(report.by_node[key].energy_mac_units for key in ("one", "r1", "two"))
    assert gone > 0
    assert costs.total({"one": 0}) == pytest.approx(report.energy_mac_units - gone, rel=1e-9)


def test_latency_by_hand() -> None:
    """A millisecond for each 16 output channels: two a layer, one of a classifier of 5."""
    shapes = shapes_of(MODEL)
    groups = groups_of(MODEL).groups
    costs = latency_costs(prepare_network(MODEL, shapes, machine(), 1), shapes, groups)
    assert costs.sizes == {"Conv_0": 32, "Conv_2": 32}
    assert costs.total({}) == pytest.approx(9.5)
    assert costs.total({"Conv_0": 17}) == pytest.approx(9.5)
    assert costs.total({"Conv_0": 16}) == pytest.approx(8.5)
    assert costs.total({"Conv_2": 16}) == pytest.approx(6.5)  # pooling and Flatten with it
    assert costs.total({"Conv_0": 16}) - costs.total({"Conv_0": 16, "Conv_2": 1}) == pytest.approx(
        3
    )


def test_a_price_falls_with_every_channel() -> None:
    costs = priced(plain())
    totals = [costs.total({"one": count}) for count in range(1, 7)]
    assert totals == sorted(totals)
