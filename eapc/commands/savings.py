"""What would save most energy of a network on its machine: a few changes, each priced by itself.

Every figure is what the network would take under one change, all else as it was analysed: none is
a rule of thumb, and none says what the change does to the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from eapc.energy import (
    EnergyReport,
    GivenBits,
    NodeWork,
    all_kept,
    estimate,
    priced_at,
    require_known,
    weights_priced_at,
)
from eapc.errors import EapcError, UsageError
from eapc.layers import Layer, choose, layers_of
from eapc.model import require_batchable, require_one_batch
from eapc.operators import operator_of
from eapc.pipeline import Compilation, groups_of, works_of
from eapc.structured import energy_costs

SavingKind = Literal["bits", "zeros", "channels", "batch", "feature maps"]

LEAST = 0.01
"""A change that saves less of the energy is not told."""

LEAST_OF_MOST = 0.1
"""Nor is one that saves less than this fraction of what the best one does."""

BATCH = 16
"""Inferences at once, by which weights that are fetched once are spread thin."""

CHANNELS = 0.25
"""The fraction of the channels of every group that goes."""

MOST_NODES = 1000
"""Channel groups of larger networks take longer to find than all else takes together."""

_NAMED = 3
"""So many layers are named as those where zeros save most."""


@dataclass(frozen=True)
class Saving:
    """A change, what the network takes under it in MAC units, and the fraction that this saves.

    `options` are those of `eapc prune` that make the change, none where no command does. Of zeros
    `layers` are those that most of the saving lies in, and `layers_share` is how much of it; of
    feature maps `room_bytes` is what those kept at once take, in `level`.
    """

    kind: SavingKind
    change: str
    energy_mac_units: float
    saved: float
    options: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    layers_share: float | None = None
    level: str = ""
    room_bytes: int | None = None


def savings_of(compilation: Compilation, report: EnergyReport) -> tuple[Saving, ...]:
    """What saves at least `LEAST` of the energy in `report`, the most first.

    Left out is what the machine cannot do: widths that it does not know, a batch that its memories
    do not hold, zeros that it does not skip.
    """
    if not report.energy_mac_units:
        return ()
    found: list[Saving] = []
    for kind, most in KINDS:
        if most(report) >= _least(found) * report.energy_mac_units:
            found += kind(compilation, report)
    worth = [saving for saving in found if saving.saved >= _least(found)]
    return tuple(sorted(worth, key=lambda saving: (-saving.saved, saving.kind)))


def _least(found: Sequence[Saving]) -> float:
    """What a change has to save beside others to be told."""
    return max([LEAST, *(LEAST_OF_MOST * saving.saved for saving in found)])


def _saving(
    report: EnergyReport, kind: SavingKind, change: str, energy: float, *options: str
) -> Saving:
    return Saving(kind, change, energy, 1 - energy / report.energy_mac_units, options)


def _is_fair(after: EnergyReport, before: EnergyReport) -> bool:
    """Whether no further node lacks a price and nothing outgrows a memory that it fitted."""
    if len(after.unmodelled) > len(before.unmodelled):
        return False
    misfits = [len(each.footprint.shortfalls) if each.footprint else 0 for each in (after, before)]
    return misfits[0] <= misfits[1]


def _again(compilation: Compilation, report: EnergyReport) -> EnergyReport:
    """The energy under other conditions, densities as they were."""
    works, batch = works_of(compilation)
    return estimate(compilation.model, works, report.hardware, report.densities, batch)


def _narrower(compilation: Compilation, report: EnergyReport) -> Iterator[Saving]:
    """8 bits, or weights in 4 where the machine's words have 8, as `analyze --bits` prices them.

    Files that are quantized already are left as they are.
    """
    if any(operator_of(n).kind in ("quantization", "quantized") for n in compilation.model.nodes):
        return
    working = [node.bits for node in report.nodes if node.macs]
    widest = max((max(each.weights or 0, each.ifmap or 0) for each in working), default=0)
    bits, change, option = GivenBits(8, 8), "8 bits", "8"
    if widest <= 8:
        bits, change = GivenBits(4, 8), "weights in 4 bits"
        option = "weights=4,activations=8"
    try:
        require_known(bits, report.hardware)
    except UsageError:
        return
    narrow = replace(compilation, conditions=replace(compilation.conditions, bits=bits))
    after = _again(narrow, report)
    if _is_fair(after, report):
        yield _saving(report, "bits", change, after.energy_mac_units, "--bits", option)


def _batched(compilation: Compilation, report: EnergyReport) -> Iterator[Saving]:
    """More inferences at once, on machines that are no processor whose memories hold all."""
    conditions, model = compilation.conditions, compilation.model
    if report.batch >= BATCH or report.hardware.machine.homes:
        return
    try:
        require_one_batch(model, conditions.input_shapes, BATCH)
        require_batchable(model, conditions.input_shapes, BATCH)
        after = _again(replace(compilation, conditions=replace(conditions, batch=BATCH)), report)
    except EapcError:
        return  # the network, or the shapes that were given, fix the batch
    if after.batch == BATCH and _is_fair(after, report):
        change = f"batch {BATCH}, each weight fetched for {BATCH} inferences"
        yield _saving(report, "batch", change, after.energy_mac_units)


def _zeros(compilation: Compilation, report: EnergyReport) -> Iterator[Saving]:
    """Half of the weights that are not zero zeroed, evenly over all layers that can be pruned."""
    left = round(report.nonzero_weights / max(report.weights, 1) / 2, 2)
    if not left:
        return
    works = {item.node.key: item for item in works_of(compilation)[0]}
    spared = {
        tied.first.name: sum(_spared(user, works, report, left) for user in tied.users)
        for tied in choose(layers_of(compilation.model)).layers
    }
    total = sum(spared.values())
    if total <= 0:
        return
    top = sorted(spared, key=lambda name: (-spared[name], name))[:_NAMED]
    share = sum(spared[name] for name in top) / total
    sparsity = f"{1 - left:.2f}".rstrip("0")
    change = f"{100 * (1 - left):.0f}% zeros in all layers"
    energy = report.energy_mac_units - total
    saving = _saving(report, "zeros", change, energy, "--sparsity", sparsity)
    yield replace(saving, layers=tuple(top), layers_share=share)


def _spared(user: Layer, works: dict[str, NodeWork], report: EnergyReport, left: float) -> float:
    """What a layer spares with weights of a lower density; nothing where it is not modelled."""
    node = report.by_node.get(user.node.key)
    if node is None:
        return 0.0
    item = works[user.node.key]
    if user.tapped:
        tensor = user.node.input(user.tapped)
        before, after = (weights_priced_at(item, report, tensor, d) for d in (1.0, left))
        return before - after
    return node.energy_mac_units - priced_at(item, report.hardware, report, left)


def _channels(compilation: Compilation, report: EnergyReport) -> Iterator[Saving]:
    """A quarter of the channels of every group gone, as `prune --structured --sparsity` does it."""
    if len(report.nodes) > MOST_NODES:
        return
    groups = groups_of(compilation).groups
    costs = energy_costs(works_of(compilation)[0], report, groups)
    counts = {group.name: max(1, round((1 - CHANNELS) * group.size)) for group in groups}
    if counts:
        change = f"{100 * CHANNELS:.0f}% fewer channels in all groups"
        options = ("--structured", "--sparsity", f"{CHANNELS:g}")
        yield _saving(report, "channels", change, costs.total(counts), *options)


def _kept_maps(compilation: Compilation, report: EnergyReport) -> Iterator[Saving]:
    """Feature maps that never leave the chip, in a level larger by what they take."""
    machine, hardware = report.hardware.machine, report.hardware
    levels = machine.keeping_levels
    if machine.homes or machine.resident_level or not levels:
        return
    level = hardware.feature_maps_kept_in or levels[0]
    keeping = hardware.model_copy(update={"feature_maps_kept_in": level})
    works, batch = works_of(compilation)
    residency, room = all_kept(compilation.model, works, keeping)
    after = estimate(compilation.model, works, keeping, report.densities, batch, residency)
    if room and _is_fair(after, report):
        change = f"all feature maps between layers kept in {level}"
        saving = _saving(report, "feature maps", change, after.energy_mac_units)
        yield replace(saving, level=level, room_bytes=room)


# --- what a change can save at most, told before it is priced -------------------------------------


def _all_energy(report: EnergyReport) -> float:
    return report.energy_mac_units


def _fetched(report: EnergyReport, *operands: str) -> float:
    """What moving operands takes in all memory levels but the innermost, which every MAC reads."""
    outer = list(report.hardware.memories.items())[:-1]
    total = 0.0
    for node in report.nodes:
        for name, memory in outer:
            words = sum(getattr(node.accesses[name], operand) for operand in operands)
            total += words * memory.energy_mac_units_per_word
    return total


def _of_weights(report: EnergyReport) -> float:
    return _fetched(report, "weights")


def _of_maps(report: EnergyReport) -> float:
    return _fetched(report, "ifmap", "ofmap")


def _of_zeros(report: EnergyReport) -> float:
    """Nothing on machines that skip no zeros and code no weights."""
    hardware = report.hardware
    gains = (
        hardware.zeros.skip_mac == "either",
        hardware.zeros.skip_register_file,
        hardware.compression.weights.code != "none",
    )
    return report.energy_mac_units if any(gains) else 0.0


KINDS: tuple[
    tuple[Callable[[Compilation, EnergyReport], Iterator[Saving]], Callable[[EnergyReport], float]],
    ...,
] = (
    (_narrower, _all_energy),
    (_kept_maps, _of_maps),
    (_zeros, _of_zeros),
    (_channels, _all_energy),
    (_batched, _of_weights),
)
"""Ways to change a network, and what each could save at most; those that tell most come first."""
