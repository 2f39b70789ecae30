#!/usr/bin/env python3
"""Whether the latencies of its layers add up to a network's: `eapc profile` on several networks.

    python benchmarks/profile_sum.py [--minutes M] [--threads N] [network ...]

A row for each: seconds the profile took, distinct layers and channel counts, the sum of the
layers' latencies, and what the whole network takes in onnxruntime with its defaults and as many
threads. Both are the least of many runs, those of the network in between the layers'. Networks:
digits, mnist-8, resnet32, squeezenet1_1, ultraface, whose weights are inputs as well, googlenet and
mobilenetv2 with random weights, and so resnet44, which is 44 layers of the CIFAR form (He et al.,
CVPR 2016, section 4.2). Of quantized layers are digits-int8, which eapc quantizes on noise, and
resnet20-int8, vww-int8 and kws-int8 of other tools. Ends with 1 if a sum is off by more than 15 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto
from shared_data import ROOT, shared_folder

from eapc.commands.machine_profile import ProfileSettings, profile
from eapc.data import dataset
from eapc.model import Model, input_shapes
from eapc.quantization import quantize

sys.path.insert(0, str(ROOT / "models"))
from graph_builder import Builder, weights_from
from recipes import RECIPES
from residual_nets import basic_block, conv_bn

TOLERANCE = 0.15


def cifar_resnet(blocks: int) -> ModelProto:
    """6 * blocks + 2 layers on (N, 3, 32, 32): three stages of 16, 32 and 64 channels."""
    b = Builder(f"resnet{6 * blocks + 2}", weights_from(0))
    x = b.relu(conv_bn(b, b.input("input", [3, 32, 32]), "", "1", 16, 3), "relu")
    for stage in range(3):
        for index in range(blocks):
            stride = 2 if stage and not index else 1
            x = basic_block(b, x, f"layer{stage + 1}.{index}.", 16 << stage, stride)
    x = b.flatten(b.unary("GlobalAveragePool", x, "avgpool"), "flatten")
    return b.finish(b.fully_connected(x, "fc", 10, gain=1.0), "logits", [10])


def quantized(path: Path) -> ModelProto:
    """A network at 8 bits, its ranges told by noise."""
    model = Model.load(path)
    rng = np.random.default_rng(0)
    sizes = input_shapes(model, {}, 1)
    noise = {n: rng.normal(size=(64, *size[1:])).astype(np.float32) for n, size in sizes.items()}
    return quantize(model, dataset(noise, model.inputs, "noise")).model.to_proto(embed=True)


def shared_model(name: str) -> ModelProto:
    """A file of the shared models."""
    return onnx.load(shared_folder() / "models" / name)


NETWORKS: dict[str, Callable[[], ModelProto]] = {
    "digits": lambda: onnx.load(ROOT / "models/digits.onnx"),
    "mnist-8": lambda: onnx.load(shared_folder() / "models/mnist-8.onnx"),
    "resnet32": lambda: onnx.load(shared_folder() / "models/cifar10_resnet32_bn.onnx"),
    "resnet44": lambda: cifar_resnet(7),
    "squeezenet1_1": lambda: onnx.load(shared_folder() / "models/imagenet_squeezenet1_1.onnx"),
    "ultraface": lambda: onnx.load(shared_folder() / "models/ultraface_rfb320.onnx"),
    "googlenet": lambda: RECIPES["googlenet"](0, None),
    "digits-int8": lambda: quantized(ROOT / "models/digits.onnx"),
    "resnet20-int8": lambda: shared_model("cifar10_resnet20_qdq_int8.onnx"),
    "vww-int8": lambda: shared_model("mlperf_tiny_vww_int8.onnx"),
    "kws-int8": lambda: shared_model("mlperf_tiny_kws_int8.onnx"),
    "mobilenetv2": lambda: RECIPES["mobilenetv2"](0, None),
}


def row(name: str, settings: ProfileSettings) -> float:
    """Profile one network and print its row; returns the sum over the whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        onnx.save(NETWORKS[name](), path)
        start = time.perf_counter()
        done = profile(path, settings)
        seconds = time.perf_counter() - start
    layers = done.machine.layers
    points = sum(len(layer.ms) * len(layer.out_channels) for layer in layers)
    assert done.whole_ms is not None  # these networks take float32
    ratio = done.sum_ms / done.whole_ms
    print(
        f"{name:16}{seconds:8.0f}{len(layers):8}{points:8}{done.sum_ms:10.4f}"
        f"{done.whole_ms:10.4f}{ratio:8.3f}  {len(done.missing)} not timed",
        flush=True,
    )
    return ratio


def main() -> int:
    """Profile the networks that are named, or all."""
    parser = argparse.ArgumentParser(description="Sum of layers against the whole network.")
    parser.add_argument("networks", nargs="*", help=", ".join(NETWORKS))
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    settings = ProfileSettings(threads=options.threads, minutes=options.minutes)
    print(f"{'network':16}{'seconds':>8}{'layers':>8}{'counts':>8}{'sum ms':>10}", end="")
    print(f"{'whole ms':>10}{'ratio':>8}")
    ratios = [row(name, settings) for name in options.networks or NETWORKS]
    return int(any(abs(ratio - 1) > TOLERANCE for ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
