"""Cutting a classifier's head to some of its classes, in an order of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx

from eapc.classes.class_map import ClassMap
from eapc.classes.heads import find_head
from eapc.classes.operands import ClassPart
from eapc.model import Array, GraphEditor, GraphView, Model, declare_constants


def keep_classes(model: Model, positions: Sequence[int], kept: ClassMap) -> Model:
    """A model whose scores are those of the original at `positions`, in that order.

    Scores are the original's up to rounding; a Softmax behind them runs over those that are left.
    The file's metadata tell by `kept` what they stand for. Weights of the overlay are written
    into the new model, which has the old one's path, so that external data is found. Raises
    ModelError, one line, where no head is found that can be cut.
    """
    head = find_head(model)
    proto = replace(model, annotations={}).to_proto()
    editor = GraphEditor(proto)
    indices = np.asarray(positions, np.int64)
    for part in head.parts:
        _cut(model, editor, part, indices)
    for key, (numbers, place) in head.reshapes.items():
        shape = np.asarray(numbers, np.int64)
        shape[place] = len(indices)
        _give(editor, key, 1, f"{key}@shape", shape)
    editor.finish()
    editor.drop_unused()
    _declare(proto.graph, head.axes, len(indices))
    kept.write(proto)
    return Model(GraphView(proto), model.path)


def _cut(model: Model, editor: GraphEditor, part: ClassPart, indices: Array) -> None:
    taken = np.take(model.constants[part.constant], indices, part.axis)
    if part.is_computed:
        _give(editor, part.reader, part.operand, f"{part.constant}@classes", taken)
    else:
        editor.replace_constant(part.constant, taken, part.reader)


def _give(editor: GraphEditor, key: str, operand: int, name: str, value: Array) -> None:
    """Let a node read a constant of its own."""
    editor.rewire(editor.node(key), operand, editor.add_constant(name, value))


def _declare(graph: onnx.GraphProto, axes: Mapping[str, int], count: int) -> None:
    """Declared shapes as they now are; an axis that has a name keeps it."""
    for value in (*graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        axis = axes.get(value.name, len(dims))
        if axis < len(dims) and dims[axis].HasField("dim_value"):
            dims[axis].dim_value = count
    declare_constants(graph)
