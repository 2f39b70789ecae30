"""Numbers in a file that follow the lengths of axes: attributes, constants, computed shapes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import helper

from eapc.channels.groups import Removed, Rewrite
from eapc.model import Array, GraphEditor, Model


def rewrite_numbers(
    model: Model, editor: GraphEditor, rewrites: Iterable[Rewrite], removed: Removed
) -> set[tuple[str, str]]:
    """Write what attributes and constants become; returns (constant, reader) of indices."""
    rewritten: dict[tuple[str, str], Array] = {}
    renumbered = set()
    for rewrite in rewrites:
        place, number = (rewrite.constant, rewrite.node), rewrite.number(removed)
        if number is None or rewrite.operand is not None:
            continue
        if rewrite.attribute and rewrite.index is not None:
            editor.set_number(rewrite.node, rewrite.attribute, rewrite.index, number)
        elif rewrite.index is None:
            rewritten[place] = _renumbered(model, rewrite, removed)
            renumbered.add(place)
        else:
            if place not in rewritten:
                rewritten[place] = model.constants[rewrite.constant].copy()
            rewritten[place].reshape(-1)[rewrite.index] = number
    for (constant, reader), array in rewritten.items():
        editor.replace_constant(constant, array, reader)
    return renumbered


def _renumbered(model: Model, rewrite: Rewrite, removed: Removed) -> Array:
    """Indices of an axis as they count what is left of it."""
    indices, gone = model.constants[rewrite.constant], removed[rewrite.tensor, "", rewrite.axis]
    kept = np.delete(indices, removed.get((rewrite.constant, rewrite.node, 0), []))
    kept = np.where(kept < 0, kept + rewrite.stop, kept)
    new: Array = (kept - np.searchsorted(gone, kept)).astype(indices.dtype)
    return new


def overwrite_shapes(
    editor: GraphEditor, rewrites: Iterable[Rewrite], removed: Removed
) -> set[str]:
    """Put numbers in place of those of computed shapes, by a Where in front of their reader.

    Returns the tensors that are added.
    """
    masks: dict[tuple[str, int], tuple[Array, Array]] = {}
    for rewrite in rewrites:
        number = rewrite.number(removed)
        if number is None or rewrite.operand is None or rewrite.node not in editor:
            continue  # what is not in the graph went with a branch
        empty = np.zeros(rewrite.entries, np.bool_), np.zeros(rewrite.entries, np.int64)
        mask, values = masks.setdefault((rewrite.node, rewrite.operand), empty)
        mask[rewrite.index], values[rewrite.index] = True, number
    added: set[str] = set()
    for (key, operand), arrays in masks.items():
        node = editor.node(key)
        stem = f"{node.output[0]}@shape"
        result = editor.unused_name(stem)
        ends = zip(("_is_new", "_new"), arrays, strict=True)
        names = [editor.add_constant(f"{stem}{end}", array) for end, array in ends]
        editor.insert(helper.make_node("Where", [*names, node.input[operand]], [result]), node)
        editor.rewire(node, operand, result)
        added |= {*names, result}
    return added
