"""A cost to lower and a bound on the outputs, together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eapc.errors import UsageError
from eapc.goals.bound import Bound, Broken
from eapc.goals.goal import Goal
from eapc.goals.result import Pruned, Trial
from eapc.goals.target import Judge, Target

if TYPE_CHECKING:
    from eapc.goals.trials import Trials
    from eapc.model import Model
    from eapc.pipeline import Options, Pass, Recipe


@dataclass(frozen=True, init=False)
class Joint(Goal):
    """The cost of a target at the least loss, if the bound is kept there.

    Where it breaks, the lowest cost that keeps it is sought, by the way of least loss where there
    are several; the goal is then missed.
    """

    value: tuple[Target, Bound[Any]]

    def __init__(self, target: Target, bound: Bound[Any]) -> None:
        if not isinstance(target, Target) or not isinstance(bound, Bound):
            raise UsageError(
                f"{_named(target)} and {_named(bound)}: give one cost to lower and one bound"
            )
        own = {
            "value": (target, bound),
            "option": f"{target.option} {bound.option}",
            "note": f"a {bound.option} that breaks there is kept at a higher {target.cost}",
            "is_searched": target.is_searched,
            "has_budget": True,
            "needs_labels": bound.needs_labels,
            "held_out": bound.held_out,
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @property
    def target(self) -> Target:
        """The cost."""
        return self.value[0]

    @property
    def bound(self) -> Bound[Any]:
        """What the outputs are to keep."""
        return self.value[1]

    @property
    def parts(self) -> tuple[Goal, ...]:
        """Both."""
        return self.value

    def __str__(self) -> str:
        """The goal as it is typed: `--target-latency 0.7 --max-drop 0.01`."""
        return f"{self.target} {self.bound}"

    def require_share(self) -> None:
        """The bound's own."""
        self.bound.require_share()

    def is_known(self, recipe: Recipe) -> bool:
        """The target's answer: its budget is what is tried first."""
        return self.target.is_known(recipe)

    def options(self, recipe: Recipe) -> Options:
        """The target's."""
        return self.target.options(recipe)

    def steps(self, recipe: Recipe) -> tuple[Pass, ...]:
        """The target's."""
        return self.target.steps(recipe)

    def kept_out(self, data: Any, has_labels: bool) -> float | None:
        """The bound's."""
        return self.bound.kept_out(data, has_labels)

    def pursue(self, trials: Trials) -> Pruned:
        """The target's result of least loss, if it keeps the bound, else the cheapest that does."""
        trials = trials.of(self)
        self.bound.require_judge(trials)
        ways = list(self.target.tried_ways(trials, self._judge(trials)))
        reached = [result for _, result in ways]
        met = [each for each in reached if each.goal_met and _chosen(each).is_kept]
        if met:
            best = trials.least_diverging(met).with_trials_of(reached)
            return replace(best, goal=self, **self._figures(trials, best.model))
        way, missed = min(ways, key=lambda one: _loss(one[1]))
        lowest = self._cheapest(way, missed)
        found = [*reached, *_others([lowest], reached)]
        return self._settled(trials, self._best(found).with_trials_of(found), missed)

    def _judge(self, trials: Trials) -> Judge:
        def judge(model: Model) -> tuple[float, bool]:
            verdict = self.bound.judged(trials, model)
            return verdict.loss, self.bound.is_kept(verdict)

        return judge

    def _figures(self, trials: Trials, model: Model) -> Mapping[str, Any]:
        return self.bound.figures(trials, model, self.bound.judged(trials, model))

    def _cheapest(self, way: Trials, reached: Pruned) -> Pruned:
        """The lowest cost of a way that keeps the bound, where what the target came to does not."""
        tried = _chosen(reached)
        if tried.is_kept or not reached.is_pruned:
            return reached
        way.counts_also(self.target)
        broken = Broken(way.cost(reached.compilation), tried.loss or 0.0)
        return self.bound.lowest(way, broken)

    def _best(self, found: Sequence[Pruned]) -> Pruned:
        """The cheapest that keeps the bound; where none does what loses least."""
        kept = [each for each in found if _chosen(each).is_kept]
        return min(kept, key=self.target.ratio) if kept else min(found, key=_loss)

    def _settled(self, trials: Trials, best: Pruned, missed: Pruned) -> Pruned:
        """The result with why the goal is missed: most often it is."""
        ratio, limit = self.target.ratio(best), self.target.limit(trials.original)
        is_kept, cost = _chosen(best).is_kept, self.target.cost
        met = is_kept and ratio <= limit
        told = self.bound.told(self.bound.judged(trials, missed.model))
        said = f"the lowest {cost} found to keep {self.bound} is {ratio:.3f}, not {limit:.4g}"
        if not is_kept:
            said = f"nothing keeps {self.bound}"
        if best is not missed and not _chosen(missed).is_kept:
            said = f"{said}; at {self.target.ratio(missed):.3f} {told}"
        elif best.goal is self.target and best.reason:
            said = best.reason
        figures = self._figures(trials, best.model)
        reason = "" if met else said
        return replace(best, goal=self, goal_met=met, reason=reason, **figures)


def joined(parts: Sequence[Goal]) -> Goal:
    """The one goal that is given, or the joint one of a cost and a bound, in either order.

    Raises UsageError for anything else.
    """
    if len(parts) == 1:
        return parts[0]
    targets: list[Any] = sorted(parts, key=lambda part: not isinstance(part, Target))
    if len(targets) != 2:
        names = " and ".join(_named(part) for part in parts) or "no goals"
        raise UsageError(f"{names}: give one goal, or one cost to lower and one bound")
    return Joint(*targets)


def _chosen(result: Pruned) -> Trial:
    """The trial that a result is of."""
    return next(each for each in result.trials if each.is_chosen)


def _loss(result: Pruned) -> float:
    lost = _chosen(result).loss
    return math.inf if lost is None else lost


def _others(found: Sequence[Pruned], known: Sequence[Pruned]) -> list[Pruned]:
    """Those that are not among others."""
    return [each for each in found if not any(each is other for other in known)]


def _named(part: object) -> str:
    return part.option if isinstance(part, Goal) else repr(part)
