"""The two networks of a dynamic one: given, pruned to a ratio, or the best pair of several."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from eapc.commands.preparation import Settings, checked, prepare
from eapc.energy import GivenBits
from eapc.errors import UsageError
from eapc.goals import Pruned, TargetEnergy
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


class LevelPruner:
    """Prunes one network to ratios of its energy, by channels and zeros, then quantizes it."""

    def __init__(
        self, original: Model, settings: Settings, progress: Progress, bits: GivenBits | None
    ) -> None:
        recipe = Recipe(structured=True, zeros=True, bits=bits)
        goal = TargetEnergy(1.0)
        begun = checked(original, settings, (goal,), recipe, None, (), force=False)
        begun = begun.with_inputs(settings.samples)
        self.calibration = begun.compilation.calibration
        self._trials = begun.trials(replace(begun.compilation, progress=progress))

    def pruned(self, ratio: float) -> Pruned:
        """The network that takes this fraction of the energy, or the least there is."""
        return TargetEnergy(ratio).pursue(self._trials)


class Networks(NamedTuple):
    """Networks at hand by their sources, the original first, and what makes more of them.

    `settings` have calibration data as read or made up; `pruner` is None where all are given.
    """

    by_source: dict[str, Model]
    settings: Settings
    pruner: LevelPruner | None = None


def networks_of(
    original: Model,
    settings: Settings,
    mild: Given,
    aggressive: Given,
    progress: Progress,
    bits: GivenBits | None = None,
) -> Networks:
    """The networks that are given, or pruned to what is given, or to several ratios.

    What is pruned has these bits. Raises UsageError where nothing is to be pruned that could.
    """
    ratios = [each for each in (mild, aggressive) if isinstance(each, float)]
    if mild is None or aggressive is None:
        ratios += RATIOS
    ready = [each for each in (mild, aggressive) if isinstance(each, Model)]
    networks = {ORIGINAL: original}
    for network in ready:
        networks[_unused(source_of(network), networks)] = network
    wanted = sorted({ratio for ratio in ratios if ratio < 1}, reverse=True)
    if not wanted:
        if bits is not None:
            raise UsageError("--bits: both networks are given: nothing is left to quantize")
        calibration = prepare(original, settings).calibration
        return Networks(networks, replace(settings, calibration=calibration))
    pruner = LevelPruner(original, settings, progress, bits)
    for ratio in wanted:
        row = pruner.pruned(ratio)
        if row.shortfall and ratio in (mild, aggressive):
            logger.warning(f"{row.goal} is {row.shortfall}")
        networks[source_of(ratio)] = row.model
    return Networks(networks, replace(settings, calibration=pruner.calibration), pruner)


def source_of(given: float | Model) -> str:
    """How a network is called: by its file, or by the ratio that it was pruned to."""
    if isinstance(given, Model):
        return str(given.path or given.name)
    return ORIGINAL if given >= 1 else f"pruned to {given:.4g}"


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
