"""Folding of shape arithmetic, as exporters write it."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array, constant_node, ints, make_graph, normal, op
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.model import LARGEST_ELEMENTS, fold_constants, known_constants

OPSETS = [helper.make_opsetid("", 17)]
SHAPES = {"x": (2, 3, 8, 9)}


def fold(nodes: list[NodeProto], tensors: dict[str, Array] | None = None) -> dict[str, Array]:
    """Values of the nodes that became constants, by output."""
    graph = make_graph(nodes, {"x": SHAPES["x"]}, [nodes[-1].output[0]], tensors)
    folded, _ = fold_constants(graph, SHAPES.get, OPSETS)
    assert [node.output for node in graph.node] == [node.output for node in nodes]
    found = values_of(graph)
    before = {node.output[0] for node in nodes if node.op_type == "Constant"}
    assert folded == len(found.keys() - before)
    return found


def values_of(graph: GraphProto) -> dict[str, Array]:
    return {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }


def test_shape_gather_concat() -> None:
    found = fold(
        [
            op("Shape", "x", "s"),
            op("Gather", "s zero", "n", axis=0),
            op("Unsqueeze", "n axis", "n1"),
            op("Concat", "n1 rest", "target", axis=0),
            op("Reshape", "x target", "y"),
        ],
        {"zero": np.array(0), "axis": ints(0), "rest": ints(-1)},
    )
    assert found["target"].tolist() == [2, -1]
    assert "y" not in found


def test_pad_amounts_as_pytorch_exports_them() -> None:
    """Amounts from the last axis on, filled up with zeros, reversed, turned to begins and ends."""
    found = fold(
        [
            constant_node("amounts", ints(1, 2, 3, 4)),
            op("ConstantOfShape", "four", "fill", value=numpy_helper.from_array(ints(0))),
            op("Concat", "amounts fill", "all", axis=0),
            op("Reshape", "all pairs", "table"),
            op("Slice", "table last first axis step", "turned"),
            op("Transpose", "turned", "sides", perm=[1, 0]),
            op("Reshape", "sides flat", "pads"),
            op("Cast", "pads", "longs", to=TensorProto.INT64),
            op("Pad", "x longs", "y"),
        ],
        {
            "four": ints(4), "pairs": ints(-1, 2), "flat": ints(-1),
            "last": ints(-1), "first": ints(-(2**63) + 1), "axis": ints(0), "step": ints(-1),
        },
    )  # fmt: skip
    assert found["longs"].tolist() == [0, 0, 3, 1, 0, 0, 4, 2]


def test_attributes_and_optional_inputs() -> None:
    found = fold(
        [
            op("Shape", "x", "tail", start=2),
            op("Shape", "x", "part", start=-3, end=-1),
            op("Size", "x", "size"),
            op("Clip", "tail - most", "clipped"),
        ],
        {"most": np.array(8)},
    )
    assert found["tail"].tolist() == [8, 9]
    assert found["part"].tolist() == [3, 8]
    assert found["size"].tolist() == 432
    assert found["clipped"].tolist() == [8, 8]


def test_constants_in_all_their_forms() -> None:
    found = fold(
        [
            op("Constant", "", "i", value_int=2),
            op("Constant", "", "l", value_ints=[3, 4]),
            op("Constant", "", "f", value_float=0.5),
            op("Mul", "i l", "il"),
            op("Cast", "il", "wide", to=TensorProto.FLOAT),
            op("Mul", "wide f", "half"),
            op("Floor", "half", "y"),
        ]
    )
    assert found["il"].tolist() == [6, 8]
    assert found["y"].tolist() == [3, 4]
    assert found["y"].dtype == np.float32


def test_what_depends_on_data_stays() -> None:
    assert fold([op("Relu", "x", "a"), op("Neg", "a", "b"), op("Shape", "a", "s")]) == {}


def test_unknown_shapes_stay() -> None:
    assert fold([op("Frobnicate", "x", "z", domain="acme"), op("Shape", "z", "s")]) == {}


def test_large_results_stay_nodes() -> None:
    size = LARGEST_ELEMENTS
    fits = fold([op("Range", "a n s", "y")], as_scalars(0, size, 1))
    assert fits["y"].size == size
    assert fold([op("Range", "a n s", "y")], as_scalars(0, size + 1, 1)) == {}


def as_scalars(start: int, limit: int, delta: int) -> dict[str, Array]:
    return {"a": np.array(start), "n": np.array(limit), "s": np.array(delta)}


def test_a_name_of_another_domain_is_not_folded() -> None:
    assert fold([op("Neg", "c", "y", domain="acme")], {"c": ints(1)}) == {}


def test_what_the_reference_cannot_do_stays() -> None:
    assert fold([op("Reshape", "c t", "y")], {"c": ints(1, 2, 3), "t": ints(2, 2)}) == {}


@pytest.mark.parametrize("kind", [np.float16, np.int32, np.bool_])
def test_element_types_are_kept(kind: type[np.generic]) -> None:
    found = fold([op("Identity", "c", "y")], {"c": np.array([1, 0]).astype(kind)})
    assert found["y"].dtype == kind


def test_subgraphs_see_the_constants_around_them() -> None:
    graph = make_graph(
        [constant_node("c", ints(1)), op("Neg", "x", "y")], {"x": (1,)}, ["y"], {"i": ints(2)}
    )
    known = known_constants(graph, {"o": ints(3)})
    assert {name: value.tolist() for name, value in known.items()} == {"o": [3], "c": [1], "i": [2]}
    inner = make_graph([op("Add", "c i", "s"), op("Add", "s o", "t")], {}, ["t"])
    assert fold_constants(inner, SHAPES.get, OPSETS, known)[0] == 2
    assert values_of(inner)["t"].tolist() == [6]


def test_large_constants_are_not_kept_in_mind() -> None:
    graph = make_graph([constant_node("c", normal((LARGEST_ELEMENTS + 1,)))], {}, ["c"])
    assert known_constants(graph, {}) == {}
