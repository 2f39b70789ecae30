"""Channel groups as the prunable layers see them: whose filters, whose inputs, and what stays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eapc.channels import ONE_CHANNEL, ChannelGroup, ChannelGroups, Slice
from eapc.layers import Layer, PrunableLayers, Skipped, TiedLayers
from eapc.model import Array, Model, codes_of, seen_through
from eapc.operators import operator_of


@dataclass(frozen=True)
class Producer:
    """A layer whose filters make the channels; `places` (channels, filters) among all m."""

    tied: TiedLayers
    places: NDArray[np.intp]

    def filters(self, model: Model) -> Array:
        """The weights of each channel's filters, (channels, weights)."""
        matrix = self.tied.matrix(model)
        rows = matrix.reshape(-1, matrix.shape[2])
        return rows[self.places].reshape(len(self.places), -1)


@dataclass(frozen=True)
class Reader:
    """A layer whose inputs the channels are; `places` (groups, channels, width) among k."""

    tied: TiedLayers
    places: NDArray[np.intp]
    maps: tuple[tuple[str, Slice], ...]
    """The tensors that the layer reads the channels in, with the channels' places there."""


@dataclass(frozen=True)
class LayeredGroup:
    """A channel group with its layers, in data-flow order."""

    group: ChannelGroup
    producers: tuple[Producer, ...]
    readers: tuple[Reader, ...]
    obstacle: str = ""
    """Why zeros in weights cannot stand for the channels being gone; empty if they can."""


def with_layers(group: ChannelGroup, layers: Sequence[TiedLayers], model: Model) -> LayeredGroup:
    """The group with those of the layers whose weights hold slices of it."""
    by_tensor: dict[str, list[Slice]] = {}
    for part in group.slices:
        by_tensor.setdefault(part.tensor, []).append(part)
    producers, readers = [], []
    for tied in layers:
        for part in _by_axis(by_tensor.get(tied.weight, ())):
            inputs, filters = _labels(tied, model, part)
            if (inputs == inputs[:, :1]).all():  # the same for all inputs of a filter
                producers.append(Producer(tied, _places(filters.ravel(), group.size)))
            else:
                places = np.stack([_places(row, group.size) for row in inputs])
                readers.append(Reader(tied, places, _maps(tied, by_tensor)))
    found = LayeredGroup(group, tuple(producers), tuple(readers))
    return replace(found, obstacle=_obstacle(found, layers))


def _obstacle(found: LayeredGroup, layers: Sequence[TiedLayers]) -> str:
    group = found.group
    tied = [*(each.tied for each in found.producers), *(each.tied for each in found.readers)]
    known = {user.node.key for one in tied for user in one.users}
    wanted = group.consumers or group.producers
    unknown = next((node for node in wanted if node not in known), "")
    if not found.producers or unknown:
        whose = f", those of '{unknown}'," if unknown else ""
        return f"weights of its channels{whose} are in no layer that can be pruned"
    learnt = [each for each in found.producers if not each.tied.fixed]
    fixed = next((each.tied for each in found.readers if each.tied.fixed), None)
    if not learnt or fixed is not None:
        named = (fixed or found.producers[0].tied).first.node.key
        return f"weights of '{named}' are fixed arithmetic"
    users = {tied.weight: set(map(_first_reader, tied.users)) for tied in layers}
    for part in group.slices:
        shared = users.get(part.tensor, set())
        readers = {s.reader for s in group.slices if (s.tensor, s.axis) == (part.tensor, part.axis)}
        if len(shared) > 1 and part.reader and readers != shared:
            return "weights of its channels are shared with layers that use them otherwise"
    return ""


def _first_reader(layer: Layer) -> str:
    """The node that reads the constant: the layer's, or what stands between."""
    return (*layer.source.chain, layer.node)[0].key


def _by_axis(parts: Iterable[Slice]) -> Iterable[Slice]:
    """One slice of each axis: users that share weights have the same."""
    return {part.axis: part for part in parts}.values()


def _maps(tied: TiedLayers, by_tensor: Mapping[str, list[Slice]]) -> tuple[tuple[str, Slice], ...]:
    """What each user reads, also where that stands for the integers that its node reads."""
    read = ((user.x, by_tensor.get(user.x) or by_tensor.get(_data(user))) for user in tied.users)
    return tuple((x, parts[0]) for x, parts in read if parts)


def _data(layer: Layer) -> str:
    """The tensor that the layer's node multiplies by its weights."""
    first, _ = operator_of(layer.node).factors or (0, 1)
    return layer.node.input(first)


def _labels(
    tied: TiedLayers, model: Model, part: Slice
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The channel of each input of a filter (groups, k), and of each filter (groups, m).

    -1 for those of no channel. Labels go the way of the weights, which are never written out.
    """
    shape = model.constants.shape(tied.weight) or ()
    along = np.zeros(shape[part.axis], np.float32)
    along[part.indices.ravel()] = 1 + np.repeat(np.arange(len(part.indices)), part.width)
    spread = along.reshape([-1 if axis == part.axis else 1 for axis in range(len(shape))])
    numbered = _as_matrix(tied, model, np.broadcast_to(spread, shape))
    unit = _as_matrix(tied, model, np.broadcast_to(np.float32(1), shape))  # alpha of a Gemm
    inputs, filters = numbered[:, 0] / unit[:, 0], numbered[:, :, 0] / unit[:, :, 0]
    return np.rint(inputs).astype(np.intp) - 1, np.rint(filters).astype(np.intp) - 1


def _as_matrix(tied: TiedLayers, model: Model, stored: Array) -> Array:
    return tied.first.form.to_matrix(seen_through(model, tied.first.source, stored))


def _places(labels: NDArray[np.intp], channels: int) -> NDArray[np.intp]:
    """(channels, width): where each channel's label stands."""
    order = np.argsort(labels, kind="stable")
    return order[np.searchsorted(labels[order], 0) :].reshape(channels, -1)


def without_channels(
    model: Model,
    layers: Iterable[TiedLayers],
    removed: Mapping[str, Sequence[int]],
    groups: Iterable[ChannelGroup],
) -> Model:
    """The model with weight 0 wherever a layer makes or reads one of the removed channels.

    Of codes that is their zero point. `removed` has the channels by the group's name. Nothing else
    changes: the tensors keep their shapes.
    """
    zeros = {tied.weight: _zeros(model, tied) for tied in layers}
    changed: dict[str, Array] = {}
    for group in groups:
        channels = list(removed.get(group.name, ()))
        for part in group.slices:
            if part.tensor in zeros and channels:
                value = changed.get(part.tensor)
                value = model.constants[part.tensor].copy() if value is None else value
                index = (slice(None),) * part.axis + (part.indices[channels].ravel(),)
                zero = zeros[part.tensor]
                value[index] = 0 if zero is None else zero[index]
                changed[part.tensor] = value
    return model.with_weights(changed)


def _zeros(model: Model, tied: TiedLayers) -> Array | None:
    """Which integers stand for zero, in the constant's shape; None where it stores real numbers."""
    source = tied.first.source
    codes = None if source.quantizer is not None else codes_of(model, source)
    return None if codes is None else codes.zero


# --- layers left alone ---------------------------------------------------------------------------


_WITHIN = "layers of recurrent cells, bodies and functions keep their channels"

_NAME = re.compile("'[^']*'")
_TELLS_LITTLE = re.compile(f"{re.escape(ONE_CHANNEL)}|their channels reach the output")


def left_alone(
    model: Model, found: ChannelGroups, layered: Sequence[LayeredGroup], layers: PrunableLayers
) -> tuple[Skipped, ...]:
    """Every layer none of whose channels can be taken out, in file order, and why.

    `layered` are the groups of more than one channel with their layers.
    """
    usable = {node for each in layered if not each.obstacle for node in each.group.producers}
    reasons = {
        **{
            user.node.key: _WITHIN if user.tapped else ""
            for tied in layers.layers
            for user in tied.users
        },
        **{skip.name: skip.reason for skip in layers.skipped},
    }
    others = {
        **{node: ONE_CHANNEL for group in found.groups for node in group.producers},
        **{node: each.obstacle for each in layered for node in each.group.producers},
        **found.held,
    }
    return tuple(
        Skipped(node.key, reasons[node.key] or others[node.key])
        for node in model.nodes
        if node.key in reasons and node.key not in usable
    )


def most_telling(skipped: Sequence[Skipped]) -> str:
    """What keeps most layers whole, by the first of them.

    That channels reach an output, or that there is one, is said where there is nothing else.
    """
    if not skipped:
        return "no layer makes any"
    kinds = Counter(_NAME.sub("", each.reason) for each in skipped)

    def tells(each: Skipped) -> tuple[bool, int]:
        return not _TELLS_LITTLE.match(each.reason), kinds[_NAME.sub("", each.reason)]

    first = max(skipped, key=tells)  # the first of equals
    more = kinds[_NAME.sub("", first.reason)] - 1
    return f"{first.reason} ('{first.name}'" + (f" and {more} more like it)" if more else ")")
