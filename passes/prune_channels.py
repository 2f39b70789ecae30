"""prune-channels: choose the channels that can go, and zero all weights that make or read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np

from eapc.channel_costs import ChannelCosts
from eapc.channel_counts import ChannelPlan
from eapc.channel_curves import ChannelCurve, Survey
from eapc.channel_layers import LayeredGroup, with_layers, without_channels
from eapc.channels import ChannelGroup, find_groups
from eapc.criteria import CRITERIA, DEFAULT_CRITERION, NEED_NO_DATA, require_criterion
from eapc.energy import estimate, priced_as
from eapc.errors import ModelError, UsageError
from eapc.layers import TiedLayers, find_layers
from eapc.model import Model
from eapc.pipeline import Compilation, LayerRecord, Names, Pass
from eapc.progress import Step
from eapc.sensitivity import probe_inputs
from eapc.worklist import NodeWork

from .annotate_energy import density_table, shapes_of, works_of


@dataclass(frozen=True)
class PruneChannels(Pass):
    """Take out channels: the same fraction of every group, or down to an energy budget."""

    name: ClassVar[str] = "prune-channels"

    fraction: float | None = field(
        default=None, metadata={"help": "fraction of the channels of every group that goes, 0 to 1"}
    )
    energy: float | None = field(
        default=None,
        metadata={"help": "energy to keep, as a fraction of the whole network's, shared out"},
    )
    criterion: str = field(
        default=DEFAULT_CRITERION,
        metadata={"help": f"which channels go first: {', '.join(CRITERIA)}"},
    )
    include: Names = field(
        default=(),
        metadata={"help": "groups to prune: nodes that make them, or globs, by |"},
    )
    exclude: Names = field(default=(), metadata={"help": "groups to leave as they are"})

    def __post_init__(self) -> None:
        require_criterion(self.criterion)
        if (self.fraction is None) == (self.energy is None):
            raise UsageError("prune-channels: give either fraction or energy")
        if self.fraction is not None and not 0 <= self.fraction < 1:
            raise UsageError(f"prune-channels: fraction must be in [0, 1), got {self.fraction}")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise UsageError(f"prune-channels: energy must be in (0, 1], got {self.energy}")

    @property
    def needs_calibration(self) -> bool:
        """Error curves take inputs, and so do most criteria."""
        return self.fraction is None or self.criterion not in NEED_NO_DATA

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with channels zeroed, ready to be reconstructed and shrunk."""
        model = compilation.model
        groups = self._chosen(compilation)
        layers = find_layers(model).layers
        if self.energy is None:
            curves = self._curves(
                compilation, [with_layers(each, layers, model) for each in groups]
            )
            counts = self._even_counts(curves)
        else:
            compilation = self._with_plan(compilation, groups, layers)
            plan = compilation.record.channel_plan
            assert plan is not None
            curves, counts = plan.curves, plan.counts(self.energy)
        removed = {curve.name: curve.removed(counts[curve.name]) for curve in curves}
        kept = {curve.name: tuple(curve.kept(counts[curve.name])) for curve in curves}
        pruned = without_channels(model, layers, removed, groups)
        records = dict(_record(tied, pruned) for tied in layers)
        return compilation.with_model(pruned).with_record(layers=records, channels=kept)

    def _chosen(self, compilation: Compilation) -> tuple[ChannelGroup, ...]:
        found = find_groups(compilation.model, shapes_of(compilation)[0]).groups
        for name in (*self.include, *self.exclude):
            if not any(_is_meant(group, [name]) for group in found):
                known = ", ".join(group.name for group in found[:3])
                raise UsageError(f"'{name}' means no group of channels; there are {known} ...")
        chosen = tuple(
            group
            for group in found
            if (not self.include or _is_meant(group, self.include))
            and not _is_meant(group, self.exclude)
        )
        if not chosen:
            raise ModelError("no channels can be taken out: `eapc run` with -v says why")
        return chosen

    def _curves(
        self, compilation: Compilation, layered: Sequence[LayeredGroup]
    ) -> tuple[ChannelCurve, ...]:
        conditions, data = compilation.conditions, compilation.calibration
        macs = compilation.energy.macs if compilation.energy else 0.0
        survey = Survey(
            self.criterion,
            None if data is None else probe_inputs(data, macs * 8 * len(layered)),
            self.energy is not None,
            *(conditions.seed, conditions.threads, conditions.memory),
        )
        curves: list[ChannelCurve] = []
        for curve in survey.curves(compilation.model, layered):
            compilation.progress(Step("channel-curves", len(curves), len(layered), curve.name))
            curves.append(curve)
        compilation.progress(Step("channel-curves", len(layered), len(layered)))
        return tuple(curves)

    def _even_counts(self, curves: Sequence[ChannelCurve]) -> Mapping[str, int]:
        left = 1 - (self.fraction or 0.0)
        return {curve.name: max(1, round(left * curve.size)) for curve in curves}

    def _with_plan(
        self,
        compilation: Compilation,
        groups: Sequence[ChannelGroup],
        layers: Sequence[TiedLayers],
    ) -> Compilation:
        """The compilation with curves and costs of these groups, worked out if need be."""
        plan, model = compilation.record.channel_plan, compilation.model
        names = {group.name for group in groups}
        if plan is not None and {curve.name for curve in plan.curves} == names:
            return compilation
        curves = self._curves(compilation, [with_layers(each, layers, model) for each in groups])
        plan = ChannelPlan(curves, energy_costs(compilation, groups))
        return compilation.with_record(channel_plan=plan)


def _record(tied: TiedLayers, model: Model) -> tuple[str, LayerRecord]:
    weights = tied.matrix(model)
    nonzero = int(np.count_nonzero(weights))
    return tied.weight, LayerRecord(tied.first.node.key, weights.size, nonzero)


def _is_meant(group: ChannelGroup, patterns: Sequence[str]) -> bool:
    names = (group.name, *group.producers)
    return any(
        name == pattern or fnmatchcase(name, pattern) for pattern in patterns for name in names
    )


def energy_costs(compilation: Compilation, groups: Sequence[ChannelGroup]) -> ChannelCosts:
    """The energy of the network as a function of its channel counts, in MAC units."""
    works, batch = works_of(compilation)
    table = density_table(compilation, works)
    hardware = compilation.hardware
    report = estimate(compilation.model, works, hardware, table, batch)

    def price(item: NodeWork) -> float:
        if item.node.key not in report.by_node or item.reason:
            return 0.0
        return priced_as(item, hardware, report)

    return ChannelCosts(works, groups, price)
