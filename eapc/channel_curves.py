"""What taking channels out of each group does to the network's outputs, group by group.

A criterion orders a group's channels; a few inputs are sent through what lies behind the layers
that read them, these layers refitted to what is left, nothing else changed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eapc.activations import ActivationWalk, Batches
from eapc.channel_layers import LayeredGroup, Reader
from eapc.criteria import NEED_NO_DATA, Evidence, removal_order
from eapc.data import Dataset
from eapc.errors import UsageError
from eapc.evaluation import Outputs, output_divergence
from eapc.layers import TiedLayers
from eapc.model import Model
from eapc.reconstruction import moved_biases, scaled_matrix, unscaled_matrix
from eapc.runtime import collect_outputs, feed_size
from eapc.sensitivity import changed_constants, constants_of, probe_moments
from eapc.solvers import Consumer, LayerProblem, Moments, combine, eliminate
from eapc.spill import MemoryBudget
from eapc.suffixes import SuffixRun, suffix_behind
from eapc.tensors import Array

logger = logging.getLogger(__name__)

FRACTIONS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.0)
"""Points of an error curve, in channels left: each costs a pass of the inputs."""

_LEAST_ERROR = 1e-12


@dataclass(frozen=True)
class ChannelCurve:
    """One group: the order in which its channels go, and what that does to the outputs.

    `counts` fall from all channels to the fewest that may be left; `errors` go with them, and
    are empty where nobody asked.
    """

    name: str
    order: NDArray[np.intp]
    counts: tuple[int, ...]
    errors: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """Channels of the group."""
        return len(self.order)

    @property
    def fewest(self) -> int:
        """Channels that must stay."""
        return self.counts[-1]

    def kept(self, count: int) -> list[int]:
        """The channels that stay, ascending."""
        return sorted(self.order[self.size - count :].tolist())

    def removed(self, count: int) -> list[int]:
        """The channels that go, ascending."""
        return sorted(self.order[: self.size - count].tolist())

    def error_at(self, count: int) -> float:
        """The error between the points: its logarithm is linear in the count; 0 for all.

        Next to all channels, where the logarithm has no end, the error itself is.
        """
        if count >= self.size:
            return 0.0
        if count > self.counts[1]:
            return self.errors[1] * (self.size - count) / (self.size - self.counts[1])
        logs = np.log(np.maximum(self.errors[1:], _LEAST_ERROR))
        return math.exp(float(np.interp(count, self.counts[:0:-1], logs[::-1])))


def counts_of(size: int, fewest: int) -> tuple[int, ...]:
    """The counts of a curve's points."""
    counts = {max(fewest, round(fraction * size)) for fraction in FRACTIONS}
    return tuple(sorted({*counts, size, fewest}, reverse=True))


@dataclass(frozen=True)
class Survey:
    """How groups are looked at: by which criterion, on which inputs, how.

    Without `data` only criteria that look at weights alone can be asked. `with_errors` has the
    error curves measured.
    """

    criterion: str
    data: Dataset | None
    with_errors: bool
    seed: int = 0
    threads: int = 0
    memory: int | None = None

    def curves(self, model: Model, groups: Sequence[LayeredGroup]) -> Iterator[ChannelCurve]:
        """The curve of every group in turn; raises UsageError where data are missing."""
        needs_data = self.with_errors or self.criterion not in NEED_NO_DATA
        if not needs_data:
            for layered in groups:
                order = removal_order(self.criterion, self._evidence(model, layered))
                yield ChannelCurve(layered.group.name, order, _ends(layered))
            return
        if self.data is None:
            raise UsageError(f"criterion {self.criterion} looks at calibration data; there is none")
        yield from self._measured(model, groups, self.data)

    def _measured(
        self, model: Model, groups: Sequence[LayeredGroup], data: Dataset
    ) -> Iterator[ChannelCurve]:
        reference = collect_outputs(model, data, self.threads) if self.with_errors else {}
        changing = [_changing(layered) for layered in groups]
        suffixes = [
            suffix_behind(model, _constants_changed(tied)) if self.with_errors else None
            for tied in changing
        ]
        plan = [
            [
                *(name for tied in each for user in tied.users for name in (user.x, user.y)),
                *(suffix.inputs if suffix else ()),
            ]
            for each, suffix in zip(changing, suffixes, strict=True)
        ]
        batch = feed_size(model, data)
        walk = ActivationWalk(model, data, plan, batch, self.threads, MemoryBudget(self.memory))
        for i, (layered, suffix) in enumerate(zip(groups, suffixes, strict=True)):
            values = walk.step(i, model)
            moments = [probe_moments(model, r.tied, values, self.seed) for r in layered.readers]
            evidence = self._evidence(model, layered, values, moments)
            order = removal_order(self.criterion, evidence)
            curve = ChannelCurve(layered.group.name, order, _ends(layered))
            if suffix is not None:
                initial = {
                    k: v for tied in changing[i] for k, v in constants_of(model, tied).items()
                }
                run = SuffixRun(model, suffix, values, initial, self.threads)
                probes = _probes(model, layered, curve, evidence.consumers, moments)
                curve = self._with_errors(curve, run, probes, changing[i], reference)
            yield curve

    def _with_errors(
        self,
        curve: ChannelCurve,
        run: SuffixRun,
        probes: Iterator[tuple[int, Model]],
        changing: Sequence[TiedLayers],
        reference: Outputs,
    ) -> ChannelCurve:
        assert self.data is not None  # see `curves`
        counts, effects = [curve.size], [0.0]
        for count, pruned in probes:
            outputs = {**reference, **run.outputs(_constants(pruned, changing))}
            effects.append(output_divergence(reference, outputs, by_error=self.data.synthesised))
            counts.append(count)
        errors = tuple(np.maximum.accumulate(effects).tolist())
        logger.info("sensitivity of %s: %s", curve.name, np.round(errors, 5))
        return ChannelCurve(curve.name, curve.order, tuple(counts), errors)

    def _evidence(
        self,
        model: Model,
        layered: LayeredGroup,
        values: Mapping[str, Batches] | None = None,
        moments: Sequence[Sequence[Moments]] = (),
    ) -> Evidence:
        filters = tuple(producer.filters(model) for producer in layered.producers)
        name = [self.seed, *layered.group.name.encode()]
        consumers = tuple(
            _consumer(model, reader, users)
            for reader, users in zip(layered.readers, moments, strict=False)
        )
        maps = () if values is None else tuple(_maps(layered, values))
        rng = np.random.default_rng(name)
        return Evidence(layered.group.size, filters, maps, consumers, rng)


def _ends(layered: LayeredGroup) -> tuple[int, ...]:
    return (layered.group.size, 0 if layered.group.may_vanish else 1)


def _changing(layered: LayeredGroup) -> tuple[TiedLayers, ...]:
    """The layers that a probe changes: the readers, or the producers where no layer reads."""
    return tuple(each.tied for each in layered.readers or layered.producers)


def _constants_changed(layers: Sequence[TiedLayers]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for tied in layers for name in changed_constants(tied)))


def _constants(model: Model, layers: Sequence[TiedLayers]) -> dict[str, Array]:
    return {name: value for tied in layers for name, value in constants_of(model, tied).items()}


def _consumer(model: Model, reader: Reader, users: Sequence[Moments]) -> Consumer:
    moments = combine(users)
    problem = LayerProblem.from_moments(scaled_matrix(reader.tied, model), moments)
    return Consumer(problem, reader.places, moments.power)


def _maps(layered: LayeredGroup, values: Mapping[str, Batches]) -> Iterator[Array]:
    """(inputs, channels, h, w) of every tensor that readers read the channels in, each once."""
    found = {tensor: part for reader in layered.readers for tensor, part in reader.maps}
    for tensor, part in found.items():
        joined = np.concatenate(values[tensor])
        moved = np.moveaxis(joined, part.axis, 1)
        taken = moved[:, part.indices]  # inputs, channels, width, *rest
        height = taken.shape[3] if taken.ndim > 4 else 1
        yield taken.reshape(*taken.shape[:2], height * part.width, -1)


def _probes(
    model: Model,
    layered: LayeredGroup,
    curve: ChannelCurve,
    consumers: Sequence[Consumer],
    moments: Sequence[Sequence[Moments]],
) -> Iterator[tuple[int, Model]]:
    """The model with fewer and fewer channels of one group, as far as its readers see."""
    counts = counts_of(curve.size, curve.fewest)[1:]
    if not layered.readers:
        for count in counts:
            yield count, _without_filters(model, layered, curve.removed(count))
        return
    fitted = eliminate(consumers, counts, curve.order).weights
    for count in counts:
        changed: dict[str, Array] = {}
        for reader, matrix, users in zip(layered.readers, fitted[count], moments, strict=True):
            tied = reader.tied
            changed[tied.weight] = tied.stored(model, unscaled_matrix(tied, matrix))
            changed |= moved_biases(tied, model, matrix, users)
        yield count, model.with_weights(changed)


def _without_filters(model: Model, layered: LayeredGroup, removed: Sequence[int]) -> Model:
    changed = {}
    for producer in layered.producers:
        matrix = producer.tied.matrix(model)
        rows = matrix.reshape(-1, matrix.shape[2]).copy()
        rows[producer.places[list(removed)].ravel()] = 0
        changed[producer.tied.weight] = producer.tied.stored(model, rows.reshape(matrix.shape))
    return model.with_weights(changed)
