"""Layers in bodies through the pruning passes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from body_builders import BODIES, choice, loop
from pruning_builders import Net
from test_passes import compile_net, error_of

from eapc.layers import layers_of
from eapc.pipeline import Compilation

HALF = "prune-weights{sparsity=0.5}"


@cache
def halved(name: str) -> Compilation:
    return compile_net(BODIES[name](), f"{HALF}, reconstruct-outputs")


@pytest.mark.parametrize("name", BODIES)
def test_refitted_bodies_err_a_third_of_what_magnitudes_leave(name: str) -> None:
    done, cut = halved(name), compile_net(BODIES[name](), HALF)
    assert error_of(done) < error_of(cut) / 3
    for tied in layers_of(done.model).layers:
        weight = done.model.constants[tied.weight]
        assert np.count_nonzero(weight) == weight.size / 2


@pytest.mark.parametrize("name", BODIES)
def test_energy_falls_with_the_weights_of_bodies(name: str) -> None:
    pipeline = "annotate-energy, prune-weights{energy=0.7}, reconstruct-outputs, annotate-energy"
    done = compile_net(BODIES[name](), pipeline)
    curves = done.record.curves
    assert curves
    assert done.priced.energy_mac_units <= 0.72 * curves.dense_energy
    assert len(done.record.layers) == len(layers_of(done.model).layers)


def test_a_branch_that_no_input_takes_stays_as_it_is() -> None:
    bright = Net(choice().proto, {"x": choice().arrays["x"] + np.float32(5)})
    done = compile_net(bright, f"{HALF}, reconstruct-outputs")
    assert {skip.name: skip.reason for skip in done.record.skipped} == dict.fromkeys(
        ("if/else_branch/first", "if/else_branch/second"),
        "no calibration input comes to it; give some that do",
    )
    assert set(done.record.layers) == {"if/then_branch/w1", "if/then_branch/w2", "wo"}
    assert not any("else" in name for name in done.model.weights)


def test_the_same_seed_gives_the_same_bytes() -> None:
    again = compile_net(loop(), f"{HALF}, reconstruct-outputs")
    assert again.model.to_proto() == halved("loop").model.to_proto()
