"""Attention whose shapes are computed as exporters write them: heads go, shapes come out right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import Array, ints, normal, op
from channel_builders import axes_of, groups_of, net, outputs_of, removal_error
from onnx import NodeProto

from eapc.channels import remove_channels
from eapc.commands.compiler import run
from eapc.model import Model

WIDTH, HEADS, DEPTH = 12, 3, 4

NUMBERS = {
    "i0": np.array(0),
    "i1": np.array(1),
    "i2": np.array(2),
    "zero": ints(0),
    "heads": np.array(HEADS),
    "three": ints(3),
}


def lengths(tensor: str) -> list[NodeProto]:
    """B, N and C of a tensor as numbers, and each as a vector of one entry."""
    nodes = [op("Shape", tensor, "s")]
    for place, name in enumerate("BNC"):
        nodes.append(op("Gather", f"s i{place}", name, axis=0))
        nodes.append(op("Unsqueeze", f"{name} zero", f"{name}1"))
    return nodes


def attended(q: str, k: str, v: str) -> list[NodeProto]:
    """softmax(q k') v of (..., N, depth)."""
    rank = 4 if q.endswith("4") else 3
    turned = [*range(rank - 2), rank - 1, rank - 2]
    return [
        op("Transpose", k, "kt", perm=turned),
        op("MatMul", f"{q} kt", "scores"),
        op("Softmax", "scores", "soft", axis=-1),
        op("MatMul", f"soft {v}", "context"),
    ]


def out_and_residual() -> list[NodeProto]:
    return [
        op("MatMul", "joined wo", "o", "out"),
        op("Add", "x o", "y"),
    ]


def fused() -> Model:
    """reshape(B, N, 3, H, C // H) of one product, then reshape(B, N, C)."""
    nodes = [
        *lengths("x"),
        op("Div", "C heads", "D"),
        op("Unsqueeze", "D zero", "D1"),
        op("Unsqueeze", "heads zero", "H1"),
        op("MatMul", "x w", "qkv", "qkv"),
        op("Concat", "B1 N1 three H1 D1", "apart", axis=0),
        op("Reshape", "qkv apart", "p"),
        op("Transpose", "p", "t", perm=[2, 0, 3, 1, 4]),
        op("Split", "t", "qs ks vs", axis=0),
        *(op("Squeeze", f"{name}s zero", f"{name}4") for name in "qkv"),
        *attended("q4", "k4", "v4"),
        op("Transpose", "context", "back", perm=[0, 2, 1, 3]),
        op("Concat", "B1 N1 C1", "together", axis=0),
        op("Reshape", "back together", "joined", "join"),
        *out_and_residual(),
    ]
    tensors = {"w": normal((WIDTH, 3 * WIDTH)), "wo": normal((WIDTH, WIDTH), 1)}
    return net(nodes, ("b", "n", WIDTH), {**tensors, **NUMBERS})


def batch_times_heads() -> Model:
    """Separate products; view(N, B * H, D), as torch's multi-head attention does."""
    nodes = [op("Transpose", "x", "xt", perm=[1, 0, 2]), *lengths("xt")]  # B is N here, N is B
    nodes += [
        op("Div", "C heads", "D"),
        op("Unsqueeze", "D zero", "D1"),
        op("Mul", "N heads", "M"),
        op("Unsqueeze", "M zero", "M1"),
        op("Concat", "B1 M1 D1", "apart", axis=0),
    ]
    for name in "qkv":
        nodes += [
            op("MatMul", f"xt w{name}", name, name),
            op("Reshape", f"{name} apart", f"{name}r"),
            op("Transpose", f"{name}r", f"{name}3", perm=[1, 0, 2]),
        ]
    nodes += [
        *attended("q3", "k3", "v3"),
        op("Transpose", "context", "back", perm=[1, 0, 2]),
        op("Concat", "B1 N1 C1", "together", axis=0),
        op("Reshape", "back together", "whole", "join"),
        op("Transpose", "whole", "joined", perm=[1, 0, 2]),
        *out_and_residual(),
    ]
    shapes = dict.fromkeys(("wq", "wk", "wv", "wo"), (WIDTH, WIDTH))
    tensors = {name: normal(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}
    return net(nodes, ("b", "n", WIDTH), {**tensors, **NUMBERS})


def repeated_keys() -> Model:
    """Two heads of queries read one of keys, repeated by Expand to a shape that Where guards."""
    nodes = [
        *lengths("x"),
        op("MatMul", "x wq", "q", "q"),
        op("Concat", "B1 N1 four four", "hq", axis=0),
        op("Reshape", "q hq", "qr"),
        op("Transpose", "qr", "q4", perm=[0, 2, 1, 3]),
        op("MatMul", "x wk", "k", "k"),
        op("Concat", "B1 N1 two four", "hk", axis=0),
        op("Reshape", "k hk", "kr"),
        op("Transpose", "kr", "kh", perm=[0, 2, 1, 3]),
        op("Unsqueeze", "kh ax2", "ku"),
        op("Concat", "B1 two two N1 four", "wide", axis=0),
        op("Shape", "wide", "ws"),
        op("ConstantOfShape", "ws", "ones", value=_one()),
        op("Mul", "ones minus", "negative"),
        op("Equal", "wide negative", "is_open"),
        op("Where", "is_open ones wide", "copies"),
        op("Expand", "ku copies", "ke"),
        op("Concat", "B1 four N1 four", "flat", axis=0),
        op("Reshape", "ke flat", "k4"),
        *attended("q4", "k4", "k4"),
        op("Transpose", "context", "back", perm=[0, 2, 1, 3]),
        op("Concat", "B1 N1 minus1", "together", axis=0),
        op("Reshape", "back together", "joined"),
        *out_and_residual(),
    ]
    shapes = {"wq": (WIDTH, 16), "wk": (WIDTH, 8), "wo": (16, WIDTH)}
    tensors = {name: normal(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}
    numbers = {"two": ints(2), "four": ints(4), "ax2": ints(2), "minus": np.array(-1)}
    numbers["minus1"] = ints(-1)
    return net(nodes, ("b", "n", WIDTH), {**tensors, **NUMBERS, **numbers})


def _one() -> object:
    from onnx import numpy_helper

    return numpy_helper.from_array(ints(1))


FUSED = {"qkv": (3, {("w", 1): 3 * DEPTH, ("wo", 0): DEPTH})}
APART = {"q": (3, {("wq", 1): 4, ("wk", 1): 4, ("wv", 1): 4, ("wo", 0): 4})}
REPEATED = {"q": (2, {("wq", 1): 8, ("wk", 1): 4, ("wo", 0): 8})}

NETS = {
    "fused": (fused, FUSED),
    "batch times heads": (batch_times_heads, APART),
    "repeated keys": (repeated_keys, REPEATED),
}


@pytest.mark.parametrize("name", NETS)
def test_heads_are_found(name: str) -> None:
    make, wanted = NETS[name]
    assert axes_of(make()) == wanted


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [1, 3])
def test_shapes_come_out_right_for_any_batch(name: str, batch: int) -> None:
    """What a head of zeros in `wo` says is nothing: without it the outputs are the same."""
    model = NETS[name][0]()
    assert removal_error(model, {g.name: ints(1) for g in groups_of(model).groups}) < 1e-6
    rows = NETS[name][1][groups_of(model).groups[0].name][1]["wo", 0]
    out = model.constants.value("wo")
    assert out is not None  # it is an initializer
    quiet = model.with_weights({"wo": np.where(np.arange(len(out))[:, None] < rows, 0, out)})
    smaller = remove_channels(
        quiet, groups_of(quiet), {g.name: np.arange(1, g.size) for g in groups_of(quiet).groups}
    )
    feed = {"x": normal((batch, 5, WIDTH), 8)}
    wanted, found = outputs_of(quiet, feed)["y"], outputs_of(smaller, feed)["y"]
    assert found.shape == wanted.shape
    assert float(np.abs(found - wanted).max()) < 1e-6


def test_the_entry_that_does_not_follow_is_overwritten() -> None:
    """C of x stays 12 where 8 are left to join: -1 stands there, and nothing else changes."""
    model = fused()
    smaller = remove_channels(model, groups_of(model), {"qkv": ints(0, 2)})
    join = smaller.view.node("join")
    where = smaller.view.producer(join.input(1))
    assert where is not None
    assert where.op_type == "Where"
    assert where.input(2) == "together"
    assert constant(smaller, where.input(0)).tolist() == [False, False, True]
    assert constant(smaller, where.input(1)).tolist() == [0, 0, -1]
    assert constant(smaller, smaller.view.node("apart").input(3)).tolist() == [2]
    assert [n.op_type for n in smaller.nodes].count("Where") == 1


def constant(model: Model, name: str) -> Array:
    found = model.constants.value(name)
    assert found is not None
    return found


def test_a_file_with_overwritten_entries_is_verified(tmp_path: Path) -> None:
    model = fused()
    out = constant(model, "wo").copy()
    out[4:8] = 0
    written = tmp_path / "small.onnx"
    run(model.with_weights({"wo": out}), "shrink-channels", output=written)
    assert constant(Model.load(written), "wo").shape == (8, WIDTH)


def test_before_there_was_where_such_heads_stay() -> None:
    proto = batch_times_heads().to_proto()
    for node in proto.graph.node:
        if node.op_type == "Unsqueeze":
            node.input.pop()
            node.attribute.extend(op("Unsqueeze", "a", "b", axes=[0]).attribute)
    proto.opset_import[0].version = 8
    assert groups_of(Model.from_proto(proto)).groups == ()
