"""Every rule against the cases that onnx itself has for the operator, or against onnxruntime."""

from __future__ import annotations

import warnings
from collections import defaultdict
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from builders import Array
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from eapc.autograd import Network, ruled, unruled
from eapc.autograd.arrays import tensor_of
from eapc.errors import ModelError
from eapc.model import Model
from eapc.runtime import Session

ELSEWHERE = {"GlobalLpPool", "SimplifiedLayerNormalization"}
"""Operators for which onnx has no case of its own."""

BEYOND = (
    "bitwise_not_3d",  # codes of 16 bits, which torch does not invert
    "boolmask",  # rows of attention that see nothing
    "training_dropout",
    "e8m0",
    "scales_linear_align_corners",  # onnxruntime aligns the last element, the standard does not
    "scales_cubic_align_corners",
    *("to_INT4", "to_UINT4", "to_INT2", "to_UINT2"),
)
"""Cases of a meaning that no network at inference has, or types that torch lacks."""


@cache
def cases() -> dict[str, list[Any]]:
    """The cases of one node of an operator that is in the standard, by operator."""
    found = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = collect_testcases(None)
    for case in every:
        assert case.model is not None  # a case without one is of a domain of its own
        (first, *others) = case.model.graph.node
        if not others and not first.domain and not any(word in case.name for word in BEYOND):
            found[first.op_type].append(case)
    return found


def array_of(value: Any) -> Array:
    is_proto = isinstance(value, onnx.TensorProto)
    return numpy_helper.to_array(value) if is_proto else np.asarray(value)


def has_odd_types(case: Any) -> bool:
    """Whether a case is about strings, sequences or floats of a byte and less."""
    values = [value for pair in case.data_sets for side in pair for value in side]
    if any(isinstance(value, list) or value is None for value in values):
        return True
    names = {array_of(value).dtype.name for value in values}
    return any("float8" in n or "float4" in n or n.startswith(("str", "object")) for n in names)


def differing(case: Any) -> str:
    """How a case comes out wrong; empty where it does not, or its meaning is refused."""
    model = Model.from_proto(case.model)
    for inputs, outputs in case.data_sets:
        names = [value.name for value in case.model.graph.input]
        feed = {n: tensor_of(array_of(v)) for n, v in zip(names, inputs, strict=False)}
        try:
            with torch.no_grad():
                found = Network(model).run(feed, [o.name for o in case.model.graph.output])
        except ModelError:
            return "refused"
        for y, value in zip(found, outputs, strict=True):
            wanted = array_of(value)
            coarse = "float16" in wanted.dtype.name
            close = {"rtol": 2e-2, "atol": 1e-2} if coarse else {"rtol": 1e-3, "atol": 1e-5}
            mine, theirs = (np.asarray(each, np.float64) for each in (y.numpy(), wanted))
            if mine.shape != theirs.shape:
                return f"{case.name}: shape {mine.shape} in place of {theirs.shape}"
            if not np.allclose(mine, theirs, equal_nan=True, **close):
                return f"{case.name}: off by {np.abs(mine - theirs).max()}"
    return ""


@pytest.mark.parametrize("op_type", [name for domain, name in ruled() if not domain])
def test_an_operator_does_what_the_standard_says(op_type: str) -> None:
    tried = [case for case in cases()[op_type] if not has_odd_types(case)]
    said = [differing(case) for case in tried]
    assert [each for each in said if each not in ("", "refused")] == []
    assert op_type in ELSEWHERE or "" in said


@pytest.mark.parametrize("op_type", ["If", "Loop", "Scan"])
def test_control_flow_does_what_the_standard_says(op_type: str) -> None:
    tried = [case for case in cases()[op_type] if not has_odd_types(case)]
    ruled_ones = [case for case in tried if not unruled(Model.from_proto(case.model))]
    said = [differing(case) for case in ruled_ones]
    assert [each for each in said if each not in ("", "refused")] == []
    assert "" in said


# --- operators of onnxruntime, and what onnx has no case for -------------------------------------


def of(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = of((2, 6, 8))
IMAGE = of((2, 3, 7, 6))
KERNEL = of((4, 3, 3, 3), 1)

RUNTIME: list[tuple[str, str, list[Array], dict[str, Any]]] = [
    ("", "GlobalLpPool", [IMAGE], {"p": 3}),
    ("com.microsoft", "BiasGelu", [X, of((8,))], {}),
    ("com.microsoft", "FastGelu", [X, of((8,))], {}),
    ("com.microsoft", "FastGelu", [X], {}),
    ("com.microsoft", "Gelu", [X], {}),
    ("com.microsoft", "QuickGelu", [X], {"alpha": 1.5}),
    ("com.microsoft", "FusedMatMul", [X, of((2, 5, 8))], {"transB": 1, "alpha": 0.5}),
    ("com.microsoft", "FusedConv", [IMAGE, KERNEL, of((4,))], {"activation": "Relu"}),
    (
        "com.microsoft",
        "FusedConv",
        [IMAGE, KERNEL, of((4,))],
        {"activation": "Clip", "activation_params": [-0.5, 0.5], "pads": [1, 1, 0, 1]},
    ),
    ("com.microsoft", "SkipLayerNormalization", [X, of((2, 6, 8), 1), of((8,)), of((8,), 2)], {}),
    ("", "SimplifiedLayerNormalization", [X, of((8,))], {"axis": -1, "epsilon": 1e-5}),
    (
        "com.microsoft",
        "QuantizeLinear",
        [X, np.array(0.05, np.float32), np.array(120, np.uint8)],
        {},
    ),
    (
        "com.microsoft",
        "DequantizeLinear",
        [
            np.arange(12, dtype=np.uint8).reshape(3, 4),
            np.array(0.05, np.float32),
            np.array(7, np.uint8),
        ],
        {},
    ),
    ("", "ConvTranspose", [IMAGE, of((3, 4, 3, 3))], {"strides": [2, 3], "pads": [0, 1, 1, 2]}),
    (
        "",
        "Resize",
        [IMAGE, np.zeros(0, np.float32), np.array([1, 1, 0.6, 1.7], np.float32)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    ("", "MaxPool", [IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    (
        "",
        "AveragePool",
        [IMAGE],
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    ),
    (
        "",
        "AveragePool",
        [IMAGE],
        {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1], "count_include_pad": 1},
    ),
]


@pytest.mark.parametrize(("domain", "op_type", "inputs", "attributes"), RUNTIME)
def test_an_operator_does_what_onnxruntime_does(
    domain: str, op_type: str, inputs: list[Array], attributes: dict[str, Any]
) -> None:
    names = [f"x{place}" for place in range(len(inputs))]
    node = helper.make_node(op_type, names, ["y"], domain=domain, **attributes)
    specs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype), np.shape(x)
        )
        for name, x in zip(names, inputs, strict=True)
    ]
    quantised = op_type == "QuantizeLinear"
    kind = onnx.TensorProto.UINT8 if quantised else onnx.TensorProto.FLOAT
    output = helper.make_tensor_value_info("y", kind, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(
        helper.make_graph([node], "g", specs, [output]), opset_imports=opsets, ir_version=9
    )
    feed = dict(zip(names, (np.asarray(x) for x in inputs), strict=True))
    (wanted,) = Session(proto, 1).run(feed).values()
    with torch.no_grad():
        (found,) = Network(Model.from_proto(proto)).run(
            {name: tensor_of(x) for name, x in feed.items()}, ["y"]
        )
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_every_rule_is_tried() -> None:
    tried = {(domain, name) for domain, name, *_ in RUNTIME} | {("", name) for name in cases()}
    assert set(ruled()) - tried == set()
