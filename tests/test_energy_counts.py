"""Counts of odd and of huge layers: exact and never negative, or refused."""

from __future__ import annotations

import math

import pytest
from builders import conv_model, make_model, normal, op
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eapc
from eapc.dataflow import OPERANDS, MappingError, execute
from eapc.energy import EnergyReport
from eapc.hardware import load_hardware, shipped_hardware
from eapc.workload import ConvWorkload, StreamWorkload

COUNTABLE = 2**53


def report_of(proto: object, machine: str) -> EnergyReport:
    model = eapc.Model.from_proto(proto)  # type: ignore[arg-type]
    return eapc.analyze(model, eapc.Settings(hardware=machine)).energy


def require_counts(report: EnergyReport) -> None:
    """No figure of any node is negative or infinite."""
    for node in report.nodes:
        words = [getattr(a, operand) for a in node.accesses.values() for operand in OPERANDS]
        figures = (
            node.energy_mac_units, node.macs, node.nonskipped_macs, node.operations,
            node.cycles or 0.0, *node.by_operand.values(), *node.by_level.values(), *words,
        )  # fmt: skip
        assert all(0 <= figure < math.inf for figure in figures)


@pytest.mark.parametrize("machine", shipped_hardware())
def test_a_layer_beyond_whole_numbers_is_not_priced(machine: str) -> None:
    """4 filters of 3 x 3 x 3 over 2^60 positions: 2^66.75 MACs."""
    report = report_of(conv_model((1, 3, 1 << 30, 1 << 30), filters=4), machine)
    (entry,) = report.unmodelled
    assert entry.reason == "about 2^66 MACs or words are too many to be counted; see --input-shape"
    assert report.energy_mac_units == report.macs == 0


def test_strides_count_with_the_multiplications() -> None:
    """2^46.75 MACs at strides of 2^10 x 2^10 could touch 2^66.75 words."""
    strided = conv_model((1, 3, 1 << 30, 1 << 30), filters=4, strides=[1 << 10, 1 << 10])
    (entry,) = report_of(strided, "eyeriss").unmodelled
    assert entry.reason.startswith("about 2^66 MACs or words are too many")


def test_a_copy_beyond_whole_numbers_is_not_priced() -> None:
    proto = make_model([op("Relu", "x", "y")], {"x": (1 << 40, 1 << 40)}, ["y"])
    (entry,) = report_of(proto, "eyeriss").unmodelled
    assert entry.reason.startswith("about 2^81 operations or words are too many")


def test_the_largest_that_is_counted() -> None:
    """2^53 MACs are, one more row of 2^43 positions is not."""
    machine = load_hardware("tpu-v1")
    largest = ConvWorkload(1, 1, 1, 1 << 10, 1, 1 << 43)
    assert execute(largest, machine).executed_macs == 2**53
    with pytest.raises(MappingError, match="2\\^54"):
        execute(ConvWorkload(1, 1, 1, 1 << 10, 2, 1 << 43), machine)
    assert execute(StreamWorkload(COUNTABLE), machine).operations == 2**53
    with pytest.raises(MappingError, match="operations"):
        execute(StreamWorkload(COUNTABLE + 1), machine)


@pytest.mark.parametrize("machine", ["eyeriss", "mobile-cpu", "tpu-v1"])
@given(
    size=st.tuples(*[st.sampled_from([-1, 0, 1, 2, 3, 7, 1 << 20, 1 << 31, 1 << 61])] * 2),
    kernel=st.tuples(*[st.integers(1, 5)] * 2),
    steps=st.tuples(*[st.integers(1, 3)] * 4),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_count_of_an_odd_layer_is_negative(
    machine: str,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    steps: tuple[int, ...],
    pads: list[int],
) -> None:
    """Negative axes, kernels larger than their maps, sizes whose product exceeds 64 bits."""
    nodes = [
        op("Conv", "x w", "c", pads=pads, strides=steps[:2], dilations=steps[2:]),
        op("MaxPool", "c", "p", kernel_shape=kernel),
        op("Relu", "p", "y"),
    ]
    proto = make_model(nodes, {"x": (1, 2, *size)}, ["y"], {"w": normal((3, 2, *kernel))})
    require_counts(report_of(proto, machine))


@pytest.mark.parametrize("machine", shipped_hardware())
@given(
    extents=st.lists(st.integers(0, 18), min_size=4, max_size=4),
    filter_size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.integers(1, 4),
)
@settings(max_examples=12, deadline=None)
def test_no_count_of_a_huge_layer_is_negative(
    machine: str, extents: list[int], filter_size: tuple[int, int], stride: int
) -> None:
    filters, channels, rows, columns = (1 << extent for extent in extents)
    layer = ConvWorkload(
        1, 1, filters, channels, rows, columns, *filter_size, stride_rows=stride
    )  # fmt: skip
    try:
        found = execute(layer, load_hardware(machine))
    except MappingError:
        return
    words = [getattr(a, operand) for a in found.accesses.values() for operand in OPERANDS]
    assert all(0 <= figure < math.inf for figure in (*words, found.cycles or 0.0))
    assert found.executed_macs == layer.macs
