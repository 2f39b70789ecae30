"""Quiet tensors that are joined to loud ones come out as if they were outputs of their own."""

from __future__ import annotations

import numpy as np
import pytest
from builders import make_model, op, scalar
from pruning_builders import PAD, Net, images, weights_for

import eapc
from eapc.commands.preparation import Settings
from eapc.goals import Goal, MinAgreement, Pruned, TargetEnergy
from eapc.pipeline import Recipe
from eapc.runtime import collect_outputs

LOUD = 80.0


def detector(joined: bool, scale: float = LOUD) -> Net:
    """Boxes times `scale` and scores in [0, 1], as one output or as two."""
    ends = ["y"] if joined else ["boxes", "scores"]
    nodes = [
        op("Conv", "x w0 b0", "c0", "stem", **PAD),
        op("Relu", "c0", "r0"),
        op("Conv", "r0 w1", "c1", "box", **PAD),
        op("Relu", "c1", "r1"),
        op("Conv", "r1 w2", "c2", "box head"),
        op("Mul", "c2 scale", "boxes"),
        op("Conv", "r0 w3", "c3", "score", **PAD),
        op("Relu", "c3", "r3"),
        op("Conv", "r3 w4", "c4", "score head"),
        op("Sigmoid", "c4", "scores"),
        *([op("Concat", "boxes scores", "y", axis=1)] if joined else []),
    ]
    shapes = {"w0": (12, 3, 3, 3), "b0": (12,), "w1": (12, 12, 3, 3), "w2": (4, 12, 1, 1)}
    shapes |= {"w3": (12, 12, 3, 3), "w4": (6, 12, 1, 1)}
    tensors = weights_for(nodes, shapes) | {"scale": scalar(scale)}
    proto = make_model(nodes, {"x": ("N", 3, 8, 8)}, ends, tensors)
    return Net(proto, {"x": images(60)})


def pruned(net: Net, goal: Goal, recipe: Recipe | None = None) -> Pruned:
    return eapc.prune(
        net.model, Settings(calibration=net.data, threads=1), goal=goal, recipe=recipe
    )


def errors(net: Net, done: Pruned) -> tuple[float, float]:
    """Of boxes and of scores, relative to the power of each."""
    before, after = (
        np.concatenate(list(collect_outputs(each, net.data, 1).values()), axis=1)
        for each in (net.model, done.model)
    )
    found = []
    for part in (slice(0, 4), slice(4, 10)):
        y, other = before[:, part].astype(np.float64), after[:, part].astype(np.float64)
        found.append(float(np.square(y - other).sum() / np.square(y - y.mean(axis=0)).sum()))
    return found[0], found[1]


@pytest.mark.parametrize(
    ("goal", "recipe"),
    [
        (MinAgreement(), None),
        (TargetEnergy(0.7), None),
        (TargetEnergy(0.8), Recipe(structured=True)),
        (TargetEnergy(0.6), Recipe(structured=True, zeros=True)),
    ],
    ids=["default", "zeros", "channels", "both"],
)
def test_joined_outputs_come_out_as_separate_ones(goal: Goal, recipe: Recipe | None) -> None:
    results = [(net, pruned(net, goal, recipe)) for net in (detector(True), detector(False))]
    joined, apart = (errors(net, done) for net, done in results)
    ratios = [done.energy_ratio for _, done in results]
    assert ratios[0] == pytest.approx(ratios[1], rel=0.01)
    np.testing.assert_allclose(joined, apart, rtol=0.1)
    assert max(joined) < 2 * max(apart)


def test_the_scale_of_a_part_decides_nothing() -> None:
    quiet, loud = (pruned(detector(True, scale), MinAgreement()) for scale in (0.01, 1000.0))
    assert quiet.energy_ratio == pytest.approx(loud.energy_ratio, abs=0.02)
    for done in (quiet, loud):
        assert done.agreement is not None
        assert done.agreement.part in ("y[:, 0:4]", "y[:, 4:10]")
        assert done.agreement.mean is not None
        assert done.agreement.mean <= done.agreement.value <= 0.05
