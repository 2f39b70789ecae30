"""Ranges that a network declares its inputs to have: it quantizes or clips them, or says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx

from eapc.model import Array, Model, Node, clip_of_codes, code_range

_NOMINAL_RANGES = {
    "NominalRange_0_255": (0.0, 255.0),
    "NominalRange_16_235": (16.0, 235.0),
    "Normalized_0_1": (0.0, 1.0),
    "Normalized_1_1": (-1.0, 1.0),
}
"""Values of `Image.NominalPixelRange`, in the metadata that onnx defines for models of images."""


class DeclaredRange(NamedTuple):
    """The least and the largest value of an input, and what says so."""

    name: str
    low: float
    high: float
    origin: str


def declared_ranges(model: Model) -> tuple[DeclaredRange, ...]:
    """What is declared of floating-point inputs, one range each: the first that is found."""
    found: dict[str, DeclaredRange] = {}
    for each in (*_read_by_nodes(model), *_told_of_images(model)):
        found.setdefault(each.name, each)
    return tuple(found.values())


def _read_by_nodes(model: Model) -> Iterator[DeclaredRange]:
    inputs = {spec.name for spec in model.inputs if spec.is_float}
    limits = {"QuantizeLinear": _quantized, "Clip": _clipped}
    for node in model.view.main_nodes:
        if node.inputs and node.input(0) in inputs and node.op_type in limits and not node.domain:
            known = limits[node.op_type](model, node)
            if known is not None and known[0] < known[1]:
                yield DeclaredRange(node.input(0), *known, f"{node.op_type} '{node.key}'")


def _quantized(model: Model, node: Node) -> tuple[float, float] | None:
    """What the integers stand for; None where it differs by channel or is of another kind."""
    scale = model.constants.value(node.input(1))
    zero = _zero_point(model, node)
    if scale is None or zero is None or scale.size != 1 or zero.dtype.kind not in "iu":
        return None
    step, origin = float(scale.item()), int(zero.item())
    least, greatest = code_range(zero.dtype)
    clip = clip_of_codes(model, node)
    if clip is not None and (bounds := _clipped(model, clip)) is not None:
        least, greatest = max(least, int(bounds[0])), min(greatest, int(bounds[1]))
    return (least - origin) * step, (greatest - origin) * step


def _zero_point(model: Model, node: Node) -> Array | None:
    """By default 0, of the type that the node gives or of 8 bits without sign."""
    if name := "".join(node.inputs[2:3]):
        return model.constants.value(name)
    told = node.attribute("output_dtype", 0)
    return np.zeros(1, onnx.helper.tensor_dtype_to_np_dtype(told) if told else np.uint8)


def _clipped(model: Model, node: Node) -> tuple[float, float] | None:
    """The bounds of a Clip that has both; they are attributes before opset 11."""
    if len(node.inputs) < 3:
        low, high = node.attribute("min", None), node.attribute("max", None)
        return None if low is None or high is None else (float(low), float(high))
    bounds = [model.constants.value(name) if name else None for name in node.inputs[1:3]]
    if any(bound is None or bound.size != 1 for bound in bounds):
        return None
    low, high = (float(np.asarray(bound).item()) for bound in bounds)
    return low, high


def _told_of_images(model: Model) -> Iterator[DeclaredRange]:
    told = {entry.key: entry.value for entry in model.view.proto.metadata_props}
    known = _NOMINAL_RANGES.get(told.get("Image.NominalPixelRange", ""))
    if known is None:
        return
    for spec in model.inputs:
        if spec.is_float and len(spec.shape) == 4:
            yield DeclaredRange(spec.name, *known, "the file's Image.NominalPixelRange")
