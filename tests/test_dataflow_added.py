"""A dataflow from outside: one entry reads its machines' files, maps layers, and is listed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from added_builders import MACHINE, Network

from eapc.dataflow import Accesses, Dataflow, Execution, executed_macs
from eapc.hardware import Count, HardwareModel, MachineSection, Memories, load_hardware
from eapc.registry import DATAFLOWS
from eapc.workload import ConvWorkload

pytestmark = pytest.mark.usefixtures("kept_logging")


class ReuselessMachine(MachineSection):
    """Lanes that fetch both operands of every MAC, and keep psums in accumulators."""

    lanes: Count

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """DRAM and accumulators, of any size."""
        del word_bits
        self.require_levels(memories, ("dram", "accumulators"))

    def route(self, operand: str) -> tuple[str, ...]:
        """Nothing is buffered."""
        del operand
        return ("dram",)


def execute(workload: ConvWorkload, hardware: HardwareModel) -> Execution:
    done, lanes = (
        executed_macs(workload, hardware.zeros),
        hardware.machine_as(ReuselessMachine).lanes,
    )
    accesses = {
        "dram": Accesses(done, done, workload.ofmap_words),
        "accumulators": Accesses(ofmap=2 * done),
    }
    return Execution(accesses, executed_macs=done, cycles=workload.macs / lanes)


@pytest.fixture
def network(tmp_path: Path, capsys: pytest.CaptureFixture[str], undoing: ExitStack) -> Network:
    undoing.callback(DATAFLOWS.add("reuseless", Dataflow(ReuselessMachine, execute)))
    return Network(tmp_path, capsys)


def machine_file(folder: Path, text: str = "  dataflow: reuseless\n  lanes: 4") -> Path:
    path = folder / "mine.yaml"
    path.write_text(MACHINE.format(inner="accumulators", machine=text))
    return path


def test_analyze_counts_by_it(network: Network) -> None:
    found = network.document("analyze", "--hw", machine_file(network.folder))
    first, relu, second = found["nodes"]
    # 24 MACs: 24 + 24 words and 4 outputs at 100, 48 psums at 2
    assert first["by_level"] == {"mac": 24, "dram": 5200, "accumulators": 96}
    assert first["by_operand"] == {"compute": 24, "weights": 2400, "ifmap": 2400, "ofmap": 496}
    assert second["by_level"] == {"mac": 12, "dram": 2700, "accumulators": 48}
    assert (relu["fused_into"], relu["energy_mac_units"]) == ("first", 4 * 3)
    assert found["totals"]["energy_mac_units"] == 5320 + 2760 + 12
    assert found["totals"]["latency_ms"] == (24 + 12) / 4 / 1e3


def test_zeros_save_what_it_says(network: Network) -> None:
    machine = machine_file(network.folder)
    found = network.document("analyze", "--hw", machine, "--density", 0.5)
    assert found["nodes"][0]["by_level"] == {"mac": 12, "dram": 2800, "accumulators": 48}
    pruned = network.document("prune", "--hw", machine, "--target-energy", 0.7)
    assert pruned["goal_met"]
    assert 0.6 < pruned["energy_ratio"] <= 0.7


def test_commands_know_its_file(network: Network) -> None:
    machine = machine_file(network.folder)
    assert "mine.yaml: valid" in network.eapc("hw", "validate", machine)
    assert "reuseless, 32-bit words" in network.eapc("hw", "show", machine)
    section = load_hardware(machine).machine
    assert section.model_dump() == {"dataflow": "reuseless", "lanes": 4}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  dataflow: reuseless\n  lanes: 0", "16: machine.lanes: expected a positive integer"),
        (
            "  dataflow: reuseless\n  lanes: 4\n  lane: 4",
            "17: machine.lane: unknown key; did you mean lanes?",
        ),
        ("  dataflow: reuseles\n  lanes: 4", "'output_blocks', 'reuseless', got 'reuseles'"),
        ("  lanes: 4", "`dataflow: output_blocks` or `dataflow: reuseless`"),
    ],
)
def test_errors_name_what_its_file_has_to_hold(network: Network, text: str, said: str) -> None:
    assert said in network.eapc("hw", "validate", machine_file(network.folder, text), code=3)


def test_its_memories_are_checked(network: Network) -> None:
    path = machine_file(network.folder)
    path.write_text(path.read_text().replace("accumulators", "glb"))
    said = network.eapc("analyze", network.path, "--hw", path, code=3)
    assert "a reuseless machine has memories dram, accumulators" in said


def test_without_its_entry_its_name_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Network(tmp_path, capsys).eapc("hw", "validate", machine_file(tmp_path), code=3)
    assert "expected a dataflow of 'row_stationary', 'systolic', 'cache_hierarchy', " in said


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="dataflow systolic exists already"):
        DATAFLOWS.add("systolic", Dataflow(ReuselessMachine, execute))
