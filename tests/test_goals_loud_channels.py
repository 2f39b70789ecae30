"""Quiet channels beside loud ones of one layer come out as if another layer made them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from builders import Array, make_model, normal, op
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_builders import PAD, Net, batch_norm, images, statistics

import eapc
from eapc.commands.preparation import Settings
from eapc.goals import Goal, MinAgreement, Pruned, Sparsity, TargetEnergy
from eapc.pipeline import Recipe
from eapc.runtime import collect_outputs

LOUD = 100.0
"""Boxes have powers of about 1e4, scores of about 1."""


def heads(joined: bool, stem: bool) -> Net:
    """4 boxes and 6 scores by one convolution, or by two with outputs of their own."""
    x, c = ("r", 12) if stem else ("x", 3)
    nodes = [op("Conv", "x ws bs", "s", "stem", **PAD), op("Relu", "s", "r")] if stem else []
    tensors = {"ws": normal((12, 3, 3, 3), 9), "bs": normal((12,), 8)} if stem else {}
    boxes = [normal((4, c, 3, 3), 1) * np.float32(LOUD), normal((4,), 3) * np.float32(LOUD)]
    scores = [normal((6, c, 3, 3), 2), normal((6,), 4)]
    if joined:
        nodes.append(op("Conv", f"{x} w b", "y", "head", **PAD))
        pairs = zip(boxes, scores, strict=True)
        tensors |= dict(zip("wb", map(np.concatenate, pairs), strict=True))
    else:
        nodes += [op("Conv", f"{x} w1 b1", "boxes", "box head", **PAD)]
        nodes += [op("Conv", f"{x} w2 b2", "scores", "score head", **PAD)]
        tensors |= dict(zip(("w1", "b1", "w2", "b2"), [*boxes, *scores], strict=True))
    outputs = ["y"] if joined else ["boxes", "scores"]
    return Net(make_model(nodes, {"x": ("N", 3, 8, 8)}, outputs, tensors), {"x": images(60)})


def pruned(net: Net, goal: Goal, recipe: Recipe | None = None) -> Pruned:
    settings = Settings(calibration=net.data, threads=1)
    return eapc.prune(net.model, settings, goal=goal, recipe=recipe)


def errors(net: Net, done: Pruned) -> Array:
    """(10,) of every channel, relative to its power."""
    before, after = (
        np.concatenate(list(collect_outputs(each, net.data, 1).values()), axis=1, dtype=np.float64)
        for each in (net.model, done.model)
    )
    power = np.square(before - before.mean(axis=0)).sum(axis=(0, 2, 3))
    return np.asarray(np.square(before - after).sum(axis=(0, 2, 3)) / power)


@pytest.mark.parametrize(
    ("goal", "stem"),
    [
        (Sparsity(0.8), False),
        (Sparsity(0.8), True),
        (MinAgreement(), False),
        (MinAgreement(), True),
        (TargetEnergy(0.85), False),
        (TargetEnergy(0.7), True),
    ],
    ids=lambda each: str(each) if isinstance(each, Goal) else "stem" if each else "alone",
)
def test_channels_of_one_layer_come_out_as_those_of_two(goal: Goal, stem: bool) -> None:
    joined, apart = (
        errors(net, pruned(net, goal)) for net in (heads(True, stem), heads(False, stem))
    )
    assert joined.max() <= 2 * apart.max()
    assert joined.max() < 0.8


def test_the_default_goal_gets_as_far_as_with_two_layers() -> None:
    """A layer whose quiet channels had no weights would have to stay dense."""
    joined, apart = (pruned(heads(each, False), MinAgreement()) for each in (True, False))
    assert joined.energy_ratio <= apart.energy_ratio + 0.008


def test_channels_in_front_go_as_those_in_front_of_two() -> None:
    recipe = Recipe(structured=True)
    nets = heads(True, True), heads(False, True)
    joined, apart = (errors(net, pruned(net, TargetEnergy(0.8), recipe)) for net in nets)
    np.testing.assert_allclose(joined, apart, rtol=0.01)


@pytest.mark.parametrize("method", ["eap", "sparsegpt", "wanda"])
def test_other_methods_do_the_same(method: str) -> None:
    recipe = Recipe(method=method)
    nets = heads(True, True), heads(False, True)
    joined, apart = (errors(net, pruned(net, Sparsity(0.5), recipe)) for net in nets)
    assert joined.max() <= 2 * apart.max()


class Drawn(NamedTuple):
    """A random network: a stem, and one layer that makes a loud and a quiet part."""

    channels: tuple[int, int, int]
    kernel: int
    bias: bool
    normalised: bool
    depthwise: bool
    seed: int

    def net(self, quiet: float = 1e-3, flipped: bool = False) -> Net:
        """The quiet part by a factor, or before the loud one."""
        c, loud, few = self.channels
        c = loud + few if self.depthwise else c
        k, m = 3 if self.depthwise else self.kernel, loud + few
        shape = (m, 1 if self.depthwise else c, k, k)
        tensors = {"ws": normal((c, 3, 1, 1), self.seed), "w": normal(shape, self.seed + 1)}
        tensors |= {"b": normal((m,), self.seed + 2)} if self.bias else {}
        scale = np.repeat([1, quiet], [loud, few]).astype(np.float32)
        behind = "h" if self.normalised else "y"
        nodes = [op("Conv", "x ws", "s", "stem"), op("Tanh", "s", "r")]
        operands = "r w b" if self.bias else "r w"
        nodes.append(op("Conv", operands, behind, "head", group=c if self.depthwise else 1))
        if self.normalised:
            nodes.append(batch_norm("h", "y", "p"))
            tensors |= statistics("p", m, self.seed + 3)
            tensors |= {name: tensors[name] * scale for name in ("pg", "pb")}
        else:
            for name in {"w", "b"} & tensors.keys():
                tensors[name] = tensors[name] * scale.reshape(-1, *[1] * (tensors[name].ndim - 1))
        if flipped:
            own = tensors.keys() - {"ws"} | ({"ws"} if self.depthwise else set())
            tensors |= {name: np.roll(tensors[name], few, axis=0) for name in own}
        proto = make_model(nodes, {"x": ("N", 3, 6, 6)}, ["y"], tensors)
        return Net(proto, {"x": images(40, size=6)})


DRAWN = st.builds(
    Drawn,
    st.tuples(st.integers(4, 9), st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from((1, 3)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 999),
)


def zeros(net: Net) -> Array:
    return np.asarray(pruned(net, Sparsity(0.6)).model.weights["w"] == 0)


@settings(max_examples=8, deadline=None)
@given(drawn=DRAWN)
def test_scale_and_order_of_the_parts_decide_nothing(drawn: Drawn) -> None:
    """A power of two is exact: rounding may decide between weights that are worth the same."""
    usual = zeros(drawn.net())
    np.testing.assert_array_equal(zeros(drawn.net(1e-3 / 1024)), usual)
    flipped = zeros(drawn.net(flipped=True))
    np.testing.assert_array_equal(np.roll(flipped, -drawn.channels[2], axis=0), usual)


def test_a_record_tells_of_the_worst_part() -> None:
    done = pruned(heads(True, False), Sparsity(0.8))
    (record,) = done.compilation.record.layers.values()
    assert done.agreement is not None
    assert record.relative_output_error == pytest.approx(done.agreement.value, rel=0.1)
