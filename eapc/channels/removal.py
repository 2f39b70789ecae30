"""Taking channels out of a model: smaller constants, and the numbers that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx

from eapc.channels.bypassing import bypass
from eapc.channels.constants import Constants
from eapc.channels.groups import ChannelGroups, Number, Patch, Renumbering
from eapc.channels.patching import overwrite_entries
from eapc.errors import ModelError
from eapc.model import Array, GraphEditor, GraphView, Model, Origin, Part

Removed = dict[tuple[str, str, int], Array]
"""(tensor, reader, axis) -> sorted indices that go."""


def remove_channels(model: Model, groups: ChannelGroups, kept: Mapping[str, Array]) -> Model:
    """A new model without the channels that `kept` leaves out.

    `kept` gives, by group name, the sorted indices of the channels that stay; a group that it
    does not name stays whole. Weights of the overlay are written into the new model, which has
    the old one's path, so that external data is found, and the old one for its origin. Raises
    ModelError for an unknown group, indices out of range, and where nothing would be left of a
    group that may not vanish.
    """
    removed = removed_indices(groups, kept)
    vanished = [groups.branches[name] for name, stay in kept.items() if not len(stay)]
    proto = replace(model, annotations={}).to_proto()
    edits = GraphEditor(proto)
    _shrink_constants(model, edits, removed)
    _rewrite_numbers(model, edits, groups.numbers, removed)
    renumbered = _renumber(model, edits, groups.renumberings, removed)
    edits.finish()
    _shrink_declared(proto.graph, removed)
    ends = bypass(proto, edits, vanished, str(model.folder)) if vanished else frozenset()
    patched = overwrite_entries(edits, _new_entries(groups.patches, removed))
    origin = _origin(model, edits, removed, ends | patched, renumbered)
    return Model(GraphView(proto), model.path, origin=origin)


def _origin(
    model: Model,
    edits: GraphEditor,
    removed: Removed,
    new: frozenset[str],
    renumbered: frozenset[tuple[str, str]],
) -> Origin:
    """Where the constants come from: the model itself, or what that was cut out of.

    Constants that changed since then have values of their own, those of indices too.
    """
    before = model.origin or Origin(model)
    fitted = frozenset(model.weights if model.origin else ())
    own = before.new | fitted
    parts = {**{name: Part(name) for name in fitted - before.new}, **before.parts}
    made = {*own, *new}
    for name, constant, reader in edits.written:
        cuts = {a: gone for (t, r, a), gone in removed.items() if (t, r) == (constant, reader)}
        is_new = not cuts or (constant, reader) in renumbered
        if is_new or constant in own:
            made.add(name)
        if is_new or (constant in own and constant not in parts):
            continue
        shape = model.constants.plain[constant].dims
        earlier = before.parts.get(constant, Part(constant))
        kept = {axis: np.setdiff1d(np.arange(shape[axis]), gone) for axis, gone in cuts.items()}
        kept = {
            axis: earlier.indices[axis][k] if axis in earlier.indices else k
            for axis, k in kept.items()
        }
        parts[name] = Part(earlier.constant, {**earlier.indices, **kept})
    return Origin(before.model, parts, frozenset(made), _removed_since(before, model, removed))


def _removed_since(before: Origin, model: Model, removed: Removed) -> dict[str, dict[int, Array]]:
    """What has gone of computed tensors now and before, as the first model counts indices."""
    found = {tensor: dict(axes) for tensor, axes in before.removed.items()}
    for (tensor, reader, axis), gone in removed.items():
        if reader or tensor in model.constants.plain:
            continue
        axes = found.setdefault(tensor, {})
        earlier = axes.get(axis, np.empty(0, np.int64))
        now = gone + np.searchsorted(earlier - np.arange(len(earlier)), gone, side="right")
        axes[axis] = np.union1d(earlier, now)
    return found


def _gone(groups: ChannelGroups, name: str, stay: Array) -> Array:
    group = groups.by_name().get(name)
    if group is None:
        raise ModelError(f"no channel group '{name}'")
    if len(stay) and not (stay.min() >= 0 and stay.max() < group.size):
        raise ModelError(f"group '{name}' has {group.size} channels, got index {stay.max()}")
    if not len(stay) and not group.may_vanish:
        raise ModelError(f"group '{name}': at least one channel must stay")
    return np.setdiff1d(np.arange(group.size), stay)


def removed_indices(groups: ChannelGroups, kept: Mapping[str, Array]) -> Removed:
    """What goes of each axis with the channels that `kept` leaves out; see `remove_channels`."""
    gone = {name: _gone(groups, name, stay) for name, stay in kept.items()}
    parts: dict[tuple[str, str, int], list[Array]] = {}
    for group in groups.groups:
        channels = gone.get(group.name, np.empty(0, np.int64))
        for cut in group.slices if len(channels) else ():
            place = (cut.tensor, cut.reader, cut.axis)
            parts.setdefault(place, []).append(cut.indices[channels].reshape(-1))
    return {place: np.unique(np.concatenate(found)) for place, found in parts.items()}


def _shrink_constants(model: Model, edits: GraphEditor, removed: Removed) -> None:
    cuts: dict[tuple[str, str], list[tuple[int, Array]]] = {}
    for (tensor, reader, axis), indices in removed.items():
        if tensor in model.constants.plain:
            cuts.setdefault((tensor, reader), []).append((axis, indices))
    for (tensor, reader), axes in cuts.items():
        array = model.constants[tensor]
        for axis, indices in axes:
            array = np.delete(array, indices, axis)
        edits.replace_constant(tensor, array, reader)


def _rewrite_numbers(
    model: Model, edits: GraphEditor, numbers: Iterable[Number], removed: Removed
) -> None:
    constants = Constants(model)
    rewritten: dict[tuple[str, str], Array] = {}
    for number in numbers:
        indices = removed.get((number.tensor, "", number.axis))
        if indices is None:
            continue
        cut = int(np.count_nonzero((number.start <= indices) & (indices < number.stop)))
        count = (number.stop - number.start - cut) // number.per
        if number.attribute:
            edits.set_number(number.node, number.attribute, number.index, count)
            continue
        place = (number.constant, number.node)
        found = rewritten.get(place, constants.value(number.constant))
        assert found is not None  # the rule has read it
        rewritten[place] = found.copy()
        rewritten[place].reshape(-1)[number.index] = count
    for (constant, reader), array in rewritten.items():
        edits.replace_constant(constant, array, reader)


def _renumber(
    model: Model, edits: GraphEditor, renumberings: Iterable[Renumbering], removed: Removed
) -> frozenset[tuple[str, str]]:
    """Indices of an axis as they count what is left of it; returns (constant, reader) of each."""
    done = set()
    for one in renumberings:
        gone = removed.get((one.tensor, "", one.axis))
        if gone is None:
            continue
        indices = model.constants[one.constant]
        kept = np.delete(indices, removed.get((one.constant, one.reader, 0), []))
        kept = np.where(kept < 0, kept + one.size, kept)
        new = (kept - np.searchsorted(gone, kept)).astype(indices.dtype)
        edits.replace_constant(one.constant, new, one.reader)
        done.add((one.constant, one.reader))
    return frozenset(done)


def _new_entries(patches: Iterable[Patch], removed: Removed) -> dict[Patch, int]:
    """What the patches that are needed put in place of an entry."""
    new = {}
    for patch in patches:
        gone = removed.get((patch.tensor, "", patch.axis), ())
        if len(gone) or any((tensor, "", axis) in removed for tensor, axis in patch.lengths):
            new[patch] = patch.size - len(gone) if patch.value is None else patch.value
    return new


def _shrink_declared(graph: onnx.GraphProto, removed: Removed) -> None:
    """Shapes of value_info and, in IR 3, of initializers among the inputs: as they now are."""
    constants = {tensor.name: tensor.dims for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input):
        dims = value.type.tensor_type.shape.dim
        if value.name in constants:
            for dim, length in zip(dims, constants[value.name], strict=False):
                dim.dim_value = length
            continue
        for axis, dim in enumerate(dims):
            indices = removed.get((value.name, "", axis))
            if indices is not None and dim.HasField("dim_value"):
                dim.dim_value -= len(indices)
