"""A network with fewer and fewer channels of one group, as far as the group's readers see.

The layers that read the channels are refitted to what is left, nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eapc.calibration import changed_constants, moved_biases, unscaled_matrix
from eapc.layers import TiedLayers
from eapc.model import Array, Model
from eapc.solvers import Consumer, Moments, fitted
from eapc.structured.curves import ChannelCurve, counts_of
from eapc.structured.layers import LayeredGroup


@dataclass(frozen=True)
class Probed:
    """A group in a model, and the statistics of its readers: one of each for each reader."""

    model: Model
    layered: LayeredGroup
    consumers: Sequence[Consumer]
    moments: Sequence[Sequence[Moments]]

    def models(self, curve: ChannelCurve) -> Iterator[tuple[int, Model]]:
        """The model at each further count of the curve."""
        counts = counts_of(curve.size, curve.fewest)[1:]
        if not self.layered.readers:
            for count in counts:
                yield count, self._without_filters(curve.removed(count))
            return
        weights = fitted(self.consumers, counts, curve.order)
        for count in counts:
            yield count, self._refitted(weights[count])

    def _refitted(self, weights: Sequence[Array]) -> Model:
        changed: dict[str, Array] = {}
        for reader, matrix, users in zip(self.layered.readers, weights, self.moments, strict=True):
            tied = reader.tied
            changed[tied.weight] = tied.stored(self.model, unscaled_matrix(tied, matrix))
            changed |= moved_biases(tied, self.model, matrix, users)
        return self.model.with_weights(changed)

    def _without_filters(self, removed: Sequence[int]) -> Model:
        changed = {}
        for producer in self.layered.producers:
            matrix = producer.tied.matrix(self.model)
            rows = matrix.reshape(-1, matrix.shape[2]).copy()
            rows[producer.places[list(removed)].ravel()] = 0
            weight = producer.tied.stored(self.model, rows.reshape(matrix.shape))
            changed[producer.tied.weight] = weight
        return self.model.with_weights(changed)


def probed_layers(layered: LayeredGroup) -> tuple[TiedLayers, ...]:
    """The layers that a probe changes: the readers, or the producers where no layer reads."""
    return tuple(each.tied for each in layered.readers or layered.producers)


def probed_values(model: Model, layered: LayeredGroup) -> dict[str, Array]:
    """The constants that a probe changes, as their nodes read them, and their values in a model."""
    return {
        name: value
        for tied in probed_layers(layered)
        for name, value in changed_constants(model, tied).items()
    }
