"""Labels of images: by subfolder, by a CSV file, and why there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_builders import folder_of, image_spec, loaded_images

from eapc.data import Dataset
from eapc.errors import DataError

GREY = image_spec("N", 1, 2, 2)


def loaded(folder: Path, csv: Path | None = None) -> Dataset:
    return loaded_images(folder, GREY, labels=csv)


def table(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def reason(folder: Path, csv: Path | None = None) -> str:
    """Why there are no labels; the images are there all the same."""
    data = loaded(folder, csv)
    assert len(data)
    with pytest.raises(DataError, match="evaluation images have no labels: ") as caught:
        data.require_labels()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- subfolders ----------------------------------------------------------------------------------


def test_subfolders_in_order_of_their_names(tmp_path: Path) -> None:
    """As text: capitals first; folders below do not count."""
    folder_of(tmp_path, {"dog/x.png": 1, "Zebra/1.png": 2, "cat/deep/er.png": 3, "cat/z.png": 4})
    data = loaded(tmp_path)
    assert data.classes == ("Zebra", "cat", "dog")
    assert data.require_labels().tolist() == [0, 1, 1, 2]


def test_numbers_as_names_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder_of(tmp_path, {f"{i}/a.png": i for i in (0, 1, 2, 10)})
    data = loaded(tmp_path)
    assert data.classes == ("0", "1", "10", "2")
    assert "subfolder names as text, 10 before 2; give --labels FILE" in caplog.text


def test_numbers_in_order_are_fine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder_of(tmp_path, {f"{i:02}/a.png": i for i in (0, 1, 2, 10)})
    assert loaded(tmp_path).classes == ("00", "01", "02", "10")
    assert "as text" not in caplog.text


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.png": 1, "b.png": 2}, "no subfolders tell classes"),
        ({"all/a.png": 1, "all/b.png": 2}, "all images are in one subfolder, all"),
        ({"a/a.png": 1, "b/b.png": 2, "c.png": 3}, "c.png is in no subfolder"),
    ],
)
def test_folders_that_tell_no_classes(tmp_path: Path, files: dict[str, int], said: str) -> None:
    told = reason(folder_of(tmp_path, files))
    assert f"{tmp_path}: {said}; give --labels FILE or put labels.csv there" in told


def test_a_folder_without_images_would_shift_the_others(tmp_path: Path) -> None:
    folder_of(tmp_path, {"b/a.png": 1, "c/b.png": 2})
    (tmp_path / "annotations").mkdir()
    assert "subfolder annotations holds no images" in reason(tmp_path)


# --- CSV -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [(), ("file,label",), ("image,class_id",)])
def test_a_file_with_and_without_names_of_columns(tmp_path: Path, header: tuple[str]) -> None:
    folder_of(tmp_path, {"b.png": 1, "a/x.png": 2, "a, b.png": 3})
    csv = table(tmp_path / "mine.csv", *header, "b.png,7", '"a, b.png",0', "./a/x.png, 12", "")
    data = loaded(tmp_path, csv)
    assert data.require_labels().tolist() == [12, 0, 7]
    assert data.classes == ()


def test_the_file_in_the_folder_comes_before_subfolders(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a/x.png": 1, "b/y.png": 2})
    table(tmp_path / "labels.csv", "\ufefffile,label", "a\\x.png,5", "b/y.png,4")
    assert loaded(tmp_path).require_labels().tolist() == [5, 4]
    other = table(tmp_path / "other.csv", "a/x.png,1", "b/y.png,1")
    assert loaded(tmp_path, other).require_labels().tolist() == [1, 1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a.png,0"], "has no label for b.png"),
        (["a.png,0", "b.png,1", "c.png,1"], "lists c.png, which is no JPEG or PNG file"),
        (["a.png,0", "b.png,cat"], "line 2: expected a class number counted from 0, got 'cat'"),
        (["a.png,0", "b.png,-1"], "line 2: expected a class number counted from 0, got '-1'"),
        (["a.png,0", "b.png,1.0"], "line 2: expected a class number counted from 0, got '1.0'"),
        (["a.png,-1", "b.png,1"], "line 1: expected a class number counted from 0, got '-1'"),
        (["a.png,0", "b.png,99999999999999999999"], "got '99999999999999999999'"),
        (["a.png,0", "b.png"], "line 2: expected file,label, got b.png"),
        (["file,label", "a.png,0,1"], "line 2: expected file,label, got a.png,0,1"),
        (["a.png,0", "./a.png,1", "b.png,1"], "line 2: a.png is listed twice"),
        ([], "has no label for a.png"),
    ],
)
def test_malformed_files(tmp_path: Path, lines: list[str], said: str) -> None:
    folder_of(tmp_path, {"a.png": 1, "b.png": 2})
    csv = table(tmp_path / "labels.csv", *lines)
    told = reason(tmp_path)
    assert str(csv) in told
    assert said in told


def test_unreadable_files(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 1})
    assert "none.csv: no such file" in reason(tmp_path, tmp_path / "none.csv")
    (tmp_path / "labels.csv").write_bytes(b"a.png,\xff")
    assert "labels.csv: cannot be read as CSV" in reason(tmp_path)
