"""Rounds of repair, each kept only where inputs that were held out gain by it."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from eapc.checkpoints import Checkpoint, Finished
from eapc.data import Dataset
from eapc.errors import DataError, ModelError
from eapc.layers import without_integers
from eapc.model import Array, Model
from eapc.progress import Progress, Step, silent
from eapc.repair.gauss_newton import STAGE, RepairState, Round, inputs_wanted, layers_to_repair
from eapc.repair.outputs import EquationRows, Wanted, asked_for
from eapc.repair.results import Repaired
from eapc.runtime import Engine
from eapc.tuning import Teacher

logger = logging.getLogger(__name__)

HELD_OUT = 1 / 8
"""The share of the inputs that decides which steps are kept."""


def repair(
    student: Model,
    teacher: Model,
    data: Dataset,
    rounds: int,
    engine: Engine,
    *,
    kept: Finished | None = None,
    progress: Progress = silent,
) -> Repaired:
    """Move and scale a pruned network's channels until the teacher's outputs come back.

    Zeros of weights stay zero. Each round takes other inputs for its steps. A layer takes the one
    that does best on the eighth that is held out, or none where nothing is gained there. Raises
    ModelError where there is nothing to compare or to move, DataError where data are too few.
    """
    names = Teacher.of(student, teacher, engine.threads).names
    fitted, held_out = (_whole_batches(part) for part in data.split(HELD_OUT))
    judged = Wanted.of(teacher, names, held_out, engine.threads)
    wanted = Wanted.of(teacher, tuple(judged.values), fitted, engine.threads)
    wanted = Wanted(fitted, wanted.values, judged.powers)
    model = without_integers(asked_for(student, tuple(judged.values)))
    if not layers_to_repair(model):
        raise ModelError("nothing to repair: no output depends on a layer's constant weights")
    errors, changed = [judged.error(model, engine.threads)], dict[str, Array]()
    if not np.isfinite(errors[0]):
        raise DataError("the pruned network's outputs are not finite on the inputs held out")
    kept = kept or Finished()
    for number in range(rounds):
        part = kept.load(f"round {number}")
        if part is None:
            state = RepairState(model, {}, errors[-1])
            state = _round(wanted, judged, number, engine, progress, state)
            part = Checkpoint(state.changed, {"error": state.error})
            kept.save(f"round {number}", part)
        if not part.arrays:
            continue
        changed |= part.arrays
        model = model.with_weights(part.arrays)
        errors.append(part.facts["error"])
        logger.info("round %d: error %.4g", number + 1, errors[-1])
    progress(Step(STAGE, 1, 1, error=errors[-1]))
    repaired = student.with_weights(changed)
    return Repaired(repaired, tuple(errors), rounds, len(fitted), len(held_out))


def _round(
    wanted: Wanted,
    judged: Wanted,
    number: int,
    engine: Engine,
    progress: Progress,
    state: RepairState,
) -> RepairState:
    """The state after another round; what it changed alone."""
    rng = np.random.default_rng((engine.seed, number))
    layers, rows = layers_to_repair(state.model), EquationRows.of(wanted, rng)
    taken = wanted.take(_drawn(wanted.data, inputs_wanted(layers, rows), rng))
    rows = EquationRows.of(taken, rng)
    return Round(taken, judged, rows, engine, progress).result(replace(state, changed={}))


def _drawn(data: Dataset, count: int, rng: np.random.Generator) -> Array:
    """About so many inputs, whole batches of them, in the order they have."""
    batch = data.fixed_batch or 1
    batches = rng.permutation(len(data) // batch)[: -(-count // batch)]
    return np.sort((batches[:, None] * batch + np.arange(batch)).ravel())


def _whole_batches(data: Dataset) -> Dataset:
    return data.take(slice(0, data.usable))
