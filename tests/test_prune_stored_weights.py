"""Pruned weights come back as the file had them: names, types, and as many zeros as were asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from builders import make_model, normal, op
from onnx import ModelProto, TensorProto
from pruning_builders import Net, stacked, stored_in_half
from test_passes import compile_net

from eapc.model import Array, Model

PIPELINES = ["prune-weights{sparsity=%s}", "prune-weights{sparsity=%s}, reconstruct-outputs"]


def declared(proto: ModelProto) -> list[tuple[str, int, tuple[int, ...]]]:
    """Name, type and shape of what a file stores."""
    return [(each.name, each.data_type, tuple(each.dims)) for each in proto.graph.initializer]


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("net", [stored_in_half, stacked])
def test_names_types_and_nodes_stay_and_the_zeros_are_those_asked_for(
    net: Callable[[], Net], pipeline: str
) -> None:
    done = compile_net(net(), pipeline % 0.6)
    before, after = done.model.original.to_proto(), done.model.to_proto()
    assert declared(after) == declared(before)
    assert [node.op_type for node in after.graph.node] == [n.op_type for n in before.graph.node]
    assert done.record.skipped == ()
    for name, record in done.record.layers.items():
        nonzero = np.count_nonzero(done.model.constants[name])
        assert nonzero == record.nonzero_weights == round(0.4 * record.weights)


def cancelling() -> Net:
    """One layer of float16 weights near 2^-22, whose inputs come twice and nearly cancel out."""
    weight = normal((8, 10), 1) * 2.0**-22
    both = np.concatenate([weight, normal((8, 10), 2) * 2.0**-25 - weight])
    nodes = [op("Cast", "h", "w", to=TensorProto.FLOAT), op("MatMul", "x w", "y", "layer")]
    tensors = {"h": both.astype(np.float16)}
    x = normal((300, 8), 3, 1.0)
    proto = make_model(nodes, {"x": ("N", 16)}, ["y"], tensors)
    return Net(proto, {"x": np.concatenate([x, x], 1)})


def test_what_is_too_small_for_the_type_is_no_further_zero() -> None:
    """Of 160 weights 60 % stay, though one of those that are fitted is below half of 2^-24."""
    done = compile_net(cancelling(), PIPELINES[1] % 0.4)
    assert np.count_nonzero(done.model.constants["h"]) == 96
    assert done.record.layers["h"].nonzero_weights == 96


def test_what_is_too_large_for_the_type_is_its_largest() -> None:
    """Where a pruned input was a copy of another, that one's weights double."""
    weight = np.full((2, 3), 60000, np.float16)
    nodes = [op("Cast", "h", "w", to=TensorProto.FLOAT), op("MatMul", "x w", "y", "layer")]
    proto = make_model(nodes, {"x": ("N", 2)}, ["y"], {"h": weight})
    one: Array = normal((100, 1), 3, 1.0)
    done = compile_net(Net(proto, {"x": np.concatenate([one, one], 1)}), PIPELINES[1] % 0.5)
    weights = done.model.constants["h"]
    assert np.count_nonzero(weights) == 3
    alone = (weights == 0).any(axis=0)  # would have to be 120000
    assert alone.any()
    np.testing.assert_array_equal(weights.max(axis=0)[alone & weights.any(axis=0)], 65504)


@pytest.mark.parametrize("net", [stored_in_half, stacked])
def test_a_budget_is_shared_out_among_layers_of_all_forms(net: Callable[[], Net]) -> None:
    pipeline = "annotate-energy, prune-weights{energy=0.85}, annotate-energy"
    done = compile_net(net(), pipeline)
    assert done.energy is not None
    before = compile_net(net(), "annotate-energy").energy
    assert before is not None
    ratio = done.energy.energy_mac_units / before.energy_mac_units
    assert ratio == pytest.approx(0.85, abs=0.02)
    assert sum(record.sparsity > 0 for record in done.record.layers.values()) >= 2


def test_the_analysis_sees_the_zeros_of_stacks_and_casts() -> None:
    done = compile_net(stored_in_half(), "prune-weights{sparsity=0.5}, annotate-energy")
    assert done.energy is not None
    densities = {
        node.key: node.densities.weights
        for node in done.energy.nodes
        if node.key in ("query", "up")
    }
    assert densities == pytest.approx({"query": 0.5, "up": 0.5}, abs=0.01)


def test_the_model_is_not_read_as_another() -> None:
    """Every layer of the block is found, those in front and behind casts included."""
    model: Model = stored_in_half().model
    done = compile_net(stored_in_half(), PIPELINES[0] % 0.5)
    assert set(done.record.layers) == {"wq_h", "wv_h", "wm_h", "w1_h"}
    assert {model.constants.dtype(name).name for name in done.record.layers} == {"float16"}
