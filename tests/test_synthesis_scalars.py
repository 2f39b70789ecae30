"""Inputs of one number get a value that the graph tells of, and their report names it."""

from __future__ import annotations

import numpy as np
import pytest
from builders import ints, loaded, make_graph, normal, op, value
from onnx import NodeProto, TensorProto, ValueInfoProto

from eapc.model import Model, input_shapes
from eapc.synthesis import synthesise
from eapc.synthesis.scalars import told_value

W = {"w": normal((4, 2))}
X = value("x", ("N", 8, 4))


def of(nodes: list[NodeProto], *inputs: ValueInfoProto, **tensors: np.ndarray) -> Model:
    return loaded([op("MatMul", "x w", "y"), *nodes], [X, *inputs], ["y"], W | tensors)


def told(model: Model, name: str) -> str:
    spec = next(spec for spec in model.inputs if spec.name == name)
    return str(told_value(model, spec, input_shapes(model, {}, None)))


def test_a_number_that_the_graph_compares_an_input_with() -> None:
    """Through casts, and inside a subgraph too."""
    inner = make_graph([op("Equal", "sr8 rate", "e"), op("Cast", "e", "t", to=1)], {}, ["t"])
    nodes = [
        op("Cast", "sr", "sr8", to=TensorProto.INT64),
        op("If", "cond", "z", then_branch=inner, else_branch=inner),
    ]
    inputs = [value("sr", (), TensorProto.INT32), value("cond", (), TensorProto.BOOL)]
    model = of(nodes, *inputs, rate=ints(16000))
    assert told(model, "sr") == (
        "input 'sr' is set to 16000, which the graph compares it with; --calib sets it"
    )
    assert told(model, "cond").startswith("input 'cond' is set to 0, for want of")


def test_places_of_operators_tell() -> None:
    nodes = [op("NonMaxSuppression", "b s most iou", "z")]
    inputs = [
        value("b", (1, 6, 4)),
        value("s", (1, 1, 6)),
        value("most", (1,), TensorProto.INT64),
        value("iou", (1,)),
    ]
    model = of(nodes, *inputs)
    assert told(model, "iou") == (
        "input 'iou' is set to 0.5, as NonMaxSuppression is often given; --calib sets it"
    )
    assert "'most' is set to 100," in told(model, "most")
    largest = of([op("TopK", "x k", "v i")], value("k", (1,), TensorProto.INT64))
    assert "'k' is set to 1, as TopK is often given" in told(largest, "k")


def test_flags_are_off_and_factors_neutral() -> None:
    nodes = [op("Dropout", "x ratio training", "z"), op("Mul", "y gain", "g")]
    inputs = [value("ratio", ()), value("training", (), TensorProto.BOOL), value("gain", ())]
    model = of(nodes, *inputs)
    assert "'training' is set to 0, as Dropout" in told(model, "training")
    assert "'ratio' is set to 0, as Dropout" in told(model, "ratio")
    assert "'gain' is set to 1, for want of" in told(model, "gain")


LENGTHS = [
    op("ReduceMax", "len", "m", keepdims=0),
    op("Range", "zero m one", "r"),
    op("Unsqueeze", "len one_axis", "each"),
    op("Less", "r each", "mask"),
]


@pytest.mark.parametrize("shape", [(1,), ("N",)])
def test_lengths_are_those_of_what_is_beside_them(shape: tuple[int | str, ...]) -> None:
    x = value("x", ("N" if shape == ("N",) else 1, "T", 4))
    given = {"zero": ints(0).reshape(()), "one": ints(1).reshape(()), "one_axis": ints(1), **W}
    length = value("n", shape, TensorProto.INT64)
    nodes = [op("MatMul", "x w", "y"), op("Identity", "n", "len"), *LENGTHS]
    model = loaded(nodes, [x, length], ["y", "mask"], given)
    assert told(model, "n") == (
        "input 'n' is set to 64, the length of what is beside it; --calib sets it"
    )
    data = synthesise(model, {}, 6, np.random.default_rng(0), 1)
    assert data.notes == (told(model, "n"),)
    assert (data.arrays["n"] == 64).all()


def test_numbers_are_not_scaled_with_the_signals_beside_them() -> None:
    model = of([op("Mul", "y gain", "g")], value("gain", (1,)))
    data = synthesise(model, {}, 12, np.random.default_rng(0), 1)
    assert (data.arrays["gain"] == 1).all()
    assert np.abs(data.arrays["x"]).max() > 50
