"""Which axis of an input counts inferences, where the graph tells that it is not the first.

Recurrent networks and transformers may be exported with time in front: [steps, batch, features].
Each of the first two axes is followed through the graph. What sums, normalises, ranks or picks
along an axis mixes what would be inferences: that axis is not the batch. A recurrent cell, a Scan
and a product of two feature maps tell which axis is: the cell by its layout, the Scan by the
states that it hands from step to step, the product by the axes in front of its matrices. The
second axis is the batch where that is told of it, and the first one is not.

A Reshape keeps the order of elements, so an axis is known behind it by what lies in front of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from eapc.errors import ModelError
from eapc.model.constants import Constants
from eapc.model.dynamic_axes import is_single_image
from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.model.scopes import scopes_of
from eapc.model.shapes import Shapes, infer_shapes
from eapc.model.tensors import TensorSpec
from eapc.operators import operator_of

_OF_STEPS = re.compile(r"seq|time|step|len|frame|^t$", re.IGNORECASE)
_OF_BATCH = re.compile(r"batch|^[nb]$", re.IGNORECASE)

_TRIED = (11, 13, 17, 19, 23, 29)
"""Sizes of open axes to follow them by: no two of one name, and no multiples."""


class _AxisRole(Enum):
    """What a node tells of an axis of what it reads."""

    MIXED = auto()
    BATCH = auto()


@dataclass(frozen=True)
class _AxisPlace:
    """Where an axis of an input is in a tensor: `size` elements, `outer` of which precede it.

    `axis` is the tensor's axis that holds it; other factors of that axis are in front of it
    (`inner_outer` of them) or behind it.
    """

    axis: int
    size: int
    inner_outer: int = 1


def with_batch_axes(model: Model, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The specs of a model's inputs, each with its axis of inferences."""
    candidates = [spec for spec in specs if _may_lead_by_steps(spec)]
    if not candidates or not _has_sequences(model):
        return specs
    try:
        shapes = infer_shapes(model, _tried_shapes(specs))
    except ModelError:
        return specs
    return tuple(
        replace(spec, batch_axis=int(spec in candidates and _is_second(model, spec, shapes)))
        for spec in specs
    )


def _may_lead_by_steps(spec: TensorSpec) -> bool:
    """Images never do, and a vector has no second axis."""
    return len(spec.shape) in (2, 3) and not is_single_image(spec)


def _has_sequences(model: Model) -> bool:
    kinds = {operator_of(node).kind for node in model.view.nodes}
    if kinds & {"recurrent", "attention"}:
        return True
    types = {node.op_type for node in model.view.main_nodes}
    return "Scan" in types or ("Softmax" in types and "product" in kinds)


def _tried_shapes(specs: tuple[TensorSpec, ...]) -> dict[str, tuple[int, ...]]:
    sizes: dict[str, int] = {}
    for spec in specs:
        for axis, size in enumerate(spec.shape):
            if not isinstance(size, int):
                name = size or f"{spec.name}\0{axis}"
                sizes.setdefault(name, _TRIED[len(sizes) % len(_TRIED)])
    return {
        spec.name: tuple(
            size if isinstance(size, int) else sizes[size or f"{spec.name}\0{axis}"]
            for axis, size in enumerate(spec.shape)
        )
        for spec in specs
    }


def _is_second(model: Model, spec: TensorSpec, shapes: Shapes) -> bool:
    first, second = (_told(model, spec, axis, shapes) for axis in (0, 1))
    if _AxisRole.BATCH in first or _AxisRole.MIXED in second:
        return False
    if _AxisRole.BATCH in second:
        return True
    names = [axis if isinstance(axis, str) else "" for axis in spec.shape[:2]]
    return bool(_OF_STEPS.search(names[0]) and _OF_BATCH.search(names[1]))


def _told(model: Model, spec: TensorSpec, axis: int, shapes: Shapes) -> set[_AxisRole]:
    """All that nodes tell of an axis of an input."""
    shape = shapes.main(spec.name)
    if shape is None:
        return set()
    told: set[_AxisRole] = set()
    _follow("", model, {spec.name: _AxisPlace(axis, shape[axis])}, shapes, told)
    return told


def _follow(
    scope: str,
    model: Model,
    outer: Mapping[str, _AxisPlace],
    shapes: Shapes,
    told: set[_AxisRole],
) -> dict[str, _AxisPlace]:
    """Add what nodes of a graph and of the branches of its Ifs tell; the places of its tensors."""
    places = dict(outer)
    for node in model.view.by_scope.get(scope, ()):
        for operand, name in enumerate(node.inputs):
            if name in places and (
                step := _AxisReader.of(model, node, operand, places[name], shapes)
            ):
                told |= set(step.roles())
                for output, place in step.outputs():
                    places.setdefault(output, place)
        for branch in node.subgraphs if node.op_type == "If" else ():
            inner = _follow(branch, model, places, shapes, told)
            results = scopes_of(model.view).graphs[branch].output
            for result, output in zip(results, node.outputs, strict=False):
                fits = shapes.seen_from(branch, result.name) == shapes.shape(node, output)
                if result.name in inner and fits:
                    places.setdefault(output, inner[result.name])
    return places


@dataclass(frozen=True)
class _AxisReader:
    """A node that reads, as one of its operands, a tensor with a followed axis."""

    model: Model
    node: Node
    operand: int
    place: _AxisPlace
    shapes: Shapes
    before: tuple[int, ...]
    after: tuple[int, ...]

    @staticmethod
    def of(
        model: Model, node: Node, operand: int, place: _AxisPlace, shapes: Shapes
    ) -> _AxisReader | None:
        """None where shapes are unknown."""
        before = shapes.shape(node, node.input(operand))
        after = next((shapes.shape(node, name) for name in node.outputs if name), None)
        if after is None and operator_of(node).kind == "recurrent":
            after = ()
        if before is None or after is None or place.axis >= len(before):
            return None
        return _AxisReader(model, node, operand, place, shapes, before, after)

    @property
    def constants(self) -> Constants:
        """As the node sees them."""
        whole = self.model.constants
        return whole.within(self.node.scope) if self.node.scope else whole

    @property
    def kind(self) -> str:
        return operator_of(self.node).kind

    @property
    def from_end(self) -> int:
        """The axis counted from the end, -1 for the last."""
        return self.place.axis - len(self.before)

    def roles(self) -> Iterator[_AxisRole]:
        """What the node tells of the axis."""
        axis = self.place.axis
        if self.kind == "recurrent":
            yield from self._in_cell()
        elif self.node.op_type == "Scan":
            yield from self._in_scan()
        elif self.kind == "attention":
            yield _AxisRole.MIXED if axis else _AxisRole.BATCH
        elif self._mixes():
            yield _AxisRole.MIXED
        elif self._tells_batch():
            yield _AxisRole.BATCH

    def _tells_batch(self) -> bool:
        """Whether the axis leads a product's matrices, or a convolution's map."""
        if self.node.op_type == "MatMul":
            return self.from_end < -2 and self._both_computed()
        return "convolution" in self.kind and self.place.axis == 0 and self.operand == 0

    def _in_cell(self) -> Iterator[_AxisRole]:
        """x [steps, batch, ..], lengths [batch], states [directions, batch, ..]; or batch first."""
        if self.operand == _LENGTHS:
            yield _AxisRole.BATCH
        elif self.operand in (0, *_STATES) and self.place.axis < 2:
            first = bool(self.node.attribute("layout", 0))
            yield _AxisRole.BATCH if (self.place.axis == 0) == first else _AxisRole.MIXED

    def _in_scan(self) -> Iterator[_AxisRole]:
        """x is gone through along one axis; states [batch, ..] have the size of that beside."""
        slices = int(self.node.attribute("num_scan_inputs", 1))
        first = len(self.node.inputs) - slices
        if self.operand < first or self.place.axis > 1:
            return
        given = self.node.attribute("scan_input_axes", [0] * slices)
        along = int(given[self.operand - first]) % len(self.before)
        states = [self._shape(name) for name in self.node.inputs[:first]]
        if self.place.axis == along:
            yield _AxisRole.MIXED
        elif along < 2 and states and all(s and s[0] == self.place.size for s in states):
            yield _AxisRole.BATCH

    def _shape(self, name: str) -> tuple[int, ...] | None:
        return self.shapes.shape(self.node, name) or self.constants.shape(name)

    def _mixes(self) -> bool:
        """Whether what the node makes of one index depends on others, or which one it is."""
        axis, node, rank = self.place.axis, self.node, len(self.before)
        if node.op_type in ("LayerNormalization", "RMSNormalization"):
            return axis >= int(node.attribute("axis", -1)) % rank
        if node.op_type in ("Softmax", "LogSoftmax", "Hardmax"):
            newest = _opset(self.model) >= _SOFTMAX_OF_ONE_AXIS
            given = int(node.attribute("axis", -1 if newest else 1)) % rank
            return axis == given or (axis > given and not newest)
        if node.op_type in ("Concat", "Split", "CumSum", "TopK") or self._picks():
            return axis == int(node.attribute("axis", -1 if node.op_type == "TopK" else 0)) % rank
        if node.op_type in ("Slice", "Pad") or self.kind == "reduction":
            return self._changes_length()
        if self.kind == "product":
            return axis == self._summed_axis(rank)
        if "convolution" in self.kind:
            return axis > 0
        return self.kind == "broadcasting" and self._has_constants_along()

    def _picks(self) -> bool:
        return self.node.op_type in ("Gather", "GatherElements") and self.operand == 0

    def _changes_length(self) -> bool:
        axis, before, after = self.place.axis, self.before, self.after
        if len(after) == len(before):
            return after[axis] != before[axis]
        return self._kept_of_reduction() is None

    def _kept_of_reduction(self) -> int | None:
        """The axis behind a reduction that drops some; None where this one is dropped."""
        given = self._given_axes()
        dropped = {one % len(self.before) for one in given or range(len(self.before))}
        axis = self.place.axis
        return None if axis in dropped else axis - sum(one < axis for one in dropped)

    def _given_axes(self) -> list[int] | None:
        """Those of a reduction or an Unsqueeze; None where they are left out or unknown."""
        given = self.node.attribute("axes", None)
        value = self.constants.value(self.node.input(1)) if given is None else np.array(given)
        return None if value is None else [int(one) for one in value.reshape(-1)]

    def _summed_axis(self, rank: int) -> int:
        node, operand = self.node, self.operand
        if node.op_type == "Gemm":
            swapped = node.attribute("transA" if operand == 0 else "transB", 0)
            return int((operand == 0) != bool(swapped))
        return rank - 1 if operand == 0 else rank - 2

    def _both_computed(self) -> bool:
        constants = self.constants
        return not any(name in constants for name in self.node.inputs[:2])

    def _has_constants_along(self) -> bool:
        """Whether each index gets a number of its own, as positions do."""
        constants = self.constants
        given = (constants.shape(name) for name in self.node.inputs if name in constants)
        return any(
            shape is not None and len(shape) >= -self.from_end and shape[self.from_end] > 1
            for shape in given
        )

    def outputs(self) -> Iterator[tuple[str, _AxisPlace]]:
        """Where the axis is in what the node makes; nothing where it is lost."""
        if self._mixes():
            return
        if self.kind == "recurrent":
            yield from self._of_cell()
            return
        found = self._behind()
        if found is not None and found.axis < len(self.after):
            yield from ((name, found) for name in self.node.outputs if name)

    def _of_cell(self) -> Iterator[tuple[str, _AxisPlace]]:
        """Y [steps, directions, batch, ..] and states; or with the batch in front."""
        if self.operand or _AxisRole.BATCH not in set(self._in_cell()):
            return
        layout = self.node.attribute("layout", 0)
        for place, name in enumerate(self.node.outputs):
            if name:
                yield name, _AxisPlace(0 if layout else (1 if place else 2), self.place.size)

    def _behind(self) -> _AxisPlace | None:
        node, axis, place = self.node, self.place.axis, self.place
        if node.op_type == "Transpose":
            perm = list(node.attribute("perm", range(len(self.before))[::-1]))
            return replace(place, axis=perm.index(axis))
        if node.op_type == "Unsqueeze" and (added := self._given_axes()) is not None:
            taken = {one % len(self.after) for one in added}
            others = [one for one in range(len(self.after)) if one not in taken]
            return replace(place, axis=others[axis])
        if node.op_type in _VIEWS:
            return self._reshaped()
        if node.op_type == "Gather":
            picked = node.attribute("axis", 0) % len(self._table())
            if self.operand == 1:
                return replace(place, axis=picked + axis)
            indices = len(self.after) - len(self.before)
            return replace(place, axis=axis + (indices if axis > picked else 0))
        if self.kind == "reduction" and len(self.after) != len(self.before):
            kept = self._kept_of_reduction()
            return None if kept is None else replace(place, axis=kept)
        if self.kind in _KEEPING or node.op_type in _LIKE_INPUT:
            aligned = len(self.after) + self.from_end
            kept_size = aligned >= 0 and self.after[aligned] == self.before[axis]
            return replace(place, axis=aligned) if kept_size else None
        return None

    def _table(self) -> tuple[int, ...]:
        return self.shapes.shape(self.node, self.node.input(0)) or (1,)

    def _reshaped(self) -> _AxisPlace | None:
        """The axis that holds all of the followed one: as much is in front of it as before."""
        place = self.place
        outer = math.prod(self.before[: place.axis]) * place.inner_outer
        front = 1
        for axis, size in enumerate(self.after):
            if size > 0 and outer % front == 0:
                inner, extent = outer // front, outer // front * place.size
                if size % extent == 0 and (inner < size or place.size == size == 1):
                    return _AxisPlace(axis, place.size, inner)
            front *= size
        return None


def _opset(model: Model) -> int:
    versions = model.view.proto.opset_import
    return next((one.version for one in versions if one.domain in ("", "ai.onnx")), 1)


_SOFTMAX_OF_ONE_AXIS = 13
"""The opset from which Softmax works along one axis alone."""

_LENGTHS = 4
_STATES = (5, 6)
"""Operands of the recurrent cells: lengths of sequences, initial states."""

_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_KEEPING = ("unary", "broadcasting", "product", "normalisation", "reduction", "quantization")
_LIKE_INPUT = ("Split", "Slice", "Pad", "Concat", "Expand", "Softmax", "LogSoftmax")
