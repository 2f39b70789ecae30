"""Two-class networks whose routing is known, and small networks of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from builders import Array, Axis, ints, make_model, normal, op
from onnx import ModelProto, helper

from eapc import DynamicNetwork, dynamic
from eapc.commands.preparation import Settings
from eapc.data import Dataset, dataset
from eapc.model import Model
from eapc.routing import CONFIDENCE_ALONE, PooledFeatures, Router, Scores, Selector, merged
from eapc.runtime import open_model

SCORES = Scores(are_probabilities=False)


def linear(weight: Array, batch: Axis = "N", name: str = "product") -> Model:
    """y = x weight, (features, classes)."""
    nodes = [op("MatMul", "x w", "y", name=name)]
    inputs = {"x": (batch, weight.shape[0])}
    return Model.from_proto(make_model(nodes, inputs, ["y"], {"w": weight.astype(np.float32)}))


def lead() -> Model:
    """Scores (x0, 0): sure of what is far from 0, whatever x1 says."""
    return linear(np.array([[1, 0], [0, 0]]))


def exact() -> Model:
    """Scores (x1, 0): right where x1 is above 0, whatever x0 says."""
    return linear(np.array([[0, 0], [1, 0]]))


def convolutional(
    seed: int,
    batch: Axis = "N",
    opset: int = 17,
    classes: int = 4,
    reshape: Sequence[int] = (0, -1),
) -> ModelProto:
    """Images to classes through a Reshape that no runtime takes without rows, all of one name."""
    nodes = [
        op("Conv", "x w1", "h", name="stem", pads=[1, 1, 1, 1]),
        op("Relu", "h", "r", name="relu"),
        op("GlobalAveragePool", "r", "p", name="pool"),
        op("Reshape", "p shape", "f", name="flat"),
        op("Gemm", "f w2 b2", "y", name="last", transB=1),
    ]
    constants = {
        "w1": normal((6, 2, 3, 3), seed),
        "shape": ints(*reshape),
        "w2": normal((classes, 6), seed + 1, 2.0),
        "b2": normal((classes,), seed + 2),
    }
    ir = 8 if opset < 18 else 9
    return make_model(nodes, {"x": (batch, 2, 5, 5)}, ["y"], constants, opset, ir)


def images(count: int, seed: int = 0) -> Array:
    return normal((count, 2, 5, 5), seed, 1.0)


def answers(model: Model, x: Array) -> Array:
    """The outputs of a network for all of x at once."""
    (y,) = open_model(model, 1).run({model.inputs[0].name: x}).values()
    return np.asarray(y)


def router(
    threshold: float,
    selector: Selector = CONFIDENCE_ALONE,
    pooled: PooledFeatures | None = None,
    one_by_one: bool = False,
) -> Router:
    return Router(selector, threshold, SCORES, pooled, one_by_one)


def two_levels(first: Model, second: Model, threshold: float, one_by_one: bool = False) -> Model:
    """Both in one file, hard where 1 less the largest probability reaches the threshold."""
    return merged(first, second, router(threshold, one_by_one=one_by_one), {"share": 0.25})


def doubts(first: Model, x: Array) -> Array:
    """1 less the largest probability of each answer."""
    return SCORES.confidence(answers(first, x))[:, 0]


def by_hand(first: Model, second: Model, x: Array, hard: Array) -> Array:
    """What the file has to answer."""
    return np.where(hard[:, None], answers(second, x), answers(first, x))


def with_branch(seed: int) -> Model:
    """A network that holds an If of its own, which reads its scores from outside."""
    proto = convolutional(seed)
    graph = proto.graph
    graph.node[-1].output[0] = "s"
    branches = {
        f"{side}_branch": helper.make_graph(
            [op(operator, "s", f"{side}_out", name=f"{side} node")],
            side,
            [],
            [helper.make_tensor_value_info(f"{side}_out", 1, None)],
        )
        for side, operator in (("then", "Identity"), ("else", "Neg"))
    }
    graph.node.extend(
        [
            op("ReduceSum", "s", "total", keepdims=0),
            op("Less", "total zero", "below"),
            helper.make_node("If", ["below"], ["y"], name="own", **branches),
        ]
    )
    graph.initializer.append(helper.make_tensor("zero", 1, [], [1e9]))
    return Model.from_proto(proto)


# --- networks of two features, and inputs of which a share is hard ------------------------------


def wide(hidden: int = 8, batch: Axis = "N") -> Model:
    """Scores (x1, 0) by way of hidden layers that cost more."""
    up, down = np.zeros((2, hidden), np.float32), np.zeros((hidden, 2), np.float32)
    up[1, 0] = down[0, 0] = 1
    nodes = [op("MatMul", "x up", "h"), op("MatMul", "h down", "y")]
    return Model.from_proto(make_model(nodes, {"x": (batch, 2)}, ["y"], {"up": up, "down": down}))


def inputs(samples: int = 400, hard: float = 0.25) -> Array:
    """(samples, 2): x0 about 3 or -3 and of the sign of x1, but 0.05 of any sign where hard."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1, 1], samples)
    is_hard = np.arange(samples) % round(1 / hard) == 0
    sure = sign * rng.uniform(2, 4, samples)
    x0 = np.where(is_hard, rng.choice([-0.05, 0.05], samples), sure)
    return np.column_stack([x0, sign]).astype(np.float32)


def data(x: Array, labelled: bool = True) -> Dataset:
    more = {"y": (x[:, 1] <= 0).astype(np.int64)} if labelled else {}
    return dataset({"x": x, **more}, wide().inputs, "here")


SETTINGS = Settings(threads=1)
LEAD = lead()


def made(labelled: bool = True, **asked: Any) -> DynamicNetwork:
    given = {"mild": wide(), "aggressive": LEAD, "evaluation": data(inputs(), labelled)}
    return dynamic(wide(16), SETTINGS, **{**given, **asked})
