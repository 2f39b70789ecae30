"""Fitted weights of quantized networks: nearer to the dense network, zeros and biases included."""

from __future__ import annotations

import numpy as np
import pytest
from builders import make_model, normal, op
from structured_builders import inputs_of
from test_quantization import residual

from eapc.data import Dataset
from eapc.errors import UsageError
from eapc.model import Array, Model, infer_shapes
from eapc.quantization import plan_of, quantize
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
    done = quantize(residual(), data(), engine=Engine(1), weight_bits=bits)
    for name in ("w1", "w2", "w3"):
        codes = done.model.constants[f"{name}@codes"]
        assert codes.dtype == np.int8
        assert np.abs(codes.astype(int)).max() == last
    assert done.fusion.left == ()


def test_wider_weights_lose_less() -> None:
    done = {
        bits: quantize(residual(), data(), engine=Engine(1), weight_bits=bits).model
        for bits in (2, 4, 8)
    }
    errors = [relative_error(residual(), model) for model in done.values()]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("bits", [1, 9])
def test_other_widths_of_weights_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=f"weight_bits: expected 2 to 8, got {bits}"):
        quantize(residual(), data(), weight_bits=bits)


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

    def codes(pattern: str) -> Array:
        done = quantize(
            *(model, data(), 8, Engine(1)), weight_bits=2, reference=residual(), pattern=pattern
        )
        return done.model.constants["w2@codes"]

    assert codes("2:4")[:, 2:].any()
    assert (np.count_nonzero(codes("2:4"), axis=1) <= 2).all()
    free = codes("unstructured")
    assert np.count_nonzero(free) <= 72
    assert np.count_nonzero(free, axis=1).max() > 2
