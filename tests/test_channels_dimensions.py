"""Arithmetic on symbolic dimensions, by hand."""

from __future__ import annotations

import pytest

from eapc.channels.dimensions import Dimension, combined, follows, length, mixture, number

WIDTH = length("x", 1, 6)
OTHER = length("x", 2, 5)


def of_width(*values: int) -> Dimension:
    """What is made of the width, by the width."""
    return Dimension(WIDTH.lengths, values)


HALF = of_width(0, 0, 1, 1, 2, 2, 3)


@pytest.mark.parametrize(
    ("op_type", "one", "other", "wanted"),
    [
        ("Add", number(3), number(4), number(7)),
        ("Div", number(7), number(2), number(3)),
        ("Div", WIDTH, number(2), HALF),
        ("Mul", HALF, number(2), of_width(0, 0, 2, 2, 4, 4, 6)),
        ("Sub", WIDTH, WIDTH, of_width(*(0,) * 7)),
        ("Mul", WIDTH, OTHER, mixture((WIDTH, OTHER))),
        ("Div", WIDTH, number(0), mixture((WIDTH,))),
        ("Div", WIDTH, number(-2), mixture((WIDTH,))),
        ("Mul", mixture((WIDTH,)), number(2), mixture((WIDTH,))),
        ("Equal", WIDTH, number(-1), number(0)),
        ("Equal", number(-1), number(-1), number(1)),
        ("Equal", WIDTH, number(6), mixture((WIDTH,))),
    ],
)  # fmt: skip
def test_combined_dimensions(
    op_type: str, one: Dimension, other: Dimension, wanted: Dimension
) -> None:
    assert combined(op_type, one, other) == wanted


def test_a_number_of_a_constant_that_goes_into_arithmetic_is_no_longer_its_own() -> None:
    own = Dimension(frozenset(), (3,), "c", 0, "reader", False)
    assert combined("Mul", own, number(2)) == number(6)


@pytest.mark.parametrize(
    ("dimension", "size", "wanted"),
    [
        (WIDTH, 6, (1, 1)),
        (HALF, 3, (2, 1)),
        (of_width(0, 1, 1, 2, 2, 3, 3), 3, (2, 1)),  # (n + 1) // 2, for even n
        (of_width(0, 2, 4, 6, 8, 10, 12), 12, (1, 2)),
        (of_width(*(3,) * 7), 3, None),  # 3 whatever the length
        (of_width(0, 1, 2, 3, 3, 3, 3), 3, None),  # at most 3
        (WIDTH, 3, None),
        (number(6), 6, None),
        (mixture((WIDTH,)), 6, None),
        (length("x", 1, None), 6, None),
    ],
)
def test_what_follows(dimension: Dimension, size: int, wanted: tuple[int, int] | None) -> None:
    assert follows(dimension, size) == wanted
