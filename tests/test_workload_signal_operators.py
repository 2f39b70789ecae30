"""Fourier transforms: shapes as onnxruntime makes them, operations worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from builders import Array, loaded, normal, op, scalar, value
from work_builders import items_of

from eapc.data import dataset
from eapc.energy import NodeWork
from eapc.model import Model
from eapc.runtime import collect_outputs
from eapc.workload import StreamWorkload

LENGTH = {"n": scalar(16, np.int64)}
AXIS = {"a": scalar(1, np.int64)}


def transform(
    op_type: str, inputs: str, x: tuple[int, ...], tensors: dict[str, Array], opset: int, **how: Any
) -> Model:
    node = op(op_type, inputs, "y", "f", **how)
    return loaded([node], {"x": x}, [value("y", None)], tensors, opset=opset)


def load_of(item: NodeWork) -> StreamWorkload:
    assert not item.reason
    (load,) = item.work.workloads
    assert isinstance(load, StreamWorkload)
    return load


def made_by_onnxruntime(model: Model) -> tuple[int, ...]:
    (spec,) = model.inputs
    shape = tuple(axis for axis in spec.shape if isinstance(axis, int))
    data = dataset({"x": normal(shape)}, model.inputs, "x")
    return tuple(collect_outputs(model, data)["y"].shape)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("opset", "inputs", "tensors", "axis", "y", "transforms", "length"),
    [
        (17, "x", {}, {}, (1, 8, 4, 2), 4, 8),
        (17, "x", {}, {"axis": 2}, (1, 8, 4, 2), 8, 4),
        (17, "x n", LENGTH, {}, (1, 16, 4, 2), 4, 16),
        (20, "x", {}, {}, (1, 8, 4, 2), 8, 4),
        (20, "x - a", AXIS, {}, (1, 8, 4, 2), 4, 8),
        (20, "x n a", LENGTH | AXIS, {}, (1, 16, 4, 2), 4, 16),
    ],
)
def test_a_transform_of_all_frequencies(
    opset: int,
    inputs: str,
    tensors: dict[str, Array],
    axis: dict[str, int],
    y: tuple[int, ...],
    transforms: int,
    length: int,
    parts: int,
) -> None:
    """5 n log2 n operations for complex values, half for real ones."""
    model = transform("DFT", inputs, (1, 8, 4, parts), tensors, opset, **axis)
    each = {4: 40, 8: 120, 16: 320}[length]
    load = load_of(items_of(model)[0])
    assert load.operations == transforms * each * parts // 2
    assert (load.ifmap_words, load.ofmap_words) == (32 * parts, math.prod(y))
    assert made_by_onnxruntime(model) == y


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(
    ("inputs", "x", "inverse", "y", "operations"),
    [
        ("x", (1, 8, 1), 0, (1, 5, 2), 60),  # 2.5 * 8 * 3
        ("x n", (1, 8, 1), 0, (1, 9, 2), 160),  # 2.5 * 16 * 4
        ("x", (1, 5, 2), 1, (1, 8, 1), 60),
        ("x n", (1, 9, 2), 1, (1, 16, 1), 160),
    ],
)
def test_a_one_sided_transform(
    inputs: str, x: tuple[int, ...], inverse: int, y: tuple[int, ...], operations: int, opset: int
) -> None:
    tensors = LENGTH if "n" in inputs else {}
    model = transform("DFT", inputs, x, tensors, opset, onesided=1, inverse=inverse)
    load = load_of(items_of(model)[0])
    assert (load.operations, load.ofmap_words) == (operations, math.prod(y))
    assert made_by_onnxruntime(model) == y


def test_a_transform_along_a_computed_axis_is_not_modelled() -> None:
    inputs = [value("x", (1, 8, 4, 1)), value("a", (), 7)]
    model = loaded([op("DFT", "x - a", "y", "f")], inputs, [value("y", (1, 8, 4, 2))], opset=20)
    assert items_of(model)[0].reason == "its axis is computed, not constant"


WINDOW = {"hop": scalar(4, np.int64), "w": normal((8,))}


@pytest.mark.parametrize(
    ("inputs", "x", "onesided", "y", "operations"),
    [
        ("x hop w", (1, 16, 1), None, (1, 3, 5, 2), 3 * (60 + 8)),
        ("x hop w", (1, 16, 1), 1, (1, 3, 5, 2), 3 * (60 + 8)),
        ("x hop w", (1, 16, 1), 0, (1, 3, 8, 2), 3 * (60 + 8)),
        ("x hop w", (2, 16, 2), 0, (2, 3, 8, 2), 6 * (120 + 16)),
        ("x hop - n", (1, 16, 1), None, (1, 1, 9, 2), 160),
    ],
)
def test_frames_of_a_signal(
    inputs: str, x: tuple[int, ...], onesided: int | None, y: tuple[int, ...], operations: int
) -> None:
    """2.5 * 8 * 3 operations for a real frame, 8 for its window."""
    how = {} if onesided is None else {"onesided": onesided}
    model = transform("STFT", inputs, x, WINDOW | LENGTH, 17, **how)
    load = load_of(items_of(model)[0])
    assert load == StreamWorkload(operations, math.prod(x), 0, math.prod(y))
    assert made_by_onnxruntime(model) == y


def test_what_reads_the_spectrum_is_priced_at_its_size() -> None:
    """A product over 5 frequencies: the shape that follows is that of a one-sided spectrum."""
    nodes = [
        op("STFT", "x hop w", "s"),
        op("ReduceSumSquare", "s", "p", axes=[-1], keepdims=0),
        op("MatMul", "p m", "y"),
    ]
    tensors = {**WINDOW, "m": normal((5, 2))}
    items = items_of(loaded(nodes, {"x": (1, 16, 1)}, [value("y", None)], tensors))
    assert [item.reason for item in items] == ["", "", ""]
    assert items[2].work.workloads[0].macs == 3 * 5 * 2
