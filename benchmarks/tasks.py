"""Trained networks with their data, as several benchmarks take them from EAPC_DATA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from shared_data import shared_folder

from eapc.commands.preparation import Settings, load_dataset
from eapc.data import Dataset
from eapc.model import Model


@dataclass(frozen=True)
class Task:
    """A network with its data: names of files, and how many inputs of each are used."""

    model: str
    data: str
    calibration: int | None
    evaluation: int | None

    def load(self) -> Model:
        """The network."""
        return Model.load(shared_folder() / f"models/{self.model}.onnx")

    def settings(self, **others: Any) -> Settings:
        """Settings with the calibration inputs, and fields of `Settings` as they are given."""
        calibration = shared_folder() / f"data/{self.data}_calibration.npz"
        return Settings(calibration=calibration, samples=self.calibration, **others)

    def images(self, model: Model) -> Dataset:
        """The labelled inputs for the network."""
        found = load_dataset(shared_folder() / f"data/{self.data}_eval.npz", model.inputs)
        return found.first(self.evaluation)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "squeezenet": Task("imagenet_squeezenet1_1", "imagenet", None, None),
        "resnet20": Task("cifar10_resnet20_folded", "cifar10", 1024, 4000),
        "resnet32": Task("cifar10_resnet32_bn", "cifar10", 1024, 4000),
    }
)
