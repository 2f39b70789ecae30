"""The network that is trained: its loss over batches, and its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from eapc.autograd import Network, parameters_of
from eapc.errors import DataError, ModelError
from eapc.evaluation import class_scores, joined_labels
from eapc.layers import without_integers
from eapc.model import Array, Model, is_float
from eapc.runtime import Session
from eapc.tuning.targets import Teacher, factors

_AGREES = 5e-2
"""A torch network whose outputs are off by more than this share computes something else."""

Feed = Mapping[str, Array]


@dataclass(frozen=True)
class Batch:
    """Inputs, and what the wanted tensors should be: the teacher's, or labels."""

    feed: Feed
    targets: list[Array]
    labels: Array | None = None


class Student:
    """A model in torch, and how far its outputs are from what they should be."""

    def __init__(self, model: Model, teacher: Teacher, train: Mapping[str, bool]) -> None:
        model = without_integers(model)
        self.parameters = parameters_of(model, train)
        if not self.parameters:
            raise ModelError("nothing to train: no layer has constant weights of its own")
        self.network = Network(model, self.parameters)
        self._names = teacher.names
        self._factors: list[Tensor] = []
        self._model = model

    def settle(self, batches: list[Batch]) -> None:
        """Weigh errors by what the targets of some batches vary by, part by part."""
        shapes = {name: x.shape for name, x in batches[0].feed.items()}
        joined = joined_labels(self._model, shapes)
        found = factors(self._names, [batch.targets for batch in batches], joined)
        self._factors = [torch.from_numpy(each) for each in found]
        floats = all(is_float(target.dtype) for target in batches[0].targets)
        if not floats or not self.loss(batches[0]).requires_grad:
            raise ModelError("nothing to train: no output follows the weights by a gradient")

    def loss(self, batch: Batch) -> Tensor:
        """Squared error relative to the targets' variance, a mean over parts; or cross-entropy.

        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.1:
        matching logits is distillation at a high temperature.
        """
        found = self.network.run({k: _tensor(x) for k, x in batch.feed.items()}, self._names)
        if batch.labels is not None:
            scores = found[0].reshape(len(batch.labels), found[0].shape[1])
            return F.cross_entropy(scores, torch.from_numpy(batch.labels).long())
        errors = [
            ((y - torch.from_numpy(target).to(y.dtype)).square() * factor).sum() / len(target)
            for y, target, factor in zip(found, batch.targets, self._factors, strict=True)
        ]
        return torch.stack(errors).sum()

    def mean_loss(self, batches: list[Batch]) -> float:
        """The loss over batches, each input counting the same."""
        total = count = 0.0
        with torch.no_grad():
            for batch in batches:
                size = len(next(iter(batch.feed.values())))
                total, count = total + size * float(self.loss(batch)), count + size
        return total / count

    def require_scores(self, batch: Batch, labels: Array) -> None:
        """DataError unless all labels can tell what is right of the network's outputs."""
        scores = class_scores(dict(zip(self._names, batch.targets, strict=True)))
        if scores is None:
            raise DataError("labels need a network of one output of class scores (batch, classes)")
        if labels.max() >= scores.shape[1]:
            raise DataError(f"label {labels.max()} is none of the {scores.shape[1]} classes")

    def require_same(self, session: Session, batch: Batch) -> None:
        """ModelError unless torch computes what onnxruntime does, in shapes that the teacher has.

        `session` is over the model with the wanted tensors as outputs.
        """
        feed = batch.feed
        theirs = session.run(feed)
        for name, target in zip(self._names, batch.targets, strict=True):
            if theirs[name].shape != target.shape:
                shapes = f"{list(theirs[name].shape)}, the teacher's {list(target.shape)}"
                raise ModelError(f"'{name}' is of shape {shapes}: one was not made of the other")
        with torch.no_grad():
            mine = self.network.run({k: _tensor(x) for k, x in feed.items()}, self._names)
        for name, y in zip(self._names, mine, strict=True):
            expected = np.asarray(theirs[name], np.float64)
            error = float(np.abs(y.numpy().astype(np.float64) - expected).mean())
            size = float(np.abs(expected - expected.mean()).mean()) or 1.0
            if not error <= _AGREES * size:
                raise ModelError(
                    f"'{name}': torch and onnxruntime differ by {error / size:.2g} of its spread: "
                    "such a model cannot be trained"
                )

    @property
    def values(self) -> dict[str, Tensor]:
        """What is trained, by name."""
        return {name: parameter.value for name, parameter in self.parameters.items()}

    @property
    def scales(self) -> dict[str, float]:
        """The size of each tensor: the root mean square of what is not zero, of weights.

        Steps are relative to it (Shazeer, Stern, "Adafactor", 2018, section 8): weights that
        pruning has left are larger than those of the dense network, and further from where they
        are to be. What is added to something takes the weights' median.
        """
        found = {n: _size(p.value) for n, p in self.parameters.items() if p.kept is not None}
        middle = float(np.median(list(found.values()) or [1.0]))
        return {name: found.get(name, middle) or middle for name in self.parameters}

    def snapshot(self) -> dict[str, Array]:
        """A copy of what is trained."""
        return {name: value.detach().numpy().copy() for name, value in self.values.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set what is trained to a snapshot."""
        with torch.no_grad():
            for name, value in self.values.items():
                value.copy_(torch.from_numpy(np.array(state[name])))


def _tensor(x: Array) -> Tensor:
    """An input; images with their channels last, which convolutions of few channels like."""
    found = torch.from_numpy(np.array(x, np.float32) if x.dtype == np.float16 else x)
    return found.contiguous(memory_format=torch.channels_last) if found.dim() == 4 else found


def _size(value: Tensor) -> float:
    """The root mean square of what is not zero; 0 where all of it is."""
    left = value.detach()[value.detach() != 0]
    return float(left.square().mean().sqrt()) if left.numel() else 0.0
