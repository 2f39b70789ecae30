"""What pruning a model comes to: one object from the search to the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from eapc.goals.holders import Held
from eapc.showing import Shown

if TYPE_CHECKING:
    from eapc.energy import EnergyReport, RatioInterval
    from eapc.evaluation import Accuracy, Agreement
    from eapc.goals.goal import Goal
    from eapc.layers import Skipped
    from eapc.model import Model
    from eapc.pipeline import ChannelRecord, Compilation, LatencyRecord, LayerRecord, Pipeline


@dataclass(frozen=True)
class Trial:
    """A network that a search has tried: what it costs and what it lost.

    `costs` are ratios to the dense network's by name, those that are known: `energy`, `weights`
    (non-zero ones), `macs` (those that are not skipped), `latency`, `size` (bytes of the file).
    `loss` is what a judge says the outputs lost, None where none was asked. `is_kept` tells whether
    the bound on the outputs is kept, or, where there is none, the target reached; `is_chosen` is
    that of the result.
    """

    costs: Mapping[str, float]
    loss: float | None = None
    is_kept: bool = True
    is_chosen: bool = False


def costs_of(compilation: Compilation, before: EnergyReport) -> dict[str, float]:
    """What a network costs over what the dense one does, by name; 1 where that is nothing."""
    after = compilation.priced
    pairs = {
        "energy": (after.energy_mac_units, before.energy_mac_units),
        "weights": (after.nonzero_weights, before.nonzero_weights),
        "macs": (after.nonskipped_macs, before.nonskipped_macs),
    }
    costs = {name: one / other if other else 1.0 for name, (one, other) in pairs.items()}
    latency = compilation.record.latency
    return costs if latency is None else {**costs, "latency": latency.ratio}


T = TypeVar("T")


def best_trials(trials: Sequence[Trial], cost: str) -> tuple[Trial, ...]:
    """The trials on the Pareto front of a cost and loss, the cheapest first.

    Those of unknown cost or loss take no part.
    """
    told = [
        ((each.costs[cost], each.loss), each)
        for each in trials
        if cost in each.costs and each.loss is not None
    ]
    return tuple(pareto_front(told))


def pareto_front(known: Iterable[tuple[tuple[float, float], T]]) -> list[T]:
    """Those that no other beats in cost and loss alike, the cheapest first; of equals the first.

    Each stands behind its cost and its loss.
    """
    found: list[T] = []
    least = math.inf
    for (_, lost), each in sorted(known, key=lambda one: one[0]):
        if lost < least:
            found.append(each)
            least = lost
    return found


_ALL = 0.995
"""From here on no zeros were meant: some weights are zero by themselves."""


@dataclass(frozen=True, repr=False)
class Pruned(Shown):
    """A pruned model and everything known about it.

    `goal_met` is False when the best that could be done falls short; `reason` says why.
    `accuracy`, or another metric in its place, is known where there are inputs to evaluate on;
    where a part of them decided, `decided` is that of those and `accuracy` of the others.
    `agreement` is that on inputs that were held out. Where none could be it is that on inputs
    that were fitted: then `fitted` is True and the figure flatters.
    `floor` is about the lowest fraction of the objective that the goal could have asked, if known.
    Where inputs that did not decide are there to confirm the goal, `confidence` says how surely it
    holds by them. `doubt` says why a goal that was met is not confirmed, and is empty where it is.
    `trials` are the networks that a search has tried, in its order.
    `held` names what holds the cost of a goal that is missed. `uncut` is the energy of a classifier
    before it was cut to some of its classes, where it was; `before` is that of the cut one.
    """

    goal: Goal
    compilation: Compilation
    before: EnergyReport
    steps: Pipeline
    goal_met: bool = True
    reason: str = ""
    accuracy: Accuracy | None = None
    decided: Accuracy | None = None
    agreement: Agreement | None = None
    fitted: bool = False
    floor: float | None = None
    doubt: str = ""
    confidence: float | None = None
    held: Held = field(default_factory=Held)
    output: Path | None = None
    uncut: EnergyReport | None = None
    trials: tuple[Trial, ...] = ()

    @property
    def shortfall(self) -> str:
        """What to say where the goal is not met, or not confirmed; else empty."""
        if not self.goal_met:
            return f"not met: {self.reason}"
        return f"not confirmed: {self.doubt}" if self.doubt else ""

    @property
    def confirmed(self) -> bool:
        """Whether nothing speaks against a goal that was met."""
        return not self.doubt

    @property
    def name(self) -> str:
        """The goal as it is typed: `--target-energy 0.7`."""
        return str(self.goal)

    @property
    def pipeline(self) -> str:
        """What leads to the result, as it would be typed."""
        return str(self.steps)

    @property
    def model(self) -> Model:
        """The pruned model."""
        return self.compilation.model

    @property
    def after(self) -> EnergyReport:
        """The pruned model's energy."""
        return self.compilation.priced

    @property
    def energy_ratio(self) -> float:
        """Energy after over energy before."""
        before = self.before.energy_mac_units
        return self.after.energy_mac_units / before if before else 1.0

    @property
    def energy_ratio_interval(self) -> RatioInterval | None:
        """Where that ratio lies, by what the machine was held against; None where unknown."""
        from eapc.energy import ratio_interval

        return ratio_interval(self.before, self.after)

    @property
    def sparsity(self) -> float:
        """The fraction of all weights that are zero."""
        after = self.after
        return 1 - after.nonzero_weights / after.weights if after.weights else 0.0

    @property
    def left(self) -> str:
        """What pruning has left, to begin a reason with."""
        layers, groups = self.layers, self.groups
        kept = sum(each.nonzero_weights for each in layers) / max(1, sum(e.weights for e in layers))
        share = float(f"{100 * kept:.2g}")  # 100, not 1e+02
        weights = f"{share:g} % of the pruned layers' weights"
        if not groups:
            return f"with {weights} left"
        before, after = (sum(getattr(e, name) for e in groups) for name in ("before", "after"))
        zeroed = f" and {weights}" if kept < _ALL else ""
        return f"with {after} of {before} channels{zeroed} left"

    @property
    def is_pruned(self) -> bool:
        """Whether any weights or channels were to go."""
        return bool(self.layers or self.groups)

    @property
    def layers(self) -> tuple[LayerRecord, ...]:
        """What each pruned weight tensor has kept."""
        return tuple(self.compilation.record.layers.values())

    @property
    def groups(self) -> tuple[ChannelRecord, ...]:
        """Channel counts, where channels went."""
        return self.compilation.record.groups

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left alone, and why."""
        return self.compilation.record.skipped

    @property
    def latency(self) -> LatencyRecord | None:
        """Known where a measured machine is the objective."""
        return self.compilation.record.latency

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time spent by stage, and in `total`."""
        return self.compilation.record.seconds

    @property
    def synthesised(self) -> bool:
        """True where the inputs it was fitted on were made up."""
        data = self.compilation.calibration
        return data is not None and data.synthesised

    @property
    def inputs(self) -> str:
        """Which values made-up inputs have, and what tells so; empty for data."""
        data = self.compilation.calibration
        return "" if data is None else data.origin

    @property
    def assumed(self) -> tuple[str, ...]:
        """Sizes and single numbers that were made up, a sentence each."""
        from eapc.model import assumed_sizes

        done, data = self.compilation, self.compilation.calibration
        if data is None or not data.synthesised:
            return ()
        given = done.conditions.input_shapes
        return (*assumed_sizes(self.model, given, data.shapes(1)), *data.notes)

    def with_trials_of(self, found: Sequence[Pruned]) -> Pruned:
        """The same with the trials of several results, itself among them; its own is the chosen."""
        trials = (
            each if result is self else replace(each, is_chosen=False)
            for result in found
            for each in result.trials
        )
        return replace(self, trials=tuple(trials))

    def with_loss(self, loss: float) -> Pruned:
        """The same with what the outputs lose on record, where no judge of the search told it."""
        trials = tuple(
            replace(each, loss=loss) if each.is_chosen and each.loss is None else each
            for each in self.trials
        )
        return replace(self, trials=trials)

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the pruned model once it has been verified, where `output` has not."""
        self.compilation.save(path, force)

    def spending(self, seconds: Mapping[str, float]) -> Pruned:
        """The same, having taken this time."""
        return replace(self, compilation=self.compilation.with_record(seconds=seconds))
