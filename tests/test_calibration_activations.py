"""Walking a network: the tensors of a whole run, each node once, memory let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import Array, constant_node, loaded, make_graph, make_model, normal, op, sparse
from onnx import ModelProto, TensorProto
from pruning_builders import NETS, Net, residual

from eapc.calibration import ActivationWalk, activations
from eapc.calibration.activations import segment
from eapc.data import dataset
from eapc.model import Model
from eapc.runtime import Session, with_outputs


def computed(model: Model) -> list[str]:
    """Outputs of all nodes but Constants, in file order."""
    nodes = (node for node in model.view.main_nodes if node.op_type != "Constant")
    return [name for node in nodes for name in node.outputs if name]


def whole_run(net: Net, model: Model, tensors: Sequence[str], batch: int) -> list[dict[str, Array]]:
    proto = with_outputs(model.to_proto(embed=True), tensors)
    session = Session(proto, 1, optimise=False)
    return [session.run(feed) for feed in net.data.batches(batch)]


def assert_walk_gives(net: Net, model: Model, plan: list[list[str]], batch: int = 16) -> None:
    wanted = list(dict.fromkeys(name for step in plan for name in step))
    expected = whole_run(net, model, wanted, batch)
    walk = ActivationWalk(model, net.data, plan, batch, 1)
    for i, names in enumerate(plan):
        values = walk.step(i, model)
        assert set(values) == set(names)
        for name in names:
            assert len(values[name]) == len(expected)
            for found, run in zip(values[name], expected, strict=True):
                exact = 1e-2 if found.dtype == np.float16 else 1e-5
                np.testing.assert_allclose(found, run[name], rtol=exact, atol=exact)


@pytest.mark.parametrize("name", NETS)
def test_a_walk_gives_what_a_whole_run_gives(name: str) -> None:
    net = NETS[name]()
    assert_walk_gives(net, net.model, [[tensor] for tensor in computed(net.model)])


@pytest.mark.parametrize("name", ["residual", "branches", "constants"])
def test_plans_may_jump_repeat_and_look_ahead(name: str) -> None:
    net = NETS[name]()
    names = computed(net.model)
    plan = [[names[0], names[3]], [names[3], names[0]], [], [names[-1], names[1]], [names[-1]]]
    assert_walk_gives(net, net.model, plan)


def test_inputs_can_be_asked_for() -> None:
    net = residual()
    model = net.model
    walk = ActivationWalk(model, net.data, [["x"], ["y"], ["x"]], 16, 1)
    first, _, last = (walk.step(i, model) for i in range(3))
    for values in (first, last):
        np.testing.assert_array_equal(np.concatenate(values["x"]), net.arrays["x"])


@pytest.mark.parametrize("name", ["residual", "constants"])
def test_new_weights_hold_from_the_step_they_come_with(name: str) -> None:
    net = NETS[name]()
    model = net.model
    first, second = ("w0", "w2") if name == "residual" else ("w", "w2")
    changed = model
    for weight in (first, second):
        value = model.constants.value(weight)
        assert value is not None
        changed = changed.with_weights({weight: -value})
    (early,) = (n.outputs[0] for n in model.nodes if n.inputs[1:2] == (first,))
    walk = ActivationWalk(model, net.data, [[early], ["y"]], 16, 1)
    walk.step(0, model)
    got = walk.step(1, changed)["y"]
    only_second = model.with_weights({second: changed.weights[second]})
    for value, run in zip(got, whole_run(net, only_second, ["y"], 16), strict=True):
        np.testing.assert_allclose(value, run["y"], rtol=1e-4, atol=1e-5)


def test_each_node_runs_once_and_tensors_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    net = residual()
    ran: Counter[str] = Counter()

    def counting(model: Model, nodes: Sequence[Any], *rest: Any) -> ModelProto:
        ran.update(node.key for node in nodes)
        return segment(model, nodes, *rest)

    monkeypatch.setattr(activations, "segment", counting)
    model = net.model
    names = computed(model)
    walk = ActivationWalk(model, net.data, [[name] for name in names], 8, 1)
    most = 0
    for i in range(len(names)):
        walk.step(i, model)
        most = max(most, len(walk._stored))
    assert set(ran.values()) == {1}
    assert len(ran) == len(model.nodes)
    assert most <= 3
    assert walk._stored == {}


def test_only_what_the_plan_needs_is_run() -> None:
    model = residual().model
    keys = {node.key for node in model.view.ancestors(["c1"])}
    assert keys == {"stem", "r0", "conv1"}


def test_a_fixed_batch_leaves_out_what_does_not_fill_it() -> None:
    model = Model.from_proto(residual(batch=3).proto)
    net = Net(model.view.proto, {"x": residual().arrays["x"][:10]})
    walk = ActivationWalk(model, net.data, [["y"]], 64, 1)
    assert [len(y) for y in walk.step(0, model)["y"]] == [3, 3, 3]


def test_shared_inputs_and_several_outputs_of_a_node() -> None:
    nodes = [
        op("Split", "x", "left - right", axis=1),
        op("Mul", "left gain", "l"),
        op("Add", "l right", "y"),
    ]
    nodes[0].input.append("sizes")
    given = {"sizes": np.array([2, 1, 2], np.int64)}
    proto = make_model(nodes, {"x": ("N", 5), "gain": ()}, ["y"], given)
    net = Net(proto, {"x": normal((7, 5)), "gain": np.array(2.0, np.float32)})
    assert_walk_gives(net, net.model, [["right"], ["l", "gain"][:1], ["y"]], batch=3)


def test_weights_that_only_a_subgraph_reads() -> None:
    then = make_graph([op("MatMul", "a v", "t")], {}, ["t"])
    other = make_graph([op("MatMul", "a v", "e0"), op("Neg", "e0", "e")], {}, ["e"])
    nodes = [
        op("Relu", "x", "a"),
        op("ReduceMax", "x", "top", keepdims=0),
        op("Greater", "top limit", "flag"),
        op("If", "flag", "y", "if", then_branch=then, else_branch=other),
    ]
    given = {"v": normal((6, 4)), "limit": np.array(1.0, np.float32)}
    net = Net(make_model(nodes, {"x": ("N", 6)}, ["y"], given), {"x": normal((20, 6))})
    assert_walk_gives(net, net.model, [["a"], ["flag"], ["y"]], batch=1)


def test_sparse_initializers() -> None:
    proto = make_model([op("Relu", "x", "a"), op("Add", "a s", "y")], {"x": ("N", 6)}, ["y"])
    proto.graph.sparse_initializer.append(sparse("s", [6], [1, 4]))
    net = Net(proto, {"x": normal((5, 6))})
    assert_walk_gives(net, net.model, [["a"], ["y"]])


def test_external_data(tmp_path: Path) -> None:
    net = residual()
    path = tmp_path / "model.onnx"
    copy = onnx.ModelProto()
    copy.CopyFrom(net.proto)
    onnx.save(copy, path, save_as_external_data=True, size_threshold=0)
    model = Model.load(path)
    assert_walk_gives(Net(net.proto, net.arrays), model, [["c1"], ["y"]])


def test_external_data_inside_a_subgraph(tmp_path: Path) -> None:
    then = make_graph([op("MatMul", "a v", "t")], {}, ["t"], {"v": normal((6, 4))})
    other = make_graph([op("MatMul", "a u", "e")], {}, ["e"], {"u": normal((6, 4))})
    flag = constant_node("flag", np.array(True))
    nodes = [flag, op("Relu", "x", "a"), op("If", "flag", "y", then_branch=then, else_branch=other)]
    net = Net(make_model(nodes, {"x": ("N", 6)}, ["y"]), {"x": normal((20, 6))})
    path = tmp_path / "model.onnx"
    copy = onnx.ModelProto()
    copy.CopyFrom(net.proto)
    onnx.save(copy, path, save_as_external_data=True, size_threshold=0)
    assert_walk_gives(net, Model.load(path), [["a"], ["y"]])


def test_activations_that_numpy_has_no_type_for() -> None:
    nodes = [
        op("Cast", "x", "h", to=TensorProto.BFLOAT16),
        op("Cast", "h", "y", to=TensorProto.FLOAT),
    ]
    model = loaded(nodes, {"x": ("N", 6)}, ["y"])
    data = dataset({"x": normal((5, 6))}, model.inputs, "test")
    walk = ActivationWalk(model, data, [["y"]], 2, 1)
    assert len(walk.step(0, model)["y"]) == 3
    walk = ActivationWalk(model, data, [["h"], ["y"]], 2, 1)
    assert len(walk.step(0, model)["h"]) == 3
    assert len(walk.step(1, model)["y"]) == 3
