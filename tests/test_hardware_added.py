"""A machine from outside: its file is all there is to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from added_builders import MACHINE, Network

from eapc.hardware import shipped_hardware

pytestmark = pytest.mark.usefixtures("kept_logging")

SECTION = """\
  dataflow: cache_hierarchy
  feature_map_levels: [dram, registers]
  weight_levels: [dram, registers]
  vector_macs: 4
  instructions_per_cycle: 1
  psum_bits: 32"""


@pytest.fixture
def network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Network:
    (tmp_path / "mine.yaml").write_text(MACHINE.format(inner="registers", machine=SECTION))
    return Network(tmp_path, capsys)


def test_analyze_prices_by_it(network: Network) -> None:
    """Registers hold a whole layer: each word comes once, and serves every MAC from there."""
    found = network.document("analyze", "--hw", network.folder / "mine.yaml")
    first, relu, second = found["nodes"]
    # 24 weights, 6 inputs, 4 outputs come and go; 24 MACs take 2 words and a psum twice
    assert first["by_level"] == {
        "mac": 24 + 5 * 24 / 4,
        "dram": 100 * (24 + 6 + 4),
        "registers": 2 * (24 + 6 + 4 + 4 * 24),
    }
    # 3 filters fill no vector of 4, nor does one position; a depth of 4 does
    assert second["by_level"] == {
        "mac": 12 + 5 * 12 / 4,
        "dram": 100 * (12 + 4 + 3),
        "registers": 2 * (12 + 4 + 3 + 4 * 12),
    }
    assert relu["energy_mac_units"] == 4 * 3
    assert found["totals"]["latency_ms"] == (24 + 12) / 4 / 1e3


def test_prune_saves_on_it(network: Network) -> None:
    machine = network.folder / "mine.yaml"
    pruned = network.document("prune", "--hw", machine, "--target-energy", 0.96)
    assert pruned["goal_met"]
    assert 0.94 < pruned["energy_ratio"] <= 0.96
    before = network.document("analyze", "--hw", machine)
    assert before["totals"]["macs"] == pruned["before"]["macs"] == 36


def test_commands_know_its_file(network: Network) -> None:
    machine = network.folder / "mine.yaml"
    assert "mine.yaml: valid" in network.eapc("hw", "validate", machine)
    assert "cache hierarchy, 32-bit words" in network.eapc("hw", "show", machine)


def test_what_is_no_file_lists_the_shipped_ones(network: Network) -> None:
    said = network.eapc("analyze", network.path, "--hw", "my-own", code=3)
    assert all(name in said for name in shipped_hardware())
