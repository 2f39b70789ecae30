"""Reading latencies off a grid, steps, and the file's schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from measured_builders import measured_layer, measured_machine

from eapc.commands.machine_profile import machine_yaml
from eapc.errors import HardwareError, UsageError
from eapc.hardware import Scan, load_hardware, load_machine
from eapc.hardware.measured import weights_of, without_layouts
from eapc.hardware.schema import parse_machine


@pytest.mark.parametrize(
    ("count", "weights"),
    [
        (16, ((1, 1.0),)),  # measured
        (12, ((1, 1.0),)),  # up to the next measured count, which ends no later than the step
        (3, ((0, 1.0),)),  # below the smallest: that
        (17, ((1, 2 / 3), (2, 1 / 3))),  # up to 32, a third of the way from 16 to 64
        (48, ((1, 1 / 3), (2, 2 / 3))),
        (49, ((2, 1.0),)),  # up to 64
        (96, ((2, 1.5),)),  # beyond: in proportion
    ],
)
def test_a_count_goes_to_the_end_of_its_step(
    count: int, weights: tuple[tuple[int, float], ...]
) -> None:
    found = weights_of((8, 16, 64), count, 16)
    assert [place for place, _ in found] == [place for place, _ in weights]
    assert [share for _, share in found] == pytest.approx([share for _, share in weights])


def test_latency_is_interpolated_on_both_axes() -> None:
    layer = measured_layer((16, 64), (16, 64), [[1, 4], [7, 10]])
    steps = {"in": 16, "out": 16}
    assert layer.latency_ms(16, 64, steps) == 4  # type: ignore[arg-type]
    # a third of the way on each axis: 4/9 * 1 + 2/9 * 4 + 2/9 * 7 + 1/9 * 10
    assert layer.latency_ms(20, 30, steps) == pytest.approx(4)  # type: ignore[arg-type]


def test_no_count_takes_longer_than_a_larger_one() -> None:
    layer = measured_layer((8, 16), (8, 16, 24), [[2, 9, 3], [4, 5, 6]])
    assert layer.cleaned == ((2, 3, 3), (4, 5, 6))
    assert layer.ms == ((2, 9, 3), (4, 5, 6))


def test_a_layer_of_one_axis_ignores_the_input() -> None:
    machine = measured_machine(measured_layer((), (8, 16), [[1, 2]]))
    assert machine.node_ms("conv", 0, 16) == 2
    assert machine.node_ms("conv", 0, 8) == 1
    assert machine.step_edges("conv", "in") == ()


def test_an_unknown_layer_is_a_key_error() -> None:
    machine = measured_machine()
    with pytest.raises(KeyError, match="pool"):
        machine.node_ms("pool", 0, 8)
    with pytest.raises(KeyError, match="pool"):
        machine.step_edges("pool", "out")


def test_edges_are_where_latency_rises_by_more_than_noise() -> None:
    layer = measured_layer((16,), (8, 16, 24, 32, 40, 48), [[1, 1.01, 1.5, 1.52, 2, 2.3]])
    machine = measured_machine(layer, steps={"in": 16, "out": 8})
    assert machine.step_edges("conv", "out") == (16, 32, 40, 48)
    assert machine.step_edges("conv", "in") == (16,)


def test_edges_lie_between_measured_counts_too() -> None:
    machine = measured_machine(measured_layer((16,), (16, 64), [[1, 4]]))
    assert machine.step_edges("conv", "out") == (16, 32, 48, 64)


def test_a_layer_is_found_in_other_layouts() -> None:
    kept = "Conv Add: 1x*x8x8 blocked, 1x*x8x8 plain -> 1x*x4x4 blocked/plain"
    first = "Relu: 1x* blocked -> 1x* plain"
    machine = measured_machine(
        *(measured_layer((), (4,), [[1]], n) for n in (kept, first, "Relu: 1x* plain -> 1x* plain"))
    )
    assert without_layouts(kept) == "Conv Add: 1x*x8x8, 1x*x8x8 -> 1x*x4x4"
    last = "Conv: 1x*x8x8 uint8 channels-last -> 1x*x4x4 uint8 channels-last/plain"
    assert without_layouts(last) == "Conv: 1x*x8x8 uint8 -> 1x*x4x4 uint8"
    assert machine.find("Conv Add: 1x*x8x8 plain, 1x*x8x8 plain -> 1x*x4x4 plain") == kept
    assert machine.find("Relu: 1x* plain -> 1x* plain") == "Relu: 1x* plain -> 1x* plain"
    assert machine.find("Relu: 1x* plain -> 1x* blocked") == first
    assert machine.find("Conv: 1x*x8x8 plain -> 1x*x4x4 plain") is None


def test_a_machine_survives_its_file(tmp_path: Path) -> None:
    layer = measured_layer((8, 16), (4,), [[0.125], [0.25]], "Conv[group=1]: 1x*x8x8 -> 1x*")
    scan = Scan(layer="conv", axis="out", channels=(1, 2), ms=(0.5, 0.75))
    machine = measured_machine(layer, scans=(scan,))
    path = tmp_path / "here.yaml"
    path.write_text(machine_yaml(machine))
    assert load_machine(path) == machine
    assert hash(load_machine(path)) == hash(machine)


def test_who_needs_energies_is_told_what_to_give(tmp_path: Path) -> None:
    path = tmp_path / "here.yaml"
    path.write_text(machine_yaml(measured_machine()))
    with pytest.raises(UsageError, match=r"measured latencies and no energies; give .*eyeriss"):
        load_hardware(path)


ONE = {"layer": "a", "out_channels": [4], "ms": [[1]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, r"threads: expected a positive integer, got 0; let `eapc profile` write"),
        (
            {"overhead_ms": -1},
            r"overhead_ms: expected a number of 0 or more, got -1; give the time",
        ),
        ({"kernel": 1}, r"kernel: unknown key"),
        ({"steps": {"in": 4}}, r"steps: give the width of a step for `in` and for `out`"),
        ({"layers": [{"layer": "a", "out_channels": [4, 4], "ms": [[1, 1]]}]}, r"have to grow"),
        ({"layers": [{"layer": "a", "out_channels": [4], "ms": [[1], [2]]}]}, r"give a row for"),
        ({"layers": [dict(ONE), dict(ONE)]}, r"is there twice"),
        (
            {"scans": [{"layer": "a", "axis": "in", "channels": [1], "ms": [1, 2]}]},
            r"scans.0: channels and ms have to be as many",
        ),
    ],
)
def test_errors_name_file_line_field_and_remedy(change: dict[str, object], message: str) -> None:
    document = yaml.safe_load(machine_yaml(measured_machine())) | change
    text = json.dumps(document, indent=1)
    with pytest.raises(HardwareError, match=rf"^here.yaml:\d+: .*{message}"):
        parse_machine(text.encode(), "here.yaml")
