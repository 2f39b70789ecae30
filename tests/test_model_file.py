"""Model files on disk: what is refused when reading, and what writing promises."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import chain, conv_model, gemm_model, normal, save
from onnx import ModelProto, TensorProto, numpy_helper

from eapc.errors import ModelError, UsageError
from eapc.model import Model
from eapc.model import file as modelfile
from eapc.model.file import read


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def external_model(folder: Path, location: str = "m.data") -> Path:
    """A Gemm whose weights (4 x 10, float32) are external, offset by 16 bytes."""
    model = gemm_model()
    weight = model.graph.initializer[0]
    content = b"\0" * 16 + weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, entry in (("location", location), ("offset", "16"), ("length", "160")):
        weight.external_data.add(key=key, value=entry)
    if not Path(location).is_absolute() and ".." not in location:
        (folder / location).write_bytes(content)
    return save(model, folder / "m.onnx")


def edit_entry(path: Path, key: str, entry: str) -> None:
    model = onnx.load(path, load_external_data=False)
    for item in model.graph.initializer[0].external_data:
        if item.key == key:
            item.value = entry
    save(model, path)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an ONNX model"),
        (b"import onnx\nprint('hello')\n", "not an ONNX"),
        (np.random.default_rng(0).bytes(4096), "not an ONNX"),
        (conv_model().SerializeToString()[:-100], "not an ONNX file, or a truncated one"),
        (conv_model().SerializeToString()[:-1], "not an ONNX file, or a truncated one"),
        (ModelProto(ir_version=8).SerializeToString(), "no IR version, opset or graph"),
    ],
    ids=["empty", "text", "random", "truncated", "one byte short", "no graph"],
)
def test_what_is_not_a_model_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert reason in refusal(path)


@pytest.mark.parametrize("cut", range(5, 95, 10))
def test_a_model_cut_anywhere_is_refused(tmp_path: Path, cut: int) -> None:
    content = chain(["Conv", "Relu", "Flatten", "Gemm"]).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: len(content) * cut // 100])
    refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.onnx")
    assert "directory" in refusal(tmp_path)


def test_raw_data_shorter_than_the_shape_is_refused(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.initializer[0].raw_data = b"\0" * 8
    message = refusal(save(model, tmp_path / "m.onnx"))
    assert "'w' is cut short: 8 bytes, its shape needs 864" in message


def test_external_data_is_known_to_be_there(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    assert len(read(path).graph.initializer) == 2
    (tmp_path / "m.data").unlink()
    assert "external data file 'm.data' is missing" in refusal(path)


def test_short_external_data_is_refused(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "m.data").write_bytes(b"\0" * 100)
    assert "'w' is cut short: needs 176 bytes, the file has 100" in refusal(path)


@pytest.mark.parametrize(
    ("key", "entry", "reason"),
    [
        ("length", "100", "length 100, its shape needs 160"),
        ("offset", "-4", "offset -4"),
        ("offset", "many", "no usable location"),
        ("location", "", "missing"),
    ],
)
def test_wrong_external_entries_are_refused(
    tmp_path: Path, key: str, entry: str, reason: str
) -> None:
    path = external_model(tmp_path)
    edit_entry(path, key, entry)
    assert reason in refusal(path)


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    outside = tmp_path / "secret.data"
    outside.write_bytes(b"\0" * 1000)
    for location in ("../secret.data", str(outside)):
        assert "outside the model's folder" in refusal(external_model(inner, location))
    path = external_model(inner, "link.data")
    (inner / "link.data").unlink()
    (inner / "link.data").symlink_to(outside)
    assert "outside the model's folder" in refusal(path)


def test_external_data_in_a_folder_below_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = external_model(tmp_path, "data/m.data")
    value = Model.load(path).constants.value("w")
    assert value is not None
    assert np.array_equal(value, normal((4, 10)))


# --- writing ---------------------------------------------------------------------------------


def test_a_check_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    model = Model.load(external_model(tmp_path))
    before = files(tmp_path)

    def fail(_: Path) -> None:
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        model.save(tmp_path / "out.onnx", fail)
    assert files(tmp_path) == before


def test_a_check_that_fails_leaves_the_old_output(tmp_path: Path) -> None:
    model = Model.from_proto(conv_model())
    (tmp_path / "out.onnx").write_bytes(b"old")

    def fail(_: Path) -> None:
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        model.save(tmp_path / "out.onnx", fail, force=True)
    assert (tmp_path / "out.onnx").read_bytes() == b"old"


def test_the_check_sees_the_file_under_its_name_with_its_data(tmp_path: Path) -> None:
    model = Model.load(external_model(tmp_path))
    seen: list[str] = []

    def look(path: Path) -> None:
        seen.append(path.name)
        onnx.checker.check_model(path, full_check=True)

    model.save(tmp_path / "out.onnx", look)
    assert seen == ["out.onnx"]
    assert files(tmp_path) == ["m.data", "m.onnx", "out.onnx", "out.onnx.data"]


def test_an_existing_output_needs_force(tmp_path: Path) -> None:
    model = Model.from_proto(conv_model())
    model.save(tmp_path / "out.onnx")
    with pytest.raises(UsageError, match="--force"):
        model.save(tmp_path / "out.onnx")
    with pytest.raises(UsageError, match="--force"):
        model.require_writable(tmp_path / "out.onnx", force=False)
    model.save(tmp_path / "out.onnx", force=True)
    model.require_writable(tmp_path / "out.onnx", force=True)


def test_an_existing_data_file_needs_force_too(tmp_path: Path) -> None:
    model = Model.load(external_model(tmp_path))
    (tmp_path / "out.onnx.data").write_bytes(b"x" * 9000)
    with pytest.raises(UsageError, match=r"out\.onnx\.data: exists"):
        model.save(tmp_path / "out.onnx")
    model.save(tmp_path / "out.onnx", force=True)
    assert (tmp_path / "out.onnx.data").stat().st_size == 160


@pytest.mark.parametrize("name", ["m.onnx", "m.data", "link.onnx", "sub/../m.onnx"])
def test_files_of_the_input_are_never_written(tmp_path: Path, name: str) -> None:
    path = external_model(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.onnx").symlink_to(path)
    content = path.read_bytes()
    with pytest.raises(UsageError, match="is a file of the input model"):
        Model.load(path).save(tmp_path / name, force=True)
    assert path.read_bytes() == content


def test_the_inputs_data_file_is_not_taken_for_output_data(tmp_path: Path) -> None:
    path = external_model(tmp_path, "out.onnx.data")
    with pytest.raises(UsageError, match=r"out\.onnx\.data: is a file of the input model"):
        Model.load(path).save(tmp_path / "out.onnx", force=True)


def test_folders_are_refused_as_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.load(external_model(tmp_path))
    with pytest.raises(UsageError, match="is a folder; give a file name"):
        model.save(tmp_path)
    with pytest.raises(UsageError, match="no such folder; make it first"):
        model.save(tmp_path / "none" / "out.onnx")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is a folder; give a file name"):
        model.save(".")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_a_usage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be written"):
        Model.from_proto(conv_model()).save(tmp_path / "out.onnx")
    tmp_path.chmod(0o700)


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(modelfile, "_flush_to_disk", full)
    with pytest.raises(UsageError, match=r"cannot be written: No space left on device$"):
        Model.from_proto(conv_model()).save(tmp_path / "out.onnx")
    assert files(tmp_path) == []


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_is_respected(tmp_path: Path, mask: int, mode: int) -> None:
    model = Model.load(external_model(tmp_path))
    previous = os.umask(mask)
    try:
        model.save(tmp_path / "out.onnx")
    finally:
        os.umask(previous)
    for name in ("out.onnx", "out.onnx.data"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


def test_external_data_is_written_anew(tmp_path: Path) -> None:
    model = Model.load(external_model(tmp_path))
    for _ in range(3):
        model.save(tmp_path / "out.onnx", force=True)
    assert (tmp_path / "out.onnx.data").read_bytes() == normal((4, 10)).tobytes()
    entries = read(tmp_path / "out.onnx").graph.initializer[0].external_data
    assert {entry.key: entry.value for entry in entries} == {
        "location": "out.onnx.data",
        "offset": "0",
        "length": "160",
    }


def test_external_data_in_another_folder_is_copied(tmp_path: Path) -> None:
    model = Model.load(external_model(tmp_path))
    (tmp_path / "out").mkdir()
    model.save(tmp_path / "out" / "m.onnx")
    (tmp_path / "m.data").unlink()
    value = Model.load(tmp_path / "out" / "m.onnx").constants.value("w")
    assert value is not None
    assert np.array_equal(value, normal((4, 10)))


def test_a_model_over_the_protobuf_limit_gets_external_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chain(["Conv", "Conv", "Relu", "Flatten", "Gemm"], width=16)
    monkeypatch.setattr(modelfile, "PROTOBUF_LIMIT_BYTES", 4096 + (1 << 20))
    Model.from_proto(model).save(tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    outside = [t.name for t in written.graph.initializer if t.data_location == 1]
    assert outside == ["Conv_0.weight", "Conv_1.weight", "Gemm_4.weight"]
    assert (tmp_path / "out.onnx").stat().st_size < 4096
    for tensor, found in zip(
        model.graph.initializer, onnx.load(tmp_path / "out.onnx").graph.initializer, strict=True
    ):
        assert np.array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(found))


def test_new_weights_of_an_external_model_are_saved(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    new = normal((4, 10), 9)
    Model.load(path).with_weights({"w": new}).save(tmp_path / "out.onnx")
    value = Model.load(tmp_path / "out.onnx").constants.value("w")
    assert value is not None
    assert np.array_equal(value, new)
    assert (tmp_path / "m.data").stat().st_size == 176


def test_external_tensors_without_a_file_are_refused(tmp_path: Path) -> None:
    proto = read(external_model(tmp_path))
    with pytest.raises(ModelError, match="tensor 'w'"):
        Model.from_proto(proto).save(tmp_path / "other.onnx")
    assert files(tmp_path) == ["m.data", "m.onnx"]


def test_packed_types_take_half_bytes() -> None:
    tensor = TensorProto(dims=[3, 5], data_type=TensorProto.INT4)
    assert modelfile.payload_bytes(tensor) == 8
    for name, size in (("DOUBLE", 8), ("BOOL", 1), ("BFLOAT16", 2), ("COMPLEX128", 16)):
        kind = TensorProto.DataType.Value(name)
        assert modelfile.payload_bytes(TensorProto(dims=[3], data_type=kind)) == 3 * size
