"""What no output depends on costs nothing, is not pruned, and stops no goal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from builders import loaded, make_graph, make_model, normal, op, save, scalar
from onnx import NodeProto, TensorProto

import eapc
from eapc.energy.worklist import UNNEEDED, work_list
from eapc.model import infer_shapes, input_shapes

X = {"x": (1, 4, 8, 8)}
WEIGHTS = {"w": normal((4, 4, 3, 3)), "w2": normal((4, 4, 3, 3), 2)}
USED = op("Conv", "x w", "y", "used", pads=[1, 1, 1, 1])

DEAD: dict[str, Sequence[NodeProto]] = {
    "a branch": [op("Conv", "x w2", "d", "dead")],
    "a chain": [
        op("Conv", "x w2", "d", "dead"),
        op("Relu", "d", "e", "dead relu"),
        op("MatMul", "e e", "f", "dead product"),
    ],
    "behind several results": [
        op("Split", "x", "p q", "dead split", axis=1, num_outputs=2),
        op("MatMul", "p q", "f", "dead product"),
    ],
}


@pytest.mark.parametrize("kind", DEAD)
def test_what_is_dead_neither_costs_nor_is_pruned(kind: str, tmp_path: Path) -> None:
    """4 * 4 * 9 * 64 MACs are left, and the 144 weights of one convolution."""
    path = save(make_model([USED, *DEAD[kind]], X, ["y"], WEIGHTS, opset=18), tmp_path / "m.onnx")
    alone = save(make_model([USED], X, ["y"], WEIGHTS, opset=18), tmp_path / "alone.onnx")
    report, expected = (eapc.analyze(each).energy for each in (path, alone))
    assert report.macs == 4 * 4 * 9 * 64
    assert report.energy_mac_units == expected.energy_mac_units
    assert (report.weights, report.batch) == (144, 1)
    assert not report.unmodelled
    for node in DEAD[kind]:
        assert report.by_node[node.name].note == UNNEEDED
        assert report.by_node[node.name].energy_mac_units == 0


def test_what_is_dead_in_a_subgraph() -> None:
    """The results of both branches count; what else they hold does not run."""
    nodes = [
        op("Conv", "x w", "y", "kept", pads=[1, 1, 1, 1]),
        op("Conv", "x w2", "d", "dead"),
        op("Relu", "d", "e", "behind"),
    ]
    branch = make_graph(nodes, {}, ["y"])
    held = [
        op("Cast", "flag", "f", "cast", to=TensorProto.BOOL),
        op("If", "f", "z", "if", then_branch=branch, else_branch=branch),
    ]
    model = loaded(held, {**X, "flag": ()}, ["z"], WEIGHTS)
    works = work_list(model, infer_shapes(model, input_shapes(model, {}, None)))
    notes = {item.node.key: item.note for item in works}
    for name in ("then_branch", "else_branch"):
        assert notes[f"if/{name}/kept"] == ""
        assert notes[f"if/{name}/dead"] == notes[f"if/{name}/behind"] == UNNEEDED
    assert sum(load.macs for item in works for load in item.work.workloads) == 2 * 4 * 4 * 9 * 64


def test_a_subgraph_within_one_reads_what_is_needed() -> None:
    inner = make_graph([op("Relu", "c", "r", "inner")], {}, ["r"])
    outer = make_graph(
        [
            op("Conv", "x w", "c", "conv"),
            op("If", "f", "t", "nested", then_branch=inner, else_branch=inner),
        ],
        {},
        ["t"],
    )
    nodes = [
        op("Cast", "flag", "f", "cast", to=TensorProto.BOOL),
        op("If", "f", "z", "if", then_branch=outer, else_branch=outer),
    ]
    model = loaded(nodes, {**X, "flag": ()}, ["z"], {**WEIGHTS, "unused": scalar(1.0)})
    assert not model.view.unneeded


def test_a_goal_of_energy_leaves_out_what_is_dead(tmp_path: Path) -> None:
    nodes = [USED, *DEAD["a chain"]]
    path = save(make_model(nodes, X, ["y"], WEIGHTS, opset=18), tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    inputs = tmp_path / "x.npz"
    np.savez(inputs, x=rng.normal(size=(32, 4, 8, 8)).astype(np.float32))
    settings = eapc.Settings(calibration=inputs)
    out = tmp_path / "out.onnx"
    done = eapc.prune(path, settings, goal=eapc.TargetEnergy(0.9), output=out)
    assert done.energy_ratio <= 0.9
    skipped = {skip.name: skip.reason for skip in done.compilation.record.skipped}
    assert skipped.keys() == {"dead", "dead product"}
    assert all(reason.startswith(UNNEEDED) for reason in skipped.values())
    assert np.array_equal(eapc.Model.load(out).constants["w2"], WEIGHTS["w2"])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.onnx", "out.onnx", "x.npz"]
