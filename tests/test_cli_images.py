"""Images through the commands: the same results as arrays of their pixels, and `eapc data show`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Axis, make_model, op, save
from image_builders import folder_of, save_image
from onnx import TensorProto, helper

import eapc
from eapc.cli import main
from eapc.cli.image_options import read_image_size, read_numbers
from eapc.errors import UsageError

SCALED = ("--scale", "1/255", "--mean", "0.5", "--std", "0.25")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def eapc_main(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept_logging: None,  # noqa: ARG001
) -> Run:
    """The command line in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(each) for each in arguments])
        return (code, *capsys.readouterr())

    return run


def network(path: Path, rows: Axis = 2, classes: int = 2) -> Path:
    """Bright or dark: class 1 where the mean of the scaled pixels is above 0, by 4 hidden units."""
    first = np.asarray([[1, -1, 0.5, -0.5]], np.float32)
    second = np.zeros((4, classes), np.float32)
    second[[0, 2], 1] = second[[1, 3], 0] = 1
    nodes = [
        op("Identity" if rows == 2 else "GlobalAveragePool", "x", "p"),
        op("Flatten", "p", "f"),
        op("MatMul", "f w1", "h", name="first"),
        op("Relu", "h", "r"),
        op("MatMul", "r w2", "s", name="second"),
    ]
    weights = {"w1": first.repeat(4, 0) / 4 if rows == 2 else first, "w2": second}
    return save(make_model(nodes, {"x": ("N", 1, rows, rows)}, ["s"], weights), path)


def pictures(folder: Path) -> Path:
    """24 grey images in two folders, dark and bright, each pixel of its own value."""
    rng = np.random.default_rng(0)
    for kind, low in (("bright", 140), ("dark", 10)):
        for i in range(12):
            pixels = rng.integers(low, low + 100, (2, 2))
            save_image(folder / kind / f"{i:02}.png", pixels.tolist())
    return folder


def arrays(folder: Path, path: Path, **labels: Any) -> Path:
    """The same as an .npz file: bright comes before dark, and is class 1."""
    from PIL import Image

    pixels = []
    for file in sorted(folder.rglob("*.png")):
        with Image.open(file) as image:
            pixels.append(np.asarray(image)[None])
    np.savez(path, x=np.stack(pixels), scale=1 / 255, mean=0.5, std=0.25, **labels)
    return path


def labels_of(folder: Path) -> Path:
    """Bright is 1, which is not what subfolders tell."""
    files = sorted(folder.rglob("*.png"))
    lines = [f"{f.relative_to(folder).as_posix()},{int(f.parent.name == 'bright')}" for f in files]
    path = folder.parent / "mine.csv"
    path.write_text("\n".join(["file,label", *lines]))
    return path


def test_a_prune_is_that_of_the_pixels(eapc_main: Run, tmp_path: Path) -> None:
    model, photos = network(tmp_path / "m.onnx"), pictures(tmp_path / "photos")
    npz = arrays(photos, tmp_path / "same.npz", y=[1] * 12 + [0] * 12)
    labels = ("--labels", labels_of(photos))
    asked = ("prune", model, "--sparsity", "0.5", "--json")
    code, by_images, said = eapc_main(
        *(*asked, "--calib", photos, "--eval", photos, *SCALED, *labels, "-o", "a.onnx")
    )
    assert (code, said) == (0, "")
    code, by_arrays, _ = eapc_main(*asked, "--calib", npz, "--eval", npz, "-o", "b.onnx")
    assert code == 0
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()
    found, expected = json.loads(by_images), json.loads(by_arrays)
    assert found["accuracy"] == expected["accuracy"]
    assert found["accuracy"]["before"] == 1.0


def test_every_command_that_takes_data_takes_images(eapc_main: Run, tmp_path: Path) -> None:
    model, photos = network(tmp_path / "m.onnx"), pictures(tmp_path / "photos")
    calib, evaluated = ("--calib", photos, *SCALED), ("--eval", photos, *SCALED)
    code, out, said = eapc_main("analyze", model, *calib, "--samples", "6", "--json")
    assert (code, json.loads(out)["calibration_samples"], said) == (0, 6, "")
    code, _, said = eapc_main("run", model, "--pipeline", "annotate-energy", *calib)
    assert (code, said) == (0, "")
    code, out, said = eapc_main("sweep", model, *calib, "--eval", photos, "--sparsity", "0.5,0.25")
    assert (code, said) == (0, "")
    labels = ("--labels", labels_of(photos))
    code, out, said = eapc_main(
        "compare", model, model, *evaluated, *labels, "--no-latency", "--json"
    )
    assert (code, json.loads(out)["accuracy"]["before"], said) == (0, 1.0, "")


def test_from_python(tmp_path: Path) -> None:
    model, photos = network(tmp_path / "m.onnx"), pictures(tmp_path / "photos")
    said = eapc.Preprocessing(scale=(1 / 255,), mean=(0.5,), std=(0.25,))
    files = eapc.DataFiles(photos, said, labels=labels_of(photos))
    settings = eapc.Settings(calibration=files, samples=4, threads=1)
    assert eapc.analyze(model, settings).samples == 4
    compared = eapc.compare(model, model, settings, evaluation=files, latency=False)
    assert compared.accuracy is not None
    assert (compared.accuracy.before, compared.accuracy.samples) == (1.0, 24)


def test_subfolders_that_are_not_the_models_classes(eapc_main: Run, tmp_path: Path) -> None:
    model, photos = network(tmp_path / "m.onnx", classes=5), pictures(tmp_path / "photos")
    asked = ("compare", model, model, "--eval", photos, *SCALED, "--no-latency")
    code, _, said = eapc_main(*asked)
    assert code == 0
    assert "2 subfolders of images count as classes 0 to 1, and the model tells 5 classes" in said
    assert eapc_main(*asked, "--labels", labels_of(photos))[2] == ""


def test_labels_are_needed_to_evaluate_and_not_to_calibrate(eapc_main: Run, tmp_path: Path) -> None:
    model, photos = network(tmp_path / "m.onnx"), folder_of(tmp_path / "all", {"a.png": 1})
    code, _, said = eapc_main("analyze", model, "--calib", photos, *SCALED)
    assert (code, said) == (0, "")
    code, _, said = eapc_main("compare", model, model, "--eval", photos, *SCALED)
    assert code == 3
    assert "evaluation images have no labels: " in said
    assert "give --labels FILE or put labels.csv there" in said


def test_open_sizes_are_told_by_the_image_size_or_assumed(eapc_main: Run, tmp_path: Path) -> None:
    model, photos = network(tmp_path / "m.onnx", rows="h"), pictures(tmp_path / "photos")
    asked = ("analyze", model, "--calib", photos, *SCALED)
    assert eapc_main(*asked, "--image-size", "2")[0::2] == (0, "")
    assert eapc_main(*asked, "--input-shape", "x:1,1,2,2")[0::2] == (0, "")
    code, _, said = eapc_main(*asked)
    assert code == 0
    assert "photos: images are cut to 64 x 64 as input 'x' leaves its size open" in said


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--image-size", "2"), "--image-size: goes with a folder of images, and there is none"),
        (("--resize", "2"), "--resize: goes with a folder of images"),
        (("--preprocessor", "p.json"), "--preprocessor: goes with a folder of images"),
        (("--mean", "2"), "--mean: goes with data that says no scaling itself, and there is none"),
        (("--calib", "scaled.npz", "--std", "2"), "--std: goes with data that says no scaling"),
        (("--calib", "scaled.npz", "--image-size", "2"), "--image-size: goes with a folder of"),
        (("--calib", "photos", "--labels", "mine.csv"), "--labels: goes with a folder of images"),
        (("--calib", "photos", "--image-size", "2y2"), "--image-size: expected 224, or rows x"),
        (("--calib", "photos", "--scale", "1/0"), "--scale: expected numbers such as 1/255"),
        (("--calib", "photos", "--mean", "a,b"), "--mean: expected numbers"),
        (("--calib", "photos", "--scale", "nan"), "--scale: expected numbers"),
        (("--calib", "photos", "--std", "1,0,1"), "--std: expected numbers such as"),
        (("--calib", "photos", "--resize", "0"), "invalid value for '--resize'"),
    ],
)
def test_options_that_would_do_nothing(
    eapc_main: Run, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    model, photos = network(tmp_path / "m.onnx"), pictures(tmp_path / "photos")
    arrays(photos, tmp_path / "scaled.npz")
    labels_of(photos)
    code, out, told = eapc_main("prune", model, *options)
    assert (code, out) == (2, "")
    assert told.startswith(f"eapc: {said}")
    assert not Path("m.pruned.onnx").exists()


def test_each_takes_what_holds_for_it(eapc_main: Run, tmp_path: Path) -> None:
    """An .npz file that says its scaling stays as it is beside images, and the other way round."""
    model, photos = network(tmp_path / "m.onnx"), pictures(tmp_path / "photos")
    npz = arrays(photos, tmp_path / "same.npz", y=[1] * 12 + [0] * 12)
    asked = ("compare", model, model, *SCALED, "--no-latency", "--json")
    code, out, said = eapc_main(*asked, "--calib", photos, "--eval", npz)
    assert (code, json.loads(out)["accuracy"]["before"], said) == (0, 1.0, "")


def test_options_go_over_a_preprocessor_file(eapc_main: Run, tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", {"a.png": 100, "b.png": 200}, size=4)
    (tmp_path / "p.json").write_text('{"size": 4, "rescale_factor": 0.01, "do_normalize": false}')

    def seen(*options: str) -> tuple[list[int], float]:
        code, out, _ = eapc_main("data", "show", photos, "--json", *options)
        assert code == 0
        (fed,) = json.loads(out)["inputs"]
        return fed["shape"][2:], fed["ranges"][0]["max"]

    assert seen("--preprocessor", "p.json") == ([4, 4], 2.0)
    assert seen("--preprocessor", "p.json", "--scale", "0.5") == ([4, 4], 100.0)
    assert seen("--preprocessor", "p.json", "--image-size", "2x3") == ([2, 3], 2.0)
    (photos / "preprocessor_config.json").write_text('{"size": 3, "rescale_factor": 0.1}')
    assert seen() == ([3, 3], 20.0)
    assert seen("--std", "2") == ([3, 3], 10.0)
    assert seen("--preprocessor", "p.json") == ([4, 4], 2.0)


def test_numbers_and_sizes() -> None:
    assert read_numbers("--mean", "0.5, 1/4,-2e1") == (0.5, 0.25, -20.0)
    assert (read_image_size("224"), read_image_size("3x5")) == ((224, 224), (3, 5))
    for text in ("", "0", "3x", "x3", "3x0", "-3", "3.5"):
        with pytest.raises(UsageError, match="--image-size: expected"):
            read_image_size(text)


# --- eapc data show ------------------------------------------------------------------------------


def test_show_as_a_table(eapc_main: Run, tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", {"cat/a.png": 0, "dog/b.png": 100, "dog/c.png": 50})
    code, out, said = eapc_main(
        *("data", "show", "photos", "--model", network(tmp_path / "m.onnx"), "--scale", "0.01")
    )
    assert (code, said) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith(f"photos for {tmp_path / 'm.onnx'}: 3 inputs\n")
    assert [*"x float32 3 x 1 x 2 x 2 0 0 1 0.5 0.4082".split()] in lines
    assert "images      resized to just cover 2 x 2 (bilinear), the middle 2 x 2 pixels\n" in out
    assert "scaling     (x * 0.01 - 0) / 1\n" in out
    assert "labels      2 classes from 0 to 1, 1 to 2 of each: 0 cat, 1 dog\n" in out
    assert f"fits model  {tmp_path / 'm.onnx'}: yes\n" in out


def test_show_what_does_not_fit(eapc_main: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 1, 4, 4), np.float32))
    asked = ("data", "show", "a.npz", "--model", network(tmp_path / "m.onnx"))
    code, out, said = eapc_main(*asked)
    misfit = "a.npz: array for input 'x' has shape (3, 1, 4, 4), axis 2 must be 2"
    assert (code, said) == (3, f"eapc: {misfit}\n")
    assert out.startswith("a.npz: 3 inputs\n")
    assert f"m.onnx: no: {misfit}\n" in out
    document = json.loads(eapc_main(*asked, "--json")[1])
    assert (document["fits"], document["misfit"]) == (False, misfit)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("none.npz",), 3, "none.npz: no such file"),
        (("photos", "--model", "none.onnx"), 3, "none.onnx"),
        (("photos", "--input-shape", "x:1,1,2,2"), 2, "--input-shape: goes with --model and a"),
        (("photos", "--samples", "0"), 2, "invalid value for '--samples'"),
        ((), 2, "missing argument"),
    ],
)
def test_show_of_wrong_input(
    eapc_main: Run, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    folder_of(tmp_path / "photos", {"a.png": 1})
    found, out, told = eapc_main("data", "show", *options)
    assert (found, out, told.count("\n")) == (code, "", 1)
    assert said in told


def test_a_model_of_bytes_is_shown_bytes(eapc_main: Run, tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", {"a.png": 7})
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, ("N", 2, 2, 1))
    nodes = [op("Cast", "x", "f", to=TensorProto.FLOAT), op("Flatten", "f", "s")]
    save(make_model(nodes, [x], ["s"]), tmp_path / "m.onnx")
    code, out, said = eapc_main("data", "show", "photos", "--model", "m.onnx", "--json")
    (fed,) = json.loads(out)["inputs"]
    assert (code, said, fed["dtype"], fed["shape"]) == (0, "", "uint8", [1, 2, 2, 1])
    assert json.loads(out)["scaling"] is None
    code, _, said = eapc_main("data", "show", "photos", "--model", "m.onnx", "--scale", "2")
    assert code == 2
    assert "--scale, --mean and --std do nothing" in said
