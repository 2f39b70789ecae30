"""Every reader of the table knows its operators, or it is said here which it does not, and why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from builders import Array, op
from work_builders import work_of_node

from eapc.channels.nodes import AXIS_RULES
from eapc.layers.forms import LAYER_FORMS
from eapc.model import Node
from eapc.model.own_shapes import OWN_SHAPES
from eapc.operators import Operator, WeightLayout, element_wise, operator, operators, register
from eapc.workload import Operands, StreamWorkload
from eapc.workload.mac_counting import COUNTINGS
from eapc.workload.operators import rule_of
from eapc.workload.rules import WORKLOAD_RULES

ROWS = {row.full_name: row for row in operators()}
SCHEMAS = {schema.name for schema in onnx.defs.get_all_schemas()}
ORT = "com.microsoft."

NOT_OF_ONNX = {
    "Swish": "of an opset that onnx has no schema of yet",
    "RMSNormalization": "of an opset that onnx has no schema of yet",
    **dict.fromkeys(
        ("LinearAttention", "CausalConvWithState", "SwiGLU"),
        "of an opset that the oldest onnx has no schema of",
    ),
    "SimplifiedLayerNormalization": "onnxruntime's, which it enters in the default domain",
}
UNPRICED = {
    "GridSample": "its samples depend on data",
    f"{ORT}SimplifiedLayerNormalization": "only its shapes are known",
    f"{ORT}GroupNormalization": "only its shapes are known",
}
UNCOUNTED = {
    "Einsum": "its equation decides which indices meet",
    f"{ORT}MatMulNBits": "its weights are packed",
    f"{ORT}QLinearConv": "its channels may stand last",
}


def named(rows: list[Operator]) -> set[str]:
    return {row.full_name for row in rows}


def test_operators_of_the_default_domain_are_onnx_s() -> None:
    standard = {row.name for row in ROWS.values() if not row.domain}
    assert standard - SCHEMAS <= NOT_OF_ONNX.keys()


def test_an_operator_is_priced() -> None:
    assert named([row for row in ROWS.values() if rule_of(row) is None]) == UNPRICED.keys()


def has_axis_rule(row: Operator) -> bool:
    return row.full_name in AXIS_RULES or row.kind in AXIS_RULES


def test_a_rule_has_its_row() -> None:
    kinds = {row.kind for row in ROWS.values()}
    assert set(WORKLOAD_RULES) | set(AXIS_RULES) - kinds <= ROWS.keys()


def test_no_operator_is_priced_twice() -> None:
    assert not [name for name in WORKLOAD_RULES if ROWS[name].work or ROWS[name].like]


def test_an_element_wise_operator_is_fused_and_timed_or_says_that_it_is_not() -> None:
    rows = [row for row in ROWS.values() if row.is_element_wise]
    assert all(row.work in ("output", "view") for row in rows)
    assert all(row.varies and row.keeps_constants for row in rows)
    assert not [row for row in rows if row.fuses and row.work == "view"]


def test_channels_of_element_wise_operators_can_go() -> None:
    rows = [row for row in ROWS.values() if row.is_element_wise or row.kind == "pooling"]
    assert all(has_axis_rule(row) for row in rows)


def test_what_is_fused_streams_its_operands() -> None:
    """A fused node keeps its operations and loses its traffic, which only streams can."""
    shape = (1, 4)
    for row in (row for row in ROWS.values() if row.fuses):
        node = Node("n", "", row.name, row.domain, ("x", "a"), ("y",), {})
        rule = rule_of(row)
        assert rule is not None
        (part,) = rule(Operands(node, (shape, shape), (shape,), (False, True))).parts
        assert isinstance(part.workload, StreamWorkload)
        assert part.workload.operations >= 4


def test_shapes_go_through_operators_of_other_domains() -> None:
    missing = named([row for row in ROWS.values() if row.domain and row.substitute is None])
    assert missing == {name for name in OWN_SHAPES if name.startswith(ORT)}
    assert {row.substitute.name for row in ROWS.values() if row.substitute} <= SCHEMAS


def test_macs_of_products_are_counted() -> None:
    rows = [row for row in ROWS.values() if row.contracts]
    counted = [row for row in rows if row.factors and row.countable]
    assert named(rows) - named(counted) == UNCOUNTED.keys()
    assert {row.kind for row in counted} == COUNTINGS.keys()


def test_operators_with_weights_are_known_everywhere() -> None:
    rows = [row for row in ROWS.values() if row.weights]
    assert {row.kind for row in rows} == LAYER_FORMS.keys()
    assert all(has_axis_rule(row) for row in rows)
    assert all(row.factors and row.weights.operand in row.factors for row in rows if row.weights)


# --- rows and layouts ------------------------------------------------------------------------


def test_an_operator_has_one_row() -> None:
    with pytest.raises(ValueError, match="operator Relu has a row already"):
        register(element_wise("Relu"))
    fresh = element_wise("Twice", "a.test")
    with pytest.raises(ValueError, match=r"a\.test\.Twice has a row already"):
        register(fresh, fresh)


def test_a_row_goes_as_it_came() -> None:
    before = operator("Relu")
    undo = register(element_wise("Relu", operations=9), element_wise("Relu", "ours"), replace=True)
    assert (operator("Relu").operations, operator("Relu", "ours").fuses) == (9, True)
    undo()
    assert operator("Relu") is before
    assert operator("Relu", "ours") == Operator("Relu", "ours")


def test_onnx_has_two_names_for_its_domain() -> None:
    assert operator("Relu", "ai.onnx") is operator("Relu")


@pytest.mark.parametrize(
    ("name", "attributes", "shape", "axes", "filters"),
    [
        ("Conv", {"group": 2}, (8, 3, 5, 5), (0, 1), 8),
        ("ConvTranspose", {"group": 2}, (6, 4, 5, 5), (1, 0), 8),
        ("Gemm", {}, (3, 4), (1, 0), 4),
        ("Gemm", {"transB": 1}, (4, 3), (0, 1), 4),
        ("MatMul", {"group": 2}, (2, 3, 4), (2, 1), 4),
    ],
)
def test_axes_of_weights(
    name: str,
    attributes: dict[str, int],
    shape: tuple[int, ...],
    axes: tuple[int, int],
    filters: int,
) -> None:
    layout = operator(name).weights
    assert layout is not None
    assert layout.axes(attributes, len(shape)) == axes
    assert layout.output_count(attributes, shape) == filters


def test_factors_of_weights_and_bias() -> None:
    layout = operator("Gemm").weights
    assert layout is not None
    given = {"alpha": 0.5, "beta": 3.0}
    assert (layout.factor(given), layout.bias_factor(given), layout.factor({})) == (0.5, 3.0, 1.0)
    assert (layout.bias_of(("x", "w", "c")), layout.bias_of(("x", "w"))) == ("c", "")
    assert WeightLayout(outputs=0, inputs=1, channels=-1).bias_of(("x", "w", "c")) == ""


def test_operations_of_a_row_are_per_input_element_too() -> None:
    tensors: dict[str, Array] = {"k": np.array([2], np.int64)}
    node = op("TopK", "x k", "y i")
    undo = register(Operator("TopK", work="input", operations=7), replace=True)
    try:
        (part,) = work_of_node(node, {"x": (1, 5)}, tensors).parts
    finally:
        undo()
    assert isinstance(part.workload, StreamWorkload)
    assert part.workload.operations == 35
