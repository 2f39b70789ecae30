"""What stays float in a quantized network: what comes behind the last layers, such as scores."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from builders import Array, ints, make_model, normal, op, scalar
from structured_builders import inputs_of

from eapc.energy import GivenBits
from eapc.errors import ModelError
from eapc.model import Model
from eapc.quantization import Quantized, quantize
from eapc.runtime import Engine, collect_outputs


def quantized(model: Model) -> Quantized:
    return quantize(model, inputs_of(model, 64), engine=Engine(1))


def outputs(model: Model, done: Quantized) -> tuple[Array, Array]:
    data = inputs_of(model, 64)
    before, after = (
        next(iter(collect_outputs(each, data, 1).values())) for each in (model, done.model)
    )
    return before, after


def detector() -> Model:
    """Boxes in hundreds of pixels, joined with scores between 0 and 1."""
    nodes = [
        op("Conv", "x w1", "c", name="trunk"),
        op("Relu", "c", "r"),
        op("Conv", "r w2", "b", name="boxes"),
        op("Mul", "b pixels", "boxes", name="scaled"),
        op("Conv", "r w3", "s", name="scores"),
        op("Sigmoid", "s", "scores", name="likely"),
        op("Concat", "boxes scores", "y", name="join", axis=1),
    ]
    weights = {
        "w1": normal((4, 3, 1, 1), 1), "w2": normal((4, 4, 1, 1), 2),
        "w3": normal((2, 4, 1, 1), 3), "pixels": scalar(400.0),
    }  # fmt: skip
    return Model.from_proto(make_model(nodes, {"x": ("N", 3, 4, 4)}, ["y"], weights))


def attention(mask: Array) -> Model:
    """Scores of products, a mask, a softmax, and a product with what was attended to."""
    nodes = [
        op("MatMul", "x wq", "q", name="query"),
        op("MatMul", "x wk", "k", name="key"),
        op("Transpose", "k", "kt", name="turn", perm=[0, 2, 1]),
        op("MatMul", "q kt", "s", name="match"),
        op("Add", "s mask", "masked", name="hide"),
        op("Softmax", "masked", "p", name="share", axis=-1),
        op("MatMul", "p x", "a", name="attend"),
        op("MatMul", "a wo", "y", name="out"),
    ]
    weights = {f"w{name}": normal((8, 8), place) for place, name in enumerate("qko")}
    proto = make_model(nodes, {"x": ("N", 4, 8)}, ["y"], {**weights, "mask": mask})
    return Model.from_proto(proto)


def causal(value: float) -> Array:
    return np.triu(np.full((4, 4), value, np.float32), 1)


def test_scores_of_a_detector_are_as_exact_as_its_boxes() -> None:
    done = quantized(detector())
    before, after = outputs(detector(), done)
    assert np.abs(after - before)[:, 4:].max() < 0.05  # a step of the boxes' grid is more than 5
    assert sorted(done.plan.floats) == ["Concat", "Mul", "Sigmoid"]
    assert done.fusion.left == ()


@pytest.mark.parametrize("value", [-1e4, float(np.finfo(np.float32).min), -np.inf])
def test_a_mask_in_front_of_a_softmax_leaves_scores_exact(value: float) -> None:
    model = attention(causal(value))
    done = quantized(model)
    before, after = outputs(model, done)
    assert np.square(after - before).sum() < 2e-3 * np.square(before).sum()
    assert sorted(done.plan.floats) == ["Add", "Softmax"]
    assert done.fusion.left == ()


def test_infinite_values_are_refused() -> None:
    nodes = [
        op("Conv", "x w1", "c", name="one"),
        op("Add", "c limits", "s", name="sum"),
        op("Conv", "s w2", "y", name="two"),
    ]
    weights = {"w1": normal((2, 3, 1, 1), 1), "w2": normal((2, 2, 1, 1), 2)}
    weights["limits"] = np.array([[[1]], [[np.inf]]], np.float32)
    model = Model.from_proto(make_model(nodes, {"x": ("N", 3, 2, 2)}, ["y"], weights))
    with pytest.raises(ModelError, match=r"^'limits' has infinite values, which no grid"):
        quantized(model)


def test_arithmetic_of_shapes_is_not_reported() -> None:
    nodes = [
        op("Conv", "x w1", "c", name="one"),
        op("Add", "rows one", "size", name="add"),
        op("Concat", "minus size", "shape", name="join", axis=0),
        op("Reshape", "c shape", "r", name="reshape"),
        op("MatMul", "r w2", "y", name="two"),
        op("Shape", "c", "all", name="shape"),
        op("Slice", "all first end", "rows", name="slice"),
    ]
    nodes = [nodes[0], nodes[5], nodes[6], *nodes[1:5]]
    weights = {
        "w1": normal((2, 3, 1, 1), 1), "w2": normal((3, 2), 2), "one": ints(1),
        "minus": ints(-1), "first": ints(1), "end": ints(2),
    }  # fmt: skip
    model = Model.from_proto(make_model(nodes, {"x": ("N", 3, 3, 3)}, ["y"], weights))
    done = quantized(model)
    assert done.fusion.left == ()
    assert done.plan.floats == ()


def moved(*nodes: onnx.NodeProto) -> Model:
    """Two layers with something between them that makes `m` (N, 4, ...) of `r` (N, 4, 4, 4)."""
    around = [
        op("Conv", "x w1", "c", name="one"),
        op("Relu", "c", "r"),
        *nodes,
        op("Conv", "m w2", "y", name="two"),
    ]
    weights = {
        "w1": normal((4, 3, 1, 1), 1),
        "w2": normal((2, 4, 1, 1), 2),
        "index": ints(3, 1, 0, 2),
    }
    weights["times"] = ints(1, 4, 1, 1)
    weights["sizes"] = ints(1, 3)
    return Model.from_proto(make_model(around, {"x": ("N", 3, 4, 4)}, ["y"], weights, opset=13))


MOVES = {
    "Gather": [op("Gather", "r index", "m", name="move", axis=1)],
    "Split": [
        op("Split", "r sizes", "s1 s2", name="move", axis=1),
        op("Concat", "s2 s1", "m", name="join", axis=1),
    ],
    "Tile": [
        op("DepthToSpace", "r", "d", name="move", blocksize=2),
        op("Tile", "d times", "m", name="tile"),
    ],
    "Expand": [
        op("DepthToSpace", "r", "d", name="move", blocksize=2),
        op("Expand", "d times", "m", name="spread"),
    ],
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("bits", [8, 5])
def test_what_moves_values_works_on_codes(name: str, bits: int) -> None:
    model = moved(*MOVES[name])
    done = quantize(model, inputs_of(model, 64), GivenBits(8, bits), Engine(1))
    assert done.fusion.left == ()
    assert done.fusion.fused == 2 + len(MOVES[name])
    assert done.plan.floats == ()
    before, after = outputs(model, done)
    assert np.square(after - before).sum() < 0.02 * np.square(before).sum()
