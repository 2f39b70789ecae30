"""Staircases of layers: what is drawn, by hand-computed latencies."""

from __future__ import annotations

from measured_builders import measured_layer, measured_machine

from eapc.commands.machine_profile import Profiled
from eapc.pages.profile_page import layer_table, profile_chart, profile_page
from eapc.pages.staircase_chart import (
    axes_of,
    costliest_first,
    edges,
    labelled,
    measured,
    scanned,
    staircase_chart,
    steps,
)

# cleaned, the row of 32 inputs is 1, 2, 2, 2 ms: 48 channels take no longer than 64 do
LAYER = measured_layer([16, 32], [16, 32, 48, 64], [[1, 1, 1, 2], [1, 2, 5, 2]])
SLOW = measured_layer([8], [16, 64], [[3, 9]], "slow")
FLAT = measured_layer([], [64], [[7]], "flat")
SCAN = {"layer": "conv", "axis": "out", "channels": (60, 61), "ms": (1.5, 1.75)}
MACHINE = measured_machine(LAYER, SLOW, FLAT, scans=(SCAN,))


def test_the_stairs_are_what_networks_are_read_to_take() -> None:
    assert steps(MACHINE, LAYER, "out") == [(1, 1), (16, 1), (32, 2), (48, 2), (64, 2)]
    assert edges(MACHINE, LAYER, "out") == [(16, 1), (64, 2)]


def test_what_was_timed_is_not_cleaned() -> None:
    assert measured(LAYER, "out") == [(16, 1), (32, 2), (48, 5), (64, 2)]
    assert measured(LAYER, "in") == [(16, 2), (32, 2)]
    assert scanned(MACHINE, LAYER, "out") == [(60, 1.5), (61, 1.75)]
    assert scanned(MACHINE, LAYER, "in") == []


def test_layers_of_one_count_have_no_staircase() -> None:
    assert axes_of(LAYER) == {"output channels": "out", "input channels": "in"}
    assert axes_of(SLOW) == {"output channels": "out"}
    assert axes_of(FLAT) == {}
    assert [layer.layer for layer in costliest_first(MACHINE)] == ["slow", "conv"]


def test_labels_keep_apart() -> None:
    # 0.06 of 100 are 6 channels: 96 is too near to 100, 94 is not, 89 is too near to 94
    assert labelled([89, 94, 96, 100]) == {94, 100}


def test_the_legend_lists_what_is_drawn() -> None:
    first, *_ = staircase_chart(MACHINE, SLOW).spec["layer"]
    names = ["as it is read", "measured", "edge of a step"]
    assert first["encoding"]["color"]["scale"]["domain"] == names


def test_the_picture_is_of_the_costliest_layer_that_has_one() -> None:
    assert profile_chart(MACHINE).title == "slow: latency over output channels"
    assert profile_chart(measured_machine(FLAT)).title == "time of each distinct layer"


def test_the_table_has_every_layer_with_its_edges() -> None:
    rows = [[cell.text for cell in row] for row in layer_table(MACHINE).rows]
    assert [row[0] for row in rows] == ["slow", "flat", "conv"]
    assert rows[2][1:3] == ["16, 64", "32"]
    assert rows[2][6] == "8 counts"


def test_the_page_names_what_was_not_timed() -> None:
    done = Profiled(MACHINE, (("Softmax:3", "of no kind that is timed"),), 1.0, None)
    titles = [section.title for section in profile_page(done, [("time", "1 s")]).sections]
    assert titles == ["Staircases", "Where the time goes", "Every layer", "Not timed: 1 node"]
