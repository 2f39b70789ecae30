"""Taking channels out of a model: smaller constants, and the numbers that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from eapc.channels.branches import remove_branches
from eapc.channels.groups import ChannelGroup, ChannelGroups, Removed, Rewrite
from eapc.errors import ModelError
from eapc.model import Array, GraphEditor, GraphView, KeptPart, Model, Origin, declare_constants


def remove_channels(model: Model, groups: ChannelGroups, kept: Mapping[str, Array]) -> Model:
    """A new model without the channels that `kept` leaves out.

    `kept` gives, by group name, the sorted indices of the channels that stay; a group that it
    does not name stays whole. Weights of the overlay are written into the new model, which has
    the old one's path, so that external data is found, and the old one for its origin. Raises
    ModelError for an unknown group, indices out of range, and where nothing would be left of a
    group that may not vanish.
    """
    removed = _removed_indices(groups, kept)
    branches = [groups.branches[name] for name, stay in kept.items() if not len(stay)]
    proto = replace(model, annotations={}).to_proto()
    editor = GraphEditor(proto)
    renumbered = _replace_constants(model, editor, groups.rewrites, removed)
    editor.finish()
    _shrink_declared(proto.graph, removed)
    new: set[str] = set()
    if branches:
        new |= remove_branches(Model(GraphView(proto), model.path), editor, branches)
    new |= _overwrite_shapes(editor, groups.rewrites, removed)
    origin = _origin(model, editor, removed, new, renumbered)
    return Model(GraphView(proto), model.path, origin=origin)


def _removed_indices(groups: ChannelGroups, kept: Mapping[str, Array]) -> Removed:
    """What goes of each axis with the channels that `kept` leaves out; see `remove_channels`."""
    known = groups.by_name()
    gone = {name: _gone(known.get(name), name, stay) for name, stay in kept.items()}
    parts: dict[tuple[str, str, int], list[Array]] = {}
    for group in groups.groups:
        channels = gone.get(group.name, ())
        for cut in group.slices if len(channels) else ():
            place = (cut.tensor, cut.reader, cut.axis)
            parts.setdefault(place, []).append(cut.indices[channels].reshape(-1))
    return {place: np.unique(np.concatenate(found)) for place, found in parts.items()}


def _gone(group: ChannelGroup | None, name: str, stay: Array) -> Array:
    if group is None:
        raise ModelError(f"no channel group '{name}'")
    if len(stay) and not (stay.min() >= 0 and stay.max() < group.size):
        raise ModelError(f"group '{name}' has {group.size} channels, got index {stay.max()}")
    if not len(stay) and not group.may_vanish:
        raise ModelError(f"group '{name}': at least one channel must stay")
    return np.setdiff1d(np.arange(group.size), stay)


def _shrink_declared(graph: onnx.GraphProto, removed: Removed) -> None:
    """Shapes of value_info and, in IR 3, of initializers among the inputs: as they now are."""
    declare_constants(graph)
    constants = {tensor.name for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input):
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            gone = removed.get((value.name, "", axis), ())
            if len(gone) and value.name not in constants and dim.HasField("dim_value"):
                dim.dim_value -= len(gone)


# --- numbers that follow the lengths of axes -------------------------------------------------


def _replace_constants(
    model: Model, editor: GraphEditor, rewrites: Iterable[Rewrite], removed: Removed
) -> set[tuple[str, str]]:
    """Write what constants and attributes become; returns (constant, reader) of indices."""
    new: dict[tuple[str, str], Array] = {}
    for (tensor, reader, axis), gone in removed.items():
        if tensor in model.constants.plain:
            array = new.get((tensor, reader), model.constants[tensor])
            new[tensor, reader] = np.delete(array, gone, axis)
    renumbered = set()
    for rewrite in sorted(rewrites, key=lambda each: each.index is None):
        place, number = (rewrite.constant, rewrite.node), rewrite.number(removed)
        if number is None or rewrite.operand is not None:
            continue
        if rewrite.index is None:
            new[place] = _renumbered(model, rewrite, removed)
            renumbered.add(place)
        elif rewrite.attribute:
            editor.set_number(rewrite.node, rewrite.attribute, rewrite.index, number)
        else:
            array = new.setdefault(place, model.constants[rewrite.constant].copy())
            array.reshape(-1)[rewrite.index] = number
    for (constant, reader), array in new.items():
        editor.replace_constant(constant, array, reader)
    return renumbered


def _renumbered(model: Model, rewrite: Rewrite, removed: Removed) -> Array:
    """Indices of an axis as they count what is left of it."""
    indices, gone = model.constants[rewrite.constant], removed[rewrite.tensor, "", rewrite.axis]
    kept = np.delete(indices, removed.get((rewrite.constant, rewrite.node, 0), []))
    kept = np.where(kept < 0, kept + rewrite.stop, kept)
    new: Array = (kept - np.searchsorted(gone, kept)).astype(indices.dtype)
    return new


def _overwrite_shapes(
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


# --- where the smaller model comes from ------------------------------------------------------


def _origin(
    model: Model,
    editor: GraphEditor,
    removed: Removed,
    new: Collection[str],
    renumbered: Collection[tuple[str, str]],
) -> Origin:
    """Where the constants come from: the model itself, or what that was cut out of.

    Constants that changed since then have values of their own, those of indices too.
    """
    before = model.origin or Origin(model)
    fitted = frozenset(model.weights if model.origin else ())
    own = before.new | fitted
    parts = {**{name: KeptPart(name) for name in fitted - before.new}, **before.parts}
    made = {*own, *new}
    for name, constant, reader in editor.written:
        cuts = {a: gone for (t, r, a), gone in removed.items() if (t, r) == (constant, reader)}
        is_new = not cuts or (constant, reader) in renumbered
        if is_new or constant in own:
            made.add(name)
        if is_new or (constant in own and constant not in parts):
            continue
        earlier = before.parts.get(constant, KeptPart(constant))
        indices = dict(earlier.indices)
        for axis, gone in cuts.items():
            everything = np.arange((model.constants.shape(constant) or ())[axis])
            indices[axis] = np.delete(indices.get(axis, everything), gone)
        parts[name] = KeptPart(earlier.constant, indices)
    return Origin(before.model, parts, frozenset(made), _removed_since(before, model, removed))


def _removed_since(before: Origin, model: Model, removed: Removed) -> dict[str, dict[int, Array]]:
    """What has gone of computed tensors now and before, as the first model counts indices."""
    found = {tensor: dict(axes) for tensor, axes in before.removed.items()}
    for (tensor, reader, axis), gone in removed.items():
        if reader or tensor in model.constants.plain:
            continue
        earlier = _gone_before(before, tensor, axis)
        found.setdefault(tensor, {})[axis] = np.union1d(earlier, _counted_first(gone, earlier))
    return found


def _gone_before(origin: Origin | None, tensor: str, axis: int) -> Array:
    axes = origin.removed.get(tensor, {}) if origin else {}
    return axes.get(axis, np.empty(0, np.int64))


def _counted_first(indices: Array, gone: Array) -> Array:
    """Indices along an axis as they were before some had gone."""
    moved: Array = np.searchsorted(gone - np.arange(len(gone)), indices, side="right")
    return indices + moved


def channels_left(group: ChannelGroup, model: Model, smaller: Model) -> int:
    """How many channels of a group of a model are left in one that was cut out of it.

    Groups may get other names, split or merge as channels go; tensors keep their names. None is
    left where those went with a branch.
    """
    cut = next(cut for cut in group.slices if cut.tensor not in model.constants.plain)
    if smaller.view.producer(cut.tensor) is None:
        return 0
    place = (cut.tensor, cut.axis)
    indices = _counted_first(cut.indices, _gone_before(model.origin, *place))
    gone = np.isin(indices, _gone_before(smaller.origin, *place))
    return int(np.count_nonzero(~gone.all(axis=1)))
