"""Layers in bodies through the pruning passes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from body_builders import BODIES, choice, loop
from builders import make_graph, make_model, normal, op, value
from onnx import TensorProto
from pruning_builders import Net
from recurrent_builders import sequences
from test_passes import compile_net, error_of

from eapc.layers import layers_of
from eapc.pipeline import Compilation
from eapc.repair.outputs import asked_for
from eapc.runtime import collect_outputs

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


def test_loops_that_run_as_often_as_the_network_says() -> None:
    """Where the pruned one runs more or less often, the body is fitted on the original's rows."""
    body = make_graph(
        [op("MatMul", "s w", "m"), op("Tanh", "m", "s_out"), op("Identity", "go", "go_on")],
        [
            value("i", (), TensorProto.INT64),
            value("go", (), TensorProto.BOOL),
            value("s", (1, 16)),
        ],
        ["go_on", "s_out"],
        {"w": normal((16, 16), 2, 0.4)},
    )
    nodes = [
        op("MatMul", "x w0", "a"),
        op("ArgMax", "a", "largest", axis=1, keepdims=0),
        op("ReduceSum", "largest", "count", keepdims=0),
        op("Loop", "count yes x", "y", "loop", body=body),
    ]
    tensors = {"w0": normal((16, 8), 1), "yes": np.array(True)}
    proto = make_model(nodes, {"x": (1, 16)}, [value("y", (1, 16))], tensors)
    net = Net(proto, {"x": sequences().reshape(-1, 16)[:200]})
    sparse = "prune-weights{sparsity=0.8}, reconstruct-outputs"
    done = compile_net(net, sparse)
    both = [
        collect_outputs(asked_for(model, ["count"]), net.data, 1)["count"]
        for model in (net.model, done.model)
    ]
    assert (both[0] != both[1]).any()
    assert done.record.layers["loop/body/w"].rows == both[0].sum()
