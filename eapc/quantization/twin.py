"""The quantized twin of a float network, to ask what its layers would cost on integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eapc.data import Dataset
from eapc.energy import GivenBits
from eapc.model import Model
from eapc.quantization.entry import quantize
from eapc.quantization.writing import names_of
from eapc.runtime import Engine

_SAMPLES = 16
"""Inputs that ranges are told by: layers take as long whatever the scales."""


@dataclass(frozen=True)
class IntegerTwin:
    """A quantized model; `tensor_of` has the float tensor of each of its own tensors."""

    model: Model
    tensor_of: Mapping[str, str]


def integer_twin(model: Model, data: Dataset, bits: int, engine: Engine) -> IntegerTwin:
    """A model as it would be quantized to a width; raises as `quantize` does."""
    done = quantize(
        model, data.take(np.arange(min(_SAMPLES, len(data)))), GivenBits(bits, bits), engine
    )
    tensor_of = {name: each for each in done.plan.tensors for name in names_of(each)}
    return IntegerTwin(done.model, tensor_of)
