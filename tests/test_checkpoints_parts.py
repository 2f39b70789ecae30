"""Finished parts on disk: what was written comes back, what was damaged does not."""

from __future__ import annotations

import logging
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from eapc.checkpoints import Checkpoint, Checkpoints, Finished


def part() -> Checkpoint:
    arrays = {
        "w": np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
        "half": np.array([1.5, -0.0], ml_dtypes.bfloat16),
        "scalar": np.float64(2.5) * np.ones(()),
        "none": np.zeros((0, 3), np.float16),
    }
    return Checkpoint(arrays, {"name": "layer", "error": 1 / 3, "worst": float("inf")})


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "out.partial", "run")


def test_what_is_saved_comes_back(kept: Checkpoints) -> None:
    kept.save("a", part())
    found = kept.load("a")
    assert found is not None
    assert found.facts == part().facts
    assert found.arrays.keys() == part().arrays.keys()
    for name, array in part().arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
    assert kept.load("b") is None


def test_nothing_unfinished_is_left(kept: Checkpoints) -> None:
    kept.save("a", part())
    kept.save("a", part())
    assert [path.suffix for path in kept.folder.iterdir()] == [".part"]


def test_damage_is_noticed_wherever_it_is(
    kept: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    kept.save("a", part())
    (path,) = kept.folder.iterdir()
    whole = path.read_bytes()
    damaged = [whole[:n] for n in (0, 10, 64, 65, 80, len(whole) - 1)]
    for at in (0, 70, len(whole) - 1):
        damaged.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for content in damaged:
        path.write_bytes(content)
        caplog.clear()
        assert kept.load("a") is None
        assert "is damaged or of another run" in caplog.text
    path.write_bytes(whole)
    assert kept.load("a") is not None


def test_a_part_of_another_run_or_layer_is_not_used(kept: Checkpoints) -> None:
    kept.save("a", part())
    other = Checkpoints(kept.folder, "another run")
    assert other.load("a") is None
    assert not other.is_of_this_run
    assert kept.is_of_this_run
    (path,) = kept.folder.iterdir()
    kept.save("b", part())
    (copy,) = set(kept.folder.iterdir()) - {path}
    copy.write_bytes(path.read_bytes())
    assert kept.load("b") is None


def test_clearing_spares_what_is_not_ours(kept: Checkpoints) -> None:
    kept.clear()
    kept.save("a", part())
    (kept.folder / "x.tmp").write_bytes(b"")
    (kept.folder / "notes.txt").write_text("mine")
    kept.clear()
    assert [path.name for path in kept.folder.iterdir()] == ["notes.txt"]
    (kept.folder / "notes.txt").unlink()
    kept.clear()
    assert not kept.folder.exists()


def test_a_disk_that_refuses_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "out.partial").write_text("a file, no folder")
    kept = Checkpoints(tmp_path / "out.partial", "run")
    with caplog.at_level(logging.WARNING):
        kept.save("a", part())
        kept.save("b", part())
    assert len(caplog.records) == 1
    assert "not kept for --resume" in caplog.text
    assert kept.load("a") is None


def test_scopes_keep_layers_apart(kept: Checkpoints) -> None:
    one, two, nowhere = Finished(kept, "one"), Finished(kept, "two"), Finished()
    one.save("layer", part())
    nowhere.save("layer", part())
    assert one.load("layer") is not None
    assert two.load("layer") is None
    assert nowhere.load("layer") is None
