"""How many channels groups have left while more and more are taken out of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from eapc.channels.groups import ChannelGroup, ChannelGroups
from eapc.channels.removal import removed_indices
from eapc.model import Array, Model


@dataclass(frozen=True)
class Tally:
    """The groups of a model, and where each channel now stands along one of its axes.

    Groups may get other names, split or merge as channels go; the tensors keep theirs.
    `places` (channels left, width) are along an axis of a feature map, which no group lacks.
    """

    group: ChannelGroup
    tensor: str
    axis: int
    places: Array

    @classmethod
    def of(cls, group: ChannelGroup, model: Model) -> Tally:
        """All channels of a group of a model."""
        cut = next(cut for cut in group.slices if cut.tensor not in model.view.constants)
        return cls(group, cut.tensor, cut.axis, cut.indices)

    def without(self, groups: ChannelGroups, kept: Mapping[str, Array]) -> Tally:
        """After `remove_channels` with the same arguments."""
        gone = removed_indices(groups, kept).get((self.tensor, "", self.axis))
        if gone is None:
            return self
        left = self.places[~np.isin(self.places, gone).any(axis=1)]
        return replace(self, places=left - np.searchsorted(gone, left))

    def left_in(self, model: Model) -> int:
        """Channels that are left; none where the tensor went with a branch."""
        return len(self.places) if model.view.producer(self.tensor) else 0
