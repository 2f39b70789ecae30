"""What a budget may be of, and how much of that a network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eapc.layers import TiedLayers, layers_of
from eapc.model import Model, constant_bytes, stored_bytes

if TYPE_CHECKING:
    from eapc.pipeline.compilation import Compilation

OBJECTIVES = ("energy", "latency", "weights", "macs", "size")
"""Energy, latency on a measured machine, weights that are not zero, MACs that are not skipped,
and bytes of the file, zeros of weights left out: what a file takes that packs them well."""

COUNTED = ("weights", "size")
"""Objectives that weights tell by themselves, whatever machine there is."""


def amount_of(compilation: Compilation, objective: str) -> float:
    """How much of an objective a priced network takes; latency is a record of its own.

    Raises KeyError for what is no such objective.
    """
    report = compilation.priced
    amounts = {
        "energy": lambda: report.energy_mac_units,
        "weights": lambda: float(report.nonzero_weights),
        "macs": lambda: report.nonskipped_macs,
        "size": lambda: _bytes_without_zeros(compilation.model),
    }
    return amounts[objective]()


def counted(model: Model, tied: TiedLayers, objective: str, density: float = 1.0) -> float:
    """What weights count for an objective of `COUNTED` once so much of them is kept, at most.

    Weights that are zero as it is count nothing.
    """
    kept = min(float(tied.nonzero(model)), density * tied.size(model))
    return kept if objective == "weights" else kept * bytes_of_weight(model, tied)


def bytes_of_weight(model: Model, tied: TiedLayers) -> float:
    """What the file takes for one weight, as it stores it."""
    return constant_bytes(model, tied.weight) / max(1, tied.size(model))


def counted_by_name(model: Model, objective: str) -> dict[str, float]:
    """What constants count for an objective of `COUNTED`, by the names that nodes read them by."""
    layers = layers_of(model).layers
    found = {tied.first.source.tensor: counted(model, tied, objective) for tied in layers}
    if objective == "weights":
        return found
    known = {name for tied in layers for user in tied.users for name in user.source.tensors}
    others = {name: constant_bytes(model, name) for name in model.constants.stored}
    return found | {name: size for name, size in others.items() if name not in known}


def _bytes_without_zeros(model: Model) -> float:
    zeros = sum(
        (tied.size(model) - tied.nonzero(model)) * bytes_of_weight(model, tied)
        for tied in layers_of(model).layers
    )
    return stored_bytes(model) - zeros
