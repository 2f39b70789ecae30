"""What commands leave behind: files, written once they have been verified."""

from __future__ import annotations

from pathlib import Path

from eapc.errors import UsageError
from eapc.pipeline import Compilation
from eapc.runtime import verifier


def save(compilation: Compilation, output: str | Path, force: bool) -> None:
    """Write a rewritten model once it has been verified."""
    model = compilation.model
    threads = compilation.conditions.engine.threads
    check = verifier(model, frozenset(model.weights), compilation.calibration, threads)
    model.save(output, check, force)


def default_output(model: str | Path) -> Path:
    """`MODEL.pruned.onnx` beside the model."""
    path = Path(model)
    if not path.name:
        raise UsageError(f"{model}: is not a file name")
    return path.with_name(f"{path.stem}.pruned.onnx")
