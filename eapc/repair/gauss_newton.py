"""One round of repair: the step that outputs ask of all channels at once.

Levenberg 1944, Marquardt 1963: a damped Gauss-Newton step. How outputs follow each channel is
found by finite differences through what lies behind its layer alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from eapc.calibration import (
    ActivationWalk,
    DownstreamRun,
    MemoryBudget,
    changed_constants,
    downstream_of,
)
from eapc.layers import TiedLayers, layers_of
from eapc.model import Array, Model
from eapc.progress import Progress, Step
from eapc.repair.channels import LayerChannels, channels_of
from eapc.repair.outputs import Rows, Wanted
from eapc.runtime import Engine, collect_outputs, feed_size

DAMPING = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths that are tried: what a network bears grows with how nearly linear it is."""

_MOST_UNKNOWNS = 2048
"""Numbers that are chosen at once: those of the layers that come last, which cost least."""

_FEWEST = 32
"""Inputs that any step is worked out from, where there are so many."""

_EQUATIONS = 2
"""Equations per unknown, where there are inputs enough: steps must hold for other inputs."""

STAGE = "repair-outputs"


def layers_to_repair(model: Model) -> list[TiedLayers]:
    """The layers that outputs depend on, in data-flow order, as far as one step takes them."""
    chosen: list[TiedLayers] = []
    count = 0
    for tied in reversed(layers_of(model).layers):
        count += channels_of(tied)
        if count > _MOST_UNKNOWNS and chosen:
            break
        if downstream_of(model, changed_constants(model, tied)).outputs:
            chosen.append(tied)
    return chosen[::-1]


def inputs_wanted(layers: Sequence[TiedLayers], rows: Rows) -> int:
    """Those that give `_EQUATIONS` per unknown, `_FEWEST` at least."""
    unknowns = _EQUATIONS * sum(channels_of(tied) for tied in layers)
    return max(_FEWEST, -(-unknowns // rows.per_input))


def steps(
    model: Model,
    layers: Sequence[TiedLayers],
    wanted: Wanted,
    rows: Rows,
    engine: Engine,
    progress: Progress,
    error: float,
) -> Iterator[dict[str, Array]]:
    """The constants after a step, by rising damping; `model` has the wanted tensors as outputs."""
    inputs = len(wanted.data)
    base = rows.vector(collect_outputs(model, wanted.data, engine.threads), inputs)
    residual = rows.vector(wanted.values, inputs) - base
    parts, columns = [], []
    for channels, found in _responses(model, layers, wanted, rows, base, engine, progress, error):
        parts.append(channels)
        columns.append(found)
    jacobian = np.concatenate(columns)
    cuts = np.cumsum([part.size for part in parts])[:-1]
    for damping in DAMPING:
        step = damped(jacobian, residual, damping + 1 / inputs)
        changed: dict[str, Array] = {}
        for part, change in zip(parts, np.split(step, cuts), strict=True):
            changed |= part.changed(model, change)
        yield changed


def damped(jacobian: Array, residual: Array, damping: float) -> Array:
    """The s that minimises |s J - r|^2 + damping |s D|^2.

    `jacobian` (unknowns, equations), `residual` (equations,). D^2 is the mean of what Levenberg
    takes, the same for all unknowns, and Marquardt, the square of each one's row of J: what has
    little effect is moved little. The smaller of the two systems of equations is solved.
    """
    powers = np.square(jacobian).sum(axis=1)
    units = np.sqrt((powers + powers.mean()) / 2)
    if not units.any():
        return np.zeros(len(jacobian))
    scaled = jacobian / units[:, None]
    unknowns, equations = scaled.shape
    if unknowns <= equations:
        gram = scaled @ scaled.T + damping * np.eye(unknowns)
        found = np.linalg.solve(gram, scaled @ residual)
    else:
        gram = scaled.T @ scaled + damping * np.eye(equations)
        found = scaled @ np.linalg.solve(gram, residual)
    return np.asarray(found / units)


def _responses(
    model: Model,
    layers: Sequence[TiedLayers],
    wanted: Wanted,
    rows: Rows,
    base: Array,
    engine: Engine,
    progress: Progress,
    error: float,
) -> Iterator[tuple[LayerChannels, Array]]:
    """Each layer's channels, and what each of their numbers alone does to the outputs.

    Outputs that do not depend on a layer are those of `base`.
    """
    data = wanted.data
    parts = [downstream_of(model, changed_constants(model, tied)) for tied in layers]
    plan = [
        [*part.inputs, *(user.x for user in tied.users)]
        for part, tied in zip(parts, layers, strict=True)
    ]
    batch, memory = feed_size(model, data), MemoryBudget(engine.memory)
    walk = ActivationWalk(model, data, plan, batch, engine.threads, memory)
    unmoved = collect_outputs(model, data, engine.threads)
    for index, (tied, part) in enumerate(zip(layers, parts, strict=True)):
        progress(Step(STAGE, index, len(layers), tied.first.node.key, error))
        seen = walk.step(index, model)
        values = changed_constants(model, tied)
        run = DownstreamRun(model, part, seen, values, engine.threads)
        channels = LayerChannels.of(model, tied, seen)
        found = np.empty((channels.size, len(base)))
        for place, change in enumerate(np.eye(channels.size)):
            moved = model.with_weights(channels.changed(model, change))
            outputs = run.outputs(changed_constants(moved, tied))
            found[place] = rows.vector({**unmoved, **outputs}, len(data)) - base
        yield channels, found
