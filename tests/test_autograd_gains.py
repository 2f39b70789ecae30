"""Activations of recurrent cells with parameters of their own, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from builders import make_model, normal, op

from eapc.autograd import Network
from eapc.autograd.arrays import tensor_of
from eapc.autograd.gains import gain_of
from eapc.model import Model
from eapc.runtime import Session

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("RNN", {"activations": ["LeakyRelu", "Affine"], "activation_alpha": [0.3, 0.7]}),
        (
            "RNN",
            {
                "activations": ["ScaledTanh", "ThresholdedRelu"],
                "activation_alpha": [1.2, 0.1],
                "activation_beta": [0.6],
            },
        ),
        (
            "GRU",
            {
                "activations": ["HardSigmoid", "Elu", "Sigmoid", "ScaledTanh"],
                "activation_alpha": [0.3, 0.5, 1.5],
                "activation_beta": [0.4, 0.8],
            },
        ),
        ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Tanh"] * 2}),
        ("LSTM", {"activations": ["Sigmoid", "Softplus", "Relu"] * 2, "clip": 0.5}),
    ],
)
def test_each_activation_takes_the_parameters_that_are_its_own(
    op_type: str, attributes: dict[str, Any]
) -> None:
    gates, size, features = GATES[op_type], 3, 4
    constants = {
        "w": normal((2, gates * size, features), 1),
        "r": normal((2, gates * size, size), 2),
    }
    node = op(op_type, "x w r", "y", hidden_size=size, direction="bidirectional", **attributes)
    proto = make_model([node], {"x": (5, 2, features)}, ["y"], constants)
    x = normal((5, 2, features), 3)
    (wanted,) = Session(proto, 1).run({"x": x}).values()
    with torch.no_grad():
        (found,) = Network(Model.from_proto(proto)).run({"x": tensor_of(x)}, ["y"])
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_what_a_node_does_not_give_is_the_standard_s() -> None:
    alphas, betas = iter([0.3]), iter([0.9])
    assert gain_of("Tanh").parameters(alphas, betas) == ()
    assert gain_of("LeakyRelu").parameters(alphas, betas) == (0.3,)
    assert gain_of("HardSigmoid").parameters(alphas, betas) == (0.2, 0.9)
