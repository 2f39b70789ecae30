"""Fine-tuning: back-propagation through the whole network, zeros and grids as they are.

T.-J. Yang, Y.-H. Chen, V. Sze, "Designing Energy-Efficient CNNs using Energy-Aware Pruning",
CVPR 2017, section 5.4, ends in it; here the original network teaches, unless labels do.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from eapc.checkpoints import Checkpoint, Finished
from eapc.data import Dataset
from eapc.errors import DataError
from eapc.model import Array, Model
from eapc.progress import Progress, Step
from eapc.runtime import Session, with_outputs
from eapc.tuning.augmentation import Augmentation
from eapc.tuning.clock import Clock, Timetable
from eapc.tuning.options import Options
from eapc.tuning.results import Epoch, Tuned
from eapc.tuning.student import Batch, Student
from eapc.tuning.targets import Teacher

logger = logging.getLogger(__name__)

HELD_OUT = 1 / 8
"""The share of the inputs that decides which state is kept."""

RATE = 0.025
"""The rate unless given: a step changes a weight by up to this share of its tensor's size."""

_WARM = 0.05
"""The share of a run in which the rate rises."""

_PATIENCE = 8
"""Epochs without a better one before training stops, or half of those planned if that is more.

A network that has lost little gets worse at first: its loss falls as the rate does, in the end.
"""

_MOST = 256
"""Inputs that are judged at once."""

_STAGE = "fine-tune"


class Run:
    """One training run; see `tune`."""

    def __init__(
        self,
        student: Model,
        teacher: Model,
        data: Dataset,
        options: Options,
        threads: int,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock(options.minutes)
        torch.set_num_threads(threads or os.cpu_count() or 1)
        labels = data.require_labels("training") if options.labels else None
        self._model, self._options = student, options
        self._fitted, held_out = data.split(HELD_OUT)
        self._rate = options.learning_rate or RATE
        self._augmentation = Augmentation.of(options.augment, data)
        self._teacher = Teacher.of(student, teacher, threads)
        train = {"BatchNormalization": options.batch_norm == "trained"}
        self._student = Student(student, self._teacher, train)
        self._scales = self._student.scales
        self._held_out = [self._batch(rows, held_out) for rows in _slices(held_out, _MOST)]
        self._held = len(held_out)
        first = self._held_out[0]
        if labels is not None:
            self._student.require_scores(first, labels)
        asked = with_outputs(student.to_proto(embed=True), self._teacher.names)
        self._student.require_same(Session(asked, threads), first)
        self._student.settle(self._held_out)
        self._optimiser = self._adam()  # whose import takes seconds, which count

    def result(self, kept: Finished, progress: Progress) -> Tuned:
        """The whole run, from where it was left."""
        state = TrainingState.of(kept.load(_STAGE))
        if state is None:
            state = self._begun()
            kept.save(_STAGE, state.checkpoint())
        else:
            self._clock.earlier = state.seconds
        self._restore(state)
        while state.goes_on and self._has_time(state):
            progress(Step(_STAGE, len(state.epochs), state.planned, "epoch", state.best_loss))
            self._advance(state)
            kept.save(_STAGE, state.checkpoint())
        progress(Step(_STAGE, state.planned, state.planned))
        self._student.restore(state.best)
        is_better = state.best_loss < state.before
        weights = self._student.network.stored() if is_better else {}
        return Tuned(
            self._model.with_weights(weights),
            state.before,
            state.best_loss,
            self._rate,
            str(self._augmentation),
            tuple(state.epochs),
            state.planned,
            len(self._fitted),
            self._held,
        )

    # --- before the first epoch ------------------------------------------------------------------

    def _begun(self) -> TrainingState:
        """The state to start from, and how many epochs there is time for."""
        start, began = self._student.snapshot(), self._clock.spent
        before = self._student.mean_loss(self._held_out)
        judging = self._clock.spent - began
        planned = self._schedule(judging)
        state = TrainingState(planned.epochs, before, start, before, start, {}, [])
        state.steps, state.judging = planned.steps, judging
        state.begun = state.seconds = self._clock.spent
        return state

    def _schedule(self, judging: float) -> Timetable:
        """How many epochs fit into the minutes, or how much of one."""
        if self._options.minutes == math.inf:
            return Timetable(self._options.epochs, self._steps)
        batches = self._batches(np.random.default_rng(self._options.seed))

        def step() -> None:
            self._student.loss(next(batches)).backward()  # type: ignore[no-untyped-call]

        seconds = self._clock.timed([step] * self._steps)
        return self._clock.schedule(self._options.epochs, self._steps, seconds, judging)

    # --- epochs ----------------------------------------------------------------------------------

    def _has_time(self, state: TrainingState) -> bool:
        """Whether another epoch can begin; the first one always can."""
        return not state.epochs or self._clock.left > state.judging

    def _restore(self, state: TrainingState) -> None:
        self._student.restore(state.current)
        self._optimiser = self._adam()
        for name, value in self._student.values.items():
            if moments := state.moments.get(name):
                self._optimiser.state[value] = {
                    key: torch.from_numpy(np.array(array)) for key, array in moments.items()
                }

    def _adam(self) -> torch.optim.Adam:
        groups = [
            {"params": [value], "lr": 0.0, "scale": self._scales[name]}
            for name, value in self._student.values.items()
        ]
        return torch.optim.Adam(groups)

    def _advance(self, state: TrainingState) -> None:
        """One epoch more."""
        number = len(state.epochs)
        rng = np.random.default_rng((self._options.seed, number))
        losses: list[float] = []
        for step, batch in zip(range(state.steps), self._batches(rng), strict=False):
            timed = self._clock.share(state.begun, state.judging)
            if timed >= 1 and losses:
                break
            done = max(timed, (number + step / state.steps) / state.planned)
            _set_rate(self._optimiser, _annealed(self._rate, min(1.0, done)))
            losses.append(self._step(self._optimiser, batch))
        held_out = self._student.mean_loss(self._held_out)
        state.epochs.append(Epoch(number + 1, float(np.mean(losses)), held_out))
        state.seconds = self._clock.spent
        logger.info("epoch %d: loss %.4g, held out %.4g", number + 1, losses[-1], held_out)
        state.current = self._student.snapshot()
        state.moments = {
            name: {key: array.numpy().copy() for key, array in self._optimiser.state[value].items()}
            for name, value in self._student.values.items()
            if self._optimiser.state[value]
        }
        if held_out < state.best_loss:
            state.best, state.best_loss = state.current, held_out

    def _step(self, optimiser: torch.optim.Adam, batch: Batch) -> float:
        loss = self._student.loss(batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.item()

    @property
    def _steps(self) -> int:
        """Batches in an epoch."""
        return len(_slices(self._fitted, self._options.batch))

    def _batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """An epoch's batches in random order, changed at random."""
        order = rng.permutation(len(self._fitted))
        for rows in _slices(self._fitted, self._options.batch):
            yield self._batch(np.sort(order[rows]), self._fitted, rng)

    def _batch(
        self, rows: slice | Array, data: Dataset, rng: np.random.Generator | None = None
    ) -> Batch:
        """Some samples with their targets; changed at random where there is a generator."""
        taken = replace(data.take(rows), kinds=None)  # which would be fed one after another
        feed = next(taken.batches(max(1, len(taken))))
        if rng is not None:
            feed = self._augmentation.apply(feed, rng)
        labels = taken.labels if self._options.labels else None
        targets = self._teacher.targets(feed) if labels is None or rng is None else []
        return Batch(feed, targets, labels)


@dataclass
class TrainingState:
    """Where a run stands, as it can be kept: epochs, values, Adam's moments.

    An epoch has `steps`, and judging what it came to takes `judging` seconds. `seconds` of the
    minutes are over, of which `begun` were before the first epoch.
    """

    planned: int
    before: float
    current: dict[str, Array]
    best_loss: float
    best: dict[str, Array]
    moments: dict[str, dict[str, Array]]
    epochs: list[Epoch]
    steps: int = 0
    begun: float = 0.0
    judging: float = 0.0
    seconds: float = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether another epoch is worth it."""
        done = len(self.epochs)
        if done >= self.planned:
            return False
        losses = [epoch.held_out for epoch in self.epochs]
        if not losses or not math.isfinite(losses[-1]):
            return not losses
        return done - 1 - int(np.argmin(losses)) < max(_PATIENCE, self.planned // 2)

    def checkpoint(self) -> Checkpoint:
        """The same as a part that can be kept."""
        arrays = {f"current/{name}": array for name, array in self.current.items()}
        arrays |= {f"best/{name}": array for name, array in self.best.items()}
        for name, moments in self.moments.items():
            arrays |= {f"{key}/{name}": array for key, array in moments.items()}
        facts = {
            "planned": self.planned,
            "before": self.before,
            "best_loss": self.best_loss,
            "epochs": [(each.number, each.loss, each.held_out) for each in self.epochs],
            "times": (self.steps, self.begun, self.judging, self.seconds),
        }
        return Checkpoint(arrays, facts)

    @classmethod
    def of(cls, part: Checkpoint | None) -> TrainingState | None:
        """The state that was kept, if one was."""
        if part is None:
            return None
        groups: dict[str, dict[str, Array]] = {}
        for key, array in part.arrays.items():
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = array
        current, best = groups.pop("current"), groups.pop("best")
        moments: dict[str, dict[str, Array]] = {}
        for key, group_of in groups.items():
            for name, array in group_of.items():
                moments.setdefault(name, {})[key] = array
        facts = part.facts
        epochs = [Epoch(*each) for each in facts["epochs"]]
        numbers = (facts["planned"], facts["before"])
        return cls(*numbers, current, facts["best_loss"], best, moments, epochs, *facts["times"])


def _annealed(rate: float, done: float) -> float:
    """A rate that rises at first, until Adam's moments mean something, and falls along a cosine.

    Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5.
    """
    if done < _WARM:
        return rate * (done + _WARM / 10) / _WARM / 1.1
    return rate * (1 + math.cos(math.pi * (done - _WARM) / (1 - _WARM))) / 2


def _set_rate(optimiser: torch.optim.Adam, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]


def _slices(data: Dataset, size: int) -> Sequence[slice]:
    """Rows of the batches of an epoch, of the model's own size where that is fixed.

    What does not fill the last batch is left out: in an epoch others are.
    """
    size = data.fixed_batch or min(size, len(data))
    whole = len(data) // size
    if not whole:
        raise DataError(f"{len(data)} inputs do not fill the model's batch of {size}")
    return [slice(at * size, (at + 1) * size) for at in range(whole)]
