"""prune-channels: choose the channels that can go, and zero all weights that make or read them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import ClassVar, NamedTuple

import numpy as np

from eapc.calibration import probes_of
from eapc.channels import ChannelGroup
from eapc.checkpoints import Checkpoint
from eapc.energy import GivenBits, estimate, nonskipped_macs_of
from eapc.errors import ModelError, UsageError
from eapc.layers import PrunableLayers, Skipped, TiedLayers, choose, layers_of, with_plain_layers
from eapc.model import Model, infer_shapes, input_shapes
from eapc.pipeline import (
    OBJECTIVES,
    ChannelRecord,
    Compilation,
    LatencyRecord,
    LayerRecord,
    Names,
    Pass,
    amount_of,
    counted_by_name,
    density_table,
    groups_of,
    one_by_one,
    with_curves,
    works_of,
)
from eapc.profiling import prepare_network
from eapc.quantization import IntegerTwin, integer_twin
from eapc.registry import CRITERIA
from eapc.structured import (
    DEFAULT_CRITERION,
    FRACTIONS,
    ChannelCosts,
    ChannelCurve,
    ChannelPlan,
    LayeredGroup,
    Survey,
    constant_costs,
    energy_costs,
    latency_costs,
    left_alone,
    most_telling,
    right_edges,
    with_layers,
    without_channels,
)

_STAGE = "channel-curves"

_TIMED_BITS = 8
"""The width that runtimes have kernels for."""


class _Basis(NamedTuple):
    """What a plan's curves and prices depend on."""

    criterion: str
    objective: str
    timed_bits: int | None
    bits: GivenBits


def _is_of(plan: ChannelPlan, groups: Sequence[ChannelGroup]) -> bool:
    return [curve.name for curve in plan.curves] == [group.name for group in groups]


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
    latency: float | None = field(
        default=None, metadata={"help": "the same for latency, on a measured machine"}
    )
    weights: float | None = field(default=None, metadata={"help": "the same for non-zero weights"})
    macs: float | None = field(default=None, metadata={"help": "the same for MACs not skipped"})
    size: float | None = field(
        default=None, metadata={"help": "the same for bytes of the file, zeros left out"}
    )
    criterion: str = field(
        default=DEFAULT_CRITERION,
        metadata={"help": "which channels go first", "choices": CRITERIA},
    )
    include: Names = field(
        default=(),
        metadata={"help": "groups to prune: nodes that make them, operators, or globs, by |"},
    )
    exclude: Names = field(default=(), metadata={"help": "groups to leave as they are"})
    bits: int | None = field(
        default=None,
        metadata={"help": "latencies are those of the network quantized to this width"},
    )
    zeros: bool = field(
        default=False, metadata={"help": "leave a share of the energy to zeros, if they lose less"}
    )

    def __post_init__(self) -> None:
        CRITERIA.require(self.criterion)
        budgets = [getattr(self, objective) for objective in OBJECTIVES]
        if sum(goal is not None for goal in (self.fraction, *budgets)) != 1:
            known = " or ".join(OBJECTIVES)
            raise UsageError(f"prune-channels: give either fraction or {known}")
        if self.fraction is not None and not 0 <= self.fraction < 1:
            raise UsageError(f"prune-channels: fraction must be in [0, 1), got {self.fraction}")
        if self._budget is not None and not 0 < self._budget <= 1:
            raise UsageError(f"prune-channels: a budget must be in (0, 1], got {self._budget}")
        if self.zeros and (self._budget is None or self.latency is not None):
            raise UsageError("prune-channels: zeros take a share of an energy budget: give energy")

        if self.bits is not None and self._objective not in ("", "latency"):
            raise UsageError("prune-channels: bits say which latencies count: give latency")
        if self.bits not in (None, _TIMED_BITS):
            raise UsageError(f"prune-channels: bits: expected {_TIMED_BITS}, got {self.bits}")

    @property
    def _objective(self) -> str:
        """What the budget is of; empty where there is none."""
        return next((name for name in OBJECTIVES if getattr(self, name) is not None), "")

    @property
    def _budget(self) -> float | None:
        """What is to be kept of the objective."""
        found: float | None = getattr(self, self._objective) if self._objective else None
        return found

    @property
    def needs_calibration(self) -> bool:
        """Error curves take inputs, and so do most criteria; ranges of codes too."""
        needs_data = CRITERIA[self.criterion].needs_data or self.bits is not None
        return self.fraction is None or needs_data

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with channels zeroed, ready to be reconstructed and shrunk."""
        model = with_plain_layers(compilation.model)
        if model is not compilation.model:
            compilation = compilation.with_model(model)
        found = layers_of(model)
        layers = found.layers
        chosen, skipped = self._chosen(compilation, found)
        if self._budget is None:
            curves = self._curves(compilation, chosen)
            counts = self._even_counts(curves)
        else:
            compilation = self._with_plan(compilation, chosen, found)
            plan = compilation.record.channel_plan
            assert plan is not None  # `_with_plan` has seen to it
            curves, counts = plan.curves, plan.counts(self._budget)
        removed = {curve.name: curve.removed(counts[curve.name]) for curve in curves}
        kept = {curve.name: tuple(curve.kept(counts[curve.name])) for curve in curves}
        pruned = without_channels(model, layers, removed, [each.group for each in chosen])
        records = dict(_record(tied, pruned) for tied in layers if not tied.fixed)
        done = compilation.with_model(pruned)
        groups = tuple(
            ChannelRecord(curve.name, curve.size, counts[curve.name]) for curve in curves
        )
        return done.with_record(
            layers=records,
            channels=kept,
            groups=groups,
            skipped=skipped,
            latency=self._latency(compilation, chosen, counts),
        )

    def _chosen(
        self, compilation: Compilation, layers: PrunableLayers
    ) -> tuple[list[LayeredGroup], tuple[Skipped, ...]]:
        """The groups that names mean, and why other layers keep their channels."""
        model = compilation.model
        found = groups_of(compilation)
        several = [group for group in found.groups if group.size > 1]
        layered = [with_layers(group, layers.layers, model) for group in several]
        usable = [each for each in layered if not each.obstacle]
        _require_meaning(self.include, usable)
        _require_meaning(
            self.exclude,
            usable,
            [name for node in model.nodes for name in (node.key, node.op_type)],
        )
        skipped = left_alone(model, found, layered, layers)
        chosen = [
            each
            for each in usable
            if (not self.include or _is_meant(each, self.include))
            and not _is_meant(each, self.exclude)
        ]
        if not chosen:
            why = "all that could are excluded" if usable else most_telling(skipped)
            raise ModelError(f"no channels can be taken out: {why}")
        return chosen, skipped

    def _curves(
        self, compilation: Compilation, groups: Sequence[LayeredGroup]
    ) -> tuple[ChannelCurve, ...]:
        data = compilation.calibration
        energy = compilation.energy
        passes = len(FRACTIONS) * len(groups) * (energy.macs if energy else 0)
        probes = None if data is None else probes_of(data, passes)
        survey = Survey(
            self.criterion, probes, self._budget is not None, compilation.conditions.engine
        )

        def measured(first: int) -> Iterator[tuple[ChannelCurve, Checkpoint]]:
            for curve in survey.curves(compilation.model, groups, first):
                facts = {"counts": curve.counts, "errors": curve.errors}
                yield curve, Checkpoint({"order": curve.order}, facts)

        subjects = [(each.group.name, each.group.name, each) for each in groups]
        stage = (_STAGE, f"{_STAGE} {survey.criterion} {survey.with_errors}")
        return one_by_one(compilation, stage, subjects, _read, measured)

    def _known_curves(
        self, compilation: Compilation, groups: Sequence[LayeredGroup]
    ) -> tuple[ChannelCurve, ...]:
        """Those of an earlier plan for the same groups by the same criterion, if there is one."""
        plan = compilation.record.channel_plan
        if plan is not None and _is_of(plan, [each.group for each in groups]):
            basis = plan.basis
            if isinstance(basis, _Basis) and basis.criterion == self.criterion:
                return plan.curves
        return self._curves(compilation, groups)

    def _even_counts(self, curves: Sequence[ChannelCurve]) -> Mapping[str, int]:
        left = 1 - (self.fraction or 0.0)
        return {curve.name: max(1, round(left * curve.size)) for curve in curves}

    def _latency(
        self, compilation: Compilation, chosen: Sequence[LayeredGroup], counts: Mapping[str, int]
    ) -> LatencyRecord | None:
        """What the measured machine says of these counts; None where energy is what counts."""
        machine, plan = compilation.measured, compilation.record.channel_plan
        if machine is None or self._objective not in ("", "latency"):
            return None
        groups = [each.group for each in chosen]
        known = plan.costs if plan and self.latency else None
        costs = known or _latency_costs(compilation, groups, self.bits)
        whole = costs.total({})
        ratio = costs.total(counts) / whole if whole else 1.0
        return LatencyRecord(machine.name, whole / machine.batch, ratio, self.bits)

    def _with_plan(
        self, compilation: Compilation, chosen: Sequence[LayeredGroup], layers: PrunableLayers
    ) -> Compilation:
        """The compilation with curves and costs of these groups, worked out if need be.

        Those of zeros are of the layers that the same names mean.
        """
        groups = [each.group for each in chosen]
        plan = compilation.record.channel_plan
        objective, bits = self._objective, compilation.conditions.bits
        basis = _Basis(self.criterion, objective, self.bits, bits)
        if not plan or plan.basis != basis or not _is_of(plan, groups):
            if self.latency is None:
                costs = _costs(compilation, groups, objective)
            else:
                costs = _latency_costs(compilation, groups, self.bits)
            curves = self._known_curves(compilation, chosen)
            steps = () if self.latency is None else curves
            allowed = {curve.name: right_edges(curve, costs) for curve in steps}
            plan = ChannelPlan(curves, costs, allowed, basis)
        if self.zeros != bool(plan.zeros):
            named = choose(layers, self.include, self.exclude)
            if self.zeros:
                compilation = with_curves(compilation, named, apart=True, objective=objective)
            known = compilation.record.curves if self.zeros else None
            plan = replace(plan, zeros=known.layers if known else ())
        return compilation.with_record(channel_plan=plan)


def _read(layered: LayeredGroup, part: Checkpoint) -> ChannelCurve:
    counts, errors = tuple(part.facts["counts"]), tuple(part.facts["errors"])
    return ChannelCurve(layered.group.name, part.arrays["order"], counts, errors)


def _costs(
    compilation: Compilation, groups: Sequence[ChannelGroup], objective: str
) -> ChannelCosts:
    """What is modelled or counted by channels, for an objective that is not latency."""
    works, batch = works_of(compilation)
    table, model = density_table(compilation, works), compilation.model
    report = estimate(model, works, compilation.hardware, table, batch)
    if objective == "energy":
        return energy_costs(works, report, groups)
    if objective == "macs":
        return energy_costs(works, report, groups, nonskipped_macs_of)
    whole = amount_of(replace(compilation, energy=report), objective)
    return constant_costs(works, report, groups, counted_by_name(model, objective), whole)


def _latency_costs(
    compilation: Compilation, groups: Sequence[ChannelGroup], bits: int | None
) -> ChannelCosts:
    """Raises UsageError where no machine was measured, or its profile lacks layers with weights.

    With `bits` costs are those of the network quantized to them, by the groups of this one.
    """
    machine = compilation.measured
    if machine is None:
        raise UsageError("latency is measured: `eapc profile MODEL -o host.yaml`, then --hw it")
    model, conditions = compilation.model, compilation.conditions
    twin = IntegerTwin(model, {})
    if bits is not None:
        assert compilation.calibration is not None  # see `needs_calibration`
        twin = integer_twin(model, compilation.calibration, bits, conditions.engine)
    sizes = input_shapes(twin.model, conditions.input_shapes, machine.batch)
    shapes = infer_shapes(twin.model, sizes)
    network = prepare_network(twin.model, shapes, machine, conditions.engine.threads)
    users = {user.node.key for tied in layers_of(model).layers for user in tied.users}
    missing = [node.key for node in network.missing if node.key in users]
    if missing:
        raise UsageError(
            f"{len(missing)} layers of {model.name}{_at(bits)} are not in the profile "
            f"{machine.name}, such as '{missing[0]}': make one of this model, {_to_type(bits)}"
        )
    return latency_costs(network, shapes, groups, twin.tensor_of)


def _at(bits: int | None) -> str:
    return "" if bits is None else f" at {bits} bits"


def _to_type(bits: int | None) -> str:
    """What makes a profile that has the layers."""
    if bits is None:
        return "`eapc profile MODEL -o host.yaml`"
    return (
        f"`eapc prune MODEL --calib DATA --bits {bits} -o q.onnx`, then "
        "`eapc profile q.onnx -o host8.yaml`"
    )


def _record(tied: TiedLayers, model: Model) -> tuple[str, LayerRecord]:
    weights = tied.matrix(model)
    nonzero = int(np.count_nonzero(weights))
    return tied.weight, LayerRecord.of(tied, weights.size, nonzero)


def _names(layered: LayeredGroup) -> tuple[str, ...]:
    """What a group may be called: itself, the nodes that make it, their operators."""
    users = (user for producer in layered.producers for user in producer.tied.users)
    operators = dict.fromkeys(user.node.op_type for user in users)
    return (layered.group.name, *layered.group.producers, *operators)


def _is_meant(layered: LayeredGroup, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, each) for each in patterns for name in _names(layered))


def _require_meaning(
    patterns: Sequence[str], groups: Sequence[LayeredGroup], others: Collection[str] = ()
) -> None:
    """Raise UsageError for a pattern that means neither a group nor one of some other names."""
    for pattern in patterns:
        means_other = any(fnmatchcase(name, pattern) for name in others)
        if not means_other and not any(_is_meant(each, [pattern]) for each in groups):
            known = list(dict.fromkeys(name for each in groups for name in _names(each)))
            near = get_close_matches(pattern, known, n=3, cutoff=0.4) or known[:3]
            raise UsageError(
                f"'{pattern}' means no channels that can be taken out; near it: {', '.join(near)}"
            )
