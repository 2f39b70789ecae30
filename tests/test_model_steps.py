"""A sequence with its steps in front is one inference, not as many as it has steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import make_model, normal, op, save
from onnx import ModelProto, NodeProto

import eapc
from eapc.model import Model, batch_of, input_shapes


def recurrent(
    x: tuple[int | str, ...],
    hidden: int,
    before: list[NodeProto] | None = None,
    directions: int = 1,
    layout: int = 0,
) -> ModelProto:
    """An LSTM on x, or on what nodes in front make of it under the name `s`."""
    width = x[-1]
    assert isinstance(width, int)
    direction = "bidirectional" if directions == 2 else "forward"
    node = op(
        "LSTM", "s w r" if before else "x w r", "y", "cell",
        hidden_size=hidden, direction=direction, layout=layout,
    )  # fmt: skip
    tensors = {
        "w": normal((directions, 4 * hidden, width)),
        "r": normal((directions, 4 * hidden, hidden)),
        "m": normal((width, width)),
    }
    return make_model([*(before or []), node], {"x": x}, ["y"], tensors)


@pytest.mark.parametrize(
    ("file", "macs"),
    [
        (recurrent((100, 1, 64), 32, directions=2), 2_457_600),  # 100 * 2 * 128 * (64 + 32)
        (recurrent((20, 1, 16), 16), 20 * 64 * 32),
        (recurrent((20, 1, 16), 16, [op("MatMul", "x m", "s")]), 20 * (64 * 32 + 256)),
        (recurrent((20, 1, 16), 16, [op("Relu", "x", "a"), op("Add", "a x", "s")]), 20 * 64 * 32),
        (recurrent((20, 3, 16), 16), 20 * 64 * 32),
        (recurrent((3, 20, 16), 16, layout=1), 20 * 64 * 32),
        (
            recurrent((3, 20, 16), 16, [op("Transpose", "x", "s", perm=[1, 0, 2])]),
            20 * 64 * 32,
        ),
    ],
)
def test_macs_per_inference(file: ModelProto, macs: int, tmp_path: Path) -> None:
    path = save(file, tmp_path / "m.onnx")
    assert eapc.analyze(path).energy.macs == macs
    four = eapc.analyze(path, eapc.Settings(batch=4)).energy
    assert (four.macs, four.batch) == (macs, 4)


def test_inferences_are_counted_by_the_second_axis() -> None:
    model = Model.from_proto(recurrent((20, 3, 16), 16))
    assert model.inputs[0].batch_axis == 1
    assert batch_of(model.inputs, {"x": (20, 3, 16)}) == 3
    assert input_shapes(model, {}, 5) == {"x": (20, 5, 16)}


def test_data_of_such_a_sequence(tmp_path: Path) -> None:
    """Two inferences, of which one is looked at, in a batch of four if so asked."""
    path = save(recurrent((20, 1, 16), 16), tmp_path / "m.onnx")
    data = tmp_path / "x.npz"
    np.savez(data, x=normal((2, 20, 1, 16)))
    for batch in (None, 4):
        report = eapc.analyze(path, eapc.Settings(calibration=data, batch=batch)).energy
        assert (report.macs, report.batch) == (20 * 64 * 32, batch or 1)


@pytest.mark.parametrize(
    "file",
    [
        recurrent(("n", 20, 16), 16, layout=1),
        recurrent((3, 20, 16), 16, [op("Transpose", "x", "s", perm=[1, 0, 2])]),
        recurrent((3, 20, 16), 16, layout=1),
    ],
)
def test_a_first_axis_of_inferences(file: ModelProto) -> None:
    assert Model.from_proto(file).inputs[0].batch_axis == 0
