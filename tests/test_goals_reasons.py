"""A goal that is missed names what stands in its way, and no reason that is not so."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from builders import Array, make_model, normal, op, value
from goal_builders import RECIPE, labelled, start, trials, varied
from pruning_builders import Net, residual, transformer
from test_profiling_latency import MODEL, machine

from eapc.commands.compiler import prune
from eapc.commands.preparation import Settings
from eapc.data import dataset
from eapc.evaluation import Accuracy, Agreement
from eapc.goals import (
    DEFAULT_GOAL,
    MaxDrop,
    MinAgreement,
    Pruned,
    TargetEnergy,
    TargetLatency,
    Trials,
)
from eapc.goals.holders import BESIDE, Held, Holder, held_by
from eapc.pipeline import Recipe
from eapc.report.documents import prune_document, to_json


def recurrent() -> Net:
    """A small Gemm, a GRU of 40 steps, another small Gemm."""
    nodes = [
        op("MatMul", "x w0", "a", "fc_in"),
        op("GRU", "a w r", "g", "gru", hidden_size=16),
        op("Squeeze", "g axes", "s", "squeeze"),
        op("MatMul", "s w1", "y", "fc_out"),
    ]
    tensors = {
        "w0": normal((6, 8), 1), "w": normal((1, 48, 8), 2), "r": normal((1, 48, 16), 3),
        "w1": normal((16, 4), 4), "axes": np.array([1]),
    }  # fmt: skip
    proto = make_model(nodes, {"x": (40, "N", 6)}, ["y"], tensors)
    return Net(proto, {"x": normal((40, 30, 6), 5, 1.0)})


@cache
def missed(name: str) -> Pruned:
    net = {"recurrent": recurrent, "residual": residual}[name]()
    return TargetEnergy(0.01).pursue(trials(net))


# --- who is named ----------------------------------------------------------------------------


def held(shares: Mapping[str, float]) -> Held:
    return held_by(missed("residual"), shares)


def test_nodes_are_named_until_they_hold_most_of_it() -> None:
    """0.4 of 0.5 are four fifths."""
    found = held({"a": 0.02, "b": 0.4, "c": 0.08})
    assert [(each.node, each.share) for each in found.holders] == [("b", 0.4)]
    assert found.others == 2
    assert found.others_share == pytest.approx(0.1)


def test_three_are_named_at_most() -> None:
    found = held(dict.fromkeys("abcdefgh", 0.1))
    assert [each.node for each in found.holders] == ["h", "g", "f"]
    assert found.others == 5
    assert found.others_share == pytest.approx(0.5)


def test_what_costs_nothing_is_not_counted() -> None:
    found = held({"a": 0.4, "b": 0.0})
    assert (len(found.holders), found.others) == (1, 0)
    assert held({}) == replace(held({}), holders=(), others=0)
    assert str(Held()) == ""


def test_the_sentence() -> None:
    named = (Holder("gru", 0.969, "GRU weights are not pruned"), Holder("fc", 0.01, "excluded"))
    assert str(Held(named, 2, 0.004)) == (
        "'gru' takes 96.9 % (GRU weights are not pruned), 'fc' 1 % (excluded), 2 others 0.4 %"
    )
    assert str(Held(named[:1], 1, 0.04, moving=0.75)) == (
        "'gru' takes 96.9 % (GRU weights are not pruned), 1 other 4 %; "
        "75 % of all that is left moves feature maps"
    )
    assert "moves" not in str(Held(named[:1], 1, 0.04, moving=0.25))
    long = Holder("/".join(["layer"] * 50), 0.5, "excluded").said()
    assert len(long) < 80


# --- why -------------------------------------------------------------------------------------


def reasons(pruned: Pruned) -> dict[str, str]:
    """Of every node, by naming each alone."""
    nodes = [node.key for node in pruned.after.nodes]
    return {key: held_by(pruned, {key: 1.0}).holders[0].reason for key in nodes}


def test_what_takes_most_is_named_with_the_reason() -> None:
    """Of the 48 * (8 + 16) weights of the GRU 23 are left."""
    found = missed("recurrent")
    (first, *_) = found.held.holders
    node = found.after.by_node["gru"]
    assert first.node == "gru"
    assert first.reason.startswith("2 % of its weights left, ")
    assert first.share == node.energy_mac_units / found.before.energy_mac_units
    assert f"of the original energy 'gru' takes {100 * first.share:.3g} %" in found.reason


def test_what_pruned_layers_still_take() -> None:
    """The share of weights that are left, and where most of the energy goes."""
    found = missed("residual")
    said = reasons(found)
    for record in found.layers:
        node = found.after.by_node[record.name]
        moved = (node.by_operand["ifmap"] + node.by_operand["ofmap"]) / node.energy_mac_units
        assert moved > 0.5
        assert said[record.name] == (
            f"{100 * record.nonzero_weights / record.weights:.3g} % of its weights left, "
            f"{100 * moved:.3g} % of that moves feature maps"
        )
    left = sum(each.nonzero_weights for each in found.layers)
    whole = sum(each.weights for each in found.layers)
    assert found.reason.startswith(f"with {100 * left / whole:.2g} % of the pruned layers' weights")
    assert " of all that is left moves feature maps" in found.reason


def mixed() -> Net:
    """Layers of all sorts: tied elsewhere, quantized, in products of activations, attention."""
    nodes = [
        op("MatMul", "x w0", "a", "plain"),
        op("MatMul", "a w1", "b", "tied"),
        op("Add", "b w1", "c", "add"),
        op("DequantizeLinear", "q s", "qw", "dequantize"),
        op("MatMul", "c qw", "d", "quantized"),
        op("MatMul", "d c", "e", "product"),
        op("Relu", "e", "y", "relu"),
    ]
    tensors: dict[str, Array] = {
        "w0": normal((8, 8), 1), "w1": normal((8, 8), 2),
        "q": np.arange(64, dtype=np.int8).reshape(8, 8), "s": np.array(0.1, np.float32),
    }  # fmt: skip
    proto = make_model(nodes, {"x": ("N", 8, 8)}, ["y"], tensors)
    return Net(proto, {"x": normal((20, 8, 8), 5, 1.0)})


def test_every_kind_of_node_has_its_reason() -> None:
    """What is pruned says how much is left: of 64 weights one."""
    found = reasons(TargetEnergy(0.01).pursue(trials(mixed())))
    assert found["tied"].startswith("weights are also read by Add 'add'; ")
    assert "quantized" in found["quantized"] or "int8" in found["quantized"]
    assert found["product"] == found["relu"] == "no weights to prune"
    assert found["plain"].startswith("1.56 % of its weights left, ")


def test_excluded_layers_are_named_as_such() -> None:
    recipe = replace(RECIPE, exclude=("w0",))
    pruned = TargetEnergy(0.01).pursue(Trials(start(recurrent()), recipe))
    assert reasons(pruned)["fc_in"] == "excluded"


def test_fused_weights_of_no_layer() -> None:
    """onnxruntime's Attention has weights of its own, which nothing prunes."""
    nodes = [
        op("Attention", "x w b", "a", "attention", domain="com.microsoft", num_heads=2),
        op("MatMul", "a v", "y", "out"),
    ]
    tensors = {"w": normal((8, 24), 1), "b": normal((24,), 2), "v": normal((8, 4), 3)}
    proto = make_model(nodes, {"x": ("N", 5, 8)}, [value("y", ("N", 5, 4))], tensors)
    net = Net(proto, {"x": normal((20, 5, 8), 4, 1.0)})
    pruned = TargetEnergy(0.01).pursue(trials(net))
    assert reasons(pruned)["attention"] == "Attention weights are not pruned"


# --- latency and channels --------------------------------------------------------------------


def test_latency_is_held_by_milliseconds() -> None:
    """Whole: 0.5 ms a run beside the layers and five of at most 2 ms; see `machine`."""
    data = {"x": np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)}
    settings = Settings(
        hardware=machine(inputs=(16, 32)),
        calibration=dataset(data, MODEL.inputs, "test"),
        threads=1,
    )
    goal, recipe = TargetLatency(0.05), Recipe(structured=True)
    found = prune(MODEL, settings, goal=goal, recipe=recipe)
    assert not found.goal_met
    assert found.latency is not None
    total = sum(each.share for each in found.held.holders) + found.held.others_share
    assert total == pytest.approx(found.latency.ratio)
    assert {each.share for each in found.held.holders} == {1 / 9.5}
    assert "; of the original latency '" in found.reason
    left = {key: held_by(found, {key: 1.0}).holders[0].reason for key in ("Conv_0", "Conv_2")}
    assert left == dict.fromkeys(("Conv_0", "Conv_2"), "50 % of its weights left") | {
        "Conv_2": "25 % of its weights left"
    }
    assert "energy" not in found.reason
    document = json.loads(to_json(prune_document(found)))
    assert document["held_by"][0]["share"] == pytest.approx(1 / 9.5)
    beside = held_by(found, {BESIDE: 0.1})
    assert str(beside) == "time beside the layers takes 10 % (every run takes it)"


def test_channels_left_of_a_layer_count_by_its_weights() -> None:
    recipe = replace(RECIPE, structured=True)
    found = TargetEnergy(0.001).pursue(Trials(start(residual()), recipe))
    before, after = (sum(getattr(e, n) for e in found.groups) for n in ("before", "after"))
    assert found.reason.startswith(f"with {after} of {before} channels left ")
    whole, left = (model.constants.shape("w0") for model in (residual().model, found.model))
    assert whole is not None
    assert left is not None
    share = math.prod(left) / math.prod(whole)
    assert reasons(found)["stem"].startswith(f"{100 * share:.3g} % of its weights left, ")


# --- bounds ----------------------------------------------------------------------------------


def test_an_unmet_bound_tells_what_the_first_step_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.goals.min_agreement.MAX_OUTPUT_ERROR", -1.0)
    found = DEFAULT_GOAL.pursue(trials(transformer()))
    assert found.reason.startswith("no energy below the original's keeps the outputs: at 9")
    assert "of it the relative error of the outputs is " in found.reason


def test_what_was_lost_is_told_by_part() -> None:
    goal = MinAgreement(0.9)
    error = Agreement("relative output error", 0.123, 0.05, 40, part="y[0:4]")
    assert goal.told(error) == "the relative error of output part 'y[0:4]' is 0.12, not 0.05"
    share = Agreement("top-1 agreement", 0.95, 0.98, 400)
    assert goal.told(share) == "5.0% of the answers on 400 inputs are others"
    drop = MaxDrop(0.01)
    assert drop.told(Accuracy(0.9, 0.85, 200)) == (
        "accuracy falls by 5.0 points on the 200 inputs that decide"
    )


def test_too_few_labels_to_be_sure_are_the_reason() -> None:
    """No lost accuracy: 20 inputs of which none changes are about as sure as not."""
    net = varied()
    goal = MaxDrop(0.001, confidence=0.999)
    found = goal.pursue(Trials(start(net), RECIPE, labelled(net)))
    assert not found.goal_met
    assert found.reason.startswith("no energy below the original's loses so little: at 9")
    assert " of it the drop is kept on the 20 inputs that decide, but that is 5" in found.reason
    assert found.reason.endswith("sure, not 99.9%; more labelled inputs tell more")


def test_a_bound_that_saves_nothing_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the original will do: no step below it is without any error."""
    monkeypatch.setattr(MinAgreement, "is_kept", lambda _, verdict: verdict.value == 0)
    with caplog.at_level(logging.WARNING):
        found = DEFAULT_GOAL.pursue(trials(transformer()))
    assert found.goal_met
    assert found.energy_ratio == 1
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("nothing is saved: no energy below the original's keeps the outputs: at")
    assert re.search(r"the relative error of the outputs is [\de.-]+, not 0.05$", said)


def test_all_weights_left_are_100_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    found = missed("residual")
    dense = tuple(replace(each, nonzero_weights=each.weights) for each in found.layers)
    monkeypatch.setattr(type(found), "layers", property(lambda _: dense))
    assert found.left == "with 100 % of the pruned layers' weights left"
