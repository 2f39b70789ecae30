"""Networks that are to answer for each other: what must be the same, and what a file can hold."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from eapc.errors import ModelError
from eapc.model import Model, batch_inputs, common_inputs, spec_of

ROUTE_KEY = "eapc.dynamic"
"""Metadata of a file that routes its inputs; see `eapc.routing.parts`."""

_LEAST_OPSET = 11
"""ScatterND, and TopK with a computed k."""


def require_classifiers(models: Sequence[Model]) -> None:
    """Raise an EapcError naming the first of several networks that cannot answer for the first.

    Inputs and outputs have to be the same, the only output (samples, classes) scores, the opsets
    and local functions the same, the opset 11 or later.
    """
    first = models[0]
    for model in models:
        _require_scores(model)
        if any(entry.key == ROUTE_KEY for entry in model.view.proto.metadata_props):
            raise ModelError(f"{_name(model)}: is a dynamic network already")
        common_inputs(first, model)
        opset = opset_of(model.view.proto)
        if opset < _LEAST_OPSET:
            raise ModelError(
                f"{_name(model)}: opset {opset} has no ScatterND; convert the model to opset "
                f"{_LEAST_OPSET} or later first"
            )
        _require_same_operators(first, model)


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of onnx's own operators."""
    versions = (o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    return max(versions, default=0)


def _require_scores(model: Model) -> None:
    values = list(model.view.proto.graph.output)
    name = _name(model)
    if len(values) != 1:
        outputs = f"{len(values)} outputs, {', '.join(value.name for value in values)}"
        raise ModelError(f"{name}: has {outputs}; a dynamic network takes one, of class scores")
    spec = spec_of(values[0])
    if spec is None:
        return  # the outputs will tell
    _, classes, *more = (*spec.shape, 1, 1)
    is_vector = len(spec.shape) >= 2 and all(
        size == 1 or not isinstance(size, int) for size in more
    )
    if not is_vector or spec.dtype.kind != "f" or classes == 1:
        shape = ", ".join("?" if axis is None else str(axis) for axis in spec.shape)
        raise ModelError(
            f"{name}: output '{spec.name}' is {spec.dtype.name} ({shape}); a dynamic network "
            "takes scores of (samples, two or more classes)"
        )
    if not batch_inputs(model.inputs):
        raise ModelError(f"{name}: no input has an axis of samples")
    for fed in model.inputs:
        if fed.batch_axis:
            said = f"axis {fed.batch_axis} of input '{fed.name}' is that of samples"
            raise ModelError(f"{name}: {said}; a dynamic network takes them along the first")


def _require_same_operators(one: Model, other: Model) -> None:
    before, after = one.view.proto, other.view.proto
    versions = [
        {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}
        for proto in (before, after)
    ]
    for domain in sorted(versions[0].keys() & versions[1].keys()):
        if versions[0][domain] != versions[1][domain]:
            said = f"{versions[1][domain]}, that of {_name(one)} {versions[0][domain]}"
            raise ModelError(
                f"{_name(other)}: the opset of domain '{domain or 'ai.onnx'}' is {said}; "
                "one file can have one; convert either"
            )
    bodies = [{(f.domain, f.name): f for f in proto.functions} for proto in (before, after)]
    for key in sorted(bodies[0].keys() & bodies[1].keys()):
        if bodies[0][key] != bodies[1][key]:
            raise ModelError(
                f"{_name(other)}: its function '{key[1]}' is not that of {_name(one)}; "
                "onnx.inliner puts functions in the place of their calls"
            )


def _name(model: Model) -> str:
    return str(model.path or model.name)
