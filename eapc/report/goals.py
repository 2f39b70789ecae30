"""What was asked of a search and what it reached; and all that it tried, the trade-off between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from eapc.goals import Goal, Pruned, Target, TargetSize, Trial, best_trials
from eapc.report.layout import Column, TextTable, engineering, percent, plain, table_of


def asked_document(pruned: Pruned) -> list[dict[str, Any]]:
    """Each part of the goal: what was asked and what was reached, in the same unit."""
    return [_asked(part, pruned) for part in pruned.goal.parts]


def _asked(part: Goal, pruned: Pruned) -> dict[str, Any]:
    value = part.value if isinstance(part.value, int | float) else str(part.value)
    found = {"option": part.option, "value": value, "reached": part.reached(pruned)}
    if isinstance(part, Target):
        found["limit"] = part.limit(pruned.compilation.reference)
    if isinstance(part, TargetSize):
        found |= {"packed": part.packed or None, "bytes": part.bytes_of(pruned)}
    return found


def asked_rows(pruned: Pruned) -> Iterator[tuple[str, str]]:
    """What the file's cost is, where the goal is one that the table of figures has no row for."""
    for part in pruned.goal.parts:
        if isinstance(part, TargetSize):
            packed = f" packed by {part.packed}" if part.packed else ""
            most = percent(part.limit(pruned.compilation.reference))
            held = (
                f"{engineering(part.bytes_of(pruned), 'B')}{packed}, {percent(part.ratio(pruned))}"
            )
            yield "size of the file", f"{held} of the original's; at most {most} wanted"


def shown_cost(goal: Goal) -> Target | None:
    """The cost of a sweep's goals that has a column of its own: what the others do not show."""
    target = goal.parts[0]
    has_own = isinstance(target, Target) and target.cost not in ("energy", "latency")
    return target if has_own and isinstance(target, Target) else None


def trial_document(trial: Trial) -> dict[str, Any]:
    """A network that a search has tried; costs are ratios to the dense network's."""
    return {
        "costs": dict(trial.costs),
        "loss": trial.loss,
        "kept": trial.is_kept,
        "chosen": trial.is_chosen,
    }


def frontier_table(pruned: Pruned, width: int) -> Iterator[TextTable]:
    """What a joint goal has tried, the cheapest first, where it is out of reach.

    Marked are those that nothing beats in cost and loss alike.
    """
    targets = [part for part in pruned.goal.parts if isinstance(part, Target)]
    if pruned.goal_met or len(pruned.goal.parts) == 1 or not targets:
        return
    cost = targets[0].cost
    known = sorted((each for each in pruned.trials if cost in each.costs), key=_by(cost))
    best = best_trials(known, cost)
    yield table_of(
        {
            Column(f"{cost}\ntried"): [percent(each.costs[cost]) for each in known],
            Column("loss"): [_loss(each, pruned) for each in known],
            Column("bound", "left"): ["kept" if e.is_kept else "broken" for e in known],
            Column("", "left"): [_mark(each, best) for each in known],
        },
        width,
    )


def _by(cost: str) -> Any:
    return lambda each: (each.costs[cost], math.inf if each.loss is None else each.loss)


def _mark(trial: Trial, best: tuple[Trial, ...]) -> str:
    said = "least loss at this cost" if any(each is trial for each in best) else ""
    return ", ".join(filter(None, (said, "written" if trial.is_chosen else "")))


def _loss(trial: Trial, pruned: Pruned) -> str:
    if trial.loss is None:
        return "-"
    if pruned.decided is not None:
        return plain(pruned.decided.amount(trial.loss))
    judged = pruned.agreement
    return percent(trial.loss) if judged is not None and judged.is_share else f"{trial.loss:.3g}"
