"""Networks whose channels are pruned: groups with their layers, and whole pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pruning_builders
import test_channels
from builders import Array
from channel_builders import feed_of, groups_of
from pruning_builders import Net

from eapc.data import Dataset, dataset
from eapc.energy import DensityTable, EnergyReport, NodeWork, estimate, work_list
from eapc.hardware import load_hardware
from eapc.layers import find_layers
from eapc.model import Model, infer_shapes, input_shapes
from eapc.pipeline import Compilation, Conditions, Pipeline, load_passes
from eapc.runtime import Engine, collect_outputs
from eapc.structured import LayeredGroup, with_layers

EYERISS = load_hardware("eyeriss")


def _model_of(net: Callable[[], Net]) -> Callable[[], Model]:
    return lambda: net().model


MODELS: Mapping[str, Callable[[], Model]] = {
    **test_channels.NETS,
    **{f"{name} net": _model_of(net) for name, net in pruning_builders.NETS.items()},
}
"""By name: models of every kind of channel group."""


def layered(model: Model) -> dict[str, LayeredGroup]:
    """The channel groups of a model with their layers, by name."""
    layers = find_layers(model).layers
    return {group.name: with_layers(group, layers, model) for group in groups_of(model).groups}


def inputs_of(model: Model, count: int = 32) -> Dataset:
    """Seeded inputs for a model of image or token inputs."""
    feeds = [feed_of(model, seed) for seed in range(count)]
    arrays: dict[str, Array] = {
        name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]
    }
    return dataset(arrays, model.inputs, "test")


def compiled(
    source: Model | Net, pipeline: str, conditions: Conditions | None = None
) -> Compilation:
    """What a pipeline makes of a model and inputs for it."""
    model = source if isinstance(source, Model) else source.model
    data = inputs_of(model) if isinstance(source, Model) else source.data
    start = Compilation(model, EYERISS, data, conditions or Conditions(engine=Engine(1)))
    return Pipeline.parse(pipeline, load_passes()).run(start)


def bytes_of(model: Model) -> bytes:
    """The model as it would be written."""
    found: bytes = model.to_proto().SerializeToString()
    return found


def answers(model: Model, data: Dataset) -> dict[str, Array]:
    """The model's outputs for all inputs."""
    return collect_outputs(model, data, 1)


def works_of(model: Model) -> tuple[NodeWork, ...]:
    """The model's work list, dynamic axes taken as 1."""
    return work_list(model, infer_shapes(model, input_shapes(model, {}, None)))


def estimated(model: Model, hardware: str = "eyeriss") -> EnergyReport:
    """The model's energy if half of all activations were zero."""
    densities = DensityTable(activations=0.5)
    return estimate(model, works_of(model), load_hardware(hardware), densities)
