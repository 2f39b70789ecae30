"""Surveys of channel groups: orders and error curves, against what removal really does."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from pruning_builders import NETS, dense, residual, transformer
from structured_builders import layered

from eapc.calibration import Probes
from eapc.errors import UsageError
from eapc.layers import find_layers
from eapc.registry import CRITERIA
from eapc.runtime import Engine
from eapc.solvers import elimination
from eapc.structured import ChannelCurve, Survey
from eapc.structured.criteria import Criterion, Evidence

PRUNABLE = ("residual", "projected", "branches", "dense", "transformer", "fixed batch", "float16")


def surveyed(name: str, by: str = "obs", with_errors: bool = True) -> dict[str, ChannelCurve]:
    net = NETS[name]()
    survey = Survey(by, Probes(net.data, net.data), with_errors, Engine(1))
    groups = [group for group in layered(net.model).values() if not group.obstacle]
    return {curve.name: curve for curve in survey.curves(net.model, groups)}


@pytest.mark.parametrize("name", PRUNABLE)
def test_curves_begin_at_nothing_and_never_fall(name: str) -> None:
    found = surveyed(name)
    assert found
    for curve in found.values():
        assert sorted(curve.order) == list(range(curve.size))
        assert curve.counts[0] == curve.size
        assert curve.errors[0] == 0
        assert len(curve.errors) == len(curve.counts)
        assert list(curve.errors) == sorted(curve.errors)
        assert 0 < curve.errors[-1] < np.inf


@pytest.mark.parametrize("by", CRITERIA)
@pytest.mark.parametrize("name", ["residual", "transformer"])
def test_every_criterion_orders_every_group(name: str, by: str) -> None:
    ordered, measured = (surveyed(name, by, errors) for errors in (False, True))
    assert ordered.keys() == measured.keys()
    for key, curve in ordered.items():
        assert curve.errors == ()
        assert curve.counts == (curve.size, curve.fewest)
        assert curve.order.tolist() == measured[key].order.tolist()


def test_criteria_of_weights_need_no_data() -> None:
    net = residual()
    groups = list(layered(net.model).values())
    for by in [name for name, criterion in CRITERIA.items() if not criterion.needs_data]:
        without = list(Survey(by, None, with_errors=False).curves(net.model, groups))
        found = surveyed("residual", by, with_errors=False)
        assert [c.order.tolist() for c in without] == [c.order.tolist() for c in found.values()]


@pytest.mark.parametrize(("by", "with_errors"), [("obs", False), ("l1", True)])
def test_missing_data_is_a_usage_error(by: str, with_errors: bool) -> None:
    net = residual()
    survey = Survey(by, None, with_errors)
    with pytest.raises(UsageError, match=f"criterion {by} looks at calibration data"):
        list(survey.curves(net.model, list(layered(net.model).values())))


def test_dead_channels_go_first() -> None:
    """Filters 2 and 5 of the stem are zero, as are their biases: what is read of them is 0."""
    net = residual()
    w0, b0 = net.model.constants.value("w0"), net.model.constants.value("b0")
    assert w0 is not None
    assert b0 is not None
    w0, b0 = w0.copy(), b0.copy()
    w0[[2, 5]], b0[[2, 5]] = 0, 0
    w2 = net.model.constants.value("w2")
    q = {part: net.model.constants.value(f"q{part}") for part in "bm"}
    assert w2 is not None
    w2 = w2.copy()
    w2[[2, 5]] = 0
    zeroed = {f"q{part}": np.zeros_like(value) for part, value in q.items() if value is not None}
    model = net.model.with_weights({"w0": w0, "b0": b0, "w2": w2, **zeroed})
    for by in set(CRITERIA) - {"random", "geometric-median"}:
        (curve, _) = Survey(by, Probes(net.data, net.data), True, Engine(1)).curves(
            model, [g for g in layered(model).values() if not g.obstacle]
        )
        assert set(curve.order[:2]) == {2, 5}, by
        assert curve.error_at(6) == pytest.approx(0, abs=1e-4)


def test_obs_loses_less_than_random() -> None:
    best, worst = surveyed("dense"), surveyed("dense", "random")
    for name, curve in best.items():
        assert np.mean(curve.errors) < np.mean(worst[name].errors)


def test_errors_are_those_of_inputs_that_were_not_fitted() -> None:
    """A few rows fit a layer of more weights almost exactly; others show what that is worth."""
    net = dense()
    groups = [group for group in layered(net.model).values() if not group.obstacle]
    few, others = net.data.take(slice(0, 10)), net.data.take(slice(10, None))
    fooled, honest = (
        list(Survey("obs", Probes(few, shown), True, Engine(1)).curves(net.model, groups))
        for shown in (few, others)
    )
    for told, seen in zip(fooled, honest, strict=True):
        assert np.mean(seen.errors[1:-2]) > 3 * np.mean(told.errors[1:-2])


def test_maps_are_those_that_readers_see(undoing: ExitStack) -> None:
    """Behind the activation, with height and width, or tokens, each tensor once."""
    seen: dict[str, Evidence] = {}

    def spy(evidence: Evidence) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        seen[str(len(seen))] = evidence
        return np.zeros(evidence.channels)

    undoing.callback(CRITERIA.add("spy", Criterion(spy, needs_data=True)))
    surveyed("residual", "spy", with_errors=False)
    stem, inner = seen.values()
    assert [maps.shape for maps in stem.maps] == [(40, 8, 8, 8), (40, 8, 1, 1)]
    assert [maps.shape for maps in inner.maps] == [(40, 8, 8, 8)]
    assert all((maps >= 0).all() for maps in (*stem.maps, *inner.maps))
    assert [consumer.channels for consumer in stem.consumers] == [8, 8]
    assert [filters.shape for filters in stem.filters] == [(8, 27), (8, 72)]
    seen.clear()
    surveyed("transformer", "spy", with_errors=False)
    assert [[maps.shape for maps in each.maps] for each in seen.values()] == [
        [],
        [(60, 8, 1, 6)],
        [(60, 16, 1, 6)],
    ]


def test_wide_readers_are_measured_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = surveyed("dense", "hessian")
    monkeypatch.setattr(elimination, "WIDEST", 4)
    wide = surveyed("dense", "obs")
    for name, curve in narrow.items():
        assert wide[name].order.tolist() == curve.order.tolist()
        assert wide[name].errors == pytest.approx(curve.errors, rel=0.02, abs=1e-4)


def test_the_model_is_left_as_it_was() -> None:
    for net in (dense(), transformer()):
        before, model = net.proto.SerializeToString(), net.model
        groups = list(layered(model).values())
        list(Survey("obs", Probes(net.data, net.data), True, Engine(1)).curves(model, groups))
        assert net.proto.SerializeToString() == before
        assert model.weights == {}
        assert find_layers(model).layers


def test_a_seed_shuffles_each_group_its_own_way() -> None:
    one, two = surveyed("residual", "random").values()
    assert one.order.tolist() != two.order.tolist()
    assert one.order.tolist() == surveyed("residual", "random")["stem"].order.tolist()
