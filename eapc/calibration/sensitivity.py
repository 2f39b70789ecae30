"""Error curves: what pruning each layer alone does to the network's outputs.

Each layer is pruned roughly, from its second moments alone, to several densities; a few
inputs are sent through what lies behind that layer, with nothing else changed. The distance of
the outputs from the original's is KL divergence for classifiers, relative error otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from eapc.calibration.activations import (
    ActivationWalk,
    Batches,
    DownstreamRun,
    DownstreamSubgraph,
    Kinds,
    MemoryBudget,
    downstream_of,
)
from eapc.calibration.statistics import (
    LayerActivations,
    LayerRows,
    moved_biases,
    row_generator,
    scaled_matrix,
    unscaled_matrix,
)
from eapc.data import Dataset
from eapc.errors import DataError
from eapc.evaluation import Yardstick
from eapc.layers import TiedLayers, exposed
from eapc.model import Array, Model, as_seen
from eapc.runtime import Engine, feed_size
from eapc.solvers import LayerProblem, Moments, combine, quick_prune

logger = logging.getLogger(__name__)

DENSITIES = (1.0, 0.6, 0.35, 0.2, 0.12, 0.06, 0.02)
"""Points of an error curve: each costs one pass of the probe inputs through the network."""

_ROWS_PER_INPUT = 4
_MIN_ROWS = 8192

_PROBE_MACS = 2e12
_PROBES = (8, 128)


@dataclass(frozen=True)
class ErrorCurve:
    """Effect on the network's outputs of one layer pruned to each of `DENSITIES`.

    `kept` says which weights were left, in the shape that the layer's nodes read them in.
    """

    name: str
    errors: tuple[float, ...]
    kept: tuple[Array, ...]


def error_curves(
    model: Model,
    layers: Sequence[TiedLayers],
    probes: Probes,
    engine: Engine,
    first: int = 0,
) -> Iterator[ErrorCurve]:
    """The error curve of every layer in turn from `first` on, measured on a few inputs."""
    for found in layer_effects(model, layers, probes, engine, _probes, first):
        tied = found.tied
        if not tied.users:
            yield _unknown_curve(model, tied)
            continue
        errors = tuple(np.maximum.accumulate([0.0, *found.effects]).tolist())
        logger.info("sensitivity of %s: %s", tied.first.node.key, np.round(errors, 5))
        kept = tuple(_weights(each, tied) != 0 for each in (model, *found.models))
        yield ErrorCurve(tied.weight, errors, kept)


Changes = Callable[[Model, TiedLayers, Sequence[Moments]], Iterator[Model]]
"""(model, layer, moments of each user) -> the model with other weights in that layer, in turn."""


@dataclass(frozen=True)
class LayerEffects:
    """What changes of one layer do to the outputs; of one that no input comes to nothing is known.

    `tied` has the users that inputs come to; `effects` go with `models`.
    """

    tied: TiedLayers
    effects: tuple[float, ...] = ()
    models: tuple[Model, ...] = ()


def layer_effects(
    model: Model,
    layers: Sequence[TiedLayers],
    probes: Probes,
    engine: Engine,
    changes: Changes,
    first: int = 0,
    beyond_first: bool = False,
) -> Iterator[LayerEffects]:
    """What the outputs lose by changes of every layer alone, in turn from `first` on.

    With `beyond_first` they are held against those of the first change, not of the model: so what
    that has done does not hide what little the others do on top of it.
    """
    if first == len(layers):
        return
    yardstick = Yardstick.of(model, probes.shown, engine.threads)
    model = exposed(model)
    subgraphs = [downstream_of(model, changed_constants(model, tied)) for tied in layers]
    walk = probed_tensors(model, probes, [[tied] for tied in layers], subgraphs, engine)
    steps = zip(layers, subgraphs, walk, strict=True)
    for tied, downstream, seen in islice(steps, first, None):
        tied = seen.reaching(tied)
        if not tied.users:
            yield LayerEffects(tied)
            continue
        moments = probe_moments(model, tied, seen, engine.seed)
        run = DownstreamRun(
            model, downstream, seen.shown, changed_constants(model, tied), engine.threads
        )
        models = tuple(changes(model, tied, moments))
        outputs = [
            {**yardstick.reference, **run.outputs(changed_constants(each, tied))} for each in models
        ]
        judge = replace(yardstick, reference=outputs[0]) if beyond_first else yardstick
        yield LayerEffects(tied, tuple(map(judge.divergence, outputs)), models)


@dataclass(frozen=True)
class Probes:
    """Inputs of error curves: layers are fitted on some, and others show what that is worth.

    On the inputs that it was fitted on, a layer with few rows for its weights errs too little.
    """

    fitted: Dataset
    shown: Dataset


def probes_of(data: Dataset, macs_per_input: float) -> Probes:
    """A few evenly spaced inputs to show, as `probe_inputs` has them, and all others to fit.

    Where the others are fewer, half of the inputs fit and half show; where there is but one
    batch, it does both.
    """
    shown = probe_inputs(data, macs_per_input)
    rest = data.without(np.arange(len(shown)) * len(data) // len(shown))
    if rest.usable >= len(shown):
        return Probes(rest, shown)
    try:
        return Probes(*data.split(0.5))
    except DataError:
        return Probes(shown, shown)


def probe_inputs(data: Dataset, macs_per_input: float) -> Dataset:
    """Evenly spaced inputs: as many as keep all passes within `_PROBE_MACS`, 8 to 128."""
    fewest, most = _PROBES
    count = min(len(data), most, max(fewest, int(_PROBE_MACS / max(macs_per_input, 1))))
    thinned = data.take(np.arange(count) * len(data) // count)
    return thinned if thinned.usable else data


@dataclass(frozen=True)
class Seen:
    """Tensors around some layers, by name, on the inputs of `Probes`.

    `inputs` is how many of these are fitted, `kinds` what kinds these are.
    """

    fitted: Mapping[str, Batches]
    shown: Mapping[str, Batches]
    inputs: int
    kinds: Kinds = ()

    def reaching(self, tied: TiedLayers) -> TiedLayers:
        """The users that inputs come to: of a body that never ran none do."""
        users = tied.users
        reached = (any(y.size for y in self.fitted[user.y]) for user in users)
        return replace(
            tied, users=tuple(u for u, is_in in zip(users, reached, strict=True) if is_in)
        )


def _unknown_curve(model: Model, tied: TiedLayers) -> ErrorCurve:
    """That of a layer that no input comes to: whatever goes is taken for all there is."""
    errors = (0.0, *(1.0 for _ in DENSITIES[1:]))
    kept = np.ones(model.constants.shape(tied.weight) or (), bool)
    return ErrorCurve(tied.weight, errors, tuple(kept for _ in DENSITIES))


def probed_tensors(
    model: Model,
    probes: Probes,
    layers: Sequence[Sequence[TiedLayers]],
    subgraphs: Sequence[DownstreamSubgraph],
    engine: Engine,
) -> Iterator[Seen]:
    """What some layers read and write, and what the subgraph behind them starts from, in turn.

    There is a subgraph for each of `layers`, or none at all.
    """
    own = [[n for tied in each for user in tied.users for n in (user.x, user.y)] for each in layers]
    starts = [downstream.inputs for downstream in subgraphs] or [()] * len(own)
    plan = [[*names, *inputs] for names, inputs in zip(own, starts, strict=True)]
    budget = MemoryBudget(engine.memory)
    batch = feed_size(model, probes.shown)
    shown = ActivationWalk(model, probes.shown, plan, batch, engine.threads, budget)
    fitted = shown
    if probes.fitted is not probes.shown:
        batch = feed_size(model, probes.fitted)
        fitted = ActivationWalk(model, probes.fitted, own, batch, engine.threads, budget)
    for i in range(len(layers)):
        values = shown.step(i, model)
        fit = values if fitted is shown else fitted.step(i, model)
        yield Seen(fit, values, probes.fitted.usable, fitted.kinds)


def probe_moments(model: Model, tied: TiedLayers, seen: Seen, seed: int) -> list[Moments]:
    """Moments of each user of a weight on a few rows: enough for a rough fit.

    `seen` holds the inputs and outputs of the users.
    """
    limit = max(_MIN_ROWS, _ROWS_PER_INPUT * tied.matrix(model).shape[2])
    return [
        LayerRows.sample(
            user,
            LayerActivations(
                seen.fitted[user.x], seen.fitted[user.y], inputs=seen.inputs, kinds=seen.kinds
            ),
            limit,
            row_generator(seed, user),
        ).moments()
        for user in tied.users
    ]


def _probes(model: Model, tied: TiedLayers, moments: Sequence[Moments]) -> Iterator[Model]:
    """The model with one layer pruned to each density below 1."""
    matrix = scaled_matrix(tied, model)
    problem = LayerProblem.from_moments(matrix, combine(moments))
    counts = [round(density * matrix.size) for density in DENSITIES[1:]]
    for pruned in quick_prune(problem, counts):
        weight = tied.stored(model, unscaled_matrix(tied, pruned))
        biases = moved_biases(tied, model, pruned, moments)
        yield model.with_weights({tied.weight: weight, **biases})


def _weights(model: Model, tied: TiedLayers) -> Array:
    return as_seen(model, tied.first.source)


def changed_constants(model: Model, tied: TiedLayers) -> dict[str, Array]:
    """What a layer's nodes read of its weights, and the constants that take up its bias.

    Of weights that are read within larger nodes it is the constant itself.
    """
    if any(user.tapped or user.source.packing for user in tied.users):
        values = {tied.weight: model.constants[tied.weight]}
    else:
        values = {user.source.tensor: as_seen(model, user.source) for user in tied.users}
    for source in (user.bias.source for user in tied.users if user.bias):
        values[source.tensor] = as_seen(model, source)
    return values
