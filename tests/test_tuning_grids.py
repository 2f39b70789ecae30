"""Training of what --bits writes: codes keep bounds, zeros and types, and torch rounds too."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from builders import loaded, normal, op
from goal_builders import RECIPE, start, varied
from pruning_builders import halved, residual

from eapc.autograd import Network, parameters_of
from eapc.data import dataset
from eapc.energy import GivenBits
from eapc.goals import MinAgreement, Sparsity, Trials, Width
from eapc.model import Model
from eapc.pipeline import Pipeline
from eapc.quantization import quantize
from eapc.runtime import Engine, Session, with_outputs
from eapc.tuning import Options, Tuned, tune

WIDTHS = {"8": GivenBits(8, 8), "4/6": GivenBits(4, 6), "2": GivenBits(2, 8)}
SHORT = Options(epochs=8, batch=8, augment="none", learning_rate=0.005)


@cache
def rounded(widths: str) -> Model:
    """The halved residual network on its grids."""
    net = residual()
    return quantize(halved(net), net.data, WIDTHS[widths], Engine(1), reference=net.model).model


@cache
def tuned(widths: str) -> Tuned:
    net = residual()
    return tune(rounded(widths), net.model, net.data, SHORT, threads=1)


@pytest.mark.parametrize("widths", ["4/6", "2"])
def test_only_codes_of_weights_and_biases_change(widths: str) -> None:
    before, found = rounded(widths), tuned(widths)
    assert found.after < found.before
    nodes = [list(each.to_proto().graph.node) for each in (before, found.model)]
    assert nodes[0] == nodes[1]
    assert any(node.metadata_props for node in nodes[0])
    changed = {
        name
        for name in before.constants.plain
        if not np.array_equal(before.constants[name], found.model.constants[name])
    }
    kinds = {before.constants[name].dtype for name in changed}
    assert kinds <= {np.dtype(np.int8), np.dtype(np.int32)}
    assert np.dtype(np.int32) in kinds
    assert all(name.endswith("@codes") for name in changed)


@pytest.mark.parametrize(("widths", "last"), [("8", 127), ("4/6", 7), ("2", 1)])
def test_codes_keep_their_bounds_and_zeros(widths: str, last: int) -> None:
    before, found = rounded(widths), tuned(widths).model
    for name in ("w0", "w1", "w2", "fw"):
        codes, given = found.constants[f"{name}@codes"], before.constants[f"{name}@codes"]
        assert codes.dtype == np.int8
        assert np.abs(codes.astype(int)).max() <= last
        assert (codes[given == 0] == 0).all()


def test_torch_rounds_as_onnxruntime_does() -> None:
    """Codes of 6 bits behind a Clip, padded, convolved with codes of 4 bits and an int32 bias."""
    nodes = [
        op("Pad", "x pads", "p", name="pad"),
        op("Conv", "p w b", "c", name="conv"),
        op("Relu", "c", "r", name="relu"),
        op("Conv", "r v", "y", name="last"),
    ]
    constants = {
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "w": normal((5, 3, 3, 3), 1, 0.3),
        "b": normal((5,), 2, 0.5),
        "v": normal((4, 5, 1, 1), 3, 0.5),
    }
    net = loaded(nodes, {"x": ["N", 3, 6, 6]}, ["y"], constants)
    data = dataset({"x": normal((64, 3, 6, 6), 4, 1.0)}, net.inputs, "test")
    model = quantize(net, data, WIDTHS["4/6"], Engine(1)).model
    assert {"Clip", "Pad"} <= {node.op_type for node in model.nodes}
    names = ("p@codes", "r@clipped", "y")
    feed = {"x": data.arrays["x"]}
    theirs = Session(with_outputs(model.to_proto(embed=True), names), 1).run(feed)
    network = Network(model, parameters_of(model))
    assert "conv@bias@codes" in network.parameters
    mine = network.run({"x": torch.from_numpy(feed["x"])}, names)
    found = {name: y.detach().numpy() for name, y in zip(names, mine, strict=True)}
    np.testing.assert_array_equal(found["p@codes"], theirs["p@codes"])
    assert theirs["r@clipped"].max() == found["r@clipped"].max() == 63
    assert np.abs(found["r@clipped"] - theirs["r@clipped"].astype(int)).max() <= 1
    step = model.constants["r@scale"] * np.abs(net.constants["v"]).max()
    assert np.abs(found["y"] - theirs["y"]).max() <= 1.5 * step
    for name, codes in network.stored().items():
        np.testing.assert_array_equal(codes, model.constants[name])


def test_codes_at_a_bound_have_their_whole_gradient() -> None:
    model = loaded([op("Clip", "x least most", "y")], {"x": ["N"]}, ["y"], {
        "least": np.array(0, np.float32), "most": np.array(3, np.float32),
    })  # fmt: skip
    x = torch.tensor([-1.0, 0.0, 2.0, 3.0, 4.0], requires_grad=True)
    (y,) = Network(model).run({"x": x}, ["y"])
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert y.tolist() == [0, 0, 2, 3, 3]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


# --- in a recipe ----------------------------------------------------------------------------------

TRAINED = replace(RECIPE, bits=GivenBits(4, 8), finetune=True, minutes=0.02)


@pytest.mark.parametrize("goal", [Sparsity(0.5), Width("4")], ids=str)
def test_what_is_quantized_is_trained_then(goal: Sparsity | Width) -> None:
    net = varied()
    done = goal.pursue(Trials(start(net), TRAINED))
    trained = "fine-tune{minutes=0.01}, annotate-energy"
    assert str(done.steps).endswith(f"quantize{{weights=4}}, annotate-energy, {trained}")
    assert str(done.steps).count(trained) == (2 if isinstance(goal, Sparsity) else 1)
    assert done.compilation.record.tuned is not None
    assert np.abs(done.model.constants["w0@codes"].astype(int)).max() <= 7
    if isinstance(goal, Sparsity):
        assert 0.45 < done.sparsity < 0.6


def test_training_may_mend_what_rounding_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that lies between what 2 bits leave untrained and trained is searched for."""
    monkeypatch.setattr("eapc.goals.min_agreement.MAX_OUTPUT_ERROR", 1e9)
    bound = MinAgreement(0.9)
    recipe = replace(RECIPE, bits=GivenBits(2, 8))
    net = varied()
    trials = Trials(start(net), recipe)
    judged: list[Model] = []
    kept = {"fine-tune": False}

    def is_kept(_: object, verdict: object) -> bool:  # noqa: ARG001
        return kept["fine-tune"]

    def trained(self: object, compilation):  # type: ignore[no-untyped-def]  # noqa: ARG001
        kept["fine-tune"] = True
        judged.append(compilation.model)
        return compilation

    monkeypatch.setattr(RECIPE.passes["fine-tune"], "run", trained)
    monkeypatch.setattr(MinAgreement, "is_kept", is_kept)
    assert not bound.pursue(trials).goal_met
    done = bound.pursue(Trials(start(net), replace(recipe, finetune=True)))
    assert done.goal_met
    assert len(judged) > 1
    assert Pipeline.parse(done.pipeline, RECIPE.passes).passes[-2].name == "fine-tune"
