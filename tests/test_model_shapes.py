"""Concrete shapes for one choice of dynamic axes, on graphs as exporters write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import (
    chain,
    constant_node,
    conv_model,
    gemm_model,
    ints,
    loaded,
    make_graph,
    make_model,
    normal,
    op,
    save,
    scalar,
    value,
)
from onnx import ModelProto, TensorProto, helper, numpy_helper

from eapc.errors import ModelError, UsageError
from eapc.model import Model, Shapes, TensorSpec, infer_shapes, input_shapes, static_shape


def shapes_of(model: Model | ModelProto, batch: int | None = None) -> Shapes:
    known = model if isinstance(model, Model) else Model.from_proto(model)
    return infer_shapes(known, input_shapes(known, {}, batch))


def chosen(
    inputs: Mapping[str, tuple[int | str | None, ...]],
    given: dict[str, tuple[int, ...]] | None = None,
    batch: int | None = None,
) -> dict[str, tuple[int, ...]]:
    """Concrete input shapes of a model with these inputs."""
    nodes = [op("Identity", name, f"{name}_out") for name in inputs]
    outputs = [value(f"{name}_out", shape) for name, shape in inputs.items()]
    return input_shapes(loaded(nodes, inputs, outputs), given or {}, batch)


# --- shapes of the inputs --------------------------------------------------------------------


def test_dynamic_axes_become_one_or_a_usual_size() -> None:
    assert chosen({"x": ("N", 3, None)}) == {"x": (1, 3, 64)}


def test_batch_replaces_a_dynamic_or_a_fixed_first_axis() -> None:
    assert chosen({"x": ("N", 3)}, batch=8) == {"x": (8, 3)}
    assert chosen({"x": (1, 3)}, batch=8) == {"x": (8, 3)}
    assert chosen({"x": (None, 3)}, batch=8) == {"x": (8, 3)}


def test_batch_follows_its_name_to_other_axes() -> None:
    inputs = {"x": ("N", 3), "state": (2, "N", 4), "lengths": ("N",), "rate": ()}
    assert chosen(inputs, batch=8) == {
        "x": (8, 3),
        "state": (2, 8, 4),
        "lengths": (8,),
        "rate": (),
    }


def test_batch_leaves_fixed_axes_beside_dynamic_ones() -> None:
    inputs = {"x": ("N", 3), "state": (2, "B", 4)}
    assert chosen(inputs, batch=8) == {"x": (8, 3), "state": (2, 1, 4)}
    assert chosen({"x": (1, 3), "mask": (1, 5)}, batch=8) == {"x": (8, 3), "mask": (8, 5)}


def test_given_shapes_win_and_name_sizes() -> None:
    found = chosen({"ids": ("N", "S"), "mask": ("N", "S")}, {"ids": (2, 128)})
    assert found == {"ids": (2, 128), "mask": (2, 128)}
    assert chosen({"x": ("N", 3)}, {"x": (5, 3)}, batch=8) == {"x": (5, 3)}
    assert chosen({"x": (1, 3)}, {"x": (5, 3)}) == {"x": (5, 3)}


def test_inputs_keep_their_order() -> None:
    found = chosen({"a": ("N", 3), "state": (2, "N")}, {"state": (2, 1)})
    assert list(found) == ["a", "state"]


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("y", (1, 3), "no input 'y'; the model has x"),
        ("x", (1, 3, 3), "'x' has 2 axes, got 3"),
        ("x", (1, 4), "axis 1 of 'x' is fixed at 3, got 4"),
    ],
)
def test_given_shapes_that_do_not_fit(name: str, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=f"--input-shape: .*{reason}"):
        chosen({"x": ("N", 3)}, {name: shape})


# --- inference -------------------------------------------------------------------------------


def test_every_tensor_of_a_chain() -> None:
    model = chain(["Conv", "BatchNormalization", "Relu", "MaxPool", "Flatten", "Gemm"])
    shapes = shapes_of(model, batch=4)
    assert shapes.main("x") == (4, 3, 8, 8)
    assert shapes.main("MaxPool_3_out") == (4, 8, 4, 4)
    assert shapes.main("y") == (4, 5)
    assert shapes.main("Conv_0.weight") == (8, 3, 3, 3)
    assert shapes.main("none") is None


def test_the_model_keeps_its_dynamic_axes(tmp_path: Path) -> None:
    proto = chain(["Conv", "Relu"])
    model = Model.load(save(proto, tmp_path / "m.onnx"))
    infer_shapes(model, input_shapes(model, {}, 16))
    assert model.view.proto == proto
    model.save(tmp_path / "out.onnx")
    (y,) = Model.load(tmp_path / "out.onnx").view.proto.graph.output
    assert y.type.tensor_type.shape.dim[0].dim_param == "N"


def test_reshape_to_a_computed_shape() -> None:
    """torch's x.view(x.size(0), -1)."""
    nodes = [
        op("Shape", "x", "s"),
        op("Gather", "s zero", "n", axis=0),
        op("Unsqueeze", "n axis", "n1"),
        op("Concat", "n1 rest", "target", axis=0),
        op("Reshape", "x target", "flat"),
        op("MatMul", "flat w", "y"),
    ]
    tensors = {
        "zero": ints(0)[0:1].reshape(()),
        "axis": ints(0),
        "rest": ints(-1),
        "w": normal((24, 5)),
    }
    shapes = shapes_of(loaded(nodes, {"x": ("N", 4, 6)}, [value("y", None)], tensors), batch=3)
    assert (shapes.main("flat"), shapes.main("y")) == ((3, 24), (3, 5))


def padding(amounts: list[int]) -> list[onnx.NodeProto]:
    """torch.nn.functional.pad(x, amounts) as the exporter of PyTorch writes it."""
    return [
        constant_node("amounts", ints(*amounts)),
        op("Shape", "x", "s"),
        op("Shape", "s", "rank"),
        op("Mul", "rank two", "both"),
        op("Shape", "amounts", "count"),
        op("Sub", "both count", "missing"),
        op("ConstantOfShape", "missing", "fill", value=numpy_helper.from_array(ints(0))),
        op("Concat", "amounts fill", "all", axis=0),
        op("Reshape", "all pairs", "table"),
        op("Slice", "table last first axis step", "turned"),
        op("Transpose", "turned", "sides", perm=[1, 0]),
        op("Reshape", "sides flat", "pads"),
        op("Cast", "pads", "longs", to=TensorProto.INT64),
        op("Pad", "x longs", "padded", mode="constant"),
        op("Conv", "padded w", "y"),
    ]


def test_pad_amounts_as_pytorch_computes_them() -> None:
    tensors = {
        "two": ints(2), "pairs": ints(-1, 2), "flat": ints(-1), "last": ints(-1),
        "first": ints(-(2**63) + 1), "axis": ints(0), "step": ints(-1), "w": normal((4, 3, 3, 3)),
    }  # fmt: skip
    model = loaded(padding([1, 2, 3, 4]), {"x": ("N", 3, 8, 8)}, [value("y", None)], tensors)
    shapes = shapes_of(model, batch=2)
    assert shapes.main("padded") == (2, 3, 15, 11)
    assert shapes.main("y") == (2, 4, 13, 9)


def test_small_external_constants_take_part(tmp_path: Path) -> None:
    nodes = [op("Reshape", "x target", "y")]
    model = make_model(nodes, {"x": ("N", 4, 6)}, [value("y", None)], {"target": ints(0, -1)})
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data"
    )
    assert shapes_of(Model.load(tmp_path / "m.onnx"), batch=2).main("y") == (2, 24)


def test_large_constants_count_with_their_shapes_only() -> None:
    shapes = shapes_of(gemm_model(2, 5000, 3), batch=2)
    assert (shapes.main("w"), shapes.main("y")) == ((3, 5000), (2, 3))


def test_initializers_among_the_inputs() -> None:
    model = conv_model()
    model.ir_version = 3
    model.graph.input.append(value("w", (6, 4, 3, 3)))
    assert shapes_of(model).main("y") == (1, 6, 6, 6)


def test_tensors_within_subgraphs() -> None:
    """A branch that reshapes an outer tensor to an outer constant."""
    then = make_graph([op("Reshape", "x target", "t", name="r")], {}, ["t"])
    other = make_graph(
        [constant_node("c", ints(6, -1)), op("Reshape", "x c", "e", name="r")], {}, ["e"]
    )
    node = op("If", "flag", "y", name="if", then_branch=then, else_branch=other)
    inputs = [value("x", ("N", 12)), value("flag", [], TensorProto.BOOL)]
    model = loaded([node], inputs, [value("y", None)], {"target": ints(4, -1)})
    shapes = shapes_of(model, batch=2)
    branch = model.view.node("if/then_branch/r")
    assert shapes.shape(branch, "t") == (4, 6)
    assert shapes.shape(branch, "x") == (2, 12)
    assert shapes.shape(model.view.node("if/else_branch/r"), "e") == (6, 4)
    assert shapes.spec(branch, "e") is None


def test_shape_arithmetic_within_subgraphs() -> None:
    nodes = [
        op("Shape", "x", "s"),
        op("Slice", "s begin end", "n"),
        op("Concat", "n rest", "target", axis=0),
        op("Reshape", "x target", "t", name="r"),
    ]
    then = make_graph(nodes, {}, ["t"], {"begin": ints(0), "end": ints(1)})
    other = make_graph([op("Identity", "x", "e")], {}, ["e"])
    node = op("If", "flag", "y", name="if", then_branch=then, else_branch=other)
    inputs = [value("x", ("N", 3, 4)), value("flag", [], TensorProto.BOOL)]
    model = loaded([node], inputs, [value("y", None)], {"rest": ints(-1)})
    shapes = shapes_of(model, batch=2)
    assert shapes.shape(model.view.node("if/then_branch/r"), "t") == (2, 12)


@pytest.mark.parametrize(("width", "expected"), [(4, (2, 4)), (5, None)])
def test_results_of_an_if_have_the_shape_of_both_branches(
    width: int, expected: tuple[int, ...] | None
) -> None:
    """Of one that onnx does not tell: a Loop's states keep theirs, where both branches agree."""
    states = [value("go", (), TensorProto.BOOL), value("s_in", ("N", 4))]
    body = make_graph(
        [op("Relu", "s_in", "s_out"), op("Identity", "go", "go_on")],
        [value("i", (), TensorProto.INT64), *states],
        [value("go_on", (), TensorProto.BOOL), value("s_out", ("N", 4))],
    )
    then = make_graph([op("Loop", "three - x", "t", "loop", body=body)], [], [value("t", ("N", 4))])
    product = op("MatMul", "x w", "e")
    other = make_graph([product], [], [value("e", ("N", width))], {"w": normal((4, width))})
    nodes = [op("If", "flag", "z", name="if", then_branch=then, else_branch=other)]
    inputs = [value("x", ("N", 4)), value("flag", [], TensorProto.BOOL)]
    model = loaded([*nodes, op("Relu", "z", "y")], inputs, ["y"], {"three": scalar(3, np.int64)})
    assert shapes_of(model, batch=2).main("z") == expected


def behind_an_unknown_operator(first: int | str) -> Model:
    nodes = [
        op("Mystery", "x", "m", domain="acme"),
        op("Conv", "m w", "y", name="conv"),
        op("Relu", "y", "z"),
    ]
    tensors = {"w": normal((4, 3, 3, 3))}
    model = make_model(nodes, {"x": (first, 3, 8, 8)}, [value("z", None)], tensors)
    model.graph.value_info.append(value("m", (first, 3, 8, 8)))
    return Model.from_proto(model)


def test_declared_shapes_serve_where_inference_ends() -> None:
    shapes = shapes_of(behind_an_unknown_operator(1))
    assert shapes.main("m") == (1, 3, 8, 8)
    assert shapes.main("z") == (1, 4, 6, 6)


def test_declared_shapes_do_not_serve_another_batch() -> None:
    assert shapes_of(behind_an_unknown_operator(1), batch=4).main("m") is None
    assert shapes_of(behind_an_unknown_operator("N"), batch=4).main("m") is None


def test_stale_declarations_are_not_believed() -> None:
    model = chain(["Conv", "Relu"])
    model.graph.value_info.append(value("Conv_0_out", (7, 7, 7, 7)))
    assert shapes_of(model, batch=2).main("Conv_0_out") == (2, 8, 8, 8)


def test_shapes_that_contradict_each_other_stay_unknown() -> None:
    tensors = {"w": normal((4, 5))}
    model = loaded([op("MatMul", "x w", "y")], {"x": (2, "K")}, [value("y", None)], tensors)
    assert infer_shapes(model, {"x": (2, 3)}).main("y") is None


@pytest.mark.parametrize(("target", "known"), [([1, 12], False), ([-1, 12], True), ([0, 12], True)])
def test_a_reshape_that_fixes_the_batch_leaves_shapes_of_others_unknown(
    target: list[int], known: bool
) -> None:
    nodes = [op("Reshape", "x to", "flat"), op("Relu", "flat", "y")]
    model = loaded(nodes, {"x": (1, 3, 4)}, [value("y", None)], {"to": ints(*target)})
    assert shapes_of(model).main("y") == (1, 12)
    assert shapes_of(model, 16).main("flat") == ((16, 12) if known else None)
    assert shapes_of(model, 16).main("y") == ((16, 12) if known else None)


def test_an_operator_set_that_is_missing_is_a_model_error() -> None:
    model = chain(["Conv", "Relu"])
    model.opset_import[0].domain = "acme"
    with pytest.raises(ModelError, match=r"Conv is of domain 'ai.onnx', for which .* no opset"):
        shapes_of(model)


def test_static_shapes() -> None:
    spec = shapes_of(conv_model()).spec(Model.from_proto(conv_model()).nodes[0], "y")
    assert spec is not None
    assert static_shape(spec) == (1, 6, 6, 6)
    assert static_shape(TensorSpec("d", spec.dtype, (1, "N"))) is None
    assert static_shape(TensorSpec("s", spec.dtype, ())) == ()


def test_sequences_have_no_shape() -> None:
    sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    model = loaded([op("SequenceConstruct", "x x", "y")], {"x": (2,)}, [sequence])
    assert shapes_of(model).main("y") is None


def test_a_long_list_of_numbers_is_not_followed() -> None:
    """onnx would keep 2^33 dimensions; 2^20 still are."""
    nodes = [op("Cast", "x", "c", to=TensorProto.INT64), op("Neg", "c", "y")]
    model = Model.from_proto(make_model(nodes, [value("x", ("N",), TensorProto.INT32)], ["y"]))
    assert infer_shapes(model, {"x": (1 << 33,)}).main("y") == (1 << 33,)
