"""Inputs and outputs that two models share, and what is said where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from builders import Axis, loaded, op, value
from onnx import TensorProto

from eapc.errors import UsageError
from eapc.model import Model, common_inputs

Shape = Sequence[Axis]


def model(x: Shape, y: Shape | None, kind: int = TensorProto.FLOAT, names: str = "x y") -> Model:
    fed, made = names.split()
    node = op("Identity", fed, made)
    return loaded([node], [value(fed, x, kind)], [value(made, y, kind)])


def shapes(one: Model, other: Model) -> Mapping[str, tuple[Axis, ...]]:
    return {spec.name: tuple(spec.shape) for spec in common_inputs(one, other)}


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ((1, 3), (1, 3), (1, 3)),
        (("N", 3), (4, 3), (4, 3)),
        ((4, 3), ("N", 3), (4, 3)),
        (("N", "h", 3), (4, "height", 3), (4, "h", 3)),
        (("N", 3), ("M", 3), ("N", 3)),
    ],
)
def test_what_either_fixes_holds_for_both(one: Shape, other: Shape, both: Shape) -> None:
    assert shapes(model(one, None), model(other, None)) == {"x": both}


def test_outputs_of_no_known_rank_fit_any() -> None:
    assert shapes(model((1, 3), (1, 3)), model((1, 3), None)) == {"x": (1, 3)}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (model((1, 4), (1, 4)), r"input 'x' is float32 \(1, 3\) in .* and float32 \(1, 4\) in"),
        (model((1, 1, 3), (1, 3)), r"input 'x' is float32 \(1, 3\) in .* \(1, 1, 3\)"),
        (model((1, 3), (1, 3), TensorProto.DOUBLE), r"float32 \(1, 3\) in .* float64 \(1, 3\)"),
        (model((1, 3), (1, 5)), r"output 'y' is float32 \(1, 3\) in .* and float32 \(1, 5\) in"),
        (model((1, 3), (1, 3), names="z y"), r"has input 'x', .* has not"),
        (model((1, 3), (1, 3), names="x z"), r"has output 'y', .* has not"),
    ],
)
def test_the_difference_is_named(other: Model, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        common_inputs(model((1, 3), (1, 3)), other)
    assert str(caught.value).endswith("; compare models of the same inputs and outputs")


def test_an_input_too_many_is_named() -> None:
    more = loaded([op("Add", "x z", "y")], {"x": (1, 3), "z": (1, 3)}, ["y"])
    with pytest.raises(UsageError, match=r"has input 'z', .* has not"):
        common_inputs(model((1, 3), (1, 3)), more)
