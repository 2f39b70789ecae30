"""How often subgraphs run, and what that does to the work of their nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import Array, ints, loaded, make_graph, normal, op, scalar, value
from onnx import NodeProto, TensorProto
from work_builders import items_of

from eapc.energy import DensityTable, NodeWork, estimate, work_list
from eapc.hardware import load_hardware
from eapc.model import Model, infer_shapes, input_shapes

WEIGHTS: dict[str, Array] = {"w": normal((4, 4))}


def by_key(model: Model) -> dict[str, NodeWork]:
    return {item.node.key: item for item in items_of(model)}


def runs(model: Model) -> dict[str, float]:
    return dict(infer_shapes(model, input_shapes(model, {}, None)).runs)


def times(item: NodeWork) -> list[float]:
    return [part.times for part in item.work.parts]


# --- If --------------------------------------------------------------------------------------


def branching(condition: Array | None) -> Model:
    """`then` keeps the rank of x, `else` loses an axis; a condition of None is an input."""
    then = make_graph([op("MatMul", "x w", "t", name="product")], {}, ["t"])
    other = make_graph([op("ReduceMean", "x", "e", keepdims=0, axes=[0])], {}, ["e"])
    nodes = [
        op("If", "flag", "z", name="if", then_branch=then, else_branch=other),
        op("Relu", "z", "y", name="relu"),
    ]
    inputs = [value("x", (3, 4))]
    if condition is None:
        inputs.append(value("flag", [], TensorProto.BOOL))
    given = WEIGHTS if condition is None else {**WEIGHTS, "flag": condition}
    return loaded(nodes, inputs, [value("y", None)], given)


def test_a_branch_that_is_known_alone_counts() -> None:
    works = by_key(branching(np.asarray(True)))
    assert works["if"].note == "else_branch never runs, then_branch runs once"
    assert times(works["if/then_branch/product"]) == [1]
    assert (works["if/else_branch/e"].work.parts, works["if/else_branch/e"].note) == (
        (),
        "never runs",
    )


def test_the_shape_of_the_branch_taken_is_that_of_the_result() -> None:
    assert by_key(branching(np.asarray(True)))["relu"].work.workloads[0].ofmap_words == 12
    assert by_key(branching(np.asarray(False)))["relu"].work.workloads[0].ofmap_words == 4


def test_branches_that_data_choose_count_both() -> None:
    works = by_key(branching(None))
    assert works["if"].note == "the nodes of its subgraphs count once each"
    assert works["if/then_branch/product"].work.parts
    assert works["if/else_branch/e"].work.parts


def test_a_branch_that_some_inputs_take_counts_in_part() -> None:
    """x (3, 4) @ w (4, 4) is 48 MACs; a mean of 12 elements is 12 additions."""
    model = branching(None)
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    taken = replace(shapes, runs={"if/then_branch/": 0.3, "if/else_branch/": 0.7})
    works = work_list(model, taken)
    assert [item.note for item in works if item.node.key == "if"] == [
        "else_branch runs 0.7 times, then_branch runs 0.3 times"
    ]
    hardware = load_hardware("eyeriss")
    report = estimate(model, works, hardware, DensityTable())
    once = estimate(model, work_list(model, shapes), hardware, DensityTable())
    product, mean = report.by_node["if/then_branch/product"], report.by_node["if/else_branch/e"]
    assert product.macs == pytest.approx(0.3 * 48)
    assert mean.operations == pytest.approx(0.7 * 12)
    assert mean.accesses["dram"].ifmap == pytest.approx(0.7 * 12)
    assert mean.accesses["dram"].ofmap == pytest.approx(0.7 * 4)
    whole = once.by_node[product.key].energy_mac_units
    assert product.energy_mac_units == pytest.approx(0.3 * whole)


# --- Loop ------------------------------------------------------------------------------------


def loop(trips: Array | None, going_on: NodeProto, condition: str = "", **more: Array) -> Model:
    """x is multiplied by w in every pass; the body ends with `going_on`, which writes `c_out`."""
    body = make_graph(
        [op("MatMul", "v w", "v_out", name="product"), going_on],
        [
            value("i", [], TensorProto.INT64),
            value("c", [], TensorProto.BOOL),
            value("v", (2, 4)),
        ],
        ["c_out", "v_out"],
    )
    node = op("Loop", f"trips {condition or '-'} x", "y", name="loop", body=body)
    inputs = [value("x", (2, 4))]
    given: dict[str, Array] = {**WEIGHTS, **more}
    if trips is None:
        inputs.append(value("trips", [], TensorProto.INT64))
    else:
        given["trips"] = trips
    return loaded([node], inputs, [value("y", None)], given)


HANDED_ON = op("Identity", "c", "c_out")


@pytest.mark.parametrize("trips", [scalar(5, np.int64), ints(5)])
def test_a_loop_with_a_trip_count(trips: Array) -> None:
    works = by_key(loop(trips, HANDED_ON))
    assert works["loop"].note == "body runs 5 times"
    assert times(works["loop/body/product"]) == [5]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (loop(None, HANDED_ON), {}),
        (loop(ints(3), op("Not", "c", "c_out")), {}),
        (loop(ints(3), op("Identity", "yes", "c_out"), yes=np.asarray(True)), {"loop/body/": 3}),
        (loop(ints(3), HANDED_ON, "start", start=np.asarray(False)), {"loop/body/": 0}),
        (loop(ints(3), HANDED_ON, "start", start=np.asarray(True)), {"loop/body/": 3}),
        (loop(ints(-1), HANDED_ON), {"loop/body/": 0}),
    ],
    ids=["fed", "ended by data", "set to true", "never begun", "begun", "negative"],
)
def test_when_the_trips_of_a_loop_are_known(model: Model, expected: dict[str, int]) -> None:
    assert runs(model) == expected


def test_loops_within_loops_multiply() -> None:
    def nested(nodes: list[NodeProto], result: str) -> Any:
        fed = [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL)]
        return make_graph([*nodes, HANDED_ON], [*fed, value("v", (2, 4))], ["c_out", result])

    inner = op("Loop", "three - v", "u", name="inner", body=nested([op("MatMul", "v w", "o")], "o"))
    node = op("Loop", "two - x", "y", name="outer", body=nested([inner], "u"))
    given = {**WEIGHTS, "two": ints(2), "three": ints(3)}
    works = by_key(loaded([node], {"x": (2, 4)}, [value("y", None)], given))
    assert times(works["outer/body/inner/body/o"]) == [6]


# --- Scan ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attributes", "steps"), [({}, 7), ({"scan_input_axes": [1]}, 2)])
def test_a_scan_runs_along_its_axis(attributes: dict[str, list[int]], steps: int) -> None:
    body = make_graph(
        [op("Add", "s e", "s_out", name="sum"), op("Identity", "s_out", "o")],
        [value("s", None), value("e", None)],
        ["s_out", "o"],
    )
    node = op("Scan", "start x", "last y", name="scan", num_scan_inputs=1, body=body, **attributes)
    shape = (14 // steps,)
    model = loaded(
        [node],
        {"x": (7, 2)},
        [value("last", None), value("y", None)],
        {"start": np.zeros(shape, np.float32)},
    )
    assert by_key(model)["scan"].note == f"body runs {steps} times"
