"""Widths beside channels and zeros: what a budget comes to, and how far from the true energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from builders import make_model, normal, op
from pruning_builders import residual
from structured_builders import EYERISS, inputs_of

from eapc.allocation import GRID
from eapc.energy import DensityTable, GivenBits, NodeWork, operand_tensors, with_bits, work_list
from eapc.layers import layers_of
from eapc.model import Model, infer_shapes, input_shapes
from eapc.pipeline import (
    AllowedWidths,
    Compilation,
    Conditions,
    estimate_energy,
    width_plan,
    with_curves,
    with_widths,
    without_pruning,
)
from eapc.quantization import WidthCurve
from eapc.runtime import Engine
from eapc.structured import ChannelPlan
from eapc.widths import WidthPlan

ALLOWED = AllowedWidths((8, 6, 4, 2), (8, 5, 3))


def compilation(model: Model) -> Compilation:
    """Half of all activations count as zero, whatever weights are left."""
    conditions = Conditions(densities=DensityTable(activations=0.5), engine=Engine(1))
    return Compilation(model, EYERISS, inputs_of(model), conditions)


def two_layers() -> Model:
    nodes = [op("MatMul", "x w", "h"), op("Relu", "h", "r"), op("MatMul", "r v", "y")]
    tensors = {"w": normal((16, 12), 1), "v": normal((12, 8), 2)}
    return Model.from_proto(make_model(nodes, {"x": ("N", 16)}, ["y"], tensors))


def works_of(model: Model, given: GivenBits) -> dict[str, NodeWork]:
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    return {item.ofmap: item for item in work_list(model, shapes, given)}


def test_a_nodes_work_at_other_widths() -> None:
    model = two_layers()
    works = works_of(model, GivenBits(8, 8))
    (part,) = with_bits(works["y"], {"v": 3, "r": 5, "elsewhere": 2}).work.parts
    assert (part.workload.bits.weights, part.workload.bits.ifmap) == (3, 5)
    assert part.workload.bits.ofmap == 8
    named = works_of(model, GivenBits(8, 8, (("v", 3), ("r", 5))))
    assert named["y"].work.parts == (part,)


def test_a_sum_reads_at_the_wider_of_its_operands() -> None:
    nodes = [op("Sigmoid", "x", "a"), op("Tanh", "x", "b"), op("Add", "a b", "s", "sum")]
    model = Model.from_proto(make_model(nodes, {"x": ("N", 16)}, ["s"], {}))
    works = works_of(model, GivenBits(8, 8))
    assert operand_tensors(works["s"]) == ("a", "b", "s")
    for bits, widest in (({"a": 4}, 8), ({"a": 4, "b": 6}, 6), ({"a": 5, "b": 3}, 5)):
        (part,) = with_bits(works["s"], bits).work.parts
        assert part.workload.bits.ifmap == widest
        named = works_of(model, GivenBits(8, 8, tuple(bits.items())))
        assert named["s"].work.parts == (part,)


def zeroed(model: Model, densities: dict[str, float]) -> Model:
    """The model with the smallest weights of each layer zeroed."""
    changed = {}
    for tied in layers_of(model).layers:
        matrix = tied.matrix(model)
        count = round(densities.get(tied.weight, 1.0) * matrix.size)
        least = np.sort(np.abs(matrix), axis=None)[-count]
        changed[tied.weight] = tied.stored(model, np.where(np.abs(matrix) >= least, matrix, 0))
    return model.with_weights(changed)


def planned(start: Compilation, with_zeros: bool) -> WidthPlan:
    def pruning(widest: Compilation) -> ChannelPlan:
        found = with_curves(widest, layers_of(widest.model)).record.curves if with_zeros else None
        return without_pruning(widest, found.layers if found else ())

    return width_plan(start, ALLOWED, pruning)


def with_errors(curve: WidthCurve, seed: int) -> WidthCurve:
    errors = np.cumsum(np.random.default_rng(seed).uniform(0.1, 1.0, len(curve.widths)))
    return replace(curve, errors=tuple(errors.tolist()))


def energy(start: Compilation, bits: GivenBits, model: Model | None = None) -> float:
    widened = with_widths(start, bits.of_tensor)
    return estimate_energy(widened.with_model(model or start.model)).energy_mac_units


@pytest.mark.parametrize("seed", range(3))
def test_near_the_best_of_all_widths(seed: int) -> None:
    """Two layers and the two tensors that they read: 144 choices, each priced for real."""
    start = compilation(two_layers())
    measured = planned(start, with_zeros=False)
    assert [c.tensors for c in measured.widths] == [("w",), ("v",), ("x",), ("r",)]
    weights = tuple(with_errors(c, 10 * seed + i) for i, c in enumerate(measured.weights))
    maps = tuple(with_errors(c, 10 * seed + 5 + i) for i, c in enumerate(measured.activations))
    plan = replace(measured, weights=weights, activations=maps)
    every = [
        (
            sum(c.errors[o] for c, o in zip(plan.widths, options, strict=True)),
            energy(start, GivenBits(by_tensor=named(plan.widths, options))) / plan.dense_energy,
        )
        for options in product(range(4), range(4), range(3), range(3))
    ]
    for budget in (0.5, 0.4, 0.3):
        choice = plan.choice(budget)
        best = min(error for error, ratio in every if ratio <= budget)
        assert energy(start, choice.bits) <= budget * plan.dense_energy * 1.001
        assert choice.predicted.error <= 1.25 * best
        assert plan.predicted(budget) == choice.predicted
    assert plan.lowest_ratio == pytest.approx(min(ratio for _, ratio in every), rel=0.01)


def named(curves: Sequence[WidthCurve], options: Sequence[int]) -> tuple[tuple[str, int], ...]:
    chosen = zip(curves, options, strict=True)
    return tuple((name, curve.widths[o]) for curve, o in chosen for name in curve.tensors)


def test_what_is_left_out_of_the_energy_is_little() -> None:
    """Densities, widths of weights, of what is read and of what is written, all at random."""
    start, rng = compilation(residual().model), np.random.default_rng(0)
    plan = planned(start, with_zeros=True)
    layers = plan.channels.zeros
    off = []
    for _ in range(12):
        sites = [len(GRID)] * len(layers) + [len(curve.widths) for curve in plan.widths]
        choice = np.array([rng.integers(count) for count in sites])
        densities = {c.name: float(GRID[o]) for c, o in zip(layers, choice, strict=False)}
        bits = GivenBits(by_tensor=named(plan.widths, choice[len(layers) :].tolist()))
        true = energy(start, bits, zeroed(start.model, densities))
        off.append(plan.decisions.cost(choice) / true - 1)
    assert max(map(abs, off)) < 0.02
    assert abs(np.mean(off)) < 0.005


def test_bits_of_weights_save_less_where_zeros_are() -> None:
    start = compilation(residual().model)
    plan = planned(start, with_zeros=True)
    names = [layer.name for layer in plan.channels.zeros]
    zeros, width = names.index("w2"), len(names) + [c.name for c in plan.weights].index("w2")

    def saved(density: int) -> float:
        wide = np.zeros(plan.decisions.sites, np.intp)
        wide[zeros] = density
        narrow = wide.copy()
        narrow[width] = 3
        return plan.decisions.cost(wide) - plan.decisions.cost(narrow)

    dense, sparse = saved(0), saved(len(GRID) - 20)
    assert GRID[len(GRID) - 20] == pytest.approx(0.21)
    assert 0.15 * dense < sparse < 0.5 * dense
