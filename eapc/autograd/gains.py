"""Activations by name, as recurrent cells and fused operators have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as torch's own pages call it


@dataclass(frozen=True)
class Gain:
    """An activation as a function of x and its parameters: alpha, beta, as far as it has them.

    `defaults` are these where a node gives none.
    """

    function: Callable[..., Tensor]
    defaults: tuple[float, ...] = ()

    def parameters(self, *given: Iterator[float]) -> tuple[float, ...]:
        """Its own of the alphas and betas that are left; what it does not have it does not take."""
        return tuple(
            next(values, default) for values, default in zip(given, self.defaults, strict=False)
        )


def gain_of(name: str) -> Gain:
    """An activation by its name (ONNX operators RNN, GRU and LSTM, attribute `activations`)."""
    return _GAINS[name.lower()]


_GAINS = {
    "affine": Gain(lambda x, a, b: a * x + b, (1.0, 0.0)),
    "elu": Gain(F.elu, (1.0,)),
    "hardsigmoid": Gain(lambda x, a, b: torch.clamp(a * x + b, 0, 1), (0.2, 0.5)),
    "leakyrelu": Gain(F.leaky_relu, (0.01,)),
    "relu": Gain(torch.relu),
    "scaledtanh": Gain(lambda x, a, b: a * torch.tanh(b * x), (1.0, 1.0)),
    "sigmoid": Gain(torch.sigmoid),
    "softplus": Gain(F.softplus),
    "softsign": Gain(F.softsign),
    "tanh": Gain(torch.tanh),
    "thresholdedrelu": Gain(lambda x, a: torch.where(x > a, x, torch.zeros_like(x)), (1.0,)),
}
