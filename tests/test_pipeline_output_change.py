"""By how much outputs change: of the largest magnitude, against what rounding may do."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array, op
from channel_builders import net
from structured_builders import EYERISS

from eapc.data import dataset
from eapc.model import Model
from eapc.pipeline import Compilation, OutputChange, change_of_outputs


def scaled(*factors: float, kind: str = "Mul", dtype: type[np.generic] = np.float32) -> Model:
    nodes = [op("Cast", "x", "t", to=int(dtype is np.float16) * 9 + 1), op(kind, "t k", "y")]
    return net(nodes, ("N", len(factors)), {"k": np.array(factors, dtype)})


def change(before: Model, after: Model, x: Array) -> OutputChange:
    data = dataset({"x": x.astype(np.float32)}, before.inputs, "test")
    return change_of_outputs(Compilation(before, EYERISS, data), after)


def test_the_change_is_relative_to_the_largest_magnitude() -> None:
    """Outputs 8 and 2; 2 becomes 2.5: 0.5 of 8."""
    found = change(scaled(-8, 2), scaled(-8, 2.5), np.ones((3, 2)))
    assert (found.inputs, found.largest, found.made_up) == (3, 1 / 16, False)
    assert not found.is_rounding
    assert found.allowed == 64 * 2.0**-23


def test_the_last_bit_is_that_of_the_narrowest_type() -> None:
    model = scaled(1, 1, dtype=np.float16)
    assert change(model, model, np.ones((2, 2))).allowed == 8 * 2.0**-10


def test_a_change_by_rounding_and_none_at_all() -> None:
    one, close = scaled(1, 1), scaled(1, float(np.nextafter(np.float32(1), np.float32(2))))
    assert str(change(one, one, np.ones((2, 2)))) == "outputs are the same to the bit on 2 inputs"
    found = change(one, close, np.ones((2, 2)))
    assert found.largest == 2.0**-23
    assert found.is_rounding


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_was_no_number_may_stay_so_but_not_become_so(value: float) -> None:
    broken, whole = scaled(1, value), scaled(1, 1)
    assert change(broken, broken, np.ones((2, 2))).is_rounding
    assert not change(whole, broken, np.ones((2, 2))).is_rounding


def test_classes_must_be_the_same() -> None:
    assert (
        change(
            scaled(2, 1, kind="Greater"), scaled(2, 1.5, kind="Greater"), np.ones((2, 2))
        ).largest
        == 0
    )
    found = change(scaled(2, 1, kind="Greater"), scaled(0, 1, kind="Greater"), np.ones((2, 2)))
    assert found.largest == np.inf


def test_at_most_32_inputs_or_made_up_ones() -> None:
    model = scaled(1, 1)
    assert change(model, model, np.ones((640, 2))).inputs == 32
    assert change_of_outputs(Compilation(model, EYERISS), model).made_up


def test_what_does_not_run_is_told() -> None:
    unknown = net([op("Nonsense", "x", "y", domain="my.own")], ("N", 2), {})
    found = change(unknown, unknown, np.ones((2, 2)))
    assert not found.is_rounding
    assert str(found).startswith("outputs cannot be compared: ")
