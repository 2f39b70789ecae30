"""Groups of per-element nodes that read their producer's result more than once."""

from __future__ import annotations

import pytest
from builders import Array, ints, loaded, normal, op, scalar
from onnx import NodeProto
from work_builders import items_of

from eapc.workload import StreamWorkload

TENSORS: dict[str, Array] = {
    "w": normal((4, 4, 1, 1)),
    "w2": normal((4, 4, 1, 1), 1),
    **{name: scalar(number) for name, number in {"c": 2, "one": 1, "half": 0.5, "six": 6}.items()},
    "wide": normal((1, 4, 8, 8)),
    "axes": ints(1),
}

CONV = op("Conv", "x w", "a", name="conv")


def fused(nodes: list[NodeProto], outputs: tuple[str, ...] = ("y",)) -> dict[str, str]:
    """Host by node, for the fused ones."""
    model = loaded([CONV, *nodes], {"x": (1, 4, 8, 8)}, outputs, TENSORS)
    return {item.node.key: item.fused_into for item in items_of(model) if item.fused_into}


def named(*nodes: tuple[str, str, str]) -> list[NodeProto]:
    """Nodes called after their outputs."""
    return [op(kind, inputs, output, name=output) for kind, inputs, output in nodes]


GELU = named(
    ("Div", "a c", "div"),
    ("Erf", "div", "erf"),
    ("Add", "erf one", "add"),
    ("Mul", "a add", "mul"),
    ("Mul", "mul half", "y"),
)
SILU = named(("Sigmoid", "a", "s"), ("Mul", "a s", "y"))
HARD_SWISH = named(
    ("Add", "a c", "add"), ("Clip", "add one six", "clip"), ("Mul", "a clip", "mul"),
    ("Div", "mul six", "y"),
)  # fmt: skip
SQUARE = named(("Mul", "a a", "y"))


@pytest.mark.parametrize("nodes", [GELU, SILU, HARD_SWISH, SQUARE])
def test_a_decomposed_function_joins_its_producer(nodes: list[NodeProto]) -> None:
    assert fused(nodes) == {node.name: "conv" for node in nodes}


def test_a_group_moves_its_final_tensor_alone() -> None:
    items = items_of(loaded([CONV, *GELU], {"x": (1, 4, 8, 8)}, ["y"], TENSORS))
    assert {item.ofmap for item in items} == {"y"}
    assert all(item.work.workloads == (StreamWorkload(256),) for item in items[1:])


def test_a_tensor_within_that_is_an_output_ends_the_group() -> None:
    assert fused(SILU, ("y", "s")) == {}
    assert fused(GELU, ("y", "mul")) == dict.fromkeys(("div", "erf", "add", "mul"), "conv")


def test_a_reader_outside_keeps_the_tensor() -> None:
    """A residual connection: the result is read again later on, together with something else."""
    nodes = [
        *named(("Relu", "a", "r")),
        op("Conv", "r w2", "b", name="next"),
        *named(("Add", "a b", "y")),
    ]
    assert fused(nodes) == {}


def test_a_group_ends_where_another_tensor_comes_in() -> None:
    nodes = [
        *SILU[:1],
        op("Mul", "a s", "silu", name="silu"),
        *named(("Add", "silu x", "y")),
    ]
    assert fused(nodes) == {"s": "conv", "silu": "conv"}


def test_a_reduction_is_no_part_of_a_group() -> None:
    nodes = [
        op("ReduceMean", "a axes", "mean", name="mean"),
        *named(("Sub", "a mean", "y")),
    ]
    assert fused(nodes) == {}


def test_two_ways_out_are_not_fused() -> None:
    nodes = named(("Relu", "a", "r"), ("Sigmoid", "a", "y"))
    assert fused(nodes, ("y", "r")) == {}


def test_the_lookahead_is_bounded() -> None:
    """Forty nodes between two reads of the result: more than a machine is looked ahead for."""
    chain = named(*(("Relu", f"r{i}" if i else "a", f"r{i + 1}") for i in range(40)))
    assert fused([*chain, *named(("Add", "a r40", "y"))]) == {f"r{i}": "r1" for i in range(2, 41)}


def test_a_long_chain_joins_one_host() -> None:
    chain = named(*(("Relu", f"r{i}" if i else "a", f"r{i + 1}") for i in range(2000)))
    assert set(fused(chain, ("r2000",)).values()) == {"conv"}


def test_a_change_of_type_joins_too() -> None:
    nodes = [op("Cast", "a", "h", name="h", to=10), op("Cast", "h", "y", name="y", to=1)]
    assert fused(nodes) == {"h": "conv", "y": "conv"}
