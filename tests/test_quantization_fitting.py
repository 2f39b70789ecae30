"""Fitted weights of quantized networks: nearer to the dense network, zeros and biases included."""

from __future__ import annotations

import numpy as np
import pytest
from builders import make_model, normal, op
from structured_builders import inputs_of
from test_quantization import residual

from eapc.commands import compiler
from eapc.commands.compiler import Settings
from eapc.data import Dataset
from eapc.energy import GivenBits
from eapc.errors import UsageError
from eapc.model import Array, Model, infer_shapes
from eapc.quantization import folded, plan_of, quantize
from eapc.quantization.fitting import FittingTarget
from eapc.quantization.ranges import with_grids
from eapc.quantization.writing import written
from eapc.runtime import Engine, collect_outputs


def data() -> Dataset:
    return inputs_of(residual(), 256)


def relative_error(reference: Model, model: Model) -> float:
    before, after = (
        next(iter(collect_outputs(each, data(), 1).values())) for each in (reference, model)
    )
    return float(np.square(after - before).sum() / np.square(before - before.mean(axis=0)).sum())


def rounded(model: Model) -> Model:
    """The model with its weights as the nearest codes."""
    plan = plan_of(model, infer_shapes(model, data().shapes(1)))
    return written(model, with_grids(plan, model, data(), Engine(1)))


def pruned() -> Model:
    """Half of the second convolution's weights are zero, and no other has been fitted to that."""
    weights = residual().constants["w2"]
    return residual().with_weights(
        {"w2": np.where(np.abs(weights) > np.median(np.abs(weights)), weights, 0)}
    )


def test_layers_are_fitted_to_the_network_that_was_pruned() -> None:
    done = quantize(pruned(), data(), engine=Engine(1), reference=residual())
    assert relative_error(residual(), done.model) < 0.5 * relative_error(
        residual(), rounded(pruned())
    )


def test_without_a_reference_the_network_is_its_own() -> None:
    done = quantize(pruned(), data(), engine=Engine(1))
    assert relative_error(pruned(), done.model) < 1e-3


def test_another_network_is_no_reference() -> None:
    """What the pruned one did not come from is passed over."""
    nodes = [op("Conv", "x w", "y")]
    proto = make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], {"w": normal((4, 3, 3, 3))})
    done = quantize(pruned(), data(), engine=Engine(1), reference=Model.from_proto(proto))
    assert relative_error(pruned(), done.model) < 1e-3


def test_zeros_stay_zeros_when_weights_are_fitted() -> None:
    model = pruned()
    done = quantize(model, data(), engine=Engine(1), reference=residual())
    codes = done.model.constants["w2@codes"]
    assert not codes[model.constants["w2"] == 0].any()
    assert np.count_nonzero(codes) > 0.9 * np.count_nonzero(model.constants["w2"])


def test_biases_come_last() -> None:
    """Biases that were moved too far come back to the dense network's means."""
    shifted = residual().with_weights({"b1": residual().constants["b1"] + np.float32(0.5)})
    done = quantize(shifted, data(), engine=Engine(1), reference=residual())
    left, lost = (relative_error(residual(), each) for each in (done.model, shifted))
    assert left < 0.02 * lost


@pytest.mark.parametrize(("bits", "last"), [(2, 1), (3, 3), (4, 7), (6, 31)])
def test_narrow_weights_take_their_own_codes(bits: int, last: int) -> None:
    done = quantize(residual(), data(), GivenBits(bits, 8), Engine(1))
    for name in ("w1", "w2", "w3"):
        codes = done.model.constants[f"{name}@codes"]
        assert codes.dtype == np.int8
        assert np.abs(codes.astype(int)).max() == last
    assert done.fusion.left == ()


def test_wider_weights_lose_less() -> None:
    done = {
        bits: quantize(residual(), data(), GivenBits(bits, 8), Engine(1)).model
        for bits in (2, 4, 8)
    }
    errors = [relative_error(residual(), model) for model in done.values()]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("bits", [1, 9])
def test_other_widths_of_weights_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=f"weights: expected 2 to 8 bits, got {bits}"):
        quantize(residual(), data(), GivenBits(bits))


def test_weights_that_two_layers_share_have_one_grid() -> None:
    nodes = [
        op("Conv", "x w b", "a", pads=[1, 1, 1, 1]), op("Relu", "a", "r"),
        op("Conv", "r w c", "y", pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    weights = {"w": normal((3, 3, 3, 3)), "b": normal((3,), 1), "c": normal((3,), 2)}
    model = Model.from_proto(make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], weights))
    done = quantize(model, inputs_of(model, 64), engine=Engine(1))
    names = [each for each in done.model.constants.plain if each.startswith("w@codes")]
    assert sorted(names) == ["w@codes", "w@codes@scale", "w@codes@zero"]


def test_an_older_file_is_fitted_to_its_reference_too() -> None:
    """Both are raised to opset 13."""
    proto = residual().to_proto()
    proto.opset_import[0].version = 11
    dense = Model.from_proto(proto)
    model = dense.with_weights({"w2": pruned().constants["w2"]})
    done = quantize(model, data(), engine=Engine(1), reference=dense)
    assert done.model.opset == 13
    assert relative_error(residual(), done.model) < 0.5 * relative_error(
        residual(), rounded(pruned())
    )


def test_the_zeros_of_narrow_weights_move_within_their_pattern() -> None:
    """Of each four weights along the channels two stay at most, in other places than before."""
    weights = normal((4, 4, 3, 3), 3)
    weights[:, 2:] = 0
    model = residual().with_weights({"w2": weights})

    def codes_of(pattern: str) -> Array:
        done = quantize(
            *(model, data(), GivenBits(2, 8), Engine(1)), reference=residual(), pattern=pattern
        )
        return done.model.constants["w2@codes"]

    codes = codes_of("2:4")
    assert codes[:, 2:].any()
    assert (np.count_nonzero(codes, axis=1) <= 2).all()
    free = codes_of("unstructured")
    assert np.count_nonzero(free) <= 72
    assert np.count_nonzero(free, axis=1).max() > 2


def test_channels_of_folded_normalizations_are_known_of_the_dense_network() -> None:
    """The bias that folding makes has the channels of the weights in front of it."""
    rng = np.random.default_rng(0)
    nodes = [
        op("Conv", "x w", "c", "conv", pads=[1, 1, 1, 1]),
        op("BatchNormalization", "c g h m v", "n"),
        op("Relu", "n", "r"),
        op("Conv", "r u", "y", "last"),
    ]
    given = {name: rng.normal(size=4).astype(np.float32) for name in "ghm"}
    given |= {"v": np.ones(4, np.float32), "w": normal((4, 3, 3, 3)), "u": normal((2, 4, 1, 1))}
    dense = Model.from_proto(make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], given))
    settings = Settings(calibration=inputs_of(dense, 64), threads=1)
    text = "prune-channels{fraction=0.5}, reconstruct-outputs{keep_mask=true}, shrink-channels"
    cut = compiler.run(dense, text, settings).compilation.model
    prepared = folded(cut)
    target = FittingTarget.of(cut, dense, prepared)
    kept = target.origin.parts["w"].indices[0]
    assert len(kept) == 2
    assert target.origin.parts["conv@bias"].indices[0].tolist() == kept.tolist()
    done = compiler.run(dense, f"{text}, quantize", settings).compilation.model
    assert relative_error(cut, done) < 0.01


def projected() -> Model:
    """MatMul and a constant of its own, added to what the first such pair made."""
    nodes = [
        op("MatMul", "x w1", "m1", name="one"),
        op("Add", "b1 m1", "s1", name="bias1"),
        op("Relu", "s1", "r1"),
        op("MatMul", "r1 w2", "m2", name="two"),
        op("Add", "b2 m2", "s2", name="bias2"),
        op("Add", "s2 r1", "s3", name="residual"),
        op("MatMul", "s3 w3", "y", name="three"),
    ]
    weights = {
        "w1": normal((8, 8), 1), "b1": normal((8,), 2), "w2": normal((8, 8), 3),
        "b2": normal((8,), 4), "w3": normal((8, 3), 5),
    }  # fmt: skip
    return Model.from_proto(make_model(nodes, {"x": ("N", 6, 8)}, ["y"], weights))


def test_a_constant_behind_a_product_is_no_other_branch() -> None:
    """Its result and the residual sum behind it are fitted as if it were the product's bias."""
    model = projected()
    done = quantize(model, inputs_of(model, 64), engine=Engine(1))
    answers = [
        next(iter(collect_outputs(each, inputs_of(model, 64), 1).values()))
        for each in (model, done.model)
    ]
    error = np.square(answers[1] - answers[0]).sum() / np.square(answers[0]).sum()
    assert error < 1e-3
    assert done.fusion.left == ()


def test_a_constant_that_was_moved_too_far_comes_back() -> None:
    model = projected()
    shifted = model.with_weights({"b2": model.constants["b2"] + np.float32(4)})
    done = quantize(shifted, inputs_of(model, 64), engine=Engine(1), reference=model)
    grid, codes = done.plan.grids["b2"], done.model.constants["b2@codes"]
    assert np.abs(grid.values(codes) - model.constants["b2"]).max() < 0.1
