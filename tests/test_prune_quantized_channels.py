"""Structured pruning of quantized files: the same kind of file, smaller, that runs and answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic
from pruning_builders import Net, branches, plain, residual
from quantized_builders import quantized, types
from structured_builders import compiled

from eapc.layers import layers_of
from eapc.model import Model
from eapc.operators import operator_of
from eapc.pipeline import Pipeline, load_passes
from eapc.runtime import collect_outputs

NETS: dict[str, Callable[[], Net]] = {"plain": plain, "residual": residual, "branches": branches}
REST = "reconstruct-outputs{keep_mask=true}"


def static(net: Net, form: str) -> Net:
    """The network in codes, with 7 bits of weights."""
    feeds = [{"x": net.arrays["x"][place : place + 1]} for place in range(16)]
    kind = "uint8 uint8" if form == "QOperator" else "int8 uint8"
    return Net(quantized(net.model, feeds, form, form == "QDQ", kind).to_proto(), net.arrays)


def dynamic(net: Net) -> Net:
    """The network with ConvInteger and MatMulInteger."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("float.onnx", "codes.onnx")]
        onnx.save(net.proto, paths[0])
        operators = ["Conv", "MatMul", "Gemm"]
        quantize_dynamic(
            *paths, weight_type=QuantType.QUInt8, op_types_to_quantize=operators, reduce_range=True
        )
        return Net(onnx.load(paths[1]), net.arrays)


FORMS: dict[str, Callable[[Net], Net]] = {
    "QDQ": lambda net: static(net, "QDQ"),
    "QOperator": lambda net: static(net, "QOperator"),
    "dynamic": dynamic,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETS)
def test_the_smaller_file_is_of_the_same_kind_and_answers(name: str, form: str) -> None:
    net = FORMS[form](NETS[name]())
    known = {user.node.key for tied in layers_of(net.model).layers for user in tied.users}
    if any(operator_of(n).contracts and n.key not in known for n in net.model.view.main_nodes):
        pytest.skip("operators on integers are no layers")
    before = compiled(net, "prune-channels{fraction=0.4}, " + REST)
    after = Pipeline.parse("shrink-channels", load_passes()).run(before)
    assert all(g.after <= max(1, round(0.6 * g.before)) for g in after.record.groups)
    assert any(g.after < g.before for g in after.record.groups)
    given, found = types(net.model), types(after.model)
    assert found == {tensor: given[tensor] for tensor in found}
    assert set(_operators(after.model)) == set(_operators(net.model))
    wanted = collect_outputs(before.model, net.data, 1)["y"]
    answer = collect_outputs(after.model, net.data, 1)["y"]
    assert np.abs(answer - wanted).max() < 0.03 * np.abs(wanted).max()  # a step in few places
    follows = form == "dynamic"  # grids follow from what is left
    assert follows or np.mean(answer == wanted) > 0.5


def _operators(model: Model) -> list[str]:
    return [node.op_type for node in model.view.main_nodes]


def test_refitted_codes_answer_better_than_what_is_left() -> None:
    net = static(plain(), "QDQ")
    wanted = collect_outputs(net.model, net.data, 1)["y"]
    errors = []
    for further in ("", f"{REST}, "):
        done = compiled(net, f"prune-channels{{fraction=0.4}}, {further}shrink-channels")
        answer = collect_outputs(done.model, net.data, 1)["y"]
        errors.append(
            float(np.square(answer - wanted).sum() / np.square(wanted - wanted.mean(0)).sum())
        )
    assert errors[1] < 0.3 * errors[0]
