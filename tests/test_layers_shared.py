"""Weights that several layers read: one problem where all of them mean the same matrix."""

from __future__ import annotations

import numpy as np
import pytest
from builders import ints, loaded, normal, op
from onnx import NodeProto, TensorProto

from eapc.layers import PrunableLayers, find_layers
from eapc.model import Array, Model


def network(nodes: list[NodeProto], root: Array, **tensors: Array) -> Model:
    """Layers `one` of x (N, 6) and `two` of v, which makes y and z out of `root`."""
    inputs = {"x": ("N", 6), "v": None}
    return loaded(nodes, inputs, ["y", "z"], {"root": root, **tensors})  # type: ignore[arg-type]


def reason(found: PrunableLayers) -> str:
    """Why both layers are left alone."""
    assert found.layers == ()
    assert {skip.name for skip in found.skipped} == {"one", "two"}
    (said,) = {skip.reason for skip in found.skipped}
    return said


TOGETHER: dict[str, tuple[list[NodeProto], Array]] = {
    "Gemm and MatMul": (
        [op("Gemm", "x root", "y", "one"), op("MatMul", "v root", "z", "two")],
        normal((6, 4)),
    ),
    "Gemm transB and MatMul behind Transpose": (
        [
            op("Transpose", "root", "t"),
            op("Gemm", "x root", "y", "one", transB=1),
            op("MatMul", "v t", "z", "two"),
        ],
        normal((4, 6)),
    ),
    "in front and behind": (
        [
            op("Transpose", "root", "t"),
            op("MatMul", "x root", "y", "one"),
            op("MatMul", "t v", "z", "two"),
        ],
        normal((6, 4)),
    ),
    "a square, turned twice": (
        [
            op("Transpose", "root", "t"),
            op("Transpose", "t", "tt"),
            op("MatMul", "x root", "y", "one"),
            op("MatMul", "v tt", "z", "two"),
        ],
        normal((6, 6)),
    ),
    "two casts of one kind": (
        [
            op("Cast", "root", "a", to=TensorProto.FLOAT),
            op("Cast", "root", "b", to=TensorProto.FLOAT),
            op("MatMul", "x a", "y", "one"),
            op("MatMul", "v b", "z", "two"),
        ],
        normal((6, 4)).astype(np.float16),
    ),
    "convolutions of two strides": (
        [op("Conv", "v root", "y", "one"), op("Conv", "v root", "z", "two", strides=[2, 2])],
        normal((4, 3, 3, 3)),
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_layers_that_mean_one_matrix_are_pruned_together(name: str) -> None:
    nodes, root = TOGETHER[name]
    found = find_layers(network(nodes, root))
    assert found.skipped == ()
    (tied,) = found.layers
    assert [user.node.key for user in tied.users] == ["one", "two"]


APART: dict[str, tuple[list[NodeProto], str]] = {
    "a matrix and its transpose": (
        [
            op("Transpose", "root", "t"),
            op("MatMul", "x root", "y", "one"),
            op("MatMul", "v t", "z", "two"),
        ],
        "one as W, another as its transpose",
    ),
    "in front and behind": (
        [op("MatMul", "x root", "y", "one"), op("MatMul", "root v", "z", "two")],
        "one as W, another as its transpose",
    ),
    "Gemm turned": (
        [op("Gemm", "x root", "y", "one"), op("Gemm", "v root", "z", "two", transB=1)],
        "one as W, another as its transpose",
    ),
    "other shapes": (
        [
            op("Reshape", "root size", "t"),
            op("MatMul", "x root", "y", "one"),
            op("MatMul", "v t", "z", "two"),
        ],
        "as different matrices",
    ),
    "other factors": (
        [op("Gemm", "x root", "y", "one"), op("Gemm", "v root", "z", "two", alpha=0.5)],
        "multiply them by different alpha",
    ),
    "other types": (
        [
            op("Cast", "root", "h", to=TensorProto.FLOAT16),
            op("Cast", "h", "t", to=TensorProto.FLOAT),
            op("MatMul", "x root", "y", "one"),
            op("MatMul", "v t", "z", "two"),
        ],
        "read them in different types",
    ),
}


@pytest.mark.parametrize("name", APART)
def test_layers_that_mean_different_matrices_are_left_alone(name: str) -> None:
    nodes, expected = APART[name]
    said = reason(find_layers(network(nodes, normal((6, 6)), size=ints(4, 9))))
    assert expected in said
    assert said.endswith("; give each a copy of its own")


def test_a_convolution_and_its_transpose_are_left_alone() -> None:
    nodes = [op("Conv", "v root", "y", "one"), op("ConvTranspose", "v root", "z", "two")]
    assert "different matrices" in reason(find_layers(network(nodes, normal((4, 3, 3, 3)))))
