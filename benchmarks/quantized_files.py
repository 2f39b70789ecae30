#!/usr/bin/env python3
"""Files that onnxruntime quantized, pruned in place: accuracy by form and share of zeros.

    python benchmarks/quantized_files.py                       # ResNet-20, 50 % and 80 % zeros
    python benchmarks/quantized_files.py --forms qoperator --sparsities 0.5 --method magnitude
    pip install onnxsim==0.8.1                                  # for a peer's rows

The float network is quantized by onnxruntime with the calibration images; eapc then prunes that
file as it is and writes the same operators. `right` is the share of the labelled images, `zeros`
are counted in the file written. With onnxsim its SparseGPT is given the same files, and the float
network before it is quantized ("before"); without it these rows are left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from tasks import TASKS

from eapc.commands.compiler import analyze, prune
from eapc.commands.preparation import Settings, load_dataset
from eapc.data import Dataset
from eapc.evaluation import AccuracyJudge
from eapc.goals import Sparsity
from eapc.model import Array, Model
from eapc.pipeline import Recipe

_BATCH = 64


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Calibration images as onnxruntime asks for them."""

    def __init__(self, images: Dataset) -> None:
        self._left: Iterator[Mapping[str, Array]] = images.batches(_BATCH)

    def get_next(self) -> Mapping[str, Array] | None:
        """The next batch; None behind the last."""
        return next(self._left, None)


Quantizer = Callable[[Path, Path, Dataset], None]


def _static(form: QuantFormat, weights: QuantType, by_channel: bool) -> Quantizer:
    def quantize(source: Path, target: Path, images: Dataset) -> None:
        quantize_static(
            source, target, _Images(images), quant_format=form, per_channel=by_channel,
            activation_type=QuantType.QUInt8, weight_type=weights,
        )  # fmt: skip

    return quantize


def _dynamic(source: Path, target: Path, images: Dataset) -> None:  # noqa: ARG001 (all have it)
    quantize_dynamic(source, target, weight_type=QuantType.QUInt8)


FORMS: Mapping[str, Quantizer] = {
    "qdq": _static(QuantFormat.QDQ, QuantType.QInt8, True),
    "qoperator": _static(QuantFormat.QOperator, QuantType.QInt8, True),
    "qoperator-one-scale": _static(QuantFormat.QOperator, QuantType.QInt8, False),
    "qoperator-unsigned": _static(QuantFormat.QOperator, QuantType.QUInt8, False),
    "dynamic": _dynamic,
}


def quantized(original: ModelProto, form: str, images: Dataset) -> Model:
    """The float network as onnxruntime quantizes it."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        source.write_bytes(original.SerializeToString())
        FORMS[form](source, target, images)
        return Model.from_proto(Model.load(target).to_proto(embed=True))


def by_peer(model: Model, images: Dataset, sparsity: float) -> Model:
    """What onnxsim's SparseGPT makes of a network."""
    onnxsim = importlib.import_module("onnxsim")
    proto = model.to_proto(embed=True)
    data = list(images.batches(_BATCH))
    pruned = onnxsim.apply_sparsegpt_pruning(
        proto, calibration_data=data, num_samples=len(data), sparsity=sparsity
    )
    return Model.from_proto(pruned)


def main() -> None:
    parser = argparse.ArgumentParser(description="Quantized files, pruned in place.")
    parser.add_argument("--network", default="resnet20", choices=TASKS)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--sparsities", default="0.5,0.8")
    parser.add_argument("--method", default="admm")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    task = TASKS[given.network]
    original = task.load()
    settings: Settings = task.settings(threads=1)
    judge = AccuracyJudge.of(original, task.images(original), 1)
    assert settings.calibration is not None
    images = load_dataset(settings.calibration, original.inputs).first(task.calibration)
    has_peer = importlib.util.find_spec("onnxsim") is not None
    print(f"{'form':20}{'zeros':>8}{'right':>9}{'CPU s':>8}", flush=True)

    def told(name: str, model: Model, started: float) -> None:
        energy = analyze(model, settings).energy
        zeros = 1 - energy.nonzero_weights / energy.weights
        spent = time.process_time() - started
        right = judge.accuracy(model).after
        print(f"{name:20}{zeros:8.1%}{right:9.2%}{spent:8.0f}", flush=True)

    for form in given.forms.split(","):
        start = time.process_time()
        file = quantized(original.to_proto(embed=True), form, images)
        told(form, file, start)
        for sparsity in map(float, given.sparsities.split(",")):
            start = time.process_time()
            recipe = Recipe(method=given.method)
            done = prune(file, settings, goal=Sparsity(sparsity), recipe=recipe)
            told("  eapc", done.model, start)
            if not has_peer:
                continue
            start = time.process_time()
            told("  onnxsim", by_peer(file, images, sparsity), start)
            start = time.process_time()
            before = by_peer(original, images, sparsity).to_proto(embed=True)
            told("  onnxsim before", quantized(before, form, images), start)
    if not has_peer:
        print("onnxsim: not installed")


if __name__ == "__main__":
    main()
