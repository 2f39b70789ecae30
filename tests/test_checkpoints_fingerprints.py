"""Digests change with whatever decides a result, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array
from pruning_builders import residual

from eapc.channels import find_groups, remove_channels
from eapc.checkpoints import (
    arrays_digest,
    data_digest,
    digest,
    model_digest,
    parts,
    software,
)
from eapc.data import Affine
from eapc.model import Model, infer_shapes, input_shapes


def test_texts_do_not_run_together() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("a") == digest("a")
    assert software() == software()


def test_arrays_count_by_name_type_shape_and_bytes() -> None:
    x = np.arange(6, dtype=np.float32)
    changed = np.array([0, 1, 2, 3, 4, 6], np.float32)
    variants: list[dict[str, Array]] = [
        {"x": x},
        {"y": x},
        {"x": x.reshape(2, 3)},
        {"x": x.view(np.int32)},
        {"x": changed},
        {},
    ]
    assert len({arrays_digest(each) for each in variants}) == len(variants)
    assert arrays_digest({"x": np.repeat(x, 2)[::2]}) == arrays_digest({"x": x})


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = {"x": np.arange(1000, dtype=np.float64).reshape(50, 20), "scalar": np.array(3.0)}
    whole = arrays_digest(x)
    monkeypatch.setattr(parts, "_CHUNK_BYTES", 100)
    assert arrays_digest(x) == whole


def test_a_model_counts_with_its_external_data_and_new_weights(tmp_path: Path) -> None:
    proto = residual().proto
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=0)
    model = Model.load(path)
    before = model_digest(model)
    zeroed = model.with_weights({"w0": np.zeros((8, 3, 3, 3), np.float32)})
    assert model_digest(zeroed) != before
    assert model_digest(Model.load(path)) == before
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[5] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    assert model_digest(Model.load(path)) != before
    assert model_digest(residual().model) == model_digest(residual().model)


def test_data_counts_with_its_scaling_and_batch() -> None:
    data = residual().data
    affine = Affine(*(np.ones(1, np.float32) for _ in range(3)))
    variants = [
        data,
        data.take(slice(0, 5)),
        replace(data, affine=affine),
        replace(data, affine=replace(affine, std=np.full(1, 2, np.float32))),
        replace(data, fixed_batch=1),
        replace(data, synthesised=True),
        replace(data, kinds=np.arange(len(data)) // 2),
    ]
    assert len({data_digest(each) for each in variants}) == len(variants)


def test_a_model_that_was_cut_is_another_although_its_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(residual().proto, path)
    model = Model.load(path)
    groups = find_groups(model, infer_shapes(model, input_shapes(model, {}, None)))
    name = groups.groups[0].name
    digests = {
        model_digest(remove_channels(model, groups, {name: np.arange(count)})) for count in (1, 2)
    }
    assert len(digests | {model_digest(model)}) == 3
