"""Probes: models with fewer channels of one group, readers refitted."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array
from evaluation_builders import relative_output_error
from pruning_builders import Net, dense, residual, transformer
from structured_builders import layered

from eapc.calibration import ActivationWalk, MemoryBudget, Seen, probe_moments, scaled_matrix
from eapc.layers import find_layers
from eapc.model import Model
from eapc.runtime import collect_outputs, feed_size
from eapc.solvers import Consumer, LayerProblem, combine
from eapc.structured import ChannelCurve, without_channels
from eapc.structured.curves import ends_of
from eapc.structured.survey import Probed, probed_layers, probed_values


def probed(net: Net, name: str) -> tuple[Probed, ChannelCurve]:
    """A group of a network with its readers' statistics; channels go in the file's order."""
    model, group = net.model, layered(net.model)[name]
    names = [n for tied in probed_layers(group) for user in tied.users for n in (user.x, user.y)]
    batch = feed_size(model, net.data)
    values = ActivationWalk(model, net.data, [names], batch, 1, MemoryBudget(None)).step(0, model)
    moments = [
        probe_moments(model, reader.tied, Seen(values, values, len(net.data)), 0)
        for reader in group.readers
    ]
    consumers = []
    for reader, users in zip(group.readers, moments, strict=True):
        problem = LayerProblem.from_moments(scaled_matrix(reader.tied, model), combine(users))
        consumers.append(Consumer(problem, reader.places, combine(users).power))
    curve = ChannelCurve(name, np.arange(group.group.size), ends_of(group.group))
    return Probed(model, group, consumers, moments), curve


def error(net: Net, model: Model) -> float:
    before = collect_outputs(net.model, net.data, 1)
    return relative_output_error(before, collect_outputs(model, net.data, 1))


@pytest.mark.parametrize(("net", "name"), [(residual(), "stem"), (dense(), "gemm")])
def test_readers_are_refitted_to_what_is_left(net: Net, name: str) -> None:
    probe, curve = probed(net, name)
    counts = []
    for count, model in probe.models(curve):
        counts.append(count)
        assert set(model.weights) <= set(probed_values(model, probe.layered))
        for reader in probe.layered.readers:
            matrix = reader.tied.matrix(model)
            for g, places in enumerate(reader.places):
                gone = places[: curve.size - count].ravel()
                assert not matrix[g][:, gone].any()
                assert np.delete(matrix[g], gone, axis=1).any() == (count > 0)
        zeroed = without_channels(
            net.model,
            find_layers(net.model).layers,
            {name: curve.removed(count)},
            [probe.layered.group],
        )
        assert error(net, model) < error(net, zeroed)
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == curve.fewest


def test_filters_go_where_no_layer_reads() -> None:
    """Queries and keys multiply each other."""
    net = transformer()
    probe, curve = probed(net, "query")
    assert tuple(probed_values(net.model, probe.layered)) == ("wq", "bq", "wk")
    *_, (count, fewest) = probe.models(curve)
    assert count == 1
    for name in ("wq", "wk"):
        weight = fewest.weights[name]
        assert np.flatnonzero(weight.any(axis=0)).tolist() == [7]


def test_values_are_those_of_the_constants() -> None:
    net = residual()
    group = layered(net.model)["stem"]
    values = probed_values(net.model, group)
    assert next(iter(values)) == "w1"
    found: Array | None = net.model.constants.value("w1")
    assert found is not None
    np.testing.assert_array_equal(values["w1"], found)
