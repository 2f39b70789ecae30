"""Schema, loader and error messages of hardware descriptions."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from measured_builders import measured_layer, measured_machine

from eapc.dataflow import RowStationaryMachine
from eapc.dataflow.execution import mac_energy
from eapc.energy import GivenBits, require_known
from eapc.errors import HardwareError, UsageError
from eapc.hardware import (
    HardwareModel,
    HardwareSource,
    load_hardware,
    load_machine,
    shipped_hardware,
    with_less_room,
)
from eapc.hardware.schema import parse_machine
from eapc.hardware.sections import NoCode, RunLengthCode

HWMODELS = Path(__file__).parent.parent / "hwmodels"
EYERISS = (HWMODELS / "eyeriss.yaml").read_text()
RUN_LENGTH = {
    "code": "run-length",
    "run_bits": 5,
    "level_bits": 16,
    "pairs_per_block": 3,
    "block_bits": 64,
}


def parse_hardware(text: bytes, file: str) -> HardwareModel:
    machine = parse_machine(text, file)
    assert isinstance(machine, HardwareModel)
    return machine


def source_of(hardware: HardwareModel, path: str) -> str | None:
    """Where a field's number comes from: a key of `sources` covers the fields below it too."""
    for key, text in hardware.sources.items():
        if fnmatchcase(path, key) or fnmatchcase(path, f"{key}.*"):
            return text
    return None


def failure(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(HardwareError) as caught:
        parse_hardware(data, "npu.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def edited(old: str, new: str) -> tuple[str, int]:
    """EYERISS with its first `old` replaced, and the line where that stands."""
    assert old in EYERISS
    return EYERISS.replace(old, new, 1), EYERISS[: EYERISS.index(old)].count("\n") + 1


def test_eyeriss_has_the_published_costs_and_sizes() -> None:
    hardware = load_hardware("eyeriss")
    prices = {k: m.energy_mac_units_per_word for k, m in hardware.memories.items()}
    assert prices == {"dram": 200, "glb": 6, "network": 2, "rf": 1}
    machine = hardware.machine_as(RowStationaryMachine)
    assert (machine.array_rows, machine.array_columns) == (12, 14)
    assert hardware.memories["glb"].banks == 25
    assert hardware.dataflow == "row_stationary"


def test_shipped_names_load_with_and_without_suffix() -> None:
    assert shipped_hardware() == tuple(sorted(p.stem for p in HWMODELS.glob("*.yaml")))
    for name in shipped_hardware():
        assert load_hardware(name).name == name
        assert load_hardware(f"{name}.yaml") == load_hardware(name)


def test_a_file_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eyeriss.yaml").write_text(EYERISS.replace("name: eyeriss", "name: mine", 1))
    monkeypatch.chdir(tmp_path)
    assert load_hardware("eyeriss.yaml").name == "mine"
    assert load_hardware("eyeriss").name == "eyeriss"


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(HardwareError, match=r"^eyeris: no such file.*one of eyeriss"):
        load_hardware("eyeris")


def test_a_misspelt_file_suggests_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "host.yaml").write_text("")
    with pytest.raises(HardwareError, match=f"one of {tmp_path / 'host.yaml'}$"):
        load_hardware(tmp_path / "hots.yaml")
    with pytest.raises(HardwareError, match="one of cortex-m33, cortex-m4,"):
        load_hardware(tmp_path / "zzz")


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_shipped_machine_names_its_file() -> None:
    file = HWMODELS / "eyeriss.yaml"
    for name in ("eyeriss", "eyeriss.yaml"):
        source = load_hardware(name).source
        assert source == HardwareSource("eyeriss", str(file), sha256_of(file), is_shipped=True)
    assert str(source) == f"shipped eyeriss, sha256 {sha256_of(file)[:12]}"


def test_a_file_of_ones_own_is_named_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "eyeriss.yaml"
    file.write_text(EYERISS.replace("name: eyeriss", "name: mine", 1))
    digest = sha256_of(file)
    monkeypatch.chdir(tmp_path)
    source = load_hardware(file).source
    assert source == HardwareSource("mine", str(file), digest, is_shipped=False)
    assert str(source) == f"{file}, sha256 {digest[:12]}"
    hiding = load_hardware("eyeriss.yaml").source
    assert str(hiding) == (
        f"eyeriss.yaml, a file here and not the shipped machine, sha256 {digest[:12]}"
    )


def test_a_profile_names_its_file_too(tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    machine = measured_machine(measured_layer([8], [8], [[1.0]]))
    file.write_text(yaml.safe_dump(machine.model_dump(mode="json", by_alias=True)))
    source = load_machine(file).source
    assert source is not None
    assert (source.path, source.digest) == (str(file), sha256_of(file))


def test_where_a_machine_was_read_does_not_tell_it_apart(tmp_path: Path) -> None:
    (tmp_path / "copy.yaml").write_text(EYERISS)
    shipped, copied = load_hardware("eyeriss"), load_hardware(tmp_path / "copy.yaml")
    assert shipped == copied
    assert hash(shipped) == hash(copied)
    assert shipped.source != copied.source
    assert HardwareModel.model_validate(shipped.model_dump(by_alias=True)).source is None
    assert with_less_room(shipped, "glb", 1024).source == shipped.source
    assert with_less_room(shipped, "glb", 1024) != shipped


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match="is a folder"):
        load_hardware(tmp_path)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{index}")
    else:
        yield path, value


@pytest.mark.parametrize("name", shipped_hardware())
def test_every_number_and_reading_of_a_shipped_file_has_a_source(name: str) -> None:
    hardware = load_hardware(name)
    document = hardware.model_dump(by_alias=True, exclude_none=True, exclude={"sources"})
    text = {"schema", "name", "description", "machine.dataflow"}
    fields = {path for path, _ in leaves(document)} - text
    assert {path for path in fields if source_of(hardware, path) is None} == set()


@pytest.mark.parametrize("name", shipped_hardware())
def test_every_source_is_about_some_field(name: str) -> None:
    hardware = load_hardware(name)
    document = hardware.model_dump(by_alias=True, exclude={"sources"})
    used = {source_of(hardware, path) for path, _ in leaves(document)}
    assert set(hardware.sources.values()) <= used


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("word_bit", "did you mean word_bits?"),
        ("machine.*_spads", "names no field"),
        ("machine.stationary", "names no field"),
    ],
)
def test_a_source_of_no_field_is_refused(key: str, said: str) -> None:
    text = EYERISS.replace("sources:\n", f"sources:\n  {key}: A book.\n", 1)
    line = 1 + text[: text.index(f"  {key}: A book")].count("\n")
    with pytest.raises(HardwareError) as caught:
        parse_hardware(text.encode(), "m.yaml")
    assert str(caught.value).startswith(f"m.yaml:{line}: sources.{key}: names no field")
    assert said in str(caught.value)


def test_a_source_may_be_of_a_section_or_of_what_is_not_given() -> None:
    more = "  machine: A book.\n  static_power_mw: Not published.\n  '*.dram.*': A book.\n"
    text = EYERISS.replace("sources:\n", f"sources:\n{more}", 1)
    found = parse_hardware(text.encode(), "m.yaml")
    assert source_of(found, "machine.array_rows") == "A book."


def test_equal_models_are_equal_and_hash_alike() -> None:
    first, second = load_hardware("eyeriss"), load_hardware("eyeriss")
    assert first == second
    assert hash(first) == hash(second)
    assert first != load_hardware("eyeriss-jssc2017")


def test_a_model_is_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(load_hardware("eyeriss"), "word_bits", 8)  # noqa: B010


def test_a_dumped_model_validates_again() -> None:
    hardware = load_hardware("eyeriss")
    assert HardwareModel.model_validate(hardware.model_dump(by_alias=True)) == hardware


def test_mac_energy_is_interpolated_between_widths() -> None:
    hardware = load_hardware("eyeriss")
    assert hardware.mac_energy(16) == 1
    assert hardware.mac_energy(8) == 0.278
    assert hardware.mac_energy(128**0.5) == pytest.approx(0.278**0.5)
    with pytest.raises(HardwareError, match="mac_energy_mac_units_by_bits"):
        hardware.mac_energy(2)


def test_run_length_code_by_hand() -> None:
    code = RunLengthCode.model_validate({**RUN_LENGTH, "raw_fallback": False})
    assert code.ratio(1.0) == pytest.approx(4 / 3)
    assert code.ratio(0.5) == pytest.approx(2 / 3)
    assert code.ratio(0.0) == pytest.approx(4 / 3 / 32)
    assert code.ratio(1e-12) == pytest.approx(4 / 3 / 32, rel=1e-3)
    fallback = RunLengthCode.model_validate({**RUN_LENGTH, "raw_fallback": True})
    assert fallback.ratio(1.0) == 1.0
    assert fallback.ratio(0.5) == code.ratio(0.5)
    assert NoCode(code="none").ratio(0.1) == 1.0


def test_wrong_value_names_file_line_field_value_and_remedy() -> None:
    text, line = edited("size_bytes: 102400", "size_bytes: -4")
    assert failure(text) == (
        f"npu.yaml:{line}: memories.glb.size_bytes: expected a positive integer, got -4; "
        "give the capacity in bytes"
    )


@pytest.mark.parametrize("value", ["1.5", "true", '"16"', "~", "[1]", "{a: 1}", "1_000", "0x10"])
def test_no_other_type_passes_for_a_count(value: str) -> None:
    text, line = edited("word_bits: 16", f"word_bits: {value}")
    assert failure(text).startswith(f"npu.yaml:{line}: word_bits: expected a positive integer, got")


@pytest.mark.parametrize("value", [".nan", ".inf", "-1", "1e999", "fast"])
def test_no_other_number_passes_for_an_energy(value: str) -> None:
    text, line = edited("energy_mac_units_per_word: 200", f"energy_mac_units_per_word: {value}")
    start = f"npu.yaml:{line}: memories.dram.energy_mac_units_per_word: expected a number of 0"
    assert failure(text).startswith(start)


def test_exponents_are_numbers_and_leading_zeros_decimal() -> None:
    text, _ = edited("clock_mhz: 200", "clock_mhz: 2e2")
    assert parse_hardware(text.encode(), "npu.yaml").clock_mhz == 200
    text, _ = edited("array_rows: 12", "array_rows: 012")
    assert (
        parse_hardware(text.encode(), "npu.yaml").machine_as(RowStationaryMachine).array_rows == 12
    )


def test_unknown_key_is_refused_with_the_nearest() -> None:
    text, line = edited("bank_bytes: 4096", "bank_byte: 4096")
    expected = f"npu.yaml:{line}: memories.glb.bank_byte: unknown key; did you mean bank_bytes?"
    assert failure(text) == expected


def test_missing_key_gives_the_line_of_its_mapping() -> None:
    text, _ = edited("  array_rows: 12\n", "")
    line = EYERISS[: EYERISS.index("machine:\n")].count("\n") + 1
    assert failure(text).startswith(f"npu.yaml:{line}: machine.array_rows: missing; add it")


def test_key_given_twice() -> None:
    text, line = edited("word_bits: 16", "word_bits: 16\nword_bits: 8")
    expected = f"npu.yaml:{line + 1}: word_bits: given twice, first in line {line}; remove one"
    assert failure(text) == expected


def test_wrong_choice_lists_the_choices() -> None:
    text, line = edited("objective: energy", "objective: speed")
    expected = f"npu.yaml:{line}: objective: expected 'energy' or 'throughput', got 'speed'"
    assert failure(text).startswith(expected)


def test_unknown_code_lists_the_codes() -> None:
    text, _ = edited("    code: run-length", "    code: zip")
    assert "compression.weights: expected a code of 'none', 'run-length', got 'zip'" in failure(
        text
    )


def test_wrong_value_inside_a_code_keeps_its_field() -> None:
    text, line = edited("run_bits: 5", "run_bits: 0")
    expected = f"npu.yaml:{line}: compression.weights.run_bits: expected a positive integer, got 0"
    assert failure(text).startswith(expected)


def test_contradictions_are_refused() -> None:
    assert "no multiple of bank_bytes" in failure(edited("bank_bytes: 4096", "bank_bytes: 4095")[0])
    assert "exceed block_bits" in failure(edited("block_bits: 64", "block_bits: 62")[0])
    assert "smaller than a word" in failure(edited("bank_bytes: 4096", "bank_bytes: 1")[0])
    assert "has no size_bytes" in failure(
        edited("    size_bytes: 102400\n", "")[0].replace("    bank_bytes: 4096\n", "")
    )
    assert "has memories dram, glb" in failure(edited("  network:\n", "  bus:\n")[0])


def shipped_text(name: str) -> str:
    return (HWMODELS / f"{name}.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("tpu-v1", "  array:\n", "  pipes:\n", "has memories dram, buffer, accumulators, array"),
        ("tpu-v1", "weight_path: streamed", "weight_path: separate", "weight_buffer, accumul"),
        ("tpu-v1", "    size_bytes: 4194304\n", "", "memories.accumulators has no size_bytes"),
        ("tpu-v1", "stationary: weights", "stationary: ofmap", "accumulators: remove size_bytes"),
        ("tpu-v1", "    bits_per_cycle: 388", "    bank_bytes: 0", "expected a positive integer"),
        ("simba-like", "size_bytes: 65536", "{0}\n    bank_bytes: 4096", "not allot by banks"),
        ("mobile-cpu", "weight_levels: [dram, l2,", "weight_levels: [dram, l3,", "past the first"),
        ("mobile-cpu", "weight_levels: [dram, l2, l1,", "weight_levels: [dram, l1, l2,", "order"),
        ("mobile-cpu", "l1, registers]\n  weight", "registers, l1]\n  weight", "same registers"),
        ("mobile-cpu", "    size_bytes: 32768\n", "", "memories.l1 has no size_bytes"),
        ("microcontroller", "live_in: sram", "live_in: flash", "no level between"),
        ("microcontroller", "[flash, registers]", "[flash, sram, registers]", "keep weights out"),
        ("eyeriss", "size_bytes: 102400", "{0}\n    bits_per_cycle: 8", "widths under machine"),
    ],
)
def test_machines_check_their_memories(name: str, old: str, new: str, said: str) -> None:
    text = shipped_text(name)
    assert old in text
    assert said in failure(text.replace(old, new.format(old), 1))


def test_a_machine_names_its_dataflow() -> None:
    missing, _ = edited("  dataflow: row_stationary\n", "")
    assert "machine: dataflow is missing; add `dataflow: row_stationary`" in failure(missing)
    unknown, _ = edited("dataflow: row_stationary", "dataflow: column_stationary")
    assert "expected a dataflow of 'row_stationary', 'systolic'" in failure(unknown)


def test_a_mac_of_the_machines_word_has_one_price() -> None:
    text, line = edited("8: 0.278, 16: 1,", "8: 0.278, 16: 2,")
    said = failure(text)
    assert said.startswith(f"npu.yaml:{line}: mac_energy_mac_units_by_bits: ")
    assert "16 bits cost 2 here and 1 as mac_energy_mac_units" in said


@pytest.mark.parametrize(
    "section", ["zeros", "memories", "sources", "mac_energy_mac_units_by_bits"]
)
def test_a_section_that_is_no_mapping_is_named_as_such(section: str) -> None:
    text, _ = edited(f"\n{section}:", f"\n{section}: 3\nrest:")
    assert f"{section}: expected a mapping, got 3; " in failure(text)


def test_static_power_needs_a_clock() -> None:
    text, _ = edited("clock_mhz: 200", "static_power_mw: 10")
    assert "static_power_mw has an effect over time only: add clock_mhz" in failure(text)


@pytest.mark.parametrize(
    ("name", "level", "said"),
    [
        ("eyeriss", "dram", "no level inside the outermost that every feature map passes (glb)"),
        ("eyeriss", "rf", "every feature map passes (glb)"),
        ("eyeriss", "l2", "every feature map passes (glb)"),
        ("nvdla-like", "buffer", "every feature map passes (this machine has none)"),
        ("mobile-cpu", "registers", "every feature map passes (l2, l1)"),
        ("microcontroller", "sram", "give this or machine.feature_maps_live_in; correct it"),
    ],
)
def test_feature_maps_are_kept_where_they_pass(name: str, level: str, said: str) -> None:
    text = shipped_text(name)
    line = text[: text.index("\nmachine:")].count("\n") + 2
    message = failure(text.replace("\nmachine:", f"\nfeature_maps_kept_in: {level}\nmachine:"))
    assert message.startswith(f"npu.yaml:{line}: feature_maps_kept_in: ")
    assert said in message


@pytest.mark.parametrize(
    ("name", "levels"),
    [("eyeriss", ("glb",)), ("simba-like", ("buffer",)), ("mobile-cpu", ("l2", "l1"))],
)
def test_levels_that_can_keep_feature_maps(name: str, levels: tuple[str, ...]) -> None:
    fields = load_hardware(name).model_dump(by_alias=True)
    assert fields["feature_maps_kept_in"] is None
    for level in levels:
        kept = HardwareModel.model_validate({**fields, "feature_maps_kept_in": level})
        assert kept.feature_maps_kept_in == level
        assert kept.memories[level].size_bytes
    assert HardwareModel.model_validate(fields).machine.keeping_levels == levels


def test_several_errors_are_one_line() -> None:
    text, line = edited("word_bits: 16", "word_bits: 0")
    message = failure(text.replace("array_rows: 12", "array_rows: 0"))
    assert message.startswith(f"npu.yaml:{line}: word_bits:")
    assert message.endswith("(also wrong: machine.array_rows)")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "npu.yaml:1: empty; start from"),
        (b"# nothing\n", "npu.yaml:1: empty; start from"),
        (b"- a\n- b\n", "npu.yaml:1: the top level is no mapping"),
        (b"just text", "npu.yaml:1: the top level is no mapping"),
        (b"\xff\xfe\x00\x81", "npu.yaml:1: not a text file"),
        (b"\x00\x01\x02", "npu.yaml:1: not valid YAML"),
        (b"a: 1\n\tb: 2\n", "npu.yaml:2: not valid YAML"),
        (b"a: [1\nb: 2\n", "npu.yaml:2: not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "npu.yaml:2: not valid YAML"),
        (b"a: &x [1]\nb: *x\n", "npu.yaml:2: b: aliases are not supported"),
        (b"a: &x [*x]\n", "npu.yaml:1: a.0: aliases are not supported"),
        (b"a: !!python/object:os.system x\n", "npu.yaml:1: a: the tag"),
        (b'"a\\nb": [1]\n', "npu.yaml:1: schema: missing"),
        (b"? [1, 2]\n: 3\n", "npu.yaml:1: a key is no text"),
        (b"a: " + b"[" * 5000, "npu.yaml:1: nested too deeply"),
        (b"a: " + b"[" * 900 + b"]" * 900, "npu.yaml:1: nested too deeply"),
    ],
)
def test_what_is_no_description_is_told_in_one_line(data: bytes, expected: str) -> None:
    assert failure(data).startswith(expected)


def test_hwmodels_refuses_another_name() -> None:
    spec = importlib.util.spec_from_file_location("hwmodels", HWMODELS / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.raises(ImportError, match=r"eapc\.hwmodels"):
        spec.loader.exec_module(module)
    assert "hwmodels" not in sys.modules


# --- widths --------------------------------------------------------------------------------------


def test_widths_change_no_energy_and_so_no_mark_of_figures() -> None:
    text = EYERISS.replace("weights: [2, 3, ", "weights: [3, ", 1)
    assert text != EYERISS
    assert parse_hardware(text.encode(), "m.yaml").validation is not None


def test_a_file_without_widths_knows_any() -> None:
    start, end = EYERISS.index("widths:"), EYERISS.index("clock_mhz:")
    bare = EYERISS[:start] + EYERISS[end:]
    source = bare.index("  widths: >-")
    bare = bare[:source] + bare[bare.index("  clock_mhz:", source) :]
    machine = parse_hardware(bare.encode(), "m.yaml")
    assert machine.widths is None
    require_known(GivenBits(23, 1), machine)


@pytest.mark.parametrize("widths", ["[]", "[0]", "8", "[eight]"])
def test_widths_are_lists_of_bits(widths: str) -> None:
    text = (HWMODELS / "simba-like.yaml").read_text()
    said = failure(text.replace("widths: {weights: [8]", f"widths: {{weights: {widths}", 1))
    assert said.startswith("npu.yaml:12: widths.weights")


def test_single_tensors_are_weights_or_activations() -> None:
    machine = load_hardware("cortex-m4")
    require_known(GivenBits(8, 16, (("w", 4), ("x", 8))), machine, {"w"})
    with pytest.raises(UsageError, match=r"knows activations, here x, of 8 and 16 bits, not 4"):
        require_known(GivenBits(by_tensor=(("x", 4),)), machine, {"w"})


@pytest.mark.parametrize("name", shipped_hardware())
def test_every_shipped_machine_prices_the_widths_that_it_knows(name: str) -> None:
    machine = load_hardware(name)
    assert machine.widths is not None
    assert machine.word_bits in machine.widths.weights
    for bits in {*machine.widths.weights, *machine.widths.activations}:
        assert mac_energy(bits, machine) > 0
