"""Codes of fewer than 8 bits: what the file holds, what is priced, and that it is found again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import make_model, normal, op
from structured_builders import inputs_of
from test_quantization import concat, quantized, relative_error, residual

from eapc.commands import compiler
from eapc.commands.compiler import Settings
from eapc.energy import GivenBits
from eapc.errors import PassError, UsageError
from eapc.goals import Sparsity, Width
from eapc.layers import layers_of
from eapc.model import BITS_KEY, Model, epilogue_of, infer_shapes, tensor_bits
from eapc.operators import operator_of
from eapc.pipeline import Recipe
from eapc.quantization import Quantized, quantize
from eapc.runtime import Engine, collect_outputs


def narrow(model: Model, bits: GivenBits) -> Quantized:
    return quantize(model, inputs_of(model, 64), bits, Engine(1))


def told(done: Quantized) -> dict[str, str]:
    """The widths that nodes tell, by their names."""
    nodes = done.model.to_proto().graph.node
    return {n.name: e.value for n in nodes for e in n.metadata_props if e.key == BITS_KEY}


@pytest.mark.parametrize("bits", [GivenBits(4, 4), GivenBits(8, 6), GivenBits(4), GivenBits(2, 2)])
@pytest.mark.parametrize("network", [residual, concat])
def test_narrow_codes_fuse_as_wide_ones_do(bits: GivenBits, network: Callable[[], Model]) -> None:
    done = narrow(network(), bits)
    assert done.fusion.left == ()
    onnx.checker.check_model(done.model.to_proto(), full_check=True)


def test_weights_stay_within_their_codes_and_tell_their_width() -> None:
    done = narrow(residual(), GivenBits(4, 8))
    codes = done.model.constants["w2@codes"]
    assert codes.dtype == np.int8
    assert np.abs(codes).max() == 7
    assert told(done) == {f"{name}@codes@DQ": "4" for name in ("w1", "w2", "w3")}
    assert done.model.to_proto().ir_version == 10  # the first with metadata of nodes


def test_activations_are_clipped_and_tell_their_width() -> None:
    """What only moves keeps its grid, and so needs no Clip of its own."""
    done = narrow(residual(), GivenBits(8, 6))
    clips = [node for node in done.model.nodes if node.op_type == "Clip"]
    assert [node.name for node in clips] == [f"{name}@clipped" for name in ("x", "r1", "c2", "r2")]
    assert {int(done.model.constants[node.input(2)]) for node in clips} == {63}
    assert told(done)["p@Q"] == told(done)["x@clipped"] == told(done)["x@DQ"] == "6"


def test_no_code_leaves_its_width() -> None:
    model = residual()
    done = narrow(model, GivenBits(8, 3))
    proto = done.model.to_proto()
    names = ["x@clipped", "r1@clipped", "c2@clipped", "r2@clipped", "p@codes", "f@codes"]
    kinds = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UINT8, None) for n in names]
    proto.graph.output.extend(kinds)
    loud = inputs_of(model, 64)
    seen = collect_outputs(Model.from_proto(proto), loud, 1)
    assert {name: int(seen[name].max()) for name in names} == dict.fromkeys(names, 7)


def test_wide_files_are_as_they_were() -> None:
    done = quantized(residual())
    assert told(done) == {}
    assert not [node for node in done.model.nodes if node.op_type == "Clip"]
    assert done.model.to_proto().ir_version < 10


def test_error_grows_as_codes_get_fewer() -> None:
    errors = [relative_error(residual(), narrow(residual(), GivenBits(b, b))) for b in (8, 6, 4, 3)]
    assert errors == sorted(errors)
    assert errors[1] < 0.01


# --- single tensors ------------------------------------------------------------------------------


def test_single_tensors_have_widths_of_their_own() -> None:
    done = narrow(residual(), GivenBits(8, 8, (("w2", 4), ("c2", 6))))
    assert told(done) == {
        "w2@codes@DQ": "4", "c2@Q": "6", "c2@clipped": "6", "c2@DQ": "6",
    }  # fmt: skip
    assert done.unused == ()


def test_a_width_by_the_name_in_front_of_a_rectifier_is_that_of_the_grid_behind() -> None:
    done = narrow(residual(), GivenBits(by_tensor=(("c1", 5),)))
    assert done.plan.grids["r1"].bits == 5


def test_tensors_of_one_grid_take_the_widest() -> None:
    done = narrow(concat(), GivenBits(8, 4, (("a", 6),)))
    assert {done.plan.grids[name].bits for name in ("a", "b", "c")} == {6}
    assert done.plan.grids["x"].bits == 4


def test_names_that_no_tensor_has_are_refused() -> None:
    with pytest.raises(UsageError, match="'q' is no tensor of the model"):
        narrow(residual(), GivenBits(by_tensor=(("q", 4),)))


def test_widths_of_what_stays_float_are_told() -> None:
    done = narrow(residual(), GivenBits(by_tensor=(("y", 4),)))
    assert done.unused == ("y",)


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        (GivenBits(1), "weights: expected 2 to 8 bits, got 1"),
        (GivenBits(activations=16), "activations: expected 2 to 8 bits, got 16"),
        (GivenBits(by_tensor=(("w1", 9),)), "w1: expected 2 to 8 bits, got 9"),
    ],
)
def test_widths_that_cannot_be_written_are_refused(bits: GivenBits, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe(bits=bits)


# --- pipelines -----------------------------------------------------------------------------------


@pytest.fixture
def settings() -> Settings:
    return Settings(calibration=inputs_of(residual(), 64), threads=1)


def test_the_pass_takes_widths_as_text(settings: Settings) -> None:
    text = "quantize{weights=4, activations=6, tensors=w?:5|c2:7}"
    done = compiler.run(residual(), text, settings)
    assert done.pipeline == text
    found = {key: int(v) for key, v in told_of(done.compilation.model).items()}
    assert found["w1@codes@DQ"] == found["w3@codes@DQ"] == 5
    assert (found["x@Q"], found["c2@Q"]) == (6, 7)


def told_of(model: Model) -> dict[str, str]:
    nodes = model.to_proto().graph.node
    return {n.name: e.value for n in nodes for e in n.metadata_props if e.key == BITS_KEY}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quantize{weights=9}", "weights: expected 2 to 8 bits, got 9"),
        ("quantize{tensors=w1}", "expected NAME:BITS, got 'w1'"),
    ],
)
def test_what_the_pass_cannot_read_is_refused(text: str, said: str, settings: Settings) -> None:
    with pytest.raises(UsageError, match=said):
        compiler.run(residual(), text, settings)


def test_widths_that_the_machine_does_not_know_are_refused(settings: Settings) -> None:
    with pytest.raises(PassError, match="simba-like knows weights of 8 bits, not 6"):
        compiler.run(residual(), "quantize{weights=6}", replace(settings, hardware="simba-like"))


def test_names_of_the_pass_are_those_of_the_model(settings: Settings) -> None:
    with pytest.raises(PassError, match=r"'q\*' is no tensor of the model"):
        compiler.run(residual(), "quantize{tensors=q*:4}", settings)


def test_widths_survive_new_annotations_and_pruning(settings: Settings, tmp_path: Path) -> None:
    """The file is annotated; what is pruned again keeps within its codes."""
    path, again = tmp_path / "narrow.onnx", tmp_path / "again.onnx"
    bits = GivenBits(4, 6)
    compiler.prune(residual(), settings, goal=Width("4"), recipe=Recipe(bits=bits), output=path)
    before = told_of(Model.load(path))
    assert before["w1@codes@DQ"] == "4"
    compiler.prune(path, settings, goal=Sparsity(0.5), output=again)
    pruned = Model.load(again)
    assert told_of(pruned) == before
    codes = pruned.constants["w2@codes"]
    assert np.abs(codes).max() <= 7
    assert np.count_nonzero(codes) <= codes.size / 2


# --- what is priced and found --------------------------------------------------------------------


def test_the_widths_of_tensors_are_those_that_nodes_tell() -> None:
    done = narrow(residual(), GivenBits(4, 6))
    bits = tensor_bits(done.model, infer_shapes(done.model, {"x": (1, 3, 8, 8)}))[""]
    assert bits["w1@codes@rounded"] == bits["w1@codes"] == 4
    assert {bits[name] for name in ("x@codes", "x@clipped", "x@rounded", "p", "f@rounded")} == {6}
    assert bits["one@bias@codes"] == 32


def test_a_clip_of_codes_and_rounding_again_cost_nothing() -> None:
    """A pair behind MaxPool or Flatten finds its values on the grid already."""
    report = compiler.analyze(narrow(residual(), GivenBits(4, 6)).model).energy
    costs = {node.key: node.energy_mac_units for node in report.nodes}
    free = ["x@clipped", "c2@clipped", "p@Q", "p@DQ", "f@Q", "f@DQ"]
    assert [costs[name] for name in free] == [0] * 6
    assert costs["c2@Q"] == costs["c2@DQ"] == 2 * 4 * 8 * 8  # two operations per element


def test_layers_are_found_behind_narrow_codes() -> None:
    found = layers_of(narrow(residual(), GivenBits(4, 6)).model)
    assert [tied.first.name for tied in found.layers] == ["one", "two", "classify"]


def test_a_clip_of_codes_bounds_what_a_layer_makes() -> None:
    """Codes of `a` reach from 0 to 63 of its scale, less the zero point."""
    done = narrow(concat(), GivenBits(8, 6))
    node = next(node for node in done.model.nodes if node.key == "left")
    layout = operator_of(node).weights
    assert layout is not None
    found = epilogue_of(done.model, node, layout, np.zeros(2, np.float32), (2, 1, 1)).clipping
    assert found is not None
    grid = done.plan.grids["a"]
    ends = [code - grid.zero_point for code in (0, 63)]
    assert [found.low, found.high] == pytest.approx([end * float(grid.scale) for end in ends])


def test_the_sum_behind_narrow_codes_is_found() -> None:
    """c2 has a zero point within, so that the pair behind `two` only rounds what is added."""
    done = narrow(residual(), GivenBits(8, 6))
    node = next(node for node in done.model.nodes if node.key == "two")
    layout = operator_of(node).weights
    assert layout is not None
    found = epilogue_of(done.model, node, layout, np.zeros(4, np.float32), (4, 1, 1))
    assert found.other == "r1@rounded"


def test_channels_go_from_a_network_of_narrow_codes() -> None:
    nodes = [
        op("Conv", "x w1 b1", "c", name="one"),
        op("Relu", "c", "r", name="relu"),
        op("Conv", "r w2", "y", name="two"),
    ]
    weights = {"w1": normal((8, 3, 3, 3), 1), "b1": normal((8,), 2), "w2": normal((4, 8, 1, 1), 3)}
    model = Model.from_proto(make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], weights))
    done = narrow(model, GivenBits(4, 6))
    data = Settings(calibration=inputs_of(model, 64), threads=1)
    cut = compiler.prune(done.model, data, goal=Sparsity(0.5), recipe=Recipe(structured=True)).model
    assert cut.constants["w2@codes"].shape == (4, 4, 1, 1)
    assert told_of(cut) == told(done)
