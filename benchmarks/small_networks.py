"""Small networks with seeded weights, inputs for them, and a machine with made-up latencies."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import ModelProto
from shared_data import ROOT

sys.path.insert(0, str(ROOT / "models"))
from graph_builder import Builder, Feature, weights_from
from transformer import gelu, layer_norm

INPUTS = 64
IMAGE = (3, 12, 12)
TOKENS, WIDTH, HEADS = 8, 32, 4

SAME = "kernel_shape=3,3 pads=1,1,1,1 strides=1,1"
POINT = "kernel_shape=1,1 pads=0,0,0,0 strides=1,1"
LAYERS = {
    f"Conv[group=1 {SAME}] Relu: 1x*x8x8 plain -> 1x*x8x8 blocked": ([1], [16, 32], 1.2e-5),
    f"Conv[group=1 {SAME}] BatchNormalization Relu: 1x*x8x8 blocked -> 1x*x8x8 blocked": (
        [8, 16, 24, 32],
        [8, 16, 24, 32],
        1.1e-5,
    ),
    f"Conv[group=1 {SAME}] BatchNormalization Add Relu: "
    "1x*x8x8 blocked, 1x*x8x8 blocked -> 1x*x8x8 blocked": (
        [8, 16, 24, 32],
        [8, 16, 24, 32],
        1.3e-5,
    ),
    "MaxPool[ceil_mode=0 kernel_shape=2,2 pads=0,0,0,0 strides=2,2]: "
    "1x*x8x8 blocked -> 1x*x4x4 blocked": ([], [16, 32], 3e-5),
    f"Conv[group=1 {SAME}] Relu: 1x*x4x4 blocked -> 1x*x4x4 blocked": (
        [16, 32],
        [8, 16, 24, 32],
        7e-6,
    ),
    f"Conv[group=1 {POINT}] Relu: 1x*x4x4 blocked -> 1x*x4x4 blocked": (
        [16, 32],
        [8, 16, 24, 32],
        1.5e-6,
    ),
    "Concat[axis=1]: 1x*x4x4 blocked, 1x*x4x4 blocked -> 1x*x4x4 blocked": ([], [32, 64], 1e-5),
    f"Conv[group=1 {SAME}] BatchNormalization Relu: 1x*x4x4 blocked -> 1x*x4x4 blocked": (
        [16, 32, 48, 64],
        [16, 32, 48, 64],
        5e-6,
    ),
    "GlobalAveragePool: 1x*x4x4 blocked -> 1x*x1x1 plain": ([], [64], 4e-5),
    "Flatten[axis=1]: 1x*x1x1 plain -> 1x* plain": ([], [64], 7e-6),
    "Gemm[transB=1]: 1x* plain -> 1x* plain": ([16, 64], [10], 2e-6),
}
"""Layers of the digits network: input and output channels, milliseconds per pair of channels."""


def residual() -> ModelProto:
    """Two residual blocks with BatchNormalization, the second at half the resolution."""
    b = Builder("residual", weights_from(1))
    x = b.relu(b.batch_norm(b.conv(b.input("x", IMAGE), "stem", 16, 3, pad=1), "stem.bn"), "r0")
    for name, channels, stride in (("a", 16, 1), ("b", 24, 2)):
        y = b.conv(x, f"{name}.conv1", channels, 3, stride, pad=1, bias=False)
        y = b.relu(b.batch_norm(y, f"{name}.bn1"), f"{name}.relu1")
        y = b.batch_norm(b.conv(y, f"{name}.conv2", channels, 3, pad=1), f"{name}.bn2")
        short = x if stride == 1 else b.conv(x, f"{name}.short", channels, 1, stride)
        x = b.relu(b.add(y, short, f"{name}.add"), f"{name}.relu2")
    return _classified(b, x)


def depthwise() -> ModelProto:
    """Inverted residual blocks: expand, a depthwise convolution, project; clipped at 6."""
    b = Builder("depthwise", weights_from(2))
    x = b.relu6(b.batch_norm(b.conv(b.input("x", IMAGE), "stem", 8, 3, 2, 1), "stem.bn"), "r0")
    for name in ("a", "b"):
        y = b.relu6(b.batch_norm(b.conv(x, f"{name}.expand", 24, 1), f"{name}.bn1"), f"{name}.r1")
        y = b.conv(y, f"{name}.depthwise", 24, 3, pad=1, groups=24)
        y = b.relu6(b.batch_norm(y, f"{name}.bn2"), f"{name}.r2")
        y = b.batch_norm(b.conv(y, f"{name}.project", 8, 1, gain=1.0), f"{name}.bn3")
        x = b.add(x, y, f"{name}.add")
    return _classified(b, x)


def branches() -> ModelProto:
    """Two branches and grouped convolutions, joined by Concat; max pooling; no normalisation."""
    b = Builder("branches", weights_from(3))
    x = b.relu(b.conv(b.input("x", IMAGE), "stem", 16, 3, pad=1), "r0")
    parts = [b.relu(b.conv(x, f"conv{n}", 8, n, pad=n // 2), f"relu{n}") for n in (1, 3)]
    x = b.max_pool(b.concat(parts, "concat"), "pool", 2)
    return _classified(b, b.relu(b.conv(x, "grouped", 16, 3, pad=1, groups=4), "r4"))


def perceptron() -> ModelProto:
    """Three fully connected layers."""
    b = Builder("perceptron", weights_from(4))
    x = b.input("x", [48])
    for index, width in enumerate((64, 32)):
        x = b.relu(b.fully_connected(x, f"fc{index}", width), f"relu{index}")
    return b.finish(b.fully_connected(x, "logits", 10, gain=1.0), "y", [10])


def transformer() -> ModelProto:
    """One encoder block on float tokens: attention of four heads, then Gelu."""
    b = Builder("transformer", weights_from(5))
    x = b.input("x", [TOKENS, WIDTH], channels=WIDTH)
    x = layer_norm(b, b.add(_attention(b, x), x, "attention.add"), "norm1")
    y = b.linear(gelu(b, b.linear(x, "up", 2 * WIDTH), "gelu"), "down", WIDTH)
    x = layer_norm(b, b.add(y, x, "add"), "norm2")
    return b.finish(b.linear(x, "head", 10), "y", [TOKENS, 10])


def _attention(b: Builder, x: Feature) -> Feature:
    split = b.constant("split", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    parts = {}
    for name, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        heads = b.node("Reshape", f"{name}.split", b.linear(x, name, WIDTH).name, split)
        parts[name] = b.node("Transpose", f"{name}.heads", heads, perm=perm)
    scores = b.node("MatMul", "scores", parts["query"], parts["key"])
    scale = b.constant("scale", np.array((WIDTH / HEADS) ** -0.5, np.float32))
    weights = b.node("Softmax", "softmax", b.node("Mul", "scaled", scores, scale), axis=-1)
    context = b.node("MatMul", "context", weights, parts["value"])
    back = b.node("Transpose", "back", context, perm=[0, 2, 1, 3])
    join = b.constant("join", np.array([0, 0, WIDTH], np.int64))
    return b.linear(Feature(b.node("Reshape", "joined", back, join), WIDTH), "out", WIDTH)


def _classified(b: Builder, x: Feature) -> ModelProto:
    """Close the graph with average pooling and ten logits."""
    x = b.flatten(b.unary("GlobalAveragePool", x, "average"), "flatten")
    return b.finish(b.fully_connected(x, "classifier", 10, gain=1.0), "y", [10])


NETWORKS = (residual, depthwise, branches, perceptron, transformer)


def write_networks(folder: Path) -> None:
    """Write NAME.onnx and NAME.npz, its inputs, for each of `NETWORKS`."""
    rng = np.random.default_rng(0)
    for network in NETWORKS:
        model = network()
        onnx.save(model, folder / f"{network.__name__}.onnx")
        shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        inputs = rng.standard_normal((INPUTS, *shape), np.float32)
        np.savez(folder / f"{network.__name__}.npz", x=inputs)


def write_machine(path: Path) -> None:
    """Write a hardware file as `eapc profile` does, of the digits network and made-up times."""
    layers = [
        {
            "layer": layer,
            "in_channels": inputs,
            "out_channels": outputs,
            "ms": [[_ms(ins, outs, rate) for outs in outputs] for ins in inputs or [1]],
        }
        for layer, (inputs, outputs, rate) in LAYERS.items()
    ]
    document = {
        "schema": "eapc.measured/1",
        "kind": "measured",
        "name": path.stem,
        "description": "layers of the digits network with made-up latencies",
        "cpu": "none",
        "runtime": "onnxruntime 0",
        "threads": 1,
        "batch": 1,
        "repeats": 1,
        "date": "2020-01-01",
        "overhead_ms": 0.01,
        "steps": {"in": 8, "out": 8},
        "layers": layers,
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def _ms(inputs: int, outputs: int, rate: float) -> float:
    return round(0.0005 + rate * inputs * outputs, 7)
