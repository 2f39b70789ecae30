"""Seeded random networks: what is dead is found, can go, and axes are as long as foretold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from builders import Array, ints, op
from channel_builders import a_third, feed_of, groups_of, net, outputs_of, shapes_left, silenced
from onnx import NodeProto

from eapc.channels import ChannelGroup, dead_channels, find_groups, remove_channels
from eapc.model import Model, infer_shapes, input_shapes

FIRST_SEEDS = 40
SEEDS = range(120)
SIDE = 6


class RandomNet:
    """Grows a network node by node; every feature map is (N, channels, SIDE, SIDE)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers = (
            LAYERS if seed < FIRST_SEEDS else (conv, *LAYERS, *FURTHER_LAYERS, *FURTHER_LAYERS)
        )
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, Array] = {}
        self.maps = [("x", 3)]

    def model(self) -> Model:
        for _ in range(self.rng.integers(5, 16)):
            name, channels = self.recent()
            self.layers[self.rng.integers(len(self.layers))](self, name, channels)
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


def folded_bias(n: RandomNet, x: str, c: int) -> None:
    """A constant behind nodes that rearrange it, the last of them to a shape."""
    shape = n.store(ints(1, n.one_of(c, -1), 1, 1))
    bias = n.inner("Identity", n.normal(c))
    n.add("Add", f"{x} {n.inner('Reshape', f'{bias} {shape}')}", c)


def filled_bias(n: RandomNet, x: str, c: int) -> None:
    """A layer whose bias is as long as its weights are."""
    m = n.one_of(4, 6, 8)
    weight = n.normal(m, c, 1, 1)
    bias = n.inner("ConstantOfShape", n.inner("Shape", weight, end=1))
    n.add("Conv", f"{x} {weight} {bias}", m)


def group_normalisation(n: RandomNet, x: str, c: int) -> None:
    groups = next((g for g in (4, 3, 2) if c % g == 0), 1)
    apart = n.inner("Reshape", f"{x} {n.store(ints(0, groups, -1))}")
    one, zero = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    each = n.inner("InstanceNormalization", f"{apart} {n.store(one)} {n.store(zero)}")
    shape = n.inner("Shape", x) if n.rng.random() < 0.5 else n.store(ints(0, -1, SIDE, SIDE))
    whole = n.inner("Reshape", f"{each} {shape}")
    scaled = n.inner("Mul", f"{whole} {n.normal(c, 1, 1)}")
    n.add("Add", f"{scaled} {n.normal(c, 1, 1)}", c)


def pick(n: RandomNet, x: str, c: int) -> None:
    count = int(n.rng.integers(2, c + 3))
    n.add("Gather", f"{x} {n.store(n.rng.integers(-c, c, count))}", count, axis=1)


def every_other(n: RandomNet, x: str, c: int) -> None:
    if c % 2:
        return
    one, two, end = n.store(ints(1)), n.store(ints(2)), n.store(ints(99))
    first = n.store(ints(n.one_of(0, 1)))
    n.add("Slice", f"{x} {first} {end} {one} {two}", c // 2)


def chunk(n: RandomNet, x: str, c: int) -> None:
    """The second half, at (C + 1) // 2."""
    if c % 2:
        return
    one, two, far = n.store(ints(1)), n.store(ints(2)), n.store(ints(2**40))
    count = n.inner("Gather", f"{n.inner('Shape', x)} {one}", axis=0)
    half = n.inner("Div", f"{n.inner('Add', f'{count} {one}')} {two}")
    first = n.inner("Slice", f"{x} {n.store(ints(0))} {half} {one}")
    second = n.inner("Slice", f"{x} {half} {far} {one}")
    n.add("Mul", f"{first} {second}", c // 2)


def attention(n: RandomNet, x: str, c: int) -> None:
    """Heads of 3 over positions, joined by the number of channels that x has."""
    heads = n.one_of(2, 4)
    shape = n.inner("Shape", x)
    rest = [n.inner("Gather", f"{shape} {n.store(ints(i))}", axis=0) for i in range(4)]
    apart = n.store(ints(0, heads, 3, SIDE * SIDE))
    q, k, v = (
        n.inner("Reshape", f"{n.inner('Conv', f'{x} {n.normal(3 * heads, c, 1, 1)}')} {apart}")
        for _ in range(3)
    )
    scores = n.inner("MatMul", f"{n.inner('Transpose', q, perm=[0, 1, 3, 2])} {k}")
    soft = n.inner("Transpose", n.inner("Softmax", scores, axis=-1), perm=[0, 1, 3, 2])
    channels = rest[1] if c == 3 * heads else n.store(ints(n.one_of(3 * heads, -1)))
    joined = n.inner("Concat", " ".join((rest[0], channels, *rest[2:])), axis=0)
    back = n.inner("Reshape", f"{n.inner('MatMul', f'{v} {soft}')} {joined}")
    n.add("Conv", f"{back} {n.normal(c, 3 * heads, 1, 1)}", c)


FURTHER_LAYERS: tuple[Callable[[RandomNet, str, int], None], ...] = (
    folded_bias,
    filled_bias,
    group_normalisation,
    pick,
    every_other,
    chunk,
    attention,
)

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
"""What the first seeds grow from; the rest grow from the others too."""


def staying(group: ChannelGroup, dead: Array) -> Array:
    used = np.setdiff1d(np.arange(group.size), dead)
    return used if len(used) or group.may_vanish else np.zeros(1, np.int64)


@pytest.mark.parametrize("seed", SEEDS)
def test_dead_channels_of_a_random_network(seed: int) -> None:
    model = RandomNet(seed).model()
    groups = groups_of(model)
    gone = a_third(groups, seed)
    quiet = silenced(model, groups, gone)
    _, dead = dead_channels(quiet, infer_shapes(quiet, input_shapes(quiet, {}, None)))
    assert all(set(channels) <= set(dead[name]) for name, channels in gone.items())
    kept = {group.name: staying(group, dead[group.name]) for group in groups.groups}
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
    found, wanted = shapes_left(groups, shapes, counts), infer_shapes(smaller, sizes)
    for node in model.view.main_nodes:  # the smaller may have more, to overwrite shapes
        assert [found(name) for name in node.outputs] == [
            wanted.main(name) for name in node.outputs
        ]
