"""Every part of the outputs counts for itself, by hand and whatever its scale or place."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array
from hypothesis import given, settings
from hypothesis import strategies as st

from eapc.evaluation.parts import OutputParts, Samples, SplitOutput, is_saturated
from eapc.evaluation.yardstick import Yardstick

RNG = np.random.default_rng(0)
SEEDS = st.integers(0, 2**16)


def names(y: Array, joined: Array | None = None) -> list[str]:
    return [part.name for part in SplitOutput.of("y", y, joined).parts]


def test_channels_of_very_different_power_are_parts_by_hand() -> None:
    """Powers per channel of 2 * 100^2, 2 * 1^2 and 2 * 0.5^2: the first alone, then two."""
    y = np.array([[100.0, 1, 0.5], [-100, -1, -0.5]], np.float32)
    parts = SplitOutput.of("y", y).parts
    assert [part.name for part in parts] == ["y[:, 0]", "y[:, 1:3]"]
    assert [part.power for part in parts] == pytest.approx([20000, 2.5])
    other = y + np.array([[10, 0, 0], [0, 0.5, 0]], np.float32)
    found = OutputParts({"y": y}).errors({"y": other})
    assert found.worst == pytest.approx(0.25 / 2.5)
    assert found.part == "y[:, 1:3]"
    assert found.mean == pytest.approx((100 / 20000 + 0.1) / 2)
    assert found.unjudged == ()


def test_channels_within_a_hundred_are_one_part() -> None:
    y = np.array([[10.0, 1.1], [-10, -1.1]])
    assert names(y) == ["y"]
    assert OutputParts({"y": y}).errors({"y": y + 1}).part == ""


def test_tensors_that_are_joined_are_parts_of_any_scale() -> None:
    y = RNG.normal(size=(8, 4, 3))
    joined = np.array([0, 0, 5, 5]).reshape(1, 4, 1)
    assert names(y) == ["y"]
    assert names(y, joined) == ["y[:, 0:2]", "y[:, 2:4]"]
    other = y.copy()
    other[:, 2:] *= 2
    (kept, doubled) = SplitOutput.of("y", y, joined).errors(other)
    assert kept == 0
    assert doubled == pytest.approx(np.square(y[:, 2:]).sum() / power(y[:, 2:]))


def power(y: Array) -> float:
    return float(np.square(y - y.mean(axis=0)).sum())


def test_a_part_that_does_not_vary_is_not_judged() -> None:
    y = np.concatenate([RNG.normal(size=(8, 2)), np.full((8, 2), 7.0)], axis=1)
    found = OutputParts({"y": y}).errors({"y": y + np.array([0, 0, 1, 1])})
    assert found.worst == 0
    assert found.unjudged == ("y[:, 2:4]",)


def test_what_does_not_vary_is_pruned_no_harder() -> None:
    """Its errors count against the power of all that varies."""
    y = np.concatenate([RNG.normal(size=(8, 2)), np.zeros((8, 2))], axis=1)
    other = y + np.array([0, 0, 0.5, 0.5])
    assert OutputParts({"y": y}).largest({"y": other}) == pytest.approx(8 * 0.5 / power(y))


def test_rounding_is_no_variation() -> None:
    y = np.concatenate([RNG.normal(size=(8, 2)), np.full((8, 2), 3e4)], axis=1).astype(np.float32)
    y[::2, 2] = np.nextafter(np.float32(3e4), np.float32(1e6))
    assert OutputParts({"y": y}).errors({"y": y}).unjudged == ("y[:, 2:4]",)


def test_where_nothing_varies_all_is_judged_by_its_own_power() -> None:
    y = np.full((4, 2), 3.0)
    found = OutputParts({"y": y}).errors({"y": y + 0.3})
    assert found.worst == pytest.approx(0.01)
    assert found.unjudged == ()


def test_what_is_not_finite_is_an_infinite_error() -> None:
    y = np.concatenate([RNG.normal(size=(8, 2)), 1e4 * RNG.normal(size=(8, 2))], axis=1)
    other = y.copy()
    other[3, 1] = np.nan
    found = OutputParts({"y": y}).errors({"y": other})
    assert (found.worst, found.part) == (np.inf, "y[:, 0:2]")


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, scales=st.lists(st.floats(-3, 3), min_size=2, max_size=5))
def test_neither_scale_nor_order_of_joined_parts_matters(seed: int, scales: list[float]) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, len(scales))
    pieces = [rng.normal(size=(6, size, 5)) for size in sizes]
    noisy = [piece + 0.1 * rng.normal(size=piece.shape) for piece in pieces]

    def errors(order: Array, factors: Array) -> Array:
        joined = np.repeat(np.arange(len(order)), sizes[order]).reshape(1, -1, 1)
        y, other = (
            np.concatenate([factors[i] * each[i] for i in order], axis=1)
            for each in (pieces, noisy)
        )
        return np.sort(SplitOutput.of("y", y, joined).errors(other))

    plain = errors(np.arange(len(scales)), np.ones(len(scales)))
    moved = errors(rng.permutation(len(scales)), 10.0 ** np.array(scales))
    np.testing.assert_allclose(moved, plain, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_joined_outputs_err_as_separate_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=(6, 3, 4)), 1e3 * rng.normal(size=(6, 2, 4))
    other = [each + 0.1 * rng.normal(size=each.shape) for each in (one, two)]
    apart = OutputParts({"a": one, "b": two}).errors({"a": other[0], "b": other[1]})
    joined = np.repeat([0, 1], [3, 2]).reshape(1, 5, 1)
    together = OutputParts({"y": np.concatenate([one, two], axis=1)}, {"y": joined})
    found = together.errors({"y": np.concatenate(other, axis=1)})
    assert found.worst == pytest.approx(apart.worst, rel=1e-6)
    assert found.mean == pytest.approx(apart.mean, rel=1e-6)


def test_samples_of_several_scales_are_judged_apart() -> None:
    """Large ones would hide that nothing is left of the small ones."""
    is_large = np.array([0, 1] * 10)
    kinds = np.where(is_large, "large", "small")
    scales = np.where(is_large, 255.0, 1.0)[:, None]
    y = RNG.normal(size=(20, 3)) * scales
    other = np.where(is_large[:, None], y, 0.0)
    assert OutputParts({"y": y}).errors({"y": other}).worst < 1e-4
    found = OutputParts({"y": y}, kinds=kinds).errors({"y": other})
    small = y[is_large == 0]
    assert found.worst == pytest.approx(np.square(small).sum() / power(small))
    assert found.part == "y on small"
    assert found.mean == pytest.approx(found.worst / 2)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e200])
def test_outputs_beyond_numbers_have_an_infinite_error(value: float) -> None:
    y = RNG.normal(size=(6, 3, 4))
    y[:, 1] *= 1e-6
    y[2, 0] = value
    found = OutputParts({"y": y}).errors({"y": y + 1})
    assert found.worst == np.inf or found.part == "y[:, 1]"
    assert not np.isnan(found.worst)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 2, 0), (1, 3), (5, 2, 3, 4, 2)])
def test_outputs_of_any_rank_have_parts(shape: tuple[int, ...]) -> None:
    y = RNG.normal(size=shape)
    assert OutputParts({"y": y}).errors({"y": y}).worst == 0


def test_labels_along_two_axes_make_parts_too() -> None:
    y = RNG.normal(size=(8, 2, 2))
    joined = np.array([[0, 1], [1, 1]])[None]
    (first, others) = SplitOutput.of("y", y, joined).parts
    assert first.power == pytest.approx(power(y[:, 0, 0]))
    assert first.power + others.power == pytest.approx(power(y))


@pytest.mark.parametrize("shape", [(40, 1, 12), (40, 12, 1), (40, 6, 12), (40, 1, 1, 12)])
def test_channels_are_found_where_powers_differ(shape: tuple[int, ...]) -> None:
    """A last or a first axis, whichever tells channels apart; one of size 1 never does."""
    y = RNG.normal(size=shape)
    channels = -1 if shape[-1] == 12 else 1
    loud = np.moveaxis(y, channels, 0)[:4]
    loud *= 1e3
    found = SplitOutput.of("y", y).parts
    assert len(found) == 2
    assert found[0].power > 1e5 * found[1].power


def test_what_a_softmax_leaves_of_the_last_scores_is_not_judged() -> None:
    logits = RNG.normal(size=(50, 6)) + np.array([0, 1, 2, -20, -25, -30])
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = OutputParts({"y": scores}).errors({"y": scores * (1 + 0.5 * (scores < 1e-6))})
    assert found.worst < 1e-9
    assert found.unjudged == ("y[:, 3:6]",)


# --- outputs that tell nothing -------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return np.asarray((1 + np.tanh(x / 2)) / 2)


def test_saturated_is_who_is_at_either_end_by_hand() -> None:
    """Of 1000 values 4 % are on the way, then 6 % of those that have left the rarer end."""
    ends = np.repeat([0.0, 1.0], [900, 96])
    assert is_saturated(np.append(ends, [0.5] * 4))
    assert not is_saturated(np.append(ends, [0.5] * 7))


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_what_is_saturated_and_what_is_not(low: float) -> None:
    x = RNG.normal(size=(200, 5))
    squash = sigmoid if low == 0 else np.tanh
    assert is_saturated(squash(1e4 * x))
    assert not is_saturated(squash(x))
    assert not is_saturated(np.maximum(x, 0))
    assert not is_saturated(np.sign(x) * 3)
    assert not is_saturated(np.full_like(x, np.nan))
    classes = np.eye(5)[x.argmax(axis=1)]
    assert is_saturated(classes)
    assert not is_saturated(0.9 * classes + 0.02)


def test_why_outputs_tell_nothing() -> None:
    x = RNG.normal(size=(60, 3))
    saturated = sigmoid(1e5 * x)
    assert Yardstick({"y": x}, by_error=True).obstacle == ""
    assert Yardstick({"y": np.ones((60, 3))}, by_error=True).obstacle == "the same for all"
    assert Yardstick({"y": saturated}, by_error=True).obstacle.startswith("saturated")
    assert Yardstick({"y": saturated}).obstacle == ""
    assert Yardstick({"y": saturated, "z": x}, by_error=True).obstacle == ""
    assert Yardstick({"y": np.where(x > 2, np.inf, x)}, by_error=True).obstacle == (
        "not finite on some of"
    )
    kinds = np.repeat(["small", "large"], 30)
    mixed = np.where(kinds[:, None] == "small", sigmoid(x), saturated)
    assert Yardstick({"y": mixed}, by_error=True, kinds=kinds).obstacle == ""


# --- more samples that tell what outputs vary by ------------------------------------------------


def test_samples_beside_tell_the_power_by_hand() -> None:
    """Alone channel 1 hardly varies and is a part of its own, whose error is 50 times its power.

    With two samples beside, both channels have a power of 4 on four samples, 8 in all: 4 on two.
    """
    y = np.array([[1.0, 0.01], [-1, -0.01]])
    other = y + np.array([[0, 0.1], [0, 0]])
    assert OutputParts({"y": y}).errors({"y": other}).worst == pytest.approx(0.01 / 0.0002)
    more = Samples({"y": np.array([[1.0, np.sqrt(1.9999)], [-1, -np.sqrt(1.9999)]])})
    found = OutputParts({"y": y}, beside=more).errors({"y": other})
    assert found.worst == pytest.approx(0.01 / 4)
    assert (found.part, found.unjudged) == ("", ())


def test_a_single_sample_is_judged_by_what_others_vary_by() -> None:
    """A power of 2 on two samples is 1 on one of them."""
    y, more = np.array([[1.0]]), Samples({"y": np.array([[-1.0]])})
    assert OutputParts({"y": y}, beside=more).errors({"y": y - 0.5}).worst == pytest.approx(0.25)
    longer = Samples({"y": np.array([[-1.0, 3.0]])})
    assert OutputParts({"y": y}, beside=longer).errors({"y": y - 0.5}).worst == 0.25  # of y^2
    assert OutputParts({"y": y}, beside=Samples({})).errors({"y": y}).worst == 0


def test_samples_beside_are_of_the_same_kind() -> None:
    """Small ones vary by 2 on two samples, which is 1 on one; large ones have none beside."""
    y, kinds = np.array([[1.0], [200.0]]), np.array(["small", "large"])
    more = Samples({"y": np.array([[-1.0]])}, np.array(["small"]))
    parts = OutputParts({"y": y}, kinds=kinds, beside=more)
    found = parts.errors({"y": y + 0.5})
    assert found.worst == pytest.approx(0.25)
    assert found.part == "y on small"
    assert found.unjudged == ("y on large",)


def test_scores_of_a_class_that_few_samples_show_are_judged_with_the_others() -> None:
    """Alone class 2 has a power of 0.0002 on two samples, with the others 2.0002."""
    y = np.array([[1.0, 0, 0.01], [0, 1.0, -0.01]])
    other = y + np.array([[0, 0, 0.1], [0, 0, 0]])
    assert Yardstick({"y": y}).agreement({"y": other}, 1, 0).value == pytest.approx(50)
    told = Yardstick({"y": y}, beside=Samples({"y": y}))
    power = (1 + 0.0002) / 2 * 2
    assert told.agreement({"y": other}, 1, 0).value == pytest.approx(0.01 / power)
    boxes = Yardstick({"y": y, "z": y}, beside=Samples({"y": y, "z": y}))
    assert boxes.agreement({"y": other, "z": y}, 1, 0).value == pytest.approx(50)
