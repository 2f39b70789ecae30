"""Hardware descriptions: the schema of `hwmodels/*.yaml` and its loader.

Every number of a machine stands in its file, under a key that names the unit, and `sources`
says where it comes from; where published readings differ, the reading is a named option.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from eapc.errors import HardwareError, UsageError
from eapc.hardware.measured import MeasuredMachine
from eapc.hardware.sections import (
    Amount,
    Compression,
    Count,
    KnownWidths,
    Machine,
    MachineSection,
    Memory,
    Price,
    Section,
    Text,
    ZeroSkipping,
)
from eapc.hardware.source import HardwareSource, SourcedSection
from eapc.hardware.validation import Validation, mark_of_figures
from eapc.hardware.yaml_file import Document, parse_document, report_errors, spelling

logger = logging.getLogger(__name__)

AnyMachine = TypeVar("AnyMachine", bound=MachineSection)
AnySection = TypeVar("AnySection", bound=Section)


class HardwareModel(SourcedSection):
    """A machine: what its arithmetic and memories cost, how it maps layers, what zeros save.

    `machine` holds the parameters of one dataflow, told apart by `machine.dataflow`; `memories`
    its levels, of which `feature_maps_kept_in` may hold a feature map from the node that writes it
    to the last that reads it. A processor also spends `instruction_energy_mac_units` per
    instruction; where energy goes with time, `active_power_mw` gives the pJ of a MAC unit. `widths`
    are the operands that it knows, any without them.
    `validation` says how far its energies are off. Two models are equal if all fields are; they
    are hashable.
    """

    schema_version: Literal["eapc.hardware/1"] = Field(alias="schema")
    name: Text
    description: Text
    objective: Literal["energy", "throughput"]
    word_bits: Count
    widths: KnownWidths | None = None
    clock_mhz: Amount | None = None
    static_power_mw: Price | None = None
    active_power_mw: Amount | None = None
    mac_energy_mac_units: Price
    mac_energy_pj: Amount | None = None
    mac_energy_mac_units_by_bits: Mapping[Count, Amount] = Field(default_factory=dict)
    operation_energy_mac_units: Price
    instruction_energy_mac_units: Price | None = None
    ofmap_dram_accesses_per_word: Count
    memories: Mapping[str, Memory]
    machine: Machine
    feature_maps_kept_in: Text | None = None
    zeros: ZeroSkipping
    compression: Compression
    validation: Validation | None = None
    sources: Mapping[str, Text] = Field(default_factory=dict)

    def __hash__(self) -> int:
        """Consistent with equality: of the parts that machines differ in most."""
        return hash((self.name, self.objective, self.machine, tuple(self.memories.items())))

    @property
    def dataflow(self) -> str:
        """Name of the machine's dataflow."""
        return self.machine.dataflow

    @property
    def mac_unit_pj(self) -> float | None:
        """pJ of a MAC unit: `mac_energy_pj`, or active power times the time that it takes."""
        power, clock, cycles = self.active_power_mw, self.clock_mhz, self.machine.cycles_of_mac_unit
        if power is None or clock is None or cycles is None:
            return self.mac_energy_pj
        return power / clock * cycles * 1e3

    @property
    def figures(self) -> str:
        """A mark of all that energies follow from.

        Names, texts, `widths`, which allow and change none, and `validation` are not in it.
        """
        texts = {"schema_version", "name", "description", "validation", "sources", "widths"}
        return mark_of_figures(self.model_dump(mode="json", exclude=texts, exclude_defaults=True))

    def milliseconds(self, cycles: float) -> float | None:
        """Time of some cycles; None where the file gives no clock."""
        return None if self.clock_mhz is None else cycles / (self.clock_mhz * 1e3)

    def machine_as(self, kind: type[AnyMachine]) -> AnyMachine:
        """The machine's section, which a dataflow knows to be of its own kind."""
        if not isinstance(self.machine, kind):
            raise TypeError(f"{self.name} is a {self.dataflow} machine, no {kind.__name__}")
        return self.machine

    def holds_bits(self, level: str, bits: int) -> bool:
        """Whether a memory level has room for `bits` bits."""
        memory = self.memories[level]
        return memory.size_bytes is None or bits <= memory.bits

    def spared(self, level: str) -> bool:
        """Whether a level lies outside the one that feature maps are kept in."""
        route, home = self.machine.route("ifmap"), self.feature_maps_kept_in
        return home is not None and level in route[: route.index(home)]

    def mac_energy(self, bits: float) -> float:
        """Energy of a MAC on operands of `bits` bits, in units of one MAC at `word_bits`.

        Taken from `mac_energy_mac_units_by_bits`, between whose entries the logarithm of energy
        is linear in that of the width. HardwareError if the table doesn't reach `bits`.
        """
        table = {self.word_bits: self.mac_energy_mac_units, **self.mac_energy_mac_units_by_bits}
        below = max((width for width in table if width <= bits), default=None)
        above = min((width for width in table if width >= bits), default=None)
        if below is None or above is None:
            raise HardwareError(
                f"{self.name}: mac_energy_mac_units_by_bits: has no entry for {bits:g} bits or "
                "an enclosing pair of widths; add the energy of one MAC at that width"
            )
        if below == above:
            return table[below]
        share = math.log(bits / below) / math.log(above / below)
        return float(table[below] ** (1 - share) * table[above] ** share)

    @field_validator("mac_energy_mac_units_by_bits")
    @classmethod
    def _one_price_of_a_word(
        cls, table: Mapping[int, float], seen: ValidationInfo
    ) -> Mapping[int, float]:
        word, price = seen.data.get("word_bits", 0), seen.data.get("mac_energy_mac_units")
        if price is not None and table.get(word, price) != price:
            raise ValueError(
                f"{word} bits cost {table[word]:g} here and {price:g} as mac_energy_mac_units"
            )
        return table

    @field_validator("feature_maps_kept_in")
    @classmethod
    def _level_that_keeps(cls, level: str | None, seen: ValidationInfo) -> str | None:
        machine: Machine | None = seen.data.get("machine")
        if level is None or machine is None:
            return level
        if level not in machine.keeping_levels:
            raise ValueError(
                "no level inside the outermost that every feature map passes "
                f"({', '.join(machine.keeping_levels) or 'this machine has none'})"
            )
        if machine.resident_level is not None:
            raise ValueError("give this or machine.feature_maps_live_in")
        return level

    @model_validator(mode="after")
    def _levels_of_the_dataflow(self) -> Self:
        self.machine.check_memories(self.memories, self.word_bits)
        if self.static_power_mw is not None and self.clock_mhz is None:
            raise ValueError("static_power_mw has an effect over time only: add clock_mhz")
        if self.active_power_mw is not None:
            self._require_energy_by_time()
        return self

    def _require_energy_by_time(self) -> None:
        if self.machine.cycles_of_mac_unit is None:
            raise ValueError(
                f"active_power_mw: energy of a {self.dataflow} machine is not power times time; "
                "give mac_energy_pj"
            )
        if self.clock_mhz is None or self.mac_energy_pj is not None:
            raise ValueError(
                "active_power_mw needs clock_mhz, and takes the place of mac_energy_pj"
            )


@lru_cache(maxsize=1024)
def with_less_room(hardware: HardwareModel, level: str, taken_bytes: int) -> HardwareModel:
    """The machine while some bytes of a memory level, less than all, hold something else."""
    memory = hardware.memories[level]
    left = (memory.size_bytes or 0) - taken_bytes
    memories = {**hardware.memories, level: memory.model_copy(update={"size_bytes": left})}
    return hardware.model_copy(update={"memories": memories})


def shipped_hardware() -> tuple[str, ...]:
    """Names of the machines that come with eapc, in alphabetical order."""
    files = resources.files("eapc.hwmodels").iterdir()
    return tuple(sorted(f.name[: -len(".yaml")] for f in files if f.name.endswith(".yaml")))


def load_hardware(name_or_path: str | Path) -> HardwareModel:
    """The machine described by a YAML file, or one that is shipped, by its name.

    Like `load_machine`, for those who need energies: UsageError where there are only latencies.
    """
    machine = load_machine(name_or_path)
    if isinstance(machine, MeasuredMachine):
        raise UsageError(
            f"{name_or_path}: holds measured latencies and no energies; give a machine that has "
            f"them, one of {', '.join(shipped_hardware())} or a file of your own"
        )
    return machine


def load_machine(name_or_path: str | Path) -> HardwareModel | MeasuredMachine:
    """The machine in a YAML file, of either kind, or one that is shipped, by its name.

    A file that exists wins over a shipped name; `eyeriss.yaml` is a name too. The machine's
    `source` says which it was. Raises HardwareError with file, line, field and remedy.
    """
    path, name = Path(name_or_path), str(name_or_path).removesuffix(".yaml")
    is_shipped = name in shipped_hardware()
    if path.is_file():
        return _read_machine(str(name_or_path), _read(path), hides_shipped=is_shipped)
    if is_shipped:
        file = resources.files("eapc.hwmodels") / f"{name}.yaml"
        return _read_machine(f"{name}.yaml", file.read_bytes(), shipped=str(file))
    problem = "is a folder" if path.is_dir() else "no such file, and no shipped machine"
    raise HardwareError(
        f"{name_or_path}: {problem}; give the path of a YAML file or one of "
        f"{', '.join(_nearest(path))}"
    )


def _read_machine(
    file: str, text: bytes, shipped: str = "", hides_shipped: bool = False
) -> HardwareModel | MeasuredMachine:
    """The machine in a file's bytes, with its source; `shipped` is the path if it is shipped."""
    machine = parse_machine(text, file)
    source = HardwareSource.of(
        *(machine.name, shipped or file, text),
        is_shipped=bool(shipped),
        hides_shipped=hides_shipped,
    )
    return machine.read_from(source)


def _nearest(path: Path) -> Sequence[str]:
    """Names like one that is unknown: of shipped machines and of files in the same folder."""
    shipped = shipped_hardware()
    files = {str(file): file.name for file in path.parent.glob("*.yaml") if file.is_file()}
    name = path.name.removesuffix(".yaml")
    near = get_close_matches(name, shipped, n=2, cutoff=0.5)
    beside = get_close_matches(path.name, files.values(), n=2, cutoff=0.6)
    return [*near, *(file for file, own in files.items() if own in beside)] or shipped


def parse_machine(text: bytes, file: str) -> HardwareModel | MeasuredMachine:
    """The machine in a YAML document: what was measured if it says `kind: measured`.

    `file` is the name that errors give.
    """
    document = parse_document(text, file)
    if document.value.get("kind") == "measured":
        return _validated(MeasuredMachine, document, "let `eapc profile` write the file anew")
    machine = _validated(HardwareModel, document, "see `eapc hw show eyeriss`")
    _require_fields_of_sources(machine, document)
    return _with_own_validation(machine, document)


def _validated(kind: type[AnySection], document: Document, advice: str) -> AnySection:
    try:
        return kind.model_validate(document.value)
    except ValidationError as error:
        known = {
            info.alias or name
            for section in _sections(Section)
            for name, info in section.model_fields.items()
        }
        raise HardwareError(report_errors(error, document, known, advice)) from None


def _require_fields_of_sources(machine: HardwareModel, document: Document) -> None:
    """Raise HardwareError for a key of `sources` that names no field, such as a misspelt one."""
    paths = set(_paths(machine.model_dump(by_alias=True, exclude={"sources"})))
    for key in machine.sources:
        if not any(fnmatchcase(path, key) for path in paths):
            problem = f"names no field of the file; {spelling(key, paths)}"
            raise HardwareError(document.located(("sources", key), problem))


def _with_own_validation(machine: HardwareModel, document: Document) -> HardwareModel:
    """The machine; without its validation, and with a warning, if that is of other figures."""
    given = machine.validation and machine.validation.figures
    if given in (None, machine.figures):
        return machine
    problem = (
        f"left out, as the file's figures ({machine.figures}) are not those that it belongs to; "
        "remove it"
    )
    logger.warning(document.located(("validation",), problem))
    return machine.model_copy(update={"validation": None})


def _paths(fields: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Dotted paths of all fields, sections included."""
    for name, value in fields.items():
        yield f"{above}{name}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{above}{name}.")


def _sections(kind: type[Section]) -> Iterator[type[Section]]:
    for child in kind.__subclasses__():
        yield child
        yield from _sections(child)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HardwareError(f"{path}: cannot be read ({error.strerror}); check the file") from None
