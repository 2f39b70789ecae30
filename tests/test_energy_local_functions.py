"""Calls of a model's own functions cost what their bodies cost."""

from __future__ import annotations

import numpy as np
import pytest
from builders import chain, constant_node, loaded, make_graph, make_model, normal, op
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper

from eapc.energy import (
    DensityTable,
    EnergyReport,
    NodeWork,
    estimate,
    work_list,
    work_list_with_bodies,
)
from eapc.energy.worklist import activation_tensors
from eapc.hardware import HardwareModel
from eapc.model import Model, infer_shapes, input_shapes

OWN = "own"
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid(OWN, 1)]
TENSORS = {"w": normal((4, 4)), "w2": normal((4, 4), 1)}


def function(name: str, inputs: str, outputs: str, nodes: list[NodeProto]) -> FunctionProto:
    return helper.make_function(OWN, name, inputs.split(), outputs.split(), nodes, OPSETS)


DENSE = function("Dense", "x w", "y", [op("MatMul", "x w", "m"), op("Relu", "m", "y")])
TWICE = function(
    "Twice",
    "x w v",
    "y",
    [op("Dense", "x w", "h", domain=OWN), op("Dense", "h v", "y", domain=OWN)],
)
SILU = function("Silu", "x", "y", [op("Sigmoid", "x", "s"), op("Mul", "x s", "y")])


def model_of(nodes: list[NodeProto], *functions: FunctionProto) -> Model:
    proto = make_model(nodes, {"x": (3, 4)}, ["y"], TENSORS)
    if not any(entry.domain == OWN for entry in proto.opset_import):
        proto.opset_import.append(OPSETS[1])
    proto.functions.extend(functions)
    return Model.from_proto(proto)


def works_of(model: Model) -> tuple[NodeWork, ...]:
    return work_list_with_bodies(model, infer_shapes(model, input_shapes(model, {}, None)))


def price(model: Model, hardware: HardwareModel) -> EnergyReport:
    return estimate(model, works_of(model), hardware, DensityTable())


def flat() -> Model:
    return loaded(
        [
            op("MatMul", "x w", "a"),
            op("Relu", "a", "b"),
            op("MatMul", "b w2", "c"),
            op("Relu", "c", "y"),
        ],
        {"x": (3, 4)},
        ["y"],
        TENSORS,
    )


@pytest.mark.parametrize(
    "model",
    [
        model_of(
            [
                op("Dense", "x w", "h", name="one", domain=OWN),
                op("Dense", "h w2", "y", name="two", domain=OWN),
            ],
            DENSE,
        ),
        model_of([op("Twice", "x w w2", "y", name="both", domain=OWN)], DENSE, TWICE),
    ],
    ids=["two calls", "a call of calls"],
)
def test_a_call_costs_what_its_body_does(model: Model, eyeriss: HardwareModel) -> None:
    report, expected = price(model, eyeriss), price(flat(), eyeriss)
    assert not report.unmodelled
    assert report.macs == expected.macs == 2 * 3 * 4 * 4
    assert report.energy_mac_units == pytest.approx(expected.energy_mac_units)
    assert (report.weights, report.nonzero_weights) == (32, 32)
    assert set(report.by_node) == {node.key for node in model.nodes}


@pytest.mark.parametrize("within", [False, True], ids=["handed in", "the function's own"])
def test_zeros_of_weights_that_a_body_turns_and_casts_count(
    within: bool, eyeriss: HardwareModel
) -> None:
    """Half of 16 weights are 0: the energy is that of the same product without a call."""
    weights = np.tile(np.array([[0, 1], [1, 0]], np.float16), (2, 2))
    views = [op("Cast", "w", "f", to=TensorProto.FLOAT), op("Transpose", "f", "t")]
    own = [constant_node("w", weights)] if within else []
    named = "x" if within else "x w"
    turned = function("Turned", named, "y", [*own, *views, op("MatMul", "x t", "y")])
    given = {} if within else {"w": weights}
    proto = make_model([op("Turned", named, "y", domain=OWN)], {"x": (3, 4)}, ["y"], given)
    if not any(entry.domain == OWN for entry in proto.opset_import):
        proto.opset_import.append(OPSETS[1])
    proto.functions.append(turned)
    views = [op("Cast", "w", "f", to=TensorProto.FLOAT), op("Transpose", "f", "t")]
    plain = loaded([*views, op("MatMul", "x t", "y")], {"x": (3, 4)}, ["y"], {"w": weights})
    found, expected = price(Model.from_proto(proto), eyeriss), price(plain, eyeriss)
    assert found.energy_mac_units == pytest.approx(expected.energy_mac_units)
    assert (found.weights, found.nonzero_weights) == (16, 8)


def test_a_body_is_fused_into_the_node_before_the_call() -> None:
    nodes = [
        op("MatMul", "x w", "a", name="product"),
        op("Silu", "a", "b", name="silu", domain=OWN),
        op("Relu", "b", "y", name="relu"),
    ]
    works = {item.node.key: item for item in works_of(model_of(nodes, SILU))}
    assert (works["silu"].fused_into, works["relu"].fused_into) == ("product", "product")
    assert works["silu"].note == "the sum of the 2 nodes of its body"


def test_subgraphs_of_a_body_count() -> None:
    then = make_graph([op("MatMul", "x w", "t")], {}, ["t"])
    other = make_graph([op("Neg", "x", "e")], {}, ["e"])
    nodes = [
        op("ReduceMax", "x", "most", keepdims=0),
        op("Cast", "most", "flag", to=9),
        op("If", "flag", "y", then_branch=then, else_branch=other),
    ]
    choose = function("Choose", "x w", "y", nodes)
    model = model_of([op("Choose", "x w", "y", name="call", domain=OWN)], choose)
    (item,) = works_of(model)
    assert not item.reason
    assert sum(load.macs for load in item.work.workloads) == 3 * 4 * 4


def test_tensors_within_a_body_are_not_measured() -> None:
    model = model_of([op("Twice", "x w w2", "y", name="both", domain=OWN)], DENSE, TWICE)
    assert set(activation_tensors(works_of(model))) == {"x", "w", "w2", "y"}


def test_a_body_that_is_not_modelled_says_why() -> None:
    odd = function("Odd", "x", "y", [op("Mystery", "x", "y", domain="acme")])
    odd.opset_import.append(helper.make_opsetid("acme", 1))
    model = model_of([op("Odd", "x", "y", name="odd", domain=OWN)], odd)
    (item,) = works_of(model)
    assert item.reason == "in its body, Mystery: no rule for Mystery of domain 'acme'"


@pytest.mark.parametrize("proto", [chain(["Conv", "Relu", "Flatten", "Gemm"])])
def test_a_model_without_functions_is_left_alone(proto: ModelProto) -> None:
    model = Model.from_proto(proto)
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    assert work_list_with_bodies(model, shapes) == work_list(model, shapes)
