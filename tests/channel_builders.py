"""What tests of channels share: groups of a model, silenced channels, a lossless removal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from builders import Array, Initializers, loaded
from onnx import NodeProto

from eapc.channels import ChannelGroups, dead_channels, find_groups, remove_channels
from eapc.model import Model, Shapes, infer_shapes, input_shapes
from eapc.runtime import Session

Axes = dict[tuple[str, int], int]


def net(
    nodes: Sequence[NodeProto],
    x: Sequence[int | str],
    tensors: Initializers,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
) -> Model:
    """Nodes from input x to outputs y."""
    return loaded(nodes, {"x": x}, list(outputs), tensors, opset)


def groups_of(model: Model) -> ChannelGroups:
    """The channel groups at the model's own shapes, dynamic axes taken as 1."""
    return find_groups(model, infer_shapes(model, input_shapes(model, {}, None)))


def axes_of(model: Model) -> dict[str, tuple[int, Axes]]:
    """Group name -> channels and {(tensor, axis): width}, of constants only."""
    constants = model.constants.plain
    return {
        group.name: (
            group.size,
            {(c.tensor, c.axis): c.width for c in group.slices if c.tensor in constants},
        )
        for group in groups_of(model).groups
    }


def silenced(model: Model, groups: ChannelGroups, gone: Mapping[str, Array]) -> Model:
    """The model with zeros for what makes some channels: filters, biases, normalisation.

    What reads the channels keeps its weights, and variances stay, where no zero may stand.
    """
    reads = _reading_axes(model)
    variances = {n.input(4) for n in model.nodes if n.op_type == "BatchNormalization"}
    new: dict[str, Array] = {}
    for group in groups.groups:
        for cut in group.slices if group.name in gone else ():
            if cut.tensor not in model.constants.plain:
                continue
            found = model.constants[cut.tensor]
            if found.dtype == np.int64:  # indices, no values
                continue
            if cut.tensor in variances or (cut.tensor, cut.axis) in reads:
                continue
            array = new.setdefault(cut.tensor, found.copy())
            place: list[Any] = [slice(None)] * array.ndim
            place[cut.axis] = cut.indices[gone[group.name]].reshape(-1)
            array[tuple(place)] = 0
    return model.with_weights(new)


def _reading_axes(model: Model) -> set[tuple[str, int]]:
    """Axes of weights that read channels without making them."""
    found = set()
    for node in model.nodes:
        shape = model.constants.shape(node.input(1))
        if shape is None:
            continue
        if node.op_type == "Conv" and shape[1] > 1:
            found.add((node.input(1), 1))
        elif node.op_type == "ConvTranspose" and node.attribute("group", 1) == 1:
            found.add((node.input(1), 0))
        elif node.op_type == "Gemm":
            found.add((node.input(1), int(node.attribute("transB", 0))))
        elif node.op_type == "MatMul":
            found.add((node.input(1), 0))
    return found


def a_third(groups: ChannelGroups, seed: int = 0) -> dict[str, Array]:
    """A seeded third, at least one, of the channels of every group that has two or more."""
    rng = np.random.default_rng(seed)
    return {
        group.name: np.sort(rng.choice(group.size, max(1, group.size // 3), replace=False))
        for group in groups.groups
        if group.size > 1
    }


def kept_of(groups: ChannelGroups, gone: Mapping[str, Array]) -> dict[str, Array]:
    """The channels that stay."""
    sizes = {group.name: group.size for group in groups.groups}
    return {name: np.setdiff1d(np.arange(sizes[name]), out) for name, out in gone.items()}


def shapes_left(
    groups: ChannelGroups, shapes: Shapes, counts: Mapping[str, int]
) -> Callable[[str], tuple[int, ...] | None]:
    """The shape of a tensor once each group has so many channels left.

    A constant that several nodes share keeps its shape: what each of them reads may differ.
    """
    lost: Counter[tuple[str, int]] = Counter()
    for group in groups.groups:
        for cut in group.slices:
            if not cut.reader:
                lost[cut.tensor, cut.axis] += (group.size - counts[group.name]) * cut.width

    def shape(tensor: str) -> tuple[int, ...] | None:
        sizes = shapes.main(tensor)
        if sizes is None:
            return None
        return tuple(size - lost[tensor, axis] for axis, size in enumerate(sizes))

    return shape


def feed_of(model: Model, seed: int = 0) -> dict[str, Array]:
    """Seeded inputs: normal, or small integers that may index a table."""
    rng = np.random.default_rng(seed)
    shapes = input_shapes(model, {}, None)
    return {
        spec.name: (
            rng.normal(0, 1, shapes[spec.name])
            if spec.is_float
            else rng.integers(0, 4, shapes[spec.name])
        ).astype(spec.dtype)
        for spec in model.inputs
    }


def outputs_of(model: Model, feed: Mapping[str, Array]) -> dict[str, Array]:
    """What onnxruntime makes of a model that the checker accepts.

    Quantized models run as they stand: on processors without VNNI the kernels that they are fused
    to saturate sums of two products, so that results depend on which channels are neighbours.
    """
    proto = model.to_proto(embed=True)
    onnx.checker.check_model(proto, full_check=True)
    is_quantized = any(node.op_type == "DequantizeLinear" for node in model.nodes)
    return Session(proto, 1, optimise=not is_quantized).run(dict(feed))


def removal_error(model: Model, gone: Mapping[str, Array]) -> float:
    """The largest difference of outputs, relative to their scale, once dead channels go."""
    groups = groups_of(model)
    quiet = silenced(model, groups, gone)
    feed = feed_of(model)
    before = outputs_of(quiet, feed)
    after = outputs_of(remove_channels(quiet, groups, kept_of(groups, gone)), feed)
    errors = [0.0]
    for name, wanted in before.items():
        assert after[name].shape == wanted.shape
        scale = max(float(np.abs(wanted).max()), 1e-30)
        errors.append(float(np.abs(after[name].astype(np.float64) - wanted).max()) / scale)
    return max(errors)


def error_without_dead(model: Model, quiet: Mapping[str, tuple[Any, ...]]) -> float:
    """The largest error once what zeros in parts of constants make dead goes: something must."""
    zeroed: dict[str, Array] = {}
    for name, place in quiet.items():
        found = model.constants.value(name)
        assert found is not None  # it is an initializer
        zeroed[name] = found.copy()
        zeroed[name][place] = 0
    model = model.with_weights(zeroed)
    groups, dead = dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))
    assert any(len(channels) for channels in dead.values())
    feed = feed_of(model)
    wanted = outputs_of(model, feed)
    after = outputs_of(remove_channels(model, groups, kept_of(groups, dead)), feed)
    return max(float(np.abs(wanted[name] - after[name]).max()) for name in wanted)
