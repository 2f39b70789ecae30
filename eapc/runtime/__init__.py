"""Running models with onnxruntime, and verifying what was written."""

from __future__ import annotations

from eapc.runtime.half_precision import holds_bfloat16
from eapc.runtime.sessions import (
    Engine,
    Session,
    Stopwatch,
    as_it_runs,
    collect_outputs,
    feed_size,
    joined_batches,
    open_model,
    optimised_model,
    runs,
    runtime_version,
    with_outputs,
)
from eapc.runtime.shapes_by_run import with_shapes_of_run
from eapc.runtime.verify import verifier

__all__ = [
    "Engine",
    "Session",
    "Stopwatch",
    "as_it_runs",
    "collect_outputs",
    "feed_size",
    "holds_bfloat16",
    "joined_batches",
    "open_model",
    "optimised_model",
    "runs",
    "runtime_version",
    "verifier",
    "with_outputs",
    "with_shapes_of_run",
]
