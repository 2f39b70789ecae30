"""When feature maps live, whose ifmaps they are, and which cannot stay."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from builders import Array, chain, ints, loaded, make_graph, normal, op, scalar
from onnx import NodeProto
from work_builders import items_of

from eapc.energy.residency import Life, lives
from eapc.model import Model

X = {"x": (1, 4, 8, 8)}
WEIGHTS: dict[str, Array] = {
    **{f"w{i}": normal((4, 4, 1, 1), i) for i in range(3)},
    "wide": normal((4, 8, 1, 1)),
    "flat": ints(1, 256),
    "halves": ints(2, 2),
    "gates": normal((1, 16, 64)),
    "memory": normal((1, 16, 4)),
}
CONV = op("Conv", "x w0", "a", name="first")


def lives_of(model: Model) -> dict[str, Life]:
    return {life.tensor: life for life in lives(model, tuple(items_of(model)))}


def found(nodes: list[NodeProto], outputs: tuple[str, ...] = ("y",)) -> dict[str, Life]:
    return lives_of(loaded(nodes, X, outputs, WEIGHTS))


def test_a_chain_lives_from_each_writer_to_the_next_reader() -> None:
    """The ReLU is fused: its result is what the first convolution writes; y leaves the chip."""
    life = lives_of(Model.from_proto(chain(["Conv", "Relu", "MaxPool", "Conv"])))
    assert life == {
        "Relu_1_out": Life("Relu_1_out", 8 * 64, None, (0, 0), (((2, 0), 1.0),), (0, 2)),
        "MaxPool_2_out": Life("MaxPool_2_out", 8 * 16, None, (2, 0), (((3, 0), 1.0),), (2, 3)),
    }


def test_a_residual_lives_until_it_is_added() -> None:
    nodes = [
        CONV,
        op("Conv", "a w1", "b", name="second"),
        op("Conv", "b w2", "c", name="third"),
        op("Add", "a c", "y", name="add"),
    ]
    life = found(nodes)
    assert life.keys() == {"a", "b", "c"}
    assert life["a"].readers == (((1, 0), 1.0), ((3, 0), 0.5))
    assert life["a"].places == (0, 1, 2, 3)
    assert life["c"].readers == (((3, 0), 0.5),)


def test_an_operand_read_twice_counts_twice() -> None:
    nodes = [CONV, op("Conv", "a w1", "b"), op("Mul", "a a", "s"), op("Add", "b s", "y")]
    assert found(nodes)["a"].readers == (((1, 0), 1.0), ((2, 0), 0.5), ((2, 0), 0.5))


def test_a_small_operand_is_a_small_share() -> None:
    nodes = [
        CONV,
        op("GlobalAveragePool", "a", "p"),
        op("Conv", "a w1", "b"),
        op("Mul", "b p", "y"),
    ]
    life = found(nodes)
    assert life["p"].readers == (((3, 0), 4 / 260),)
    assert life["b"].readers == (((3, 0), 256 / 260),)


def test_views_read_on_behalf_of_those_behind_them() -> None:
    nodes = [
        CONV,
        op("Conv", "x w1", "b"),
        op("Concat", "a b", "ab", axis=1),
        op("Identity", "ab", "same"),
        op("Conv", "same wide", "y"),
    ]
    life = found(nodes)
    assert life["a"].readers == life["b"].readers == (((4, 0), 0.5),)
    assert life["a"].places == (0, 1, 4)


def test_what_a_view_adds_from_elsewhere_is_no_share() -> None:
    (life,) = found([CONV, op("Concat", "a x", "ax", axis=1), op("Conv", "ax wide", "y")]).values()
    assert life.readers == (((2, 0), 0.5),)


def test_pieces_of_one_feature_map_end_with_the_last() -> None:
    nodes = [
        CONV,
        op("Split", "a halves", "l r", axis=1),
        op("Sigmoid", "l", "s"),
        op("Mul", "s r", "y"),
    ]
    life = found(nodes)
    assert life["a"].readers == (((2, 0), 1.0), ((3, 0), 0.5))


def test_outputs_leave_the_chip_behind_views_too() -> None:
    assert found([CONV, op("Conv", "a w1", "y")], ("y", "a")).keys() == set()
    assert found([CONV, op("Reshape", "a flat", "z"), op("Conv", "a w1", "y")], ("y", "z")) == {}


def test_a_tensor_that_acts_as_weights_does_not_stay() -> None:
    nodes = [CONV, op("Conv", "x w1", "b"), op("MatMul", "a b", "y")]
    assert found(nodes).keys() == {"a"}


def test_what_nobody_reads_is_no_candidate() -> None:
    assert found([CONV, op("Conv", "x w1", "unread"), op("Conv", "a w2", "y")]).keys() == {"a"}


def test_nobody_knows_what_runs_in_subgraphs_and_unknown_nodes() -> None:
    branch = make_graph([op("Neg", "a", "n")], {}, ["n"])
    choice = op("If", "c", "i", name="if", then_branch=branch, else_branch=branch)
    nodes = [CONV, op("Conv", "x w1", "b"), choice, op("Add", "b i", "y")]
    model = loaded(nodes, X, ["y"], {**WEIGHTS, "c": scalar(True, np.bool_)})
    assert lives_of(model) == {}
    odd = [CONV, op("Foo", "x", "f", domain="acme"), op("Conv", "a w1", "y")]
    assert found(odd, ("y", "f")) == {}


def test_repeated_parts_neither_keep_nor_read() -> None:
    nodes = [
        CONV,
        op("Reshape", "a steps", "s"),
        op("LSTM", "s gates memory", "h", name="lstm", hidden_size=4),
        op("Relu", "h", "y"),
    ]
    model = loaded(nodes, X, ["y"], {**WEIGHTS, "steps": ints(4, 1, 64)})
    assert lives_of(model) == {}


@pytest.mark.parametrize(("between", "kept"), [(62, True), (63, False)])
def test_a_life_spans_a_bounded_number_of_nodes(between: int, kept: bool) -> None:
    nodes = [CONV]
    names = ["a", *(f"m{i}" for i in range(between))]
    nodes += [op("MaxPool", f"{a} ", b, kernel_shape=[1, 1]) for a, b in pairwise(names)]
    nodes.append(op("Add", f"a {names[-1]}", "y"))
    assert ("a" in found(nodes)) == kept
