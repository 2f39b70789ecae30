"""choose-widths: the bits of every layer's weights and of every activation, for a budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from eapc.allocation import Curves
from eapc.errors import UsageError
from eapc.pipeline import (
    AllowedWidths,
    Compilation,
    Names,
    Numbers,
    Pass,
    Recipe,
    width_plan,
    with_repriced_curves,
    with_widths,
    without_pruning,
)
from eapc.registry import CRITERIA
from eapc.structured import DEFAULT_CRITERION, ChannelPlan
from eapc.widths import WidthPlan

_WIDTHS = tuple(range(2, 9))


@dataclass(frozen=True)
class ChooseWidths(Pass):
    """Choose bits of weights and activations for a budget that what follows has a share of."""

    name: ClassVar[str] = "choose-widths"

    energy: float | None = field(
        default=None,
        metadata={"help": "energy to keep, all told, as a fraction of the dense network's"},
    )
    structured: bool = field(default=False, metadata={"help": "prune-channels comes behind"})
    zeros: bool = field(default=False, metadata={"help": "prune-weights comes behind"})
    weights: Numbers = field(default=_WIDTHS, metadata={"help": "bits that weights may have, by |"})
    activations: Numbers = field(
        default=_WIDTHS, metadata={"help": "bits that activations may have, by |"}
    )
    criterion: str = field(
        default=DEFAULT_CRITERION, metadata={"help": "that of prune-channels", "choices": CRITERIA}
    )
    include: Names = field(default=(), metadata={"help": "what is pruned behind, by |"})
    exclude: Names = field(default=(), metadata={"help": "what is left alone behind, by |"})

    def __post_init__(self) -> None:
        CRITERIA.require(self.criterion)
        if self.energy is None or not 0 < self.energy <= 1:
            raise UsageError(f"choose-widths: give an energy in (0, 1], got {self.energy}")
        for name in ("weights", "activations"):
            widths = getattr(self, name)
            if not widths or not set(widths) <= set(_WIDTHS):
                given = "|".join(map(str, widths)) or "none"
                raise UsageError(
                    f"choose-widths: {name}: expected bits from {_WIDTHS[0]} to {_WIDTHS[-1]}, "
                    f"such as 4|8, got {given}"
                )
        if self.criterion != DEFAULT_CRITERION and not self.structured:
            raise UsageError("choose-widths: criterion chooses channels: give structured=true too")
        if not (self.structured or self.zeros) and (self.include or self.exclude):
            raise UsageError("choose-widths: include and exclude name what zeros or channels go of")

    @property
    def needs_calibration(self) -> bool:
        """What widths lose is seen on inputs."""
        return True

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with widths on record, and as conditions that all behind is priced at.

        Curves of layers and channels that were measured for it are kept, at prices of these widths.
        """
        basis = (replace(self, energy=1.0), compilation.conditions.bits)
        plan, energy = compilation.record.width_plan, self.energy or 1.0
        if plan is None or plan.basis != basis:
            allowed = self._allowed(compilation)
            plan = replace(width_plan(compilation, allowed, self._pruning), basis=basis)
        chosen = with_widths(compilation, plan.choice(energy).bits.of_tensor)
        done = chosen.with_record(
            widths=chosen.conditions.bits,
            width_plan=plan,
            notes=(*compilation.record.notes, *_notes(plan, energy)),
            channel_plan=plan.channels if self.structured else None,
            curves=Curves(plan.channels.zeros, 0.0) if self.zeros else None,
        )
        return with_repriced_curves(done)

    def _allowed(self, compilation: Compilation) -> AllowedWidths:
        """The widths that are asked for and that the machine knows."""
        known = compilation.hardware.widths
        weights, activations = set(self.weights), set(self.activations)
        if known is not None:
            weights, activations = weights & {*known.weights}, activations & {*known.activations}
        if not weights or not activations:
            raise UsageError(
                f"choose-widths: {compilation.hardware.name} knows none of the widths asked for"
            )
        return AllowedWidths(_falling(weights), _falling(activations))

    def _pruning(self, compilation: Compilation) -> ChannelPlan:
        """The curves of what goes behind, and what channels cost; nothing has gone yet."""
        if not (self.structured or self.zeros):
            return without_pruning(compilation)
        recipe = Recipe(
            structured=self.structured,
            zeros=self.structured and self.zeros,
            criterion=self.criterion,
            include=self.include,
            exclude=self.exclude,
        )
        prune, *_ = recipe.steps(recipe.budget(1.0))
        record = prune.run(compilation.with_record(curves=None, channel_plan=None)).record
        if record.channel_plan is not None:
            return record.channel_plan
        return without_pruning(compilation, record.curves.layers if record.curves else ())


def _falling(widths: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(widths), reverse=True))


def _notes(plan: WidthPlan, energy: float) -> Iterator[str]:
    """The widths in a few words, and whether a budget is out of their reach."""
    bits = plan.choice(energy).bits.of_tensor
    for what, curves in (("weights", plan.weights), ("activations", plan.activations)):
        own = [bits[name] for curve in curves for name in curve.tensors]
        if own:
            mean = sum(own) / len(own)
            yield f"{what} have {min(own)} to {max(own)} bits, {mean:.1f} on average"
    if plan.lowest_ratio > energy:
        yield (
            f"widths: an energy of {energy:g} is out of reach: the least of everything leaves "
            f"{plan.lowest_ratio:.3f}"
        )
