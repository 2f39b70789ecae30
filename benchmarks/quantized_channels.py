#!/usr/bin/env python3
"""Channels of int8 files: a ResNet-20 beside its float original, and the networks of MLPerf Tiny.

    python benchmarks/quantized_channels.py resnet [--fractions 0.3 0.5]
    python benchmarks/quantized_channels.py tiny [--energy 0.7] [--hw microcontroller eyeriss]

`resnet`: a share of channels gone, 1,024 calibration images, no training, top-1 on 4,000 images; of
all groups, and of the first layer of every block alone. The last is about what onnxsim 0.8.1 takes
out (`pip install onnxsim==0.8.1`; said to be absent where it is).

`tiny`: by `--target-energy`, zeros where the machine saves by zeros, else channels. Images of
EAPC_DATA stand in for what two networks are fed (CIFAR-10, and ImageNet for persons); the two
for sound have made-up inputs. Held-out inputs are others than those of the fit: share of the same
answers, and relative output error. All files are those of EAPC_DATA.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from shared_data import shared_folder

from eapc.commands.compiler import prune
from eapc.commands.preparation import Settings, load_dataset
from eapc.data import Dataset, dataset
from eapc.evaluation import AccuracyJudge
from eapc.goals import Sparsity, TargetEnergy
from eapc.model import Array, Model
from eapc.pipeline import Recipe
from eapc.runtime import collect_outputs
from eapc.synthesis import synthesise

FILES = {
    "float": ("cifar10_resnet20_folded", "apply_structured_pruning"),
    "int8": ("cifar10_resnet20_qdq_int8", "apply_structured_pruning_qdq"),
}
"""Model files, and what prunes them in onnxsim."""

CHOICES = {"all": (), "first of blocks": ("/layer*/conv1/Conv",)}
SAVE_BY_ZEROS = ("eyeriss", "eyeriss-jssc2017")
"""Machines that skip what has a weight of zero; microcontrollers do not."""

CALIBRATION, EVALUATION, MADE_UP = 1024, 4000, 256


def resnet(files: list[str], fractions: list[float]) -> None:
    """Accuracy of both files once channels are gone."""
    folder = shared_folder()
    settings = Settings(
        calibration=folder / "data/cifar10_calibration.npz", samples=CALIBRATION, threads=1
    )
    print(f"{'file':7}{'gone':>6}  {'of':17}{'top-1':>8}{'weights':>9}{'CPU s':>7}")
    for kind in files:
        file, peer = FILES[kind]
        model = Model.load(folder / f"models/{file}.onnx")
        images = load_dataset(folder / "data/cifar10_eval.npz", model.inputs).first(EVALUATION)
        judge = AccuracyJudge.of(model, images, 1)
        for fraction in fractions:
            for name, include in CHOICES.items():
                recipe = Recipe(structured=True, include=include)
                goal, start = Sparsity(fraction), time.process_time()
                done = prune(model, settings, goal=goal, recipe=recipe)
                _told(kind, fraction, name, judge, done.model, time.process_time() - start)
            start, smaller = time.process_time(), _of_peer(peer, model, fraction)
            if smaller is not None:
                _told(kind, fraction, "onnxsim's", judge, smaller, time.process_time() - start)
    if importlib.util.find_spec("onnxsim") is None:
        print("onnxsim: not installed")


def _told(
    kind: str, fraction: float, name: str, judge: AccuracyJudge, model: Model, seconds: float
) -> None:
    accuracy, left = judge.accuracy(model).after, _weights(model)
    print(
        f"{kind:7}{fraction:>6.0%}  {name:17}{accuracy:>8.2%}{left:>9,}{seconds:>7.0f}", flush=True
    )


def _weights(model: Model) -> int:
    shapes = (model.constants.shape(name) or () for name in model.constants.plain)
    return sum(int(np.prod(shape)) for shape in shapes if len(shape) > 1)


def _of_peer(function: str, model: Model, fraction: float) -> Model | None:
    """What onnxsim makes of a model; None where it is absent."""
    if importlib.util.find_spec("onnxsim") is None:
        return None
    smaller = getattr(importlib.import_module("onnxsim"), function)
    return Model.from_proto(smaller(model.to_proto(embed=True), fraction))


# --- MLPerf Tiny ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiny:
    """Where the inputs of a network come from: for the fit (False), and others (True)."""

    name: str
    source: str
    inputs: Callable[[Model, bool], Dataset]
    classifies: bool = True

    def load(self) -> Model:
        """The network."""
        return Model.load(shared_folder() / f"models/mlperf_tiny_{self.name}_int8.onnx")


def _raw_images(name: str, held_out: bool) -> Array:
    file = f"data/{name}_{'eval' if held_out else 'calibration'}.npz"
    found: Array = np.load(shared_folder() / file)["x"]
    return found.astype(np.float32)


def small_photographs(model: Model, held_out: bool) -> Dataset:
    """CIFAR-10 as (N, 32, 32, 3), 0 to 255."""
    images = _raw_images("cifar10", held_out)[:CALIBRATION].transpose(0, 2, 3, 1)
    return _given(model, np.ascontiguousarray(images))


def photographs(model: Model, held_out: bool) -> Dataset:
    """The middle of ImageNet's crops, 2 x 2 pixels made one: (N, 3, 96, 96), 0 to 1."""
    middle = _raw_images("imagenet", held_out)[:, :, 16:208, 16:208] / np.float32(255)
    return _given(model, middle.reshape(-1, 3, 96, 2, 96, 2).mean((3, 5)))


def made_up(model: Model, held_out: bool) -> Dataset:
    """What eapc makes up, by another seed for what is held out."""
    rng = np.random.default_rng(int(held_out))
    return synthesise(model, {}, MADE_UP, rng, 1)


def _given(model: Model, images: Array) -> Dataset:
    return dataset({model.inputs[0].name: images}, model.inputs, "images")


NETWORKS = (
    Tiny("ad", "made up", made_up, classifies=False),
    Tiny("ic", "CIFAR-10", small_photographs),
    Tiny("kws", "made up", made_up),
    Tiny("vww", "ImageNet", photographs),
)


def tiny(names: list[str], energy: float, machines: list[str]) -> None:
    """Energy, answers and outputs of the four networks on each machine."""
    print(f"{'network':8}{'inputs':10}{'machine':16}{'takes':9}{'energy':>8}{'MACs':>7}", end="")
    print(f"{'same':>8}{'error':>8}{'CPU s':>7}")
    for network in (each for each in NETWORKS if each.name in names):
        for machine in machines:
            print("".join(_row(network, machine, energy)), flush=True)


def _row(network: Tiny, machine: str, energy: float) -> Iterator[str]:
    model, start = network.load(), time.process_time()
    by_zeros = machine in SAVE_BY_ZEROS
    settings = Settings(hardware=machine, calibration=network.inputs(model, False), threads=1)
    recipe = Recipe(structured=not by_zeros)
    done = prune(model, settings, goal=TargetEnergy(energy), recipe=recipe)
    same, error = _answers(model, done.model, network.inputs(model, True))
    yield f"{network.name:8}{network.source:10}{machine:16}{'zeros' if by_zeros else 'channels':9}"
    yield f"{done.energy_ratio:>8.3f}{done.after.macs / done.before.macs:>7.2f}"
    answers = f"{same:.1%}" if network.classifies else "-"
    yield f"{answers:>8}{error:>8.4f}{time.process_time() - start:>7.0f}"


def _answers(before: Model, after: Model, data: Dataset) -> tuple[float, float]:
    """The share of inputs with the same largest output, and the relative output error."""
    (wanted,), (found,) = (collect_outputs(each, data, 1).values() for each in (before, after))
    same = float((wanted.argmax(1) == found.argmax(1)).mean())
    spread = np.square(wanted - wanted.mean(0)).sum()
    return same, float(np.square(found - wanted).sum() / spread)


def main() -> None:
    parser = argparse.ArgumentParser(description="Channels of int8 files.")
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("resnet")
    one.add_argument("--files", nargs="+", choices=FILES, default=list(FILES))
    one.add_argument("--fractions", nargs="+", type=float, default=[0.3])
    other = commands.add_parser("tiny")
    names = [network.name for network in NETWORKS]
    other.add_argument("--networks", nargs="+", choices=names, default=names)
    other.add_argument("--energy", type=float, default=0.7)
    other.add_argument("--hw", nargs="+", default=["microcontroller", "eyeriss"])
    given = parser.parse_args()
    if given.what == "resnet":
        resnet(given.files, given.fractions)
    else:
        tiny(given.networks, given.energy, given.hw)


if __name__ == "__main__":
    main()
