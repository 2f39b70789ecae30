"""Behind which layers nothing mixes channels on the way to the outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from builders import ints, loaded, make_graph, make_model, normal, op, scalar, value
from onnx import NodeProto

from eapc.layers import find_layers
from eapc.model import Model

TENSORS = {
    **{"w": normal((6, 3, 3, 3)), "v": normal((6, 6, 1, 1)), "k": normal((6, 1, 1), 1)},
    **{"flat": ints(0, 6, 25), "half": ints(3, 3), "axes": ints(1)},
    **{"size": np.array([1, 1, 2, 2], np.float32), "flag": np.array(True)},
    **{"one": scalar(1.0), **{name: normal((6,), 3) + np.float32(3) for name in "abcd"}},
}
"""Behind x (N, 3, 7, 7), h is (N, 6, 5, 5)."""


def model(nodes: Sequence[NodeProto], outputs: str = "y") -> Model:
    used = {name for node in nodes for name in node.input} | {"w"}
    given = {name: array for name, array in TENSORS.items() if name in used}
    conv = op("Conv", "x w", "h", "conv")
    return loaded([conv, *nodes], {"x": ("N", 3, 7, 7)}, outputs.split(), given)


def unmixed(model: Model) -> dict[str, bool]:
    layers = [layer for tied in find_layers(model).layers for layer in tied.users]
    return {layer.node.key: layer.unmixed for layer in layers}


APART = {
    "nothing": ([], "h"),
    "an activation": ([op("Sigmoid", "h", "y")], "y"),
    "an activation in two nodes": ([op("Sigmoid", "h", "s"), op("Mul", "s h", "y")], "y"),
    "constants": ([op("Mul", "h k", "s"), op("Add", "s one", "y")], "y"),
    "another tensor": (
        [op("MaxPool", "x", "p", kernel_shape=[3, 3]), op("Concat", "h p", "y", axis=1)],
        "y",
    ),
    "a normalisation by channel": ([op("BatchNormalization", "h a b c d", "y")], "y"),
    "pooling": ([op("GlobalAveragePool", "h", "p"), op("Mul", "h p", "y")], "y"),
    "resizing": ([op("Resize", "h - size", "y")], "y"),
    "a view": ([op("Reshape", "h flat", "r"), op("Transpose", "r", "y", perm=[0, 2, 1])], "y"),
    "a split": (
        [
            op("Split", "h half", "p q", axis=1),
            op("Exp", "p", "e"),
            op("Sigmoid", "q", "s"),
            op("Concat", "e s", "y", axis=1),
        ],
        "y",
    ),
    "its shape": ([op("Shape", "h", "n"), op("Expand", "one n", "y")], "y h"),
    "what no output needs": ([op("Relu", "h", "y"), op("Softmax", "h", "s")], "y"),
}  # fmt: skip

MIXED = {
    "a layer": ([op("Conv", "h v", "y", "next")], "y"),
    "a layer beside the output": ([op("Conv", "h v", "y", "next")], "h y"),
    "a softmax": ([op("Softmax", "h", "y", axis=1)], "y"),
    "a sum": ([op("ReduceSum", "h axes", "y")], "y"),
    "a choice": ([op("ArgMax", "h", "y", axis=1)], "y"),
    "halves that meet": ([op("Split", "h half", "p q", axis=1), op("Add", "p q", "y")], "y"),
    "a transposed self": (
        [op("Transpose", "h", "t", perm=[0, 1, 3, 2]), op("Add", "h t", "y")],
        "y",
    ),
    "pooling across": (
        [op("Transpose", "h", "t"), op("MaxPool", "t", "y", kernel_shape=[1, 2])],
        "y",
    ),
    "an unknown operator": ([op("Own", "h", "y", domain="own")], "y"),
}  # fmt: skip


@pytest.mark.parametrize("case", APART)
def test_channels_that_nothing_mixes(case: str) -> None:
    assert unmixed(model(*APART[case]))["conv"]


@pytest.mark.parametrize("case", MIXED)
def test_channels_that_something_mixes(case: str) -> None:
    assert not unmixed(model(*MIXED[case]))["conv"]


def test_only_the_last_layer_counts() -> None:
    nodes = [op("Relu", "h", "r"), op("Conv", "r v", "y", "next")]
    assert unmixed(model(nodes)) == {"conv": False, "next": True}


def test_a_branch_of_control_flow_may_mix() -> None:
    inner = [make_graph([op(kind, "h", "t")], {}, ["t"]) for kind in ("Relu", "Softmax")]
    node = op("If", "flag", "y", then_branch=inner[0], else_branch=inner[1])
    assert not unmixed(model([node]))["conv"]


def test_scores_of_classes_are_compared() -> None:
    pooled = [op("GlobalAveragePool", "h", "p")]
    assert not unmixed(model(pooled, "p"))["conv"]
    assert not unmixed(model([*pooled, op("Flatten", "p", "y")]))["conv"]
    assert unmixed(model(pooled, "p h"))["conv"]
    proto = make_model(
        [op("Conv", "x w", "h", "conv")], {"x": ("N", 3, 7, 7)}, ["h"], {"w": TENSORS["w"]}
    )
    proto.graph.output[0].CopyFrom(value("h", None))
    assert not unmixed(Model.from_proto(proto))["conv"]


def test_rows_of_products_have_no_maps_to_pool() -> None:
    """Behind MatMul the last axis is that of the channels."""
    nodes = [op("MatMul", "x w", "h", "dense"), op("MaxPool", "h", "y", kernel_shape=[2, 2])]
    found = loaded(nodes, {"x": ("N", 2, 4, 5)}, ["y"], {"w": normal((5, 6))})
    assert unmixed(found) == {"dense": False}
    plain = loaded(nodes[:1], {"x": ("N", 2, 4, 5)}, ["h"], {"w": normal((5, 6))})
    assert unmixed(plain) == {"dense": True}
