"""States of a Loop: the batch that an analysis asks for reaches the body."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import ints, loaded, make_graph, normal, op, value
from onnx import NodeProto, TensorProto

from eapc.model import Model, infer_shapes, input_shapes

Shape = tuple[int | str | None, ...]


def loop(begin: Shape, into: Any, out: Any, *body_nodes: NodeProto) -> Model:
    """x goes through w in each of two passes, or through the nodes given; y is what comes out."""
    nodes = body_nodes or (op("MatMul", "v w", "v_out", name="product"),)
    graph = make_graph(
        [*nodes, op("Identity", "c", "c_out")],
        [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("v", into)],
        [value("c_out", [], TensorProto.BOOL), value("v_out", out)],
    )
    node = op("Loop", "trips - x", "y", name="loop", body=graph)
    constants = {"w": normal((4, 4)), "trips": ints(2), "one": ints(1, 4)}
    return loaded([node], [value("x", begin)], [value("y", None)], constants)


def shapes_in(model: Model, batch: int | None) -> tuple[Any, ...]:
    """Of the state in the body, what the body makes of it, and what comes out of the Loop."""
    shapes = infer_shapes(model, input_shapes(model, {}, batch))
    (node,) = (node for node in model.nodes if node.scope and node.op_type != "Identity")
    return (*(shapes.shape(node, name) for name in ("v", "v_out")), shapes.main("y"))


@pytest.mark.parametrize(
    ("begin", "declared"),
    [((1, 4), (1, 4)), (("N", 4), (1, 4)), (("N", 4), ("N", 4)), (("N", 4), ("M", 4))],
)
@pytest.mark.parametrize("batch", [None, 3])
def test_a_state_that_stays_has_the_shape_it_begins_with(
    begin: Shape, declared: Shape, batch: int | None
) -> None:
    model = loop(begin, declared, declared)
    assert shapes_in(model, batch) == ((batch or 1, 4),) * 3


@pytest.mark.parametrize(
    ("into", "out"), [((1, 4), (2, 4)), (("N", 4), ("M", 4)), (None, None), ((None, 4), (None, 4))]
)
def test_a_state_that_may_change_is_not_guessed(into: Any, out: Any) -> None:
    assert shapes_in(loop(("N", 4), into, out), 3)[2] is None


def test_a_body_that_fixes_the_batch_is_no_error() -> None:
    model = loop(("N", 4), (1, 4), (1, 4), op("Reshape", "v one", "v_out", name="reshape"))
    assert shapes_in(model, 3)[0] == (3, 4)


def test_the_file_is_left_alone() -> None:
    model = loop(("N", 4), (1, 4), (1, 4))
    before = model.to_proto().SerializeToString()
    assert np.prod(shapes_in(model, 5)[0]) == 20
    assert model.to_proto().SerializeToString() == before
