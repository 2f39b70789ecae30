"""The two networks of a dynamic one: given, pruned to a ratio, or the best pair of several."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from eapc.commands.preparation import Settings, checked, prepare
from eapc.commands.sweep import pursue_all
from eapc.errors import UsageError
from eapc.goals import TargetEnergy
from eapc.model import Array, Model
from eapc.pipeline import Recipe
from eapc.progress import Progress
from eapc.routing import Level, Split, choose_cut

logger = logging.getLogger(__name__)

Given = float | Model | None
"""A ratio of the original's energy, a ready network, or nothing: then it is chosen."""

ORIGINAL = "the original"

RATIOS = (0.85, 0.7, 0.55, 0.4, 0.25)
"""Energies of the networks that a pair is chosen from where none are given."""


class Pair(NamedTuple):
    """The network that answers what is hard, and the one that answers all else."""

    mild: Level
    aggressive: Level


def networks_of(
    original: Model, settings: Settings, mild: Given, aggressive: Given, progress: Progress
) -> tuple[Settings, dict[str, Model]]:
    """The networks at hand by their sources, the original first; settings with data as read."""
    ratios = [each for each in (mild, aggressive) if isinstance(each, float)]
    if mild is None or aggressive is None:
        ratios += RATIOS
    ready = [each for each in (mild, aggressive) if isinstance(each, Model)]
    networks = {ORIGINAL: original}
    for network in ready:
        networks[_unused(source_of(network), networks)] = network
    wanted = sorted({ratio for ratio in ratios if ratio < 1}, reverse=True)
    if not wanted:
        compilation = prepare(original, settings)
        return replace(settings, calibration=compilation.calibration), networks
    goals = [TargetEnergy(ratio) for ratio in wanted]
    recipe = Recipe(structured=True, zeros=True)
    begun = checked(original, settings, goals, recipe, None, (), force=False)
    begun = begun.with_inputs(settings.samples)
    for row in pursue_all(begun, goals, {}, None, False, False, progress):
        if row.shortfall and row.goal.value in (mild, aggressive):
            logger.warning(f"{row.goal} is {row.shortfall}")
        networks[source_of(row.goal.value)] = row.model
    return replace(settings, calibration=begun.compilation.calibration), networks


def source_of(given: float | Model) -> str:
    """How a network is called: by its file, or by the ratio that it was pruned to."""
    if isinstance(given, Model):
        return str(given.path or given.name)
    return ORIGINAL if given >= 1 else f"pruned to {given:g}"


def _unused(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it where it is taken."""
    numbered = (f"{name} ({place})" for place in range(2, len(taken) + 3))
    return next(each for each in (name, *numbered) if each not in taken)


def best_pair(
    levels: Sequence[Level],
    mild: Given,
    aggressive: Given,
    right: Mapping[str, Array],
    rows: Split,
    confidence: Mapping[str, Array],
    max_drop: float,
) -> Pair:
    """The pair of least expected energy that keeps the drop, told by confidence alone.

    `right` says which of all answers are right, `confidence` how unsure each network is of each.
    Where no pair keeps the drop it is the most accurate one. Raises UsageError where no network
    for the hard inputs takes more energy than one for all inputs.
    """
    pairs = list(_pairs(levels, mild, aggressive))
    if not pairs:
        raise UsageError(_no_pair(levels, mild, aggressive))

    def cost(pair: Pair) -> tuple[bool, float]:
        first, second = (right[each.source][rows.choose] for each in reversed(pair))
        hardness = confidence[pair.aggressive.source][rows.choose]
        cut = choose_cut(hardness, first, second, levels[0].chosen.before - max_drop)
        second_energy = pair.mild.energy.energy_mac_units
        energy = pair.aggressive.energy.energy_mac_units + cut.share * second_energy
        return not cut.is_kept, energy if cut.is_kept else -cut.accuracy

    return min(pairs, key=cost)


def _pairs(levels: Sequence[Level], mild: Given, aggressive: Given) -> Iterator[Pair]:
    for second in _allowed(levels, mild):
        for first in _allowed(levels, aggressive):
            if first.energy.energy_mac_units < second.energy.energy_mac_units:
                yield Pair(second, first)


def _allowed(levels: Sequence[Level], given: Given) -> list[Level]:
    """The level of what is given, else all."""
    if given is None:
        return list(levels)
    if isinstance(given, Model):
        return [each for each in levels if each.model is given]
    return [each for each in levels if each.source == source_of(given)]


def _no_pair(levels: Sequence[Level], mild: Given, aggressive: Given) -> str:
    dense = levels[0].energy.energy_mac_units
    said = []
    for option, given in (("--mild", mild), ("--aggressive", aggressive)):
        found = [each.energy.energy_mac_units / dense for each in _allowed(levels, given)]
        span = f"{min(found):.3f}" if given is not None else f"{min(found):.3f} or more"
        said.append(f"{option} takes {span} of the original's energy")
    return f"{said[0]}, {said[1]}: the first has to take more than the second"
