"""onnxruntime, and nothing else: sessions, outputs over a dataset, intermediate tensors.

The only module that imports onnxruntime. Sessions that must keep intermediate names run
without graph optimisation.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from eapc.data import Dataset
from eapc.errors import DataError, ModelError
from eapc.model import (
    ONNXRUNTIME,
    Array,
    Model,
    explained,
    infer_shapes,
    sample_axes,
    static_shape,
)
from eapc.runtime.half_precision import float32_twin, holds_bfloat16, holds_halves
from eapc.runtime.trial_opening import trial_opener

if TYPE_CHECKING:
    import onnxruntime

BFLOAT16 = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16))

_FEED_BYTES = 1 << 22
"""Largest activation of a batch: a few such stay in a cache from one operation to the next."""

_LARGEST_BATCH = 256

_FEW = 16
"""Samples that are worth more memory, up to `_MOST_BYTES`: they share what a run costs."""

_MOST_BYTES = 1 << 26


class Session:
    """An onnxruntime session over a model in memory or on disk."""

    def __init__(self, model: onnx.ModelProto | Path, threads: int = 0, optimise: bool = True):
        import onnxruntime

        options = _options(threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # one kept output would keep all of an arena
        levels = onnxruntime.GraphOptimizationLevel
        level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
        options.graph_optimization_level = level
        self._session = _start(model, options)
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; raises DataError when onnxruntime refuses the inputs."""
        return dict(zip(self.outputs, _run(self._session, feed), strict=True))


class Stopwatch:
    """Times runs of a model in a session as users open it, with onnxruntime's defaults.

    Floats of 16 bits are run as everywhere here, see `half_precision`.
    """

    def __init__(self, model: onnx.ModelProto, feed: Mapping[str, Array], threads: int = 0):
        self._session = _start(model, _options(threads))
        self._feed = dict(feed)

    def run(self) -> None:
        """Run once, untimed; DataError if it fails."""
        _run(self._session, self._feed)

    def seconds(self, runs: int) -> list[float]:
        """The time of each of some runs, behind one that is not counted; DataError if it fails."""
        session, times = self._session, []
        feed = _widened(self._feed)
        _run(session, feed)
        for _ in range(runs):
            start = time.perf_counter()
            session.run(None, feed)
            times.append(time.perf_counter() - start)
        return times


def optimised_model(
    model: onnx.ModelProto, threads: int = 0, blocked: bool = True
) -> onnx.ModelProto:
    """What onnxruntime runs in place of a model: its own fusions and layouts, by default.

    Without `blocked` layouts of its own tensors keep the names that they have in the model.
    """
    import onnxruntime

    options = _options(threads)
    if not blocked:
        level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.graph_optimization_level = level
    with tempfile.TemporaryDirectory(prefix="eapc-") as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        _start(model, options)
        return onnx.load_model(path)


def runtime_version() -> str:
    """`onnxruntime 1.22.0`."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def _options(threads: int) -> onnxruntime.SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    return options


def _start(
    model: onnx.ModelProto | Path, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    import onnxruntime

    proto = _proto(model)
    if proto is not None and holds_halves(proto):
        levels = onnxruntime.GraphOptimizationLevel
        if options.graph_optimization_level == levels.ORT_ENABLE_ALL:
            options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
    if proto is not None and holds_bfloat16(proto):
        proto = model = float32_twin(_embedded(model))
    source: Any = str(model) if isinstance(model, Path) else model.SerializeToString()
    if proto is not None and holds_halves(proto):
        level = options.graph_optimization_level.value
        trial_opener().require_opening(proto, source, level)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no public base
        verdict = "onnxruntime refuses the model"
        raise ModelError(explained(error, ONNXRUNTIME, verdict, _proto(model))) from error


def _run(session: onnxruntime.InferenceSession, feed: Mapping[str, Array]) -> list[Any]:
    """All outputs in order; raises DataError when onnxruntime refuses the inputs."""
    try:
        return list(session.run(None, _widened(feed)))
    except Exception as error:  # onnxruntime's exceptions share no public base
        verdict = "onnxruntime cannot run the model"
        raise DataError(explained(error, ONNXRUNTIME, verdict)) from error


def _widened(feed: Mapping[str, Array]) -> dict[str, Array]:
    """What a session takes: float32 for bfloat16."""
    return {n: x.astype(np.float32) if _is_bfloat16(x) else x for n, x in feed.items()}


def _is_bfloat16(x: object) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == BFLOAT16


def _embedded(model: onnx.ModelProto | Path) -> onnx.ModelProto:
    """A model with its external data; raises ModelError where these cannot be read."""
    return Model.load(model).to_proto(embed=True) if isinstance(model, Path) else model


def _proto(model: onnx.ModelProto | Path) -> onnx.ModelProto | None:
    """A model without its external data; None where it cannot be read."""
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        return onnx.load(model, load_external_data=False)
    except (OSError, DecodeError):
        return None


def open_model(model: Model, threads: int = 0) -> Session:
    """A session over a whole model, optimised."""
    return Session(model.to_proto(embed=True), threads)


def feed_size(model: Model, data: Dataset) -> int:
    """Samples per run: the largest activation stays within 4 MiB, or 64 MiB for 16 samples."""
    shapes = infer_shapes(model, data.shapes(1)).by_scope[""]
    computed = (
        shapes[name] for node in model.view.main_nodes for name in node.outputs if name in shapes
    )
    sizes = (math.prod(static_shape(spec) or ()) for spec in computed)
    largest = max(1, 4 * max(sizes, default=1))
    few = min(_FEW, _MOST_BYTES // largest)
    return max(1, few, min(_LARGEST_BATCH, _FEED_BYTES // largest))


def as_it_runs(model: Model, data: Dataset, threads: int = 0) -> Dataset:
    """The data, fed one by one where the model takes no more, whatever it calls its first axis.

    A Reshape to a fixed first axis behind it, say, stops two inferences at a time.
    """
    if data.fixed_batch is not None or len(data) < 2:
        return data
    alone = replace(data, fixed_batch=1)
    try:
        session = open_model(model, threads)
        if _runs(session, data.take(np.arange(2))) or not _runs(session, alone):
            return data
    except ModelError:
        return data  # whoever needs the outputs says what is wrong
    return alone


def runs(model: Model, data: Dataset, threads: int = 0) -> bool:
    """Whether a model takes the first samples of a dataset."""
    return _runs(open_model(model, threads), data)


def _runs(session: Session, data: Dataset) -> bool:
    """Whether a session takes the first samples of a dataset."""
    try:
        session.run(next(data.batches(2)))
    except DataError:
        return False
    return True


def collect_outputs(model: Model, data: Dataset, threads: int = 0) -> dict[str, Array]:
    """The model's outputs over all of a dataset, samples along the first axis."""
    session = open_model(model, threads)
    feeds = data.batches(feed_size(model, data))
    return joined_batches((session.run(feed) for feed in feeds), sample_axes(model))


def joined_batches(
    batches: Iterable[Mapping[str, Array]], axes: Mapping[str, int] = MappingProxyType({})
) -> dict[str, Array]:
    """Outputs by name, those of all batches joined along the first axis.

    Those with another of `axes` have that one in front. Raises DataError where the others differ.
    """
    parts: dict[str, list[Array]] = {}
    for outputs in batches:
        for name, value in outputs.items():
            moved = np.moveaxis(np.atleast_1d(np.asarray(value)), axes.get(name, 0), 0)
            parts.setdefault(name, []).append(moved)
    return {name: _joined(name, values) for name, values in parts.items()}


def _joined(name: str, parts: Sequence[Array]) -> Array:
    try:
        return np.concatenate(parts)
    except ValueError as error:
        shapes = sorted({part.shape for part in parts})
        detail = f"{shapes}: a first axis of samples is needed"
        raise DataError(f"output '{name}' comes in shapes {detail}") from error


def with_outputs(proto: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """`proto` with exactly these tensors as outputs, in place."""
    known = {value.name: value for value in proto.graph.output}
    kept = [known.get(name, onnx.ValueInfoProto(name=name)) for name in tensors]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    return proto


class Engine(NamedTuple):
    """Threads of onnxruntime, 0 for all cores; the seed of what is drawn; and memory.

    `memory` bounds the activations that are kept in memory, in bytes; None leaves it to the
    machine. It decides nothing about results.
    """

    threads: int = 0
    seed: int = 0
    memory: int | None = None
