"""Train the shipped digits network and write it with its data: python models/train_digits.py.

Needs the extra `train` (torch, scikit-learn). Writes digits.onnx, digits_calibration.npz (the
training part) and digits_eval.npz (the held-out part) beside this file. With one seed, one torch
and one kind of processor the bytes are the same from run to run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from graph_builder import Builder, Feature, FloatArray, weights_stored
from numpy.typing import NDArray
from onnx import ModelProto
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional

TRAINING_IMAGES = 1200
EPOCHS = 40
BATCH = 60
PEAK_RATE = 3e-3
WEIGHT_DECAY = 5e-4
MAX_SHIFT = 1
"""Pixels by which a training image is moved at most, in each direction."""

CONVOLUTIONS = {
    "stem": (1, 32, 3),
    "block.conv1": (32, 32, 3),
    "block.conv2": (32, 32, 3),
    "narrow": (32, 32, 1),
    "wide": (32, 32, 3),
    "merge": (64, 64, 3),
}
"""(channels in, channels out, kernel); each is followed by a BatchNormalization in training."""

FOLDED = ("stem", "narrow", "wide")
"""Written with their BatchNormalization folded in; the others keep it as a node."""

EPSILON = 1e-5

Network = dict[str, Any]
"""Torch modules by name: a Conv2d per convolution, its `.bn`, and the Linear `classifier`."""


class Digits(NamedTuple):
    """Images x (n, 1, 8, 8), uint8 0..16, and their labels y (n,), int64 0..9."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]


class Scaling(NamedTuple):
    """The network sees (x * scale - mean) / std; mean and std have one entry per channel."""

    scale: np.float32
    mean: FloatArray
    std: FloatArray

    def apply(self, x: NDArray[np.uint8]) -> FloatArray:
        """Images (n, 1, 8, 8) as float32."""
        scaled = (x.astype(np.float32) * self.scale - self.mean) / self.std
        return scaled.astype(np.float32)


def split_digits(seed: int) -> tuple[Digits, Digits]:
    """Split the 1,797 images into 1,200 for training and 597 held out, each class in proportion."""
    pixels, labels = load_digits(return_X_y=True)
    x = pixels.reshape(-1, 1, 8, 8).astype(np.uint8)
    parts = train_test_split(
        x, labels.astype(np.int64), train_size=TRAINING_IMAGES, stratify=labels, random_state=seed
    )
    return Digits(parts[0], parts[2]), Digits(parts[1], parts[3])


def fit_scaling(x: NDArray[np.uint8]) -> Scaling:
    """Scaling to 0..1, then to zero mean and unit variance over all pixels of `x`."""
    scaled = x / 16.0
    mean, std = (np.array([moment], np.float32) for moment in (scaled.mean(), scaled.std()))
    return Scaling(np.float32(1 / 16), mean, std)


def new_network() -> Network:
    """Modules with torch's default initial weights."""
    network: Network = {"classifier": torch.nn.Linear(64, 10)}
    for name, (channels_in, channels_out, kernel) in CONVOLUTIONS.items():
        network[name] = torch.nn.Conv2d(
            channels_in, channels_out, kernel, padding=kernel // 2, bias=False
        )
        network[f"{name}.bn"] = torch.nn.BatchNorm2d(channels_out, eps=EPSILON)
    return network


def forward(network: Network, x: Any) -> Any:
    """Logits (n, 10) of torch images (n, 1, 8, 8); `to_onnx` writes the same graph."""

    def normalised(name: str, x: Any) -> Any:
        return network[f"{name}.bn"](network[name](x))

    x = functional.relu(normalised("stem", x))
    y = functional.relu(normalised("block.conv1", x))
    x = functional.relu(normalised("block.conv2", y) + x)
    x = functional.max_pool2d(x, 2)
    narrow = functional.relu(normalised("narrow", x))
    wide = functional.relu(normalised("wide", x))
    x = functional.relu(normalised("merge", torch.cat([narrow, wide], dim=1)))
    return network["classifier"](x.mean(dim=(2, 3)))


def to_onnx(arrays: dict[str, FloatArray]) -> ModelProto:
    """Write `forward` as an ONNX model; `arrays` come from `exported_arrays`."""
    b = Builder("digits", weights_stored(arrays))

    def convolution(x: Feature, name: str) -> Feature:
        _, channels, kernel = CONVOLUTIONS[name]
        folded = name in FOLDED
        x = b.conv(x, name, channels, kernel, pad=kernel // 2, bias=folded)
        return x if folded else b.batch_norm(x, f"{name}.bn")

    x = b.relu(convolution(b.input("image", [1, 8, 8]), "stem"), "stem.relu")
    y = b.relu(convolution(x, "block.conv1"), "block.conv1.relu")
    y = b.add(convolution(y, "block.conv2"), x, "block.add")
    x = b.max_pool(b.relu(y, "block.relu"), "pool", kernel=2)
    narrow = b.relu(convolution(x, "narrow"), "narrow.relu")
    wide = b.relu(convolution(x, "wide"), "wide.relu")
    joined = b.concat([narrow, wide], "concat")
    x = b.relu(convolution(joined, "merge"), "merge.relu")
    x = b.flatten(b.unary("GlobalAveragePool", x, "average"), "flatten")
    return b.finish(b.fully_connected(x, "classifier", 10), "logits", [10])


def exported_arrays(network: Network) -> dict[str, FloatArray]:
    """Float32 weights by their names in the ONNX file, three normalisations folded."""
    arrays = {
        f"{name}.{key}": values.detach().numpy().astype(np.float32)
        for name, module in network.items()
        for key, values in module.state_dict().items()
    }
    for name in FOLDED:
        scale, offset, mean, variance = (
            arrays[f"{name}.bn.{part}"]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / np.sqrt(variance + EPSILON)
        arrays[f"{name}.weight"] = arrays[f"{name}.weight"] * gain[:, None, None, None]
        arrays[f"{name}.bias"] = offset - mean * gain
    return arrays


def shifted(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each image moved by its own -1, 0 or 1 pixel along both axes, zeros moving in."""
    padded = np.pad(x, ((0, 0), (0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(2, 3))
    rows, columns = rng.integers(0, 2 * MAX_SHIFT + 1, (2, len(x)))
    return windows[np.arange(len(x)), :, rows, columns]


def train(network: Network, data: Digits, scaling: Scaling, seed: int) -> None:
    """Fit all weights with AdamW under a one-cycle learning rate."""
    rng = np.random.default_rng(seed)
    parameters = [weight for module in network.values() for weight in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * (len(data.x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    labels = torch.from_numpy(data.y)
    for _ in range(EPOCHS):
        images = torch.from_numpy(scaling.apply(shifted(data.x, rng)))
        for batch in rng.permutation(len(data.x)).reshape(-1, BATCH):
            optimizer.zero_grad()
            logits = forward(network, images[batch])
            loss: Any = functional.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            schedule.step()


def accuracy(network: Network, data: Digits, scaling: Scaling) -> float:
    """Fraction of images whose largest logit is the label's, in inference mode."""
    for module in network.values():
        module.eval()
    with torch.no_grad():
        logits = forward(network, torch.from_numpy(scaling.apply(data.x))).numpy()
    return float(np.mean(logits.argmax(axis=1) == data.y))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the held-out accuracy and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    training, held_out = split_digits(options.seed)
    scaling = fit_scaling(training.x)
    network = new_network()
    train(network, training, scaling, options.seed)
    print(f"held-out accuracy {accuracy(network, held_out, scaling):.4f}")

    onnx.save(to_onnx(exported_arrays(network)), options.folder / "digits.onnx")
    for part, data in (("calibration", training), ("eval", held_out)):
        path = options.folder / f"digits_{part}.npz"
        np.savez_compressed(path, **data._asdict(), **scaling._asdict())


if __name__ == "__main__":
    main()
