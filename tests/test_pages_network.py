"""Networks drawn: who stands where, and what counts for whom."""

from __future__ import annotations

import body_builders
import pytest
from builders import constant_node, make_model, op, scalar

from eapc.model import Model
from eapc.pages import network_layout
from eapc.pages.network_chart import drawing, edges_of
from eapc.pages.network_layout import lay_out, layers_of
from eapc.pages.page import Drawing, Part, Switch

DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]


def test_layers_are_those_of_the_longest_path() -> None:
    assert layers_of(4, [(0, 1), (1, 2), (0, 2), (2, 3)]) == [0, 1, 2, 3]
    assert layers_of(4, DIAMOND) == [0, 1, 1, 2]


def test_sources_stand_right_above_who_reads_them() -> None:
    assert layers_of(4, [(0, 1), (1, 3), (2, 3)]) == [0, 1, 1, 2]


def test_no_two_nodes_share_a_place() -> None:
    layout = lay_out(4, DIAMOND)
    assert len(set(layout.nodes)) == 4
    assert layout.nodes[1][1] == layout.nodes[2][1]  # side by side
    assert abs(layout.nodes[1][0] - layout.nodes[2][0]) >= 1
    ends = [(line[0], line[-1]) for line in layout.lines]
    assert ends == [(layout.nodes[a], layout.nodes[b]) for a, b in DIAMOND]


def test_deep_networks_stand_in_columns() -> None:
    count = 100
    layout = lay_out(count, [(i, i + 1) for i in range(count - 1)])
    across = max(x for x, _ in layout.nodes) + 1
    down = max(y for _, y in layout.nodes) + 2
    assert 1 < across * 150 / (down * 46) < 2.7
    assert len(set(layout.nodes)) == count
    turns = [line for line in layout.lines if len(line) > 2]
    columns = len({x for x, _ in layout.nodes})
    assert len(turns) == columns - 1  # from each foot to the next head


def test_deep_networks_keep_to_their_columns() -> None:
    count = 1000
    chain = [(i, i + 1) for i in range(count - 1)]
    layout = lay_out(count, chain + [(i, i + 5) for i in range(0, count - 5, 3)])
    near = [abs(x - layout.nodes[place - 1][0]) for place, (x, _) in enumerate(layout.nodes)][1:]
    assert sum(step > 1 for step in near) < 40  # but from a column's foot to the next head


def test_lines_go_around_what_lies_between() -> None:
    layout = lay_out(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    _, *bends, _ = layout.lines[3]
    assert bends
    assert all(point not in layout.nodes for point in bends)


def test_huge_networks_are_laid_out_in_file_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_layout, "_MOST_BENDS", 0)
    layout = lay_out(5, [*DIAMOND, (3, 4), (0, 4)])  # the last one passes two layers
    assert len(set(layout.nodes)) == 5
    assert layout.nodes[1][0] < layout.nodes[2][0]


def test_nothing_is_laid_out_of_nothing() -> None:
    assert lay_out(0, []).nodes == ()


def test_edges_are_who_reads_whom() -> None:
    nodes = [op("Relu", "x", "a"), op("Relu", "a", "b"), op("Add", "a b", "y"), op("Neg", "x", "z")]
    model = Model.from_proto(make_model(nodes, {"x": (1, 4)}, ["y", "z"]))
    assert edges_of(model, model.nodes) == [(0, 1), (0, 2), (1, 2)]


def test_bodies_count_for_the_node_that_holds_them() -> None:
    model = Model.from_proto(body_builders.loop()[0])
    inner = [node.key for node in model.nodes if node.scope]
    assert inner
    drawn = drawing("cost", model, dict.fromkeys(inner, 1.0), "{:g} units".format, {})
    assert isinstance(drawn, Switch)
    main, body = drawn.options.values()
    said = said_of(main)
    (holder,) = [node for node in model.view.main_nodes if node.subgraphs]
    assert said[holder.key] == (1.0, f"{holder.op_type}: {len(inner)} units")
    assert all(depth == -1 for key, (depth, _) in said.items() if key != holder.key)
    assert list(said_of(body)) == inner
    assert {depth for depth, _ in said_of(body).values()} == {1.0}


def said_of(drawn: Part) -> dict[str, tuple[float, str]]:
    assert isinstance(drawn, Drawing)
    found = {}
    for _, _, depth, _, text in drawn.nodes:
        key, said = text.split("\n")
        found[key] = (depth, said)
    return found


def test_constants_are_not_drawn() -> None:
    nodes = [constant_node("c", scalar(1.0)), op("Add", "x c", "y", name="sum")]
    model = Model.from_proto(make_model(nodes, {"x": (1, 4)}, ["y"]))
    drawn = drawing("cost", model, {"sum": 2.0}, str, {})
    assert isinstance(drawn, Drawing)
    assert [(node[2], node[3]) for node in drawn.nodes] == [(1.0, "sum")]
