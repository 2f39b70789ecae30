"""How many channels groups have left while more and more are taken out of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eapc.channels.groups import ChannelGroup, Removed
from eapc.model import Array, Model


@dataclass(frozen=True)
class ChannelTracker:
    """The channels of a group, followed along an axis of one of its feature maps.

    Groups may get other names, split or merge as channels go; tensors keep their names. `places`
    are indices along the axis as it is now, `channels` says whose each of them is.
    """

    group: ChannelGroup
    tensor: str
    axis: int
    places: Array
    channels: Array

    @classmethod
    def of(cls, group: ChannelGroup, model: Model) -> ChannelTracker:
        """All channels of a group of a model."""
        cut = next(cut for cut in group.slices if cut.tensor not in model.view.constants)
        channels = np.repeat(np.arange(group.size), cut.width)
        return cls(group, cut.tensor, cut.axis, cut.indices.ravel(), channels)

    def without(self, removed: Removed) -> ChannelTracker:
        """After these indices have gone from the model."""
        gone = removed.get((self.tensor, "", self.axis))
        if gone is None:
            return self
        left = ~np.isin(self.places, gone)
        places = self.places[left]
        moved = places - np.searchsorted(gone, places)
        return replace(self, places=moved, channels=self.channels[left])

    def left_in(self, model: Model) -> int:
        """Channels that are left; none where the tensor went with a branch."""
        return len(np.unique(self.channels)) if model.view.producer(self.tensor) else 0
