"""Measured machines for tests, made up and small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eapc.hardware import MeasuredLayer, MeasuredMachine


def measured_layer(
    ins: Sequence[int], outs: Sequence[int], ms: Sequence[Sequence[float]], name: str = "conv"
) -> MeasuredLayer:
    return MeasuredLayer(
        layer=name,
        in_channels=tuple(ins),
        out_channels=tuple(outs),
        ms=tuple(tuple(row) for row in ms),
    )


def measured_machine(*layers: MeasuredLayer, **changes: Any) -> MeasuredMachine:
    """Steps of 16 channels and half a millisecond for each run, unless told otherwise."""
    fields: dict[str, Any] = {
        "schema": "eapc.measured/1",
        "kind": "measured",
        "name": "here",
        "description": "a machine of a test",
        "cpu": "none",
        "runtime": "onnxruntime 0",
        "threads": 1,
        "batch": 1,
        "repeats": 1,
        "date": "2020-01-01",
        "overhead_ms": 0.5,
        "steps": {"in": 16, "out": 16},
        "layers": layers,
    }
    return MeasuredMachine.model_validate(fields | changes)
