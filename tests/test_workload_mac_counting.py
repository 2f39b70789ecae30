"""Counted MACs against every MAC looked at one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import Array, loaded, op
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto
from work_builders import items_of

from eapc.data import dataset
from eapc.energy import measured_table
from eapc.model import Model
from eapc.runtime import Session
from eapc.workload import Reduction


def sparse(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Values of which some 60 % are zero, unevenly: more towards the end of each axis."""
    rng = np.random.default_rng(seed)
    place = sum(np.indices(shape)[axis] / shape[axis] for axis in range(len(shape))) / len(shape)
    keep = rng.random(shape) > 0.2 + 0.8 * place
    found: Array = np.where(keep, rng.normal(size=shape), 0).astype(np.float32)
    return found


def one_node(node: NodeProto, x: Array, w: Array, computed: bool = False) -> Model:
    """A model of one node on x and w, a constant or computed from one."""
    if computed:
        return loaded([op("Identity", "v", "w"), node], {"x": x.shape}, ["y"], {"v": w})
    return loaded([node], {"x": x.shape}, ["y"], {"w": w})


def counted(node: NodeProto, x: Array, w: Array, computed: bool = False) -> tuple[float, float]:
    """MACs with both operands non-zero, and with a non-zero ifmap, of the whole batch."""
    model = one_node(node, x, w, computed)
    works = items_of(model)
    table = measured_table(model, works, dataset({"x": x}, model.inputs, "test"), 1)
    found = table.macs[works[-1].node.key]
    macs = sum(load.macs for load in works[-1].work.workloads)
    return found.both * macs, found.ifmap * macs


def flags(array: Array) -> Array:
    return np.not_equal(array, 0).astype(np.float32)


def of_flags(node: NodeProto, x: Array, w: Array) -> tuple[float, float]:
    """What onnxruntime sums over operands of zeros and ones: one for each MAC that counts."""
    both, ifmap = (
        Session(one_node(node, x, weights).to_proto(embed=True), 1).run({"x": flags(x)})["y"]
        for weights in (flags(w), np.ones_like(w))
    )
    return float(both.sum()), float(ifmap.sum())


def convolved(
    x: Array, w: Array, strides: list[int], dilations: list[int], begins: list[int], output: Any
) -> tuple[int, int]:
    """The same by looking at each output position and tap of a convolution."""
    channels = w.shape[1]
    groups = x.shape[1] // channels
    per_group = w.shape[0] // groups
    both = ifmap = 0
    for place in np.ndindex(*output):
        for tap in np.ndindex(*w.shape[2:]):
            steps = zip(place, strides, tap, dilations, begins, strict=True)
            at = tuple(o * s + t * d - b for o, s, t, d, b in steps)
            if any(not 0 <= i < size for i, size in zip(at, x.shape[2:], strict=True)):
                continue
            for m, c in np.ndindex(w.shape[0], channels):
                words = x[(slice(None), m // per_group * channels + c, *at)] != 0
                ifmap += int(words.sum())
                both += int(words.sum()) * bool(w[(m, c, *tap)])
    return both, ifmap


axis = st.tuples(
    st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2)
)


@settings(max_examples=60, deadline=None)
@given(
    axes=st.lists(axis, min_size=1, max_size=3),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)),
    end=st.integers(0, 1),
    seed=st.integers(0, 99),
)
def test_convolutions(
    axes: list[tuple[int, ...]], sizes: tuple[int, int, int, int], end: int, seed: int
) -> None:
    """One to three spatial axes with any size, kernel, stride, dilation, padding and groups."""
    batch, groups, channels, filters = sizes
    extents, kernel, strides, dilations, begins = (list(part) for part in zip(*axes, strict=True))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    extents = [max(e, r) for e, r in zip(extents, reach, strict=True)]
    x = sparse((batch, groups * channels, *extents), seed)
    w = sparse((groups * filters, channels, *kernel), seed + 1)
    node = op(
        "Conv",
        "x w",
        "y",
        group=groups,
        strides=strides,
        dilations=dilations,
        pads=[*begins, *([end] * len(axes))],
    )
    padded = zip(extents, begins, reach, strides, strict=True)
    output = [(e + b + end - r) // s + 1 for e, b, r, s in padded]
    expected = convolved(x, w, strides, dilations, begins, output)
    assert counted(node, x, w) == pytest.approx(expected, abs=1e-6)


CONVOLUTIONS: dict[str, tuple[NodeProto, tuple[int, ...], tuple[int, ...]]] = {
    "same upper": (op("Conv", "x w", "y", auto_pad="SAME_UPPER"), (3, 4, 6, 5), (2, 4, 2, 3)),
    "same lower": (
        op("Conv", "x w", "y", auto_pad="SAME_LOWER", strides=[2, 1]),
        (3, 4, 7, 5),
        (2, 4, 4, 2),
    ),
    "valid": (op("Conv", "x w", "y", auto_pad="VALID"), (2, 3, 6, 5), (2, 3, 3, 3)),
    "depthwise": (op("Conv", "x w", "y", group=6, pads=[1] * 4), (2, 6, 6, 5), (6, 1, 3, 3)),
    "transposed": (op("ConvTranspose", "x w", "y"), (2, 3, 4, 5), (3, 2, 3, 3)),
    "transposed, strided": (
        op("ConvTranspose", "x w", "y", strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 0]),
        (2, 3, 4, 5),
        (3, 2, 3, 4),
    ),
    "transposed, grouped": (
        op("ConvTranspose", "x w", "y", group=2, strides=[2], auto_pad="SAME_UPPER"),
        (2, 4, 6),
        (4, 3, 3),
    ),
    "transposed, dilated": (
        op("ConvTranspose", "x w", "y", dilations=[2, 1], pads=[1, 1, 1, 1]),
        (2, 2, 4, 5),
        (2, 3, 2, 3),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("computed", [False, True])
def test_convolutions_as_onnxruntime_runs_them(name: str, computed: bool) -> None:
    """Automatic padding and ConvTranspose; weights are constant or computed."""
    node, *shapes = CONVOLUTIONS[name]
    x, w = (sparse(shape, seed) for seed, shape in enumerate(shapes))
    assert counted(node, x, w, computed) == pytest.approx(of_flags(node, x, w))


PRODUCTS: dict[str, tuple[NodeProto, tuple[int, ...], tuple[int, ...]]] = {
    "gemm": (op("Gemm", "x w", "y"), (5, 6), (6, 4)),
    "gemm, weights turned": (op("Gemm", "x w", "y", transB=1), (5, 6), (4, 6)),
    "gemm, both turned": (op("Gemm", "x w", "y", transA=1, transB=1), (6, 5), (4, 6)),
    "rows": (op("MatMul", "x w", "y"), (2, 3, 5, 6), (6, 4)),
    "a vector of weights": (op("MatMul", "x w", "y"), (2, 5, 6), (6,)),
    "weights per index": (op("MatMul", "x w", "y"), (2, 3, 5, 6), (3, 6, 4)),
    "a stack of one": (op("MatMul", "x w", "y"), (2, 5, 6), (1, 6, 4)),
    "attention": (op("MatMul", "x w", "y"), (2, 3, 5, 6), (2, 3, 6, 4)),
    "shared keys": (op("MatMul", "x w", "y"), (2, 3, 5, 6), (2, 1, 6, 4)),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("computed", [False, True])
def test_products(name: str, computed: bool) -> None:
    """With weights that are constant, or like any computed operand counted batch by batch."""
    node, *shapes = PRODUCTS[name]
    x, w = (sparse(shape, seed) for seed, shape in enumerate(shapes))
    assert counted(node, x, w, computed) == pytest.approx(of_flags(node, x, w))


def test_constant_first_operand() -> None:
    """The ifmap is then the second: 3 x 2 by 2 x 2, its first row zero."""
    w = np.array([[1, 1], [0, 1], [1, 0]], np.float32)
    x = np.array([[0, 0], [1, 2]], np.float32)
    assert counted(op("MatMul", "w x", "y"), x, w) == pytest.approx((2 * 2, 2 * 3))
    assert counted(op("Gemm", "w x", "y"), x, w) == pytest.approx((2 * 2, 2 * 3))


def test_a_convolution_by_hand() -> None:
    """Two taps over four words, strided: 0 and 2 are read by the first, 1 and 3 by the second."""
    x = np.array([1, 2, 0, 3], np.float32).reshape(1, 1, 4)
    w = np.array([5, 0], np.float32).reshape(1, 1, 2)
    assert counted(op("Conv", "x w", "y", strides=[2]), x, w) == pytest.approx((1, 3))


def test_products_that_are_not_counted() -> None:
    x, w = sparse((2, 5, 6)), sparse((6, 4))
    node = op("Einsum", "x w", "y", equation="abk,kn->abn")
    model = one_node(node, x, w)
    table = measured_table(model, items_of(model), dataset({"x": x}, model.inputs, "test"), 1)
    assert not table.macs


@pytest.mark.parametrize("length", [200, 300, 70000])
def test_long_sums_do_not_overflow(length: int) -> None:
    assert Reduction(0)(np.ones((length, 2), np.bool_)).tolist() == [length, length]


@pytest.mark.parametrize(
    ("way", "shape"),
    [(Reduction(-2), (2, 3, 4)), (Reduction(0), (5,)), (Reduction(0, 2), (6, 2, 3))],
)
def test_sums_of_dense_operands_need_no_operands(way: Reduction, shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(way.of_dense(shape), way(np.ones(shape, np.bool_)))
