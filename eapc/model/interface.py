"""What models are fed and give back: where two are the same, and where samples are in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from eapc.errors import ModelError, UsageError
from eapc.model.input_sizes import batch_inputs, input_shapes
from eapc.model.model import Model
from eapc.model.shapes import infer_shapes
from eapc.model.tensors import TensorSpec, spec_of


def common_inputs(one: Model, other: Model) -> tuple[TensorSpec, ...]:
    """The inputs of both models, with every axis that either of them fixes.

    Raises UsageError naming the first difference where names, types or shapes of inputs or
    outputs are not the same. A dynamic axis is the same as any.
    """
    fed = [{spec.name: spec for spec in model.inputs} for model in (one, other)]
    given = [
        {value.name: spec_of(value) for value in model.view.proto.graph.output}
        for model in (one, other)
    ]
    specs = _common(one, other, "input", *fed)
    _common(one, other, "output", *given)
    return tuple(specs)


def _common(
    one: Model,
    other: Model,
    kind: str,
    ones: Mapping[str, TensorSpec | None],
    others: Mapping[str, TensorSpec | None],
) -> list[TensorSpec]:
    """The specs that fit both models; what has no known rank fits any and gives none."""
    for has, lacks, present, absent in ((one, other, ones, others), (other, one, others, ones)):
        for name in present:
            if name not in absent:
                said = f"{_name(has)} has {kind} '{name}', {_name(lacks)} has not"
                raise UsageError(f"{said}; {_REMEDY}")
    merged = []
    for name, spec in ones.items():
        theirs = others[name]
        if spec is None or theirs is None:
            continue
        found = _merged(spec, theirs)
        if found is None:
            said = f"{_said(spec)} in {_name(one)} and {_said(theirs)} in {_name(other)}"
            raise UsageError(f"{kind} '{name}' is {said}; {_REMEDY}")
        merged.append(found)
    return merged


def sample_axes(model: Model) -> dict[str, int]:
    """Outputs whose axis of samples is not the first, with that axis.

    It is the only one that has the name of the inputs' batch, or else the only one that grows
    with it.
    """
    return model.view.analyses.once("sample axes", lambda: _sample_axes(model.original))


def _sample_axes(model: Model) -> dict[str, int]:
    batched = [spec for spec in model.inputs if spec.name in batch_inputs(model.inputs)]
    names = {spec.batch for spec in batched}
    is_open = any(not isinstance(name, int) for name in names)
    axes, unnamed = {}, []
    for value in model.view.proto.graph.output:
        spec = spec_of(value)
        shape = spec.shape if spec else ()
        found = [i for i, size in enumerate(shape) if isinstance(size, str) and size in names]
        if len(found) == 1:
            axes[value.name] = found[0]
        elif any(spec.batch_axis for spec in batched) or (is_open and shape and shape[0] == 1):
            unnamed.append(value.name)
    grown = _growing_axes(model, unnamed) if unnamed else {}
    return {name: axis for name, axis in (axes | grown).items() if axis}


def _growing_axes(model: Model, outputs: Iterable[str]) -> dict[str, int]:
    """The axis of each output that alone is longer where the batch is."""
    try:
        few, more = (infer_shapes(model, input_shapes(model, {}, batch)) for batch in (12, 24))
    except ModelError:
        return {}
    axes = {}
    for name in outputs:
        pairs = zip(few.main(name) or (), more.main(name) or (), strict=False)
        longer = [axis for axis, (one, other) in enumerate(pairs) if one < other]
        if len(longer) == 1:
            axes[name] = longer[0]
    return axes


_REMEDY = "compare models of the same inputs and outputs"


def _merged(spec: TensorSpec, other: TensorSpec) -> TensorSpec | None:
    """A spec that fits both; None where none does."""
    if spec.dtype != other.dtype or len(spec.shape) != len(other.shape):
        return None
    pairs = list(zip(spec.shape, other.shape, strict=True))
    if any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs):
        return None
    return replace(spec, shape=tuple(b if isinstance(b, int) else a for a, b in pairs))


def _said(spec: TensorSpec) -> str:
    axes = ", ".join("?" if axis is None else str(axis) for axis in spec.shape)
    return f"{spec.dtype.name} ({axes})"


def _name(model: Model) -> str:
    return str(model.path or model.name)
