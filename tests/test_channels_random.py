"""Seeded random networks: what is silent is found, can go, and axes are as long as foretold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from builders import Array, ints, op
from channel_builders import a_third, feed_of, groups_of, net, outputs_of, silenced
from onnx import NodeProto

from eapc.channels import ChannelGroup, find_groups, remove_channels, shapes_at, silent_channels
from eapc.model import Model, infer_shapes, input_shapes

SEEDS = range(40)
SIDE = 6


class RandomNet:
    """Grows a network node by node; every feature map is (N, channels, SIDE, SIDE)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, Array] = {}
        self.maps = [("x", 3)]

    def model(self) -> Model:
        for _ in range(self.rng.integers(5, 16)):
            name, channels = self.recent()
            LAYERS[self.rng.integers(len(LAYERS))](self, name, channels)
        name, channels = self.maps[-1]
        last = self.add("Conv", f"{name} {self.normal(5, channels, 1, 1)}", 5)
        self.nodes.append(op("GlobalAveragePool", last, "y"))
        return net(self.nodes, ("N", 3, SIDE, SIDE), self.tensors)

    def recent(self) -> tuple[str, int]:
        return self.maps[self.rng.integers(max(0, len(self.maps) - 5), len(self.maps))]

    def one_of(self, *numbers: int) -> int:
        return int(self.rng.choice(numbers))

    def normal(self, *shape: int) -> str:
        return self.store(self.rng.normal(0, 0.5, shape).astype(np.float32))

    def store(self, array: Array) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = array
        return name

    def inner(self, op_type: str, inputs: str, **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(op(op_type, inputs, name, name, **attributes))
        return name

    def add(self, op_type: str, inputs: str, channels: int, **attributes: object) -> str:
        name = self.inner(op_type, inputs, **attributes)
        self.maps.append((name, channels))
        return name


def conv(n: RandomNet, x: str, c: int) -> None:
    m = n.one_of(4, 6, 8, 12)
    n.add("Conv", f"{x} {n.normal(m, c, 3, 3)} {n.normal(m)}", m, pads=[1] * 4)


def depthwise(n: RandomNet, x: str, c: int) -> None:
    m = c * n.one_of(1, 2)
    n.add("Conv", f"{x} {n.normal(m, 1, 3, 3)}", m, pads=[1] * 4, group=c)


def grouped(n: RandomNet, x: str, c: int) -> None:
    groups, m = next((g for g in (4, 3, 2) if c % g == 0), 1), n.one_of(1, 2, 3)
    if n.rng.random() < 0.5:
        n.add("Conv", f"{x} {n.normal(groups * m, c // groups, 1, 1)}", groups * m, group=groups)
    else:
        n.add("ConvTranspose", f"{x} {n.normal(c, m, 1, 1)}", groups * m, group=groups)


def normalisation(n: RandomNet, x: str, c: int) -> None:
    variance = n.store(np.abs(n.rng.normal(0, 0.5, c)).astype(np.float32) + np.float32(0.5))
    n.add("BatchNormalization", f"{x} {n.normal(c)} {n.normal(c)} {n.normal(c)} {variance}", c)


def activation(n: RandomNet, x: str, c: int) -> None:
    n.add(str(n.rng.choice(["Relu", "LeakyRelu", "Tanh", "HardSwish"])), x, c)


def parameters(n: RandomNet, x: str, c: int) -> None:
    n.add(str(n.rng.choice(["Mul", "PRelu"])), f"{x} {n.normal(c, 1, 1)}", c)


def add(n: RandomNet, x: str, c: int) -> None:
    alike = [name for name, channels in n.maps if channels == c]
    n.add("Add", f"{x} {alike[n.rng.integers(len(alike))]}", c)


def concat(n: RandomNet, x: str, c: int) -> None:
    other, channels = n.recent()
    n.add("Concat", f"{x} {other}", c + channels, axis=1)


def split(n: RandomNet, x: str, c: int) -> None:
    if c == 1:
        return
    first = int(n.rng.integers(1, c))
    names = (f"n{len(n.nodes)}", f"n{len(n.nodes)}b")
    n.nodes.append(op("Split", f"{x} {n.store(ints(first, c - first))}", " ".join(names), axis=1))
    n.maps += [(names[0], first), (names[1], c - first)]


def cut(n: RandomNet, x: str, c: int) -> None:
    start = int(n.rng.integers(0, c))
    stop = int(n.rng.integers(start + 1, c + 1))
    from_front = n.rng.random() < 0.5
    first = start if from_front else start - c
    last = stop if from_front else stop - c if stop < c else 99
    bounds = (n.store(ints(first)), n.store(ints(last)), n.store(ints(1)))
    n.add("Slice", " ".join((x, *bounds)), stop - start)


def pad(n: RandomNet, x: str, c: int) -> None:
    before, after = n.one_of(0, 1, 2), n.one_of(0, 1, 2)
    n.add("Pad", f"{x} {n.store(ints(0, before, 0, 0, 0, after, 0, 0))}", c + before + after)


def gate(n: RandomNet, x: str, c: int) -> None:
    m = max(2, c // 2)
    squeezed = n.inner("Conv", f"{n.inner('GlobalAveragePool', x)} {n.normal(m, c, 1, 1)}")
    excited = n.inner("Conv", f"{n.inner('Relu', squeezed)} {n.normal(c, m, 1, 1)} {n.normal(c)}")
    n.add("Mul", f"{x} {n.inner('Sigmoid', excited)}", c)


def shuffle(n: RandomNet, x: str, c: int) -> None:
    groups = next((g for g in (4, 3, 2) if c % g == 0), 1)
    apart, joint = ints(0, groups, c // groups, -1, SIDE), ints(0, n.one_of(c, -1), SIDE, SIDE)
    split_up = n.inner("Reshape", f"{x} {n.store(apart)}")
    moved = n.inner("Transpose", split_up, perm=[0, 2, 1, 3, 4])
    n.add("Reshape", f"{moved} {n.store(joint)}", c)


def unfold(n: RandomNet, x: str, c: int) -> None:
    deep = n.inner("Conv", f"{x} {n.normal(8, c, 1, 1)}")
    mode = str(n.rng.choice(["DCR", "CRD"]))
    wide = n.inner("DepthToSpace", deep, blocksize=2, mode=mode)
    n.add("MaxPool", wide, 2, kernel_shape=[2, 2], strides=[2, 2])


LAYERS: tuple[Callable[[RandomNet, str, int], None], ...] = (
    conv,
    conv,
    depthwise,
    grouped,
    normalisation,
    activation,
    parameters,
    add,
    add,
    concat,
    split,
    cut,
    pad,
    gate,
    shuffle,
    unfold,
)


def staying(group: ChannelGroup, silent: Array) -> Array:
    loud = np.setdiff1d(np.arange(group.size), silent)
    return loud if len(loud) or group.may_vanish else np.zeros(1, np.int64)


@pytest.mark.parametrize("seed", SEEDS)
def test_silent_channels_of_a_random_network(seed: int) -> None:
    model = RandomNet(seed).model()
    groups = groups_of(model)
    gone = a_third(groups, seed)
    quiet = silenced(model, groups, gone)
    _, silent = silent_channels(quiet, infer_shapes(quiet, input_shapes(quiet, {}, None)))
    assert all(set(channels) <= set(silent[name]) for name, channels in gone.items())
    kept = {group.name: staying(group, silent[group.name]) for group in groups.groups}
    feed = feed_of(model)
    wanted, found = outputs_of(quiet, feed), outputs_of(remove_channels(quiet, groups, kept), feed)
    scale = max(float(np.abs(wanted["y"]).max()), 1e-30)
    assert float(np.abs(found["y"] - wanted["y"]).max()) < 1e-5 * scale


@pytest.mark.parametrize("seed", SEEDS)
def test_axes_of_a_random_network_are_as_long_as_foretold(seed: int) -> None:
    model = RandomNet(seed).model()
    sizes = input_shapes(model, {}, None)
    shapes = infer_shapes(model, sizes)
    groups = find_groups(model, shapes)
    counts = {group.name: (group.size + 1) // 2 for group in groups.groups}
    kept = {name: np.arange(count) for name, count in counts.items()}
    smaller = remove_channels(model, groups, kept)
    outputs_of(smaller, feed_of(model))
    found, wanted = shapes_at(groups, shapes, counts), infer_shapes(smaller, sizes)
    for node in smaller.view.main_nodes:
        assert [found.main(name) for name in node.outputs] == [
            wanted.main(name) for name in node.outputs
        ]
