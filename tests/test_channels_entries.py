"""Arithmetic on entries of shapes, by hand."""

from __future__ import annotations

import pytest

from eapc.channels.entries import (
    Derived,
    Entry,
    Length,
    Literal,
    Mixture,
    combined,
    follows,
    known,
)

WIDTH = Length("x", 1)
OTHER = Length("x", 2)
HALF = Derived(WIDTH, (0, 0, 1, 1, 2, 2, 3))
SIZES = {WIDTH: 6, OTHER: 5}


@pytest.mark.parametrize(
    ("op_type", "one", "other", "wanted"),
    [
        ("Add", known(3), known(4), known(7)),
        ("Div", known(7), known(2), known(3)),
        ("Div", WIDTH, known(2), HALF),
        ("Mul", HALF, known(2), Derived(WIDTH, (0, 0, 2, 2, 4, 4, 6))),
        ("Sub", WIDTH, WIDTH, Derived(WIDTH, (0,) * 7)),
        ("Mul", WIDTH, OTHER, Mixture(frozenset((WIDTH, OTHER)))),
        ("Div", WIDTH, known(0), Mixture(frozenset((WIDTH,)))),
        ("Div", WIDTH, known(-2), Mixture(frozenset((WIDTH,)))),
        ("Equal", WIDTH, known(-1), known(0)),
        ("Equal", known(-1), known(-1), known(1)),
        ("Equal", WIDTH, known(6), Mixture(frozenset((WIDTH,)))),
    ],
)  # fmt: skip
def test_combined_entries(op_type: str, one: Entry, other: Entry, wanted: Entry) -> None:
    assert combined(op_type, one, other, SIZES.get) == wanted


def test_a_number_of_a_constant_that_goes_into_arithmetic_is_no_longer_its_own() -> None:
    own = Literal(3, "c", 0, "reader", False)
    assert combined("Mul", own, known(2), SIZES.get) == known(6)


@pytest.mark.parametrize(
    ("entry", "source", "size", "wanted"),
    [
        (WIDTH, 6, 6, (1, 1)),
        (HALF, 6, 3, (2, 1)),
        (Derived(WIDTH, (0, 1, 1, 2, 2, 3, 3)), 6, 3, (2, 1)),  # (n + 1) // 2, for even n
        (Derived(WIDTH, (0, 2, 4, 6, 8, 10, 12)), 6, 12, (1, 2)),
        (Derived(WIDTH, (3,) * 7), 6, 3, None),  # 3 whatever the length
        (Derived(WIDTH, (0, 1, 2, 3, 3, 3, 3)), 6, 3, None),  # at most 3
        (WIDTH, 6, 3, None),
        (known(6), 6, 6, None),
        (Mixture(frozenset((WIDTH,))), 6, 6, None),
    ],
)
def test_what_follows(entry: Entry, source: int, size: int, wanted: tuple[int, int] | None) -> None:
    assert follows(entry, source, size) == wanted
