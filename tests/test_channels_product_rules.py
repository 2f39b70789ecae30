"""Channels through Einsum: letters that stay, and letters that are summed away."""

from __future__ import annotations

import pytest
from builders import loaded, normal, op, value
from channel_builders import a_third, axes_of, error_without_dead, groups_of, net, removal_error

from eapc.channels import dead_channels
from eapc.model import Model, infer_shapes, input_shapes


def attention(scores: str = "bic,bjc->bij", context: str = "bij,bjd->bid") -> Model:
    """q and k of 6 are summed over; v of 4 goes through to the last product."""
    nodes = [
        op("MatMul", "x wq", "q", "queries"),
        op("MatMul", "x wk", "k", "keys"),
        op("MatMul", "x wv", "v", "values"),
        op("Einsum", "q k", "s", equation=scores),
        op("Softmax", "s", "p", axis=-1),
        op("Einsum", "p v", "c", equation=context),
        op("MatMul", "c wo", "y", "out"),
    ]
    shapes = {"wq": (5, 6), "wk": (5, 6), "wv": (5, 4), "wo": (4, 3)}
    tensors = {name: normal(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}
    return net(nodes, ("N", 7, 5), tensors)


def test_letters_are_axes() -> None:
    assert axes_of(attention()) == {
        "queries": (6, {("wq", 1): 1, ("wk", 1): 1}),
        "values": (4, {("wv", 1): 1, ("wo", 0): 1}),
    }


def test_what_is_dead_can_go() -> None:
    model = attention()
    assert error_without_dead(model, {"wk": (slice(None), [1, 4])}) < 1e-6
    assert error_without_dead(model, {"wv": (slice(None), [0])}) < 1e-6
    assert error_without_dead(model, {"wo": ([2, 3],)}) < 1e-6
    assert removal_error(model, a_third(groups_of(model))) < 1e-6


def test_a_letter_that_is_summed_is_used() -> None:
    """Nothing is zero: both products listen to every channel."""
    model = attention()
    _, dead = dead_channels(model, infer_shapes(model, input_shapes(model, {}, None)))
    assert [channels.tolist() for channels in dead.values()] == [[], []]


def test_other_letters_and_blanks() -> None:
    model = attention("xyz, xwz -> xyw", "AbC,ACd->Abd")
    assert axes_of(model) == axes_of(attention())


@pytest.mark.parametrize(
    ("equation", "operands"),
    [
        ("...c,bjc->...j", "q k"),
        ("bic,bjc", "q k"),
        ("bic,bjc->bij", "q q"),
    ],
)
def test_equations_that_leave_their_axes_whole(equation: str, operands: str) -> None:
    nodes = [
        op("MatMul", "x wq", "q", "queries"),
        op("MatMul", "x wk", "k", "keys"),
        op("Add", "q k", "a"),
        op("Einsum", operands, "s", equation=equation),
        op("ReduceSum", "s", "t", keepdims=0),
        op("Add", "t a", "u"),
        op("MatMul", "u wo", "y", "out"),
    ]
    shapes = {"wq": (5, 6), "wk": (5, 6), "wo": (6, 3)}
    tensors = {name: normal(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}
    model = loaded(nodes, {"x": (2, 7, 5)}, [value("y", (2, 7, 3))], tensors)
    assert groups_of(model).groups == ()
