"""What is fitted after channels are gone is fitted to the dense network, not to what is left."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from builders import Array
from channel_builders import a_third, groups_of, kept_of
from structured_builders import bytes_of, compiled, inputs_of
from test_channels import NETS, plain, residual

from eapc.calibration import LayerwiseReconstruction, Reference
from eapc.channels import remove_channels
from eapc.data import Dataset
from eapc.layers import find_layers
from eapc.model import Model
from eapc.runtime import Engine, Session, with_outputs


def tensors_of(model: Model, data: Dataset, *names: str) -> list[Array]:
    """Computed tensors of a model on all inputs."""
    session = Session(with_outputs(model.to_proto(), names), 1, optimise=False)
    runs = [session.run(feed) for feed in data.batches(len(data))]
    return [np.concatenate([run[name] for run in runs]) for name in names]


def fitted(model: Model) -> Model:
    """The model with all its layers' weights changed, as a fit would."""
    layers = find_layers(model).layers
    return model.with_weights({t.weight: 1.5 * model.constants[t.weight] for t in layers})


def cut(model: Model, **kept: list[int]) -> Model:
    stay: Mapping[str, Array] = {name: np.array(indices) for name, indices in kept.items()}
    return remove_channels(model, groups_of(model), stay)


def targets(student: Model, dense: Model, data: Dataset) -> dict[str, tuple[Array, ...]]:
    """By node: what its outputs are fitted to, and the original's other branch if there is one."""
    layers = find_layers(Reference(dense, student).original).layers
    sweep = LayerwiseReconstruction(student, dense, layers, data, Engine(1))
    found = {}
    for step, tied in enumerate(layers):
        (rows,) = sweep.rows(step)
        y, branch = rows.activations.y, rows.activations.branch
        parts = [y] if branch is None else [y, branch[0]]
        found[tied.first.node.key] = tuple(np.concatenate(part) for part in parts)
    return found


def same(found: Array, wanted: Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_targets_are_the_dense_networks_channels_that_are_left() -> None:
    dense, data = plain(), inputs_of(plain())
    student = cut(fitted(dense), one=[0, 2, 5], two=[1, 3])
    c1, c2, g, y = tensors_of(dense, data, "c1", "c2", "g", "y")
    found = targets(student, dense, data)
    same(found["one"][0], c1[:, [0, 2, 5]])
    same(found["two"][0], c2[:, [1, 3]])
    same(found["three"][0], g)
    same(found["four"][0], y)


def test_the_other_branch_is_the_dense_networks_too() -> None:
    dense, data = residual(), inputs_of(residual())
    student = cut(fitted(dense), stem=[0, 1, 4], one=[2, 3])
    stem, c2 = tensors_of(dense, data, "stem", "c2")
    y, branch = targets(student, dense, data)["two"]
    same(y, c2[:, [0, 1, 4]])
    same(branch, stem[:, [0, 1, 4]])


def test_cutting_again_counts_from_the_dense_network() -> None:
    dense, data = plain(), inputs_of(plain())
    once = cut(fitted(dense), one=[0, 2, 3, 5], two=[1, 3, 4])
    twice = cut(fitted(once), one=[1, 2, 3], two=[0, 2])
    c1, c2 = tensors_of(dense, data, "c1", "c2")
    found = targets(twice, dense, data)
    same(found["one"][0], c1[:, [2, 3, 5]])
    same(found["two"][0], c2[:, [1, 4]])


@pytest.mark.parametrize("name", NETS)
def test_original_weights_are_the_dense_networks(name: str) -> None:
    dense = NETS[name]()
    groups = groups_of(dense)
    stay = kept_of(groups, a_third(groups))
    student = remove_channels(fitted(dense), groups, stay)
    own, original = remove_channels(dense, groups, stay), Reference(dense, student).original
    for tied in find_layers(student).layers:
        np.testing.assert_array_equal(original.constants[tied.weight], own.constants[tied.weight])


def test_a_layer_whose_inputs_were_cut_is_fitted_again() -> None:
    dense = plain()
    layers = find_layers(dense).layers
    reference = Reference(dense, cut(dense, two=[1, 3]))
    assert [reference.is_cut(tied) for tied in layers] == [False, False, True, False]


def test_another_network_is_fitted_to_its_own_original() -> None:
    dense, data = plain(), inputs_of(plain())
    other = fitted(dense)
    student = cut(Model.from_proto(other.to_proto()), two=[1, 3])
    found = targets(fitted(student), dense, data)
    same(found["two"][0], tensors_of(other, data, "c2")[0][:, [1, 3]])


def test_every_stage_knows_the_dense_network() -> None:
    dense = residual()
    done = compiled(dense, "annotate-energy, prune-channels{fraction=0.5}, shrink-channels")
    assert done.model.view is not dense.view
    assert done.reference.view is dense.view
    assert not done.reference.weights


def test_a_second_fit_has_the_targets_of_the_first() -> None:
    """Fitted again to what the dense network makes, weights come out much as they were."""
    channels = "prune-channels{fraction=0.4}, reconstruct-outputs{keep_mask=true}, shrink-channels"
    once = compiled(residual(), channels)
    zeros = "prune-weights{sparsity=0.05, include=head}, reconstruct-outputs"
    again = compiled(residual(), f"{channels}, {zeros}")
    assert {"w1", "w2"} <= again.model.weights.keys()
    for name in ("w1", "w2"):
        first, second = (each.model.constants[name] for each in (once, again))
        np.testing.assert_allclose(second, first, rtol=0, atol=0.03)


def test_what_is_zeroed_nowhere_is_not_fitted_again() -> None:
    channels = "prune-channels{fraction=0.4}, reconstruct-outputs{keep_mask=true}, shrink-channels"
    once = compiled(residual(), channels)
    again = compiled(residual(), f"{channels}, prune-weights{{sparsity=0}}, reconstruct-outputs")
    assert bytes_of(again.model) == bytes_of(once.model)
