"""Looking at channel groups: which channels go first, and what that does to the outputs.

A criterion orders a group's channels. Where errors are asked for, a few inputs are sent through
what lies behind the layers that read them, again and again with fewer channels: those layers
are refitted to what is left, nothing else changes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from eapc.calibration import (
    Batches,
    DownstreamRun,
    DownstreamSubgraph,
    Probes,
    Seen,
    changed_constants,
    downstream_of,
    moved_biases,
    probe_moments,
    probed_tensors,
    scaled_matrix,
    unscaled_matrix,
)
from eapc.errors import UsageError
from eapc.evaluation import Yardstick
from eapc.layers import TiedLayers, exposed
from eapc.model import Array, Model
from eapc.registry import CRITERIA
from eapc.runtime import Engine
from eapc.solvers import Consumer, LayerProblem, Moments, combine, fitted
from eapc.structured.criteria import Evidence, removal_order
from eapc.structured.curves import ChannelCurve, counts_of, ends_of
from eapc.structured.layers import LayeredGroup, Reader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Survey:
    """How groups are looked at: by which criterion, on which inputs, how.

    Without `probes` only criteria that look at weights alone can be asked. `with_errors` has the
    error curves measured.
    """

    criterion: str
    probes: Probes | None
    with_errors: bool
    engine: Engine = field(default=Engine())

    def curves(
        self, model: Model, groups: Sequence[LayeredGroup], first: int = 0
    ) -> Iterator[ChannelCurve]:
        """The curve of every group in turn from `first` on; UsageError where data are missing."""
        if not self.with_errors and not CRITERIA[self.criterion].needs_data:
            for layered in groups[first:]:
                yield self._ordered(layered, self._evidence(model, layered))
            return
        if self.probes is None:
            raise UsageError(f"criterion {self.criterion} looks at calibration data; there is none")
        if self.with_errors:
            yield from self._with_errors(model, groups, first, self.probes)
            return
        walk = zip(groups, self._walk(model, groups, self.probes), strict=True)
        for layered, seen in islice(walk, first, None):
            yield self._ordered(layered, self._measured(model, layered, seen)[0])

    def _with_errors(
        self, model: Model, groups: Sequence[LayeredGroup], first: int, probes: Probes
    ) -> Iterator[ChannelCurve]:
        shown = probes.shown
        yardstick = Yardstick.of(model, shown, self.engine.threads)
        model = exposed(model)
        subgraphs = [downstream_of(model, probed_values(model, layered)) for layered in groups]
        walk = zip(groups, subgraphs, self._walk(model, groups, probes, subgraphs), strict=True)
        for layered, downstream, seen in islice(walk, first, None):
            evidence, moments = self._measured(model, layered, seen)
            curve = self._ordered(layered, evidence)
            constants = probed_values(model, layered)
            run = DownstreamRun(model, downstream, seen.shown, constants, self.engine.threads)
            probed = Probed(model, layered, evidence.consumers, moments)
            yield _measured_curve(curve, probed, run, yardstick)

    def _walk(
        self,
        model: Model,
        groups: Sequence[LayeredGroup],
        probes: Probes,
        subgraphs: Sequence[DownstreamSubgraph] = (),
    ) -> Iterator[Seen]:
        """The tensors around each group's layers, and what the subgraph behind them starts from."""
        layers = [probed_layers(each) for each in groups]
        return probed_tensors(exposed(model), probes, layers, subgraphs, self.engine)

    def _ordered(self, layered: LayeredGroup, evidence: Evidence) -> ChannelCurve:
        order = removal_order(self.criterion, evidence)
        return ChannelCurve(layered.group.name, order, ends_of(layered.group))

    def _measured(
        self, model: Model, layered: LayeredGroup, seen: Seen
    ) -> tuple[Evidence, list[list[Moments]]]:
        """What a criterion may look at, and the moments of each user of each reader."""
        seed = self.engine.seed
        moments = [probe_moments(model, r.tied, seen, seed) for r in layered.readers]
        consumers = map(_consumer, [model] * len(moments), layered.readers, moments)
        evidence = self._evidence(model, layered)
        maps = tuple(_maps(layered, seen.shown))
        return replace(evidence, maps=maps, consumers=tuple(consumers)), moments

    def _evidence(self, model: Model, layered: LayeredGroup) -> Evidence:
        """What weights alone tell."""
        filters = tuple(producer.filters(model) for producer in layered.producers)
        rng = np.random.default_rng([self.engine.seed, *layered.group.name.encode()])
        return Evidence(layered.group.size, filters, (), (), rng)


def _measured_curve(
    curve: ChannelCurve, probed: Probed, run: DownstreamRun, yardstick: Yardstick
) -> ChannelCurve:
    """The curve with its points; errors never fall as channels go."""
    counts, effects = [curve.size], [0.0]
    for count, model in probed.models(curve):
        outputs = run.outputs(probed_values(model, probed.layered))
        effects.append(yardstick.divergence({**yardstick.reference, **outputs}))
        counts.append(count)
    errors = tuple(np.maximum.accumulate(effects).tolist())
    logger.info("sensitivity of %s: %s", curve.name, np.round(errors, 5))
    return replace(curve, counts=tuple(counts), errors=errors)


def _consumer(model: Model, reader: Reader, users: Sequence[Moments]) -> Consumer:
    moments = combine(users)
    problem = LayerProblem.from_moments(scaled_matrix(reader.tied, model), moments)
    return Consumer(problem, reader.places, moments.first_power)


def _maps(layered: LayeredGroup, values: Mapping[str, Batches]) -> Iterator[Array]:
    """(inputs, channels, h, w) of every tensor that readers read the channels in, each once."""
    found = {tensor: part for reader in layered.readers for tensor, part in reader.maps}
    for tensor, part in found.items():
        if part.axis == 0:  # no axis of inputs: what a channel does is one map
            columns = [batch.reshape(len(batch), -1) for batch in values[tensor]]
            moved = np.concatenate(columns, axis=1)[None]
        else:
            moved = np.moveaxis(np.concatenate(values[tensor]), part.axis, 1)
        taken = moved[:, part.indices]  # inputs, channels, width, *rest
        height = taken.shape[3] if taken.ndim > 4 else 1
        yield taken.reshape(*taken.shape[:2], height * part.width, -1)


# --- probes --------------------------------------------------------------------------------------


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
