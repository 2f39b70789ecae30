"""One round of repair: layer after layer, the step that the network's outputs ask of its channels.

Levenberg 1944, Marquardt 1963: a damped Gauss-Newton step. How outputs follow each channel is
found by finite differences through what lies behind its layer alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from eapc.repair.outputs import EquationRows, Wanted
from eapc.runtime import Engine, collect_outputs, feed_size

DAMPING = (0.03, 0.3, 3.0)
"""Strengths that are tried: what a network bears grows with how nearly linear it is."""

_MOST_CHANNELS = 4096
"""Numbers that a round chooses: those of the layers that come last, whose steps cost least."""

_FEWEST = 32
"""Inputs that any step is worked out from, where there are so many."""

_EQUATIONS = 16
"""Equations per number that a layer's step chooses, where there are inputs enough."""

STAGE = "repair-outputs"


@dataclass(frozen=True)
class RepairState:
    """A network whose outputs are the wanted tensors, what a round changed, and its error."""

    model: Model
    changed: Mapping[str, Array]
    error: float

    def tried(self, changed: Mapping[str, Array], judged: Wanted, threads: int) -> RepairState:
        """The state with other constants, or this one where inputs held out do not gain."""
        model = self.model.with_weights(changed)
        error = judged.error(model, threads)
        if not error < self.error:
            return self
        return RepairState(model, {**self.changed, **changed}, error)


def layers_to_repair(model: Model) -> list[TiedLayers]:
    """The layers that outputs depend on, in data-flow order, as far as one round takes them."""
    chosen: list[TiedLayers] = []
    count = 0
    for tied in reversed([tied for tied in layers_of(model).layers if not tied.fixed]):
        if any(user.tapped for user in tied.users):  # its outputs are no tensors to move
            continue
        count += channels_of(tied)
        if count > _MOST_CHANNELS and chosen:
            break
        if downstream_of(model, changed_constants(model, tied)).outputs:
            chosen.append(tied)
    return chosen[::-1]


def inputs_wanted(layers: Sequence[TiedLayers], rows: EquationRows) -> int:
    """Those that give the largest layer `_EQUATIONS` per number, `_FEWEST` at least."""
    equations = _EQUATIONS * max(channels_of(tied) for tied in layers)
    return max(_FEWEST, -(-equations // rows.per_input))


@dataclass(frozen=True)
class Round:
    """One pass over the layers: steps are worked out on some inputs, and judged on others."""

    fitted: Wanted
    judged: Wanted
    rows: EquationRows
    engine: Engine
    progress: Progress

    def result(self, state: RepairState) -> RepairState:
        """What the layers' steps come to, each on what those before it leave."""
        model, layers, data = state.model, layers_to_repair(state.model), self.fitted.data
        threads = self.engine.threads
        parts = [downstream_of(model, changed_constants(model, tied)) for tied in layers]
        plan = [[*part.inputs, tied.first.x] for part, tied in zip(parts, layers, strict=True)]
        memory = MemoryBudget(self.engine.memory)
        walk = ActivationWalk(model, data, plan, feed_size(model, data), threads, memory)
        outputs: Mapping[str, Array] = collect_outputs(model, data, threads)
        for index, (tied, part) in enumerate(zip(layers, parts, strict=True)):
            step = Step(STAGE, index, len(layers), tied.first.node.key, state.error)
            self.progress(step)
            seen = walk.step(index, state.model)
            values = changed_constants(state.model, tied)
            run = DownstreamRun(state.model, part, seen, values, threads)
            channels = LayerChannels.of(state.model, tied, seen)
            outputs = {**outputs, **run.outputs(values)}
            state = self._stepped(state, channels, run, outputs)
            outputs = {**outputs, **run.outputs(changed_constants(state.model, tied))}
        return state

    def _stepped(
        self,
        state: RepairState,
        channels: LayerChannels,
        run: DownstreamRun,
        outputs: Mapping[str, Array],
    ) -> RepairState:
        """The state after the best of a layer's steps; `outputs` are those before."""
        inputs = len(self.fitted.data)
        base = self.rows.vector(outputs, inputs)
        residual = self.rows.vector(self.fitted.values, inputs) - base
        jacobian = np.empty((channels.size, len(base)))
        for place, change in enumerate(np.eye(channels.size)):
            moved = state.model.with_weights(channels.changed(state.model, change))
            found = run.outputs(changed_constants(moved, channels.tied))
            jacobian[place] = self.rows.vector({**outputs, **found}, inputs) - base
        best = state
        for damping in DAMPING:
            step = damped(jacobian, residual, damping + 1 / inputs)
            changed = channels.changed(state.model, step)
            tried = state.tried(changed, self.judged, self.engine.threads)
            best = min(best, tried, key=lambda each: each.error)
        return best


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
