"""Error curves of layers pruned alone."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_builders import output_divergence
from pruning_builders import NETS, residual, tied

from eapc.calibration import DENSITIES, Probes, error_curves, probes_of, scaled_matrix
from eapc.data import dataset
from eapc.layers import find_layers
from eapc.model import TensorSpec
from eapc.runtime import Engine, collect_outputs


@pytest.mark.parametrize("name", NETS)
def test_curves_start_at_zero_and_never_fall(name: str) -> None:
    net = NETS[name]()
    model = net.model
    layers = find_layers(model).layers
    curves = list(error_curves(model, layers, Probes(net.data, net.data), Engine(1)))
    assert [curve.name for curve in curves] == [tied_layers.weight for tied_layers in layers]
    for curve in curves:
        assert len(curve.errors) == len(DENSITIES)
        assert curve.errors[0] == 0
        assert (np.diff(curve.errors) >= 0).all()
        assert np.isfinite(curve.errors).all()
        assert curve.errors[-1] > 0


def test_the_same_seed_gives_the_same_curves() -> None:
    net = residual()
    model = net.model
    layers = find_layers(model).layers
    probes, engine = Probes(net.data, net.data), Engine(1, 7)
    one, two = (list(error_curves(model, layers, probes, engine)) for _ in range(2))
    assert [curve.errors for curve in one] == [curve.errors for curve in two]


def test_a_curve_is_below_zeroing_alone() -> None:
    net = residual()
    model = net.model
    layers = find_layers(model).layers
    curves = list(error_curves(model, layers, Probes(net.data, net.data), Engine(1)))
    reference = collect_outputs(model, net.data, 1)
    worse = 0
    for tied_layers, curve in zip(layers, curves, strict=True):
        matrix = scaled_matrix(tied_layers, model)
        kept = np.sort(np.abs(matrix), axis=None)[-round(0.35 * matrix.size)]
        weight = tied_layers.matrix(model) * (np.abs(matrix) >= kept)
        changed = model.with_weights({tied_layers.weight: tied_layers.stored(model, weight)})
        zeroed = output_divergence(reference, collect_outputs(changed, net.data, 1))
        worse += curve.errors[2] > zeroed
    assert worse <= 1


CHEAP, DEAR = 1.0, 1e12
"""MACs per input of which 128 inputs may be looked at, and 8."""


@pytest.mark.parametrize(
    ("samples", "macs", "fitted", "shown"),
    [
        (40, DEAR, 32, 8),  # every fifth shows
        (40, CHEAP, 20, 20),  # all might show: half of them do
        (300, CHEAP, 172, 128),
        (9, DEAR, 5, 4),
        (1, CHEAP, 1, 1),  # nothing to keep apart
    ],
)
def test_inputs_that_show_are_not_fitted(
    samples: int, macs: float, fitted: int, shown: int
) -> None:
    given = np.arange(samples, dtype=np.float32)[:, None]
    data = dataset({"x": given}, [TensorSpec("x", np.dtype(np.float32), ("N", 1))], "here")
    probes = probes_of(data, macs)
    of_fitted, of_shown = (part.arrays["x"].ravel() for part in (probes.fitted, probes.shown))
    assert (len(of_fitted), len(of_shown)) == (fitted, shown)
    assert samples == 1 or not set(of_fitted) & set(of_shown)


def test_shared_weights_are_one_curve() -> None:
    net = tied()
    layers = find_layers(net.model).layers
    curves = list(error_curves(net.model, layers, Probes(net.data, net.data), Engine(1)))
    assert [curve.name for curve in curves] == ["w", "v"]
