"""Whether channels that go make a quantized network faster here; where not, all of them stay.

A profile tells what layers take by themselves. What the whole network saves is timed: the result
and the same network at the same width with all its channels, in turns.
"""

from __future__ import annotations

from dataclasses import replace

from eapc.commands.turns import Turns, turns_of
from eapc.goals import Pruned, TargetLatency, Trial, Trials, costs_of
from eapc.pipeline import LatencyRecord
from eapc.profiling import Ratio, run_in_turns

_CARE = 4
"""Times the rounds of a comparison: what is taken out is not taken out for nothing."""


def no_slower_than_whole(pruned: Pruned, trials: Trials) -> Pruned:
    """A quantized result that is surely faster than all channels at its width, else that network.

    Results whose latency is not that of quantized networks stay as they are.
    """
    latency, compilation = pruned.latency, pruned.compilation
    machine = compilation.measured
    if latency is None or latency.bits is None or machine is None:
        return pruned
    if all(group.before == group.after for group in pruned.groups):
        return pruned
    whole = trials.whole_quantized(pruned)
    models = (whole.model, pruned.model)
    turns = turns_of(models, trials.calibration, machine.batch, machine.threads)
    rounds = turns.rounds(_CARE)
    ratio = run_in_turns(turns.runs, rounds).ratio(1, 0)
    if ratio.high < 1:
        notes = (*compilation.record.notes, _said(ratio, latency.bits, rounds, turns))
        return replace(pruned, compilation=compilation.with_record(notes=notes))
    return _kept_whole(pruned, whole, latency, ratio)


def _kept_whole(pruned: Pruned, whole: Pruned, latency: LatencyRecord, ratio: Ratio) -> Pruned:
    """The network with all its channels in place of a result that is no faster."""
    said = (
        f"with fewer channels the network at {latency.bits} bits takes {ratio.median:.1%} "
        f"({ratio.low:.1%} to {ratio.high:.1%}) of its time here, not surely less, so all of them "
        "are kept"
    )
    groups = tuple(replace(group, after=group.before) for group in pruned.groups)
    notes = (*whole.compilation.record.notes, said)
    kept = whole.compilation.with_record(
        latency=replace(latency, ratio=1.0), groups=groups, notes=notes
    )
    goal = pruned.goal
    met = isinstance(goal, TargetLatency) and goal.value >= 1
    others = (replace(each, is_chosen=False) for each in pruned.trials)
    chosen = Trial(costs_of(kept, pruned.before), is_kept=met, is_chosen=True)
    return replace(
        whole,
        compilation=kept,
        goal_met=met,
        reason="" if met else said,
        trials=(*others, chosen) if pruned.trials else (),
    )


def _said(ratio: Ratio, bits: int, rounds: int, turns: Turns) -> str:
    threads = "1 thread" if turns.threads == 1 else f"{turns.threads} threads"
    return (
        f"run in turns with all its channels at {bits} bits, the network takes {ratio.median:.1%} "
        f"of the time, {ratio.low:.1%} to {ratio.high:.1%} with 95 % confidence "
        f"({rounds} rounds, {threads})"
    )
