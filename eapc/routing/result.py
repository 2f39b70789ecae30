"""What a dynamic network comes to, beside the networks that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eapc.energy import EnergyReport
from eapc.evaluation import Accuracy
from eapc.model import Model
from eapc.routing.selector import Selection
from eapc.routing.threshold import Cut, share_interval
from eapc.showing import Shown


@dataclass(frozen=True)
class Level:
    """A network by itself: `source` says where it is from.

    `chosen` is its accuracy on the inputs that chose the threshold, `judged` that on those that
    decided nothing.
    """

    source: str
    model: Model
    energy: EnergyReport
    chosen: Accuracy
    judged: Accuracy


@dataclass(frozen=True, repr=False)
class DynamicNetwork(Shown):
    """A network in which an aggressively pruned one answers what it can, a mild one the rest.

    `first` and `second` are the energies of what every input runs, the selector included, and of
    what hard ones run in addition; `judged` is the accuracy and `sent` the number of inputs sent
    on of those that decided nothing. `singles` are all networks at hand, the original first; with
    `has_rival` the last of them is one that was pruned to the expected energy.
    """

    model: Model
    original: Level
    mild: Level
    aggressive: Level
    singles: tuple[Level, ...]
    selection: Selection
    cut: Cut
    first: EnergyReport
    second: EnergyReport
    judged: Accuracy
    sent: int
    max_drop: float
    parts: tuple[int, int, int]
    one_by_one: bool = False
    has_rival: bool = False
    output: Path | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of inputs that were sent on."""
        return self.sent / self.judged.samples

    @property
    def share_interval(self) -> tuple[float, float]:
        """What the share is in 95 of 100 cases."""
        return share_interval(self.sent, self.judged.samples)

    def energy_at(self, share: float) -> float:
        """MAC units of an input: E_first + share * E_second."""
        return self.first.energy_mac_units + share * self.second.energy_mac_units

    @property
    def energy_mac_units(self) -> float:
        """The expected energy of an input."""
        return self.energy_at(self.share)

    def ratio(self, energy: float) -> float:
        """An energy over the original's."""
        dense = self.original.energy.energy_mac_units
        return energy / dense if dense else 1.0

    @property
    def energy_ratio(self) -> float:
        """The expected energy over the original's."""
        return self.ratio(self.energy_mac_units)

    @property
    def best_single(self) -> Level | None:
        """The cheapest network at hand that keeps the drop where the threshold was chosen.

        None where none does, which the original rules out unless it is not at hand.
        """
        keeping = [each for each in self.singles if each.chosen.is_within(self.max_drop)]
        return min(keeping, key=lambda each: each.energy.energy_mac_units, default=None)

    @property
    def single_is_better(self) -> bool:
        """Whether one network keeps the same drop for no more energy."""
        best = self.best_single
        return best is not None and best.energy.energy_mac_units <= self.energy_mac_units

    @property
    def verdict(self) -> str:
        """One sentence on dynamic inference against the best single network."""
        best = self.best_single
        if best is None:
            return "no single network at hand keeps the drop"
        ratio = self.ratio(best.energy.energy_mac_units)
        single = f"{best.source} alone, {ratio:.3f} of the energy,"
        own = f"{self.energy_ratio:.3f}"
        if self.single_is_better:
            return f"one network is better: {single} keeps the drop; this takes {own}"
        return f"the best single network is {single} and this takes {own}"

    @property
    def rival(self) -> str:
        """What else to try where no network at hand is better; else empty."""
        if self.single_is_better or self.has_rival:
            return ""
        return (
            f"only these {len(self.singles)} networks were compared; `eapc prune --structured "
            f"--zeros --max-drop {self.max_drop:g}` makes one network that keeps the drop itself"
        )

    @property
    def shortfall(self) -> str:
        """What to say where the drop is not kept, or not confirmed; else empty."""
        chosen, judged = self.parts[1:]
        if not self.cut.is_kept:
            lost = 100 * (self.original.chosen.before - self.cut.accuracy)
            return f"not met: {lost:.1f} points are lost at best on the {chosen} inputs that choose"
        if not self.judged.is_within(self.max_drop):
            said = self.judged.amount(self.judged.loss)
            return f"not confirmed: on the {judged} inputs that did not decide {said} are lost"
        return ""
