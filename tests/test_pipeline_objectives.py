"""Budgets of weights, MACs and bytes: what they are of, by hand and by the files they give."""

from __future__ import annotations

import numpy as np
import pytest
from builders import make_model, op
from pruning_builders import Net, plain, residual, weights_for
from structured_builders import compiled

from eapc.errors import UsageError
from eapc.model import constant_bytes, stored_bytes
from eapc.pipeline import Compilation, amount_of


def two_layers(count: int = 64) -> Net:
    """32 weights whose inputs are loud, then 16; biases are none."""
    nodes = [
        op("Gemm", "x w1", "a", "one"),
        op("Relu", "a", "b"),
        op("Gemm", "b w2", "y", "two"),
    ]
    tensors = weights_for(nodes, {"w1": (4, 8), "w2": (8, 2)})
    x = np.random.default_rng(0).normal(0.5, 1.0, (count, 4)).astype(np.float32)
    return Net(make_model(nodes, {"x": ("N", 4)}, ["y"], tensors), {"x": x})


def pruned(net: Net, steps: str) -> Compilation:
    return compiled(net, f"annotate-energy, {steps}, reconstruct-outputs, annotate-energy")


def test_amounts_by_hand() -> None:
    """Half of 32 and of 16 weights, 4 bytes each; biases that take up means are not weights."""
    net = two_layers()
    done = pruned(net, "prune-weights{sparsity=0.5}")
    assert amount_of(done, "weights") == 16 + 8
    assert amount_of(done, "size") == stored_bytes(done.model) - 4 * (16 + 8)
    assert amount_of(done, "energy") == done.priced.energy_mac_units
    assert amount_of(done, "macs") == done.priced.nonskipped_macs
    assert constant_bytes(net.model, "w1") == 4 * 32
    assert constant_bytes(net.model, "x") == 0


def test_curves_of_weights_by_hand() -> None:
    done = pruned(two_layers(), "prune-weights{weights=0.5}")
    curves = done.record.curves
    assert curves is not None
    assert curves.objective == "weights"
    assert (curves.dense_energy, curves.fixed_energy) == (48, 0)
    one, two = curves.layers
    assert (one.energies[0], two.energies[0]) == (32, 16)
    assert one.energy_at(0.25) == 8
    assert curves.lowest_ratio == pytest.approx(0.02)


@pytest.mark.parametrize("net", [residual(), plain()])
@pytest.mark.parametrize("ratio", [0.7, 0.4])
def test_budgets_of_weights_are_kept_to_a_step(net: Net, ratio: float) -> None:
    done = pruned(net, f"prune-weights{{weights={ratio}}}")
    whole = compiled(net, "annotate-energy")
    left = done.priced.nonzero_weights / whole.priced.nonzero_weights
    assert ratio - 0.03 < left <= ratio + 0.005


def test_a_budget_of_weights_goes_elsewhere_than_one_of_energy() -> None:
    net = residual()
    ours = pruned(net, "prune-weights{weights=0.5}")
    theirs = pruned(net, "prune-weights{energy=0.75}")
    densities = [
        [each.nonzero_weights / each.weights for each in done.record.layers.values()]
        for done in (ours, theirs)
    ]
    assert densities[0] != densities[1]


@pytest.mark.parametrize("objective", ["weights", "macs", "size"])
def test_channels_go_for_every_objective(objective: str) -> None:
    net = residual()
    steps = f"prune-channels{{{objective}=0.6}}, reconstruct-outputs{{keep_mask=True}}"
    done = compiled(net, f"annotate-energy, {steps}, shrink-channels, annotate-energy")
    whole = compiled(net, "annotate-energy")
    left = amount_of(done, objective) / amount_of(whole, objective)
    assert left < 0.75
    plan = compiled(net, f"annotate-energy, prune-channels{{{objective}=0.6}}").record.channel_plan
    assert plan is not None
    assert plan.ratio({group.name: group.after for group in done.record.groups}) <= 0.6


def test_channels_of_another_objective_are_priced_anew() -> None:
    whole = compiled(residual(), "annotate-energy")
    start = compiled(residual(), "annotate-energy, prune-channels{energy=0.9}")
    again = compiled(residual(), "annotate-energy, prune-channels{weights=0.9}")
    energy, weights = start.record.channel_plan, again.record.channel_plan
    assert energy is not None
    assert weights is not None
    assert energy.basis != weights.basis
    assert energy.whole_cost == pytest.approx(amount_of(whole, "energy"))
    assert weights.whole_cost == amount_of(whole, "weights")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("prune-weights{weights=0.5, energy=0.5}", "give either sparsity or densities or a budget"),
        ("prune-weights{macs=1.5}", "macs must be in (0, 1], got 1.5"),
        ("prune-channels{weights=0.5, size=0.5}", "give either fraction or energy or latency"),
        ("prune-channels{size=0}", "a budget must be in (0, 1], got 0"),
    ],
)
def test_budgets_that_make_no_sense(steps: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        compiled(residual(), steps)
    assert said in str(caught.value)
