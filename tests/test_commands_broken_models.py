"""Models that are wrong end in one line and exit code 3, whichever command reads them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from broken_builders import (
    BROKEN,
    choice,
    loop,
    network,
    product,
    scan,
    sparse_out_of_range,
    with_functions,
)
from builders import make_graph, normal, op, save, scalar, value
from onnx import ModelProto, numpy_helper

from eapc.cli import main
from eapc.model import Model, infer_shapes


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize("kind", BROKEN)
def test_every_command_refuses_it_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = save(network(product()), tmp_path / "sound.onnx")
    path = save(BROKEN[kind].make(), tmp_path / "broken.onnx")
    for arguments in (
        ["analyze", path],
        ["prune", path, "--sparsity", "0.5", "-o", tmp_path / "pruned.onnx"],
        ["compare", sound, path],
        ["compare", path, sound],
    ):
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert (code, said.out) == (3, "")
        assert said.err == f"eapc: {path}: {BROKEN[kind].said}\n"
    assert sorted(tmp_path.iterdir()) == [path, sound]


TEXTS = {
    b"op_NAME": "node 0: the name b'op_N\\xd5ME' is not valid UTF-8",
    b"attr_NAME": "Relu 'op': the name b'attr_N\\xd5ME' of an attribute is not valid UTF-8",
    b"meta_NAME": "an entry of the metadata, b'meta_N\\xd5ME', is not valid UTF-8",
    b"axis_NAME": "input 'x' has an axis b'axis_N\\xd5ME', which is not valid UTF-8",
    b"info_NAME": "the name of an value_info, b'info_N\\xd5ME', is not valid UTF-8",
    b"tag_NAME": "metadata of node 0: the name b'tag_N\\xd5ME' is not valid UTF-8",
}


def texts(wrong: bytes) -> bytes:
    """A model with one text of each kind; `wrong` among them is no UTF-8."""
    names = {kind: (kind if kind == wrong else kind.split(b"_")[0]).decode() for kind in TEXTS}
    node = op("Relu", "x", "y", names[b"op_NAME"], **{names[b"attr_NAME"]: 1})
    node.metadata_props.add(key=names[b"tag_NAME"], value="v")
    model = network(node)
    model.metadata_props.add(key="k", value=names[b"meta_NAME"])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = names[b"axis_NAME"]
    model.graph.value_info.append(value(names[b"info_NAME"], [1, 8]))
    content: bytes = model.SerializeToString()
    return content.replace(b"_NAME", b"_N\xd5ME")


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize("wrong", TEXTS, ids=lambda kind: kind.decode().split("_")[0])
def test_texts_that_are_none(
    wrong: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(texts(wrong))
    assert main(["analyze", str(path)]) == 3
    assert capsys.readouterr().err == f"eapc: {path}: {TEXTS[wrong]}\n"


@pytest.mark.usefixtures("kept_logging")
def test_a_sparse_value_outside_its_tensor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(sparse_out_of_range(), tmp_path / "m.onnx")
    assert main(["prune", str(path), "--sparsity", "0.5", "-o", str(tmp_path / "o.onnx")]) == 3
    warning, said = capsys.readouterr().err.splitlines()
    assert warning.endswith("no node reads initializer 'w'")
    assert said.startswith("eapc: indices of the sparse tensor 's' do not fit it: ")


# --- what is sound --------------------------------------------------------------------------------


def shadowing_input() -> ModelProto:
    """A Loop whose body calls its state as a graph input is called."""
    model = loop(["i", "go_in", "v"], ["go", "v_out"])
    body = model.graph.node[1].attribute[0].g
    body.input[2].name = body.node[1].input[0] = "x"
    return model


SOUND = {
    "a loop": loop(["i", "go_in", "v"], ["go", "v_out"]),
    "a scan": scan(),
    "functions": with_functions({"A": "B", "B": "Relu"}),
    "an input that shadows another": shadowing_input(),
    "a branch that writes what comes later": choice(make_graph([op("Neg", "x", "y")], {}, ["y"])),
    "einsum with an ellipsis": network(op("Einsum", "x w", "y", equation="...i, i j -> ...j")),
    "activations in capitals": network(
        op("RNN", "x w w", "y", hidden_size=8, activations=["RELU"])
    ),
}


@pytest.mark.parametrize("kind", SOUND)
def test_what_is_sound_is_read(kind: str, tmp_path: Path) -> None:
    assert Model.load(save(SOUND[kind], tmp_path / "m.onnx")).nodes


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT4, onnx.TensorProto.FLOAT16, 14])
def test_numbers_that_are_not_raw_are_counted_as_they_are_packed(kind: int, tmp_path: Path) -> None:
    """Two of four bits stand in one number, a complex one takes two; three elements each."""
    model = network(product())
    model.graph.initializer.append(onnx.helper.make_tensor("t", kind, [3], [1, 2, 3]))
    Model.load(save(model, tmp_path / "m.onnx"))


def test_a_range_without_end_is_not_counted_up() -> None:
    """Its length is not known then; onnx would make a list of 2^40 numbers."""
    ends = {"a": 0, "b": 1 << 40, "c": 1}
    model = network(product(), op("Range", "a b c", "r"))
    for name, end in ends.items():
        model.graph.initializer.append(numpy_helper.from_array(scalar(end, np.int64), name))
    model.graph.output.append(value("r", None, onnx.TensorProto.INT64))
    shapes = infer_shapes(Model.from_proto(model), {"x": (1, 8)})
    assert shapes.main("y") == (1, 8)


# --- notes ------------------------------------------------------------------------------------


def noted(model: ModelProto, folder: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    path = save(model, folder / "m.onnx")
    with caplog.at_level(logging.WARNING, "eapc"):
        loaded = Model.load(path)
        infer_shapes(loaded, {"x": (1, 8)})
    return [message.replace(f"{path}: ", "") for message in caplog.messages]


def test_initializers_that_nobody_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = network(product())
    model.graph.initializer.extend(numpy_helper.from_array(normal((2,)), n) for n in "abcde")
    found = noted(model, tmp_path, caplog)
    assert found == ["no node reads 5 initializers ('a', 'b', 'c' and 2 others)"]


def test_initializers_that_a_branch_reads_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = choice(make_graph([op("Add", "x b", "p")], {}, ["p"]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(8, np.float32), "b"))
    assert noted(model, tmp_path, caplog) == ["no node reads initializer 'w'"]


def test_an_initializer_that_is_an_input(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before IR version 4 every one had to be."""
    for version, notes in (
        (3, []),
        (8, ["initializer 'w' is an input too, so that callers may replace it"]),
    ):
        model = network(product())
        model.ir_version = version
        model.graph.input.append(value("w", [8, 8]))
        caplog.clear()
        assert noted(model, tmp_path, caplog) == notes


def test_versions_newer_than_onnx(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = network(product())
    model.opset_import[0].version = 99
    model.ir_version = 77
    path = save(model, tmp_path / "m.onnx")
    Model.load(path)
    opset, version = (message.replace(f"{path}: ", "") for message in caplog.messages)
    assert opset.startswith("opset 99 is newer than onnx's, which ends at ")
    assert version.startswith("IR version 77 is newer than onnx's, which ends at ")


def test_a_shape_that_is_declared_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = network(product("z"), op("Relu", "z", "y"))
    model.graph.value_info.append(value("z", [1, 9]))
    found = noted(model, tmp_path, caplog)
    assert found == [
        "m.onnx: the file declares other shapes than follow: 'z' is [1, 9], [1, 8] follows"
    ]


@pytest.mark.usefixtures("kept_logging")
def test_a_note_is_told_once_and_changes_no_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(network(product(), spare=normal((2,))), tmp_path / "m.onnx")
    output = str(tmp_path / "o.onnx")
    for arguments in (
        ["analyze", str(path)],
        ["prune", str(path), "-o", output, "--sparsity", "0.5"],
    ):
        assert main(arguments) == 0
        said = capsys.readouterr().err
        assert said.count("no node reads initializer 'spare'") == 1
        assert all(line.startswith("eapc: warning: ") for line in said.splitlines())
