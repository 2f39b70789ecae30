"""Data as a network sees it, as table and document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group

from eapc.commands.data_description import DataDescription, FedInput
from eapc.data import Affine, Preprocessing
from eapc.model import Array
from eapc.report.documents import Document, model_name
from eapc.report.layout import Column, count, facts, page, plain, table, title

_CLASSES_NAMED = 10


def data_table(described: DataDescription, width: int) -> Group:
    """Every input with the range of its values, then what is known of the samples."""
    model = described.model
    of = f" for {model_name(model)}" if model is not None and not described.misfit else ""
    heading = f"{described.path}{of}: {count(described.samples, 'input')}"
    columns = [
        Column("input", "left", 8),
        Column("type", "left"),
        Column("shape", "left"),
        *(Column(name) for name in ("channel", "min", "max", "mean", "std")),
    ]
    rows = [row for each in described.inputs for row in _rows(each)]
    return page(title(heading), table(columns, rows, width), facts(_facts(described)))


def _rows(fed: FedInput) -> Iterator[list[str]]:
    shape = " x ".join(map(str, fed.shape)) or "scalar"
    first = [plain(fed.name), fed.dtype, shape + " in every run" * fed.is_shared]
    for channel, values in enumerate(fed.ranges):
        named = "all" if fed.channel_axis is None else str(channel)
        numbers = (values.least, values.largest, values.mean, values.deviation)
        yield [*(first if channel == 0 else ["", "", ""]), named, *(f"{n:.4g}" for n in numbers)]


def _facts(described: DataDescription) -> Iterator[tuple[str, str]]:
    if described.preprocessing is not None:
        yield "images", _resizing(described.preprocessing, described.inputs[0].shape)
    stored = sorted({fed.stored for fed in described.inputs})
    yield "stored as", ", ".join(stored)
    yield "scaling", _scaling(described.affine)
    yield "labels", plain(_labels(described))
    yield "all alike", "yes" if described.are_alike else "no"
    if described.model is not None:
        name, misfit = model_name(described.model), described.misfit
        yield "fits model", plain(f"{name}: {f'no: {misfit}' if misfit else 'yes'}")
    for finding in described.findings:
        yield "warning", plain(finding)


def _resizing(said: Preprocessing, shape: Sequence[int]) -> str:
    rows, columns = shape[2:4] if shape[1] in (1, 3) else shape[1:3]
    centre = f"the middle {rows} x {columns} pixels"
    if said.resize == "none":
        return centre
    if said.resize == "cover":
        return f"resized to just cover {rows} x {columns} ({said.resample}), {centre}"
    if isinstance(said.resize, int):
        return f"shortest edge resized to {said.resize} ({said.resample}), {centre}"
    return f"resized to {said.resize[0]} x {said.resize[1]} ({said.resample}), {centre}"


def _scaling(affine: Affine | None) -> str:
    if affine is None:
        return "none"
    scale, mean, std = map(_numbers, (affine.scale, affine.mean, affine.std))
    return f"(x * {scale} - {mean}) / {std}"


def _numbers(values: Array) -> str:
    said = ", ".join(f"{value:.4g}" for value in values.tolist())
    return said if values.size == 1 else f"[{said}]"


def _labels(described: DataDescription) -> str:
    labels = described.labels
    if labels is None:
        return f"none{': ' * bool(described.unlabelled)}{described.unlabelled}"
    fewest, most = min(labels.values()), max(labels.values())
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    kinds = f"{len(labels)} class{'es' * (len(labels) != 1)}"
    said = f"{kinds} from {min(labels)} to {max(labels)}, {each} of each"
    if not described.classes:
        return said
    names = [f"{i} {described.classes[i]}" for i in sorted(labels)[:_CLASSES_NAMED]]
    more = ", ..." * (len(labels) > _CLASSES_NAMED)
    return f"{said}: {', '.join(names)}{more}"


def data_document(described: DataDescription, warnings: Sequence[str] = ()) -> Document:
    """`eapc.data/1`: inputs with their ranges, labels, scaling, and whether all that fits."""
    model, affine, said = described.model, described.affine, described.preprocessing
    return {
        "schema": "eapc.data/1",
        "data": str(described.path),
        "samples": described.samples,
        "inputs": [_input(fed) for fed in described.inputs],
        "scaling": affine and {k: getattr(affine, k).tolist() for k in ("scale", "mean", "std")},
        "preprocessing": said and asdict(said),
        "labels": described.labels,
        "classes": list(described.classes),
        "unlabelled": described.unlabelled or None,
        "all_alike": described.are_alike,
        "model": None if model is None else model_name(model),
        "fits": None if model is None else not described.misfit,
        "misfit": described.misfit or None,
        "findings": list(described.findings),
        "warnings": list(warnings),
    }


def _input(fed: FedInput) -> dict[str, Any]:
    return {
        "name": fed.name,
        "dtype": fed.dtype,
        "stored": fed.stored,
        "shape": list(fed.shape),
        "in_every_run": fed.is_shared,
        "channel_axis": fed.channel_axis,
        "ranges": [
            {"min": r.least, "max": r.largest, "mean": r.mean, "std": r.deviation}
            for r in fed.ranges
        ],
    }
