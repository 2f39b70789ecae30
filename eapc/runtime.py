"""onnxruntime, and nothing else: sessions, outputs over a dataset, intermediate tensors.

The only module that imports onnxruntime. Sessions that must keep intermediate names run
without graph optimisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from eapc.data import Dataset
from eapc.errors import DataError, ModelError
from eapc.model import Model
from eapc.shapes import infer_shapes, static_shape
from eapc.tensors import Array

if TYPE_CHECKING:
    import onnxruntime

_FEED_BYTES = 1 << 26
"""Largest activation of a batch: bounds memory, and more would not run faster."""

_LARGEST_BATCH = 256


class Session:
    """An onnxruntime session over a model in memory or on disk."""

    def __init__(self, model: onnx.ModelProto | Path, threads: int = 0, optimise: bool = True):
        self._session = _open(model, threads, optimise)
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; raises DataError when onnxruntime refuses the inputs."""
        try:
            values = self._session.run(list(self.outputs), dict(feed))
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise DataError(f"onnxruntime cannot run the model: {_first_line(error)}") from error
        return dict(zip(self.outputs, values, strict=True))


def _open(
    model: onnx.ModelProto | Path, threads: int, optimise: bool
) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    source: Any = str(model) if isinstance(model, Path) else model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise ModelError(f"onnxruntime refuses the model: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def open_model(model: Model, threads: int = 0) -> Session:
    """A session over a whole model, optimised."""
    return Session(model.to_proto(embed=True), threads)


def feed_size(model: Model, data: Dataset) -> int:
    """Samples per run, so that the largest activation of a run stays within 64 MiB."""
    shapes = infer_shapes(model, data.shapes(1)).by_scope[""]
    computed = (
        shapes[name] for node in model.view.main_nodes for name in node.outputs if name in shapes
    )
    sizes = (math.prod(static_shape(spec) or ()) for spec in computed)
    largest = 4 * max(sizes, default=1)
    return max(1, min(_LARGEST_BATCH, _FEED_BYTES // max(1, largest)))


def collect_outputs(model: Model, data: Dataset, threads: int = 0) -> dict[str, Array]:
    """The model's outputs over all of a dataset, batches joined along the first axis."""
    session = open_model(model, threads)
    parts: dict[str, list[Array]] = {name: [] for name in model.outputs}
    for feed in data.batches(feed_size(model, data)):
        for name, value in session.run(feed).items():
            parts[name].append(np.atleast_1d(np.asarray(value)))
    return {name: _joined(name, values) for name, values in parts.items()}


def _joined(name: str, parts: Sequence[Array]) -> Array:
    try:
        return np.concatenate(parts)
    except ValueError as error:
        shapes = sorted({part.shape for part in parts})
        detail = f"{shapes}: a first axis of samples is needed"
        raise DataError(f"output '{name}' comes in shapes {detail}") from error


def measure_densities(
    model: Model,
    data: Dataset,
    tensors: Sequence[str],
    threads: int = 0,
    zero_points: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Fraction of non-zero elements of each named tensor over a dataset.

    `zero_points` names the tensor that holds what zero is in a quantized one. Tensors of
    types that numpy lacks (bfloat16), or that turn out to be no dense tensors, are left out.
    """
    specs = infer_shapes(model, data.shapes(1)).by_scope[""]
    tensors = [n for n in tensors if n not in specs or specs[n].dtype.kind in "fiub"]
    zero_of = {name: (zero_points or {}).get(name, "") for name in tensors}
    nonzero = dict.fromkeys(tensors, 0)
    elements = dict.fromkeys(tensors, 0)
    wanted = dict.fromkeys(name for name in (*tensors, *zero_of.values()) if name)
    computed = [name for name in wanted if name not in data.specs]
    proto = with_outputs(model.to_proto(embed=True), computed)
    session = Session(proto, threads, optimise=False) if computed else None
    for feed in data.batches(max(1, feed_size(model, data) // 4)):
        values = {**feed, **(session.run(feed) if session else {})}
        for name in tensors:
            if not isinstance(values[name], np.ndarray):
                continue
            zero = values[zero_of[name]] if zero_of[name] else 0
            nonzero[name] += int(np.count_nonzero(values[name] != zero))
            elements[name] += values[name].size
    return {name: nonzero[name] / elements[name] for name in tensors if elements[name]}


def with_outputs(proto: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """`proto` with exactly these tensors as outputs, in place."""
    known = {value.name: value for value in proto.graph.output}
    kept = [known.get(name, onnx.ValueInfoProto(name=name)) for name in tensors]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    return proto
