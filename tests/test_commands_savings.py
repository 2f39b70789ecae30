"""What would save most: worked out by hand on a small machine, and equal to what commands say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import Array, loaded, normal, op

from eapc.commands.compiler import Analysis, Settings, analyze, prepare
from eapc.commands.savings import KINDS, Saving
from eapc.hardware import HardwareModel, load_hardware
from eapc.model import Model
from eapc.report.savings import command_of, savings_document

TWO_LAYERS = ("gemm1", "gemm2")


def two_layers(hidden: int = 16, kept: float = 1.0) -> Model:
    """8 inputs, a hidden layer, 4 outputs; a fraction of the weights of each layer is not zero."""
    tensors = {"w1": thinned((8, hidden), kept), "w2": thinned((hidden, 4), kept)}
    nodes = [op("Gemm", "x w1", "h", name="gemm1"), op("Gemm", "h w2", "y", name="gemm2")]
    return loaded(nodes, {"x": ("N", 8)}, ["y"], tensors)


def thinned(shape: tuple[int, int], kept: float) -> Array:
    weights = normal(shape).ravel()
    weights[round(kept * len(weights)) :] = 0
    return weights.reshape(shape)


def by_kind(found: Analysis) -> dict[str, Saving]:
    return {saving.kind: saving for saving in found.savings}


def test_channels_and_bits_by_hand() -> None:
    """A Cortex-M4 in MAC units: 1.9 a MAC and its weight, 25 an output, 500 a layer.

    16 hidden channels: 128 * 1.9 + 16 * 25 + 500 and 64 * 1.9 + 4 * 25 + 500, 1864.8 in all. With
    12 of them: 96 * 1.9 + 12 * 25 + 500 and 48 * 1.9 + 4 * 25 + 500, 1673.6. With weights of 4
    bits instead of 8, each of the 192 takes 0.45 less to fetch.
    """
    found = analyze(two_layers(), Settings(hardware="cortex-m4"))
    assert found.energy.energy_mac_units == pytest.approx(1864.8)
    savings = by_kind(found)
    assert savings.keys() == {"channels", "bits"}
    assert savings["channels"].energy_mac_units == pytest.approx(1673.6)
    assert savings["bits"].saved == pytest.approx(192 * 0.45 / 1864.8)
    assert [each.kind for each in found.savings] == ["channels", "bits"]  # the most first


def test_8_bits_save_what_analyze_says(digits: Path) -> None:
    found = by_kind(analyze(digits))["bits"]
    assert found.change == "8 bits"
    narrow = analyze(digits, Settings(bits="8")).energy.energy_mac_units
    assert found.energy_mac_units == pytest.approx(narrow, rel=1e-12)


def test_a_batch_saves_what_analyze_says(digits: Path) -> None:
    found = by_kind(analyze(digits, Settings(hardware="tpu-v1")))["batch"]
    batched = analyze(digits, Settings(hardware="tpu-v1", batch=16)).energy.energy_mac_units
    assert found.energy_mac_units == pytest.approx(batched, rel=1e-12)


def test_zeros_save_what_they_do_once_they_are_there() -> None:
    found = by_kind(analyze(two_layers()))["zeros"]
    sparse = analyze(two_layers(kept=0.5)).energy.energy_mac_units
    assert found.energy_mac_units == pytest.approx(sparse, rel=1e-12)
    assert found.layers == TWO_LAYERS
    assert found.layers_share == pytest.approx(1)
    assert found.options == ("--sparsity", "0.5")


def test_of_sparse_weights_half_of_the_others_go() -> None:
    assert by_kind(analyze(two_layers(kept=0.25)))["zeros"].options == ("--sparsity", "0.88")


def test_fewer_channels_save_what_a_smaller_network_does() -> None:
    found = by_kind(analyze(two_layers()))["channels"]
    smaller = analyze(two_layers(hidden=12)).energy.energy_mac_units
    assert found.energy_mac_units == pytest.approx(smaller, rel=1e-12)


def larger(machine: HardwareModel, level: str, size: int) -> HardwareModel:
    memory = machine.memories[level].model_copy(update={"size_bytes": size})
    changes = {"memories": {**machine.memories, level: memory}, "feature_maps_kept_in": level}
    return machine.model_copy(update=changes)


def test_maps_on_chip_save_no_more_than_a_larger_buffer_does(
    digits: Path, eyeriss: HardwareModel
) -> None:
    """Tiles may use a larger buffer too, so that it saves as much or a little more."""
    found = by_kind(analyze(digits))["feature maps"]
    assert found.level == "glb"
    assert found.room_bytes is not None
    size = (eyeriss.memories["glb"].size_bytes or 0) + found.room_bytes
    after = analyze(digits, Settings(hardware=larger(eyeriss, "glb", size))).energy
    assert after.energy_mac_units <= found.energy_mac_units * (1 + 1e-12)
    assert found.energy_mac_units == pytest.approx(after.energy_mac_units, rel=0.05)


def test_room_is_what_lives_at_once(eyeriss: HardwareModel) -> None:
    """16 words of 16 bits between two layers, in one bank of the buffer."""
    found = by_kind(analyze(two_layers()))["feature maps"]
    assert found.room_bytes == eyeriss.memories["glb"].bank_bytes


def test_calibration_inputs_count_as_they_did(digits: Path) -> None:
    """Zeros of activations are measured once, and stay what they were under each change."""
    data = digits.with_name("digits_calibration.npz")
    settings = Settings(calibration=data, samples=32)
    found = by_kind(analyze(digits, settings))["bits"]
    narrow = analyze(digits, replace(settings, bits="8")).energy.energy_mac_units
    assert found.energy_mac_units == pytest.approx(narrow, rel=1e-12)


def test_nothing_that_the_machine_cannot_do() -> None:
    kinds = by_kind(analyze(two_layers(), Settings(hardware="tpu-v1"))).keys()
    assert "zeros" not in kinds  # it skips none
    assert "bits" not in kinds  # its words have 8, and it knows no 4
    kinds = by_kind(analyze(two_layers(), Settings(hardware="cortex-m4"))).keys()
    assert not {"batch", "feature maps"} & kinds  # one inference at a time; maps never leave


def test_nothing_below_a_hundredth(digits: Path) -> None:
    for machine in ("eyeriss", "cortex-m4", "tpu-v1"):
        found = analyze(digits, Settings(hardware=machine)).savings
        assert found
        assert all(saving.saved >= 0.01 for saving in found)
        assert list(found) == sorted(found, key=lambda saving: -saving.saved)


def test_a_network_without_energy_has_nothing_to_save() -> None:
    idle = loaded([op("Flatten", "x", "y")], {"x": (1, 2, 3)}, ["y"])
    assert analyze(idle).savings == ()


@pytest.mark.parametrize(("most", "kinds"), [(2, {"channels", "bits"}), (1, {"bits"})])
def test_channels_of_large_networks_are_not_looked_for(
    most: int, kinds: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eapc.commands.savings.MOST_NODES", most)
    assert by_kind(analyze(two_layers(), Settings(hardware="cortex-m4"))).keys() == kinds


def test_commands_repeat_what_was_asked_for(digits: Path) -> None:
    settings = Settings(hardware="tpu-v1", batch=2, input_shapes={"image": (2, 1, 16, 16)})
    found = analyze(digits, replace(settings, input_shapes={}))
    command = command_of(by_kind(found)["channels"], found, settings)
    options = "--structured --sparsity 0.25 --hw tpu-v1 --batch 2 --input-shape image:2,1,16,16"
    assert command == f"eapc prune {digits} {options}"


def test_without_a_file_there_is_no_command() -> None:
    document = savings_document(analyze(two_layers()), None)
    assert {entry["command"] for entry in document} == {None}


def test_hardware_that_was_loaded_has_no_name_for_a_command(digits: Path) -> None:
    found = analyze(digits)
    settings = Settings(hardware=load_hardware("eyeriss"))
    command = command_of(by_kind(found)["bits"], found, settings)
    assert command == f"eapc prune {digits} --bits 8"


def test_densities_that_zeros_reach_are_no_saving() -> None:
    empty = two_layers(kept=0.0)
    assert "zeros" not in by_kind(analyze(empty))
    assert np.isfinite([saving.saved for saving in analyze(empty).savings]).all()


def test_far_less_than_the_best_is_not_told(digits: Path) -> None:
    """A tenth of the best: weights of 4 bits save 1.3 % of the digits network, channels 41 %."""
    found = analyze(digits, Settings(hardware="cortex-m4"))
    assert [saving.kind for saving in found.savings] == ["channels"]
    assert found.savings[0].saved > 0.4


def test_what_is_priced_can_be_ruled_out_beforehand_by_no_more_than_it_saves(digits: Path) -> None:
    """What may be saved at most is never less than what a change then saves."""
    for machine in ("eyeriss", "tpu-v1", "simba-like", "mobile-cpu"):
        settings = Settings(hardware=machine)
        report, compilation = analyze(digits, settings).energy, prepare(digits, settings)
        for kind, most in KINDS:
            for saving in kind(compilation, report):
                assert saving.saved * report.energy_mac_units <= most(report) * 1.02
