"""The sections of a hardware description, as pydantic models.

The `machine` section is that of the dataflow which it names: each stands in `eapc/dataflow/`.
Keys name their units. Where published readings of a machine differ, the reading is an option.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from eapc.registry import DATAFLOWS


def _expected(kind: str) -> WrapValidator:
    """Say what was expected in our words, whichever of pydantic's checks has failed."""

    def check(value: object, inner: ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("expected", "expected {kind}", {"kind": kind}) from None

    return WrapValidator(check)


Count = Annotated[int, Field(gt=0), _expected("a positive integer")]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False), _expected("a positive number")]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False), _expected("a number of 0 or more")]
Number = Annotated[float, Field(allow_inf_nan=False), _expected("a number")]
Share = Annotated[float, Field(gt=0, le=1), _expected("a number above 0, at most 1")]
Text = Annotated[str, Field(min_length=1), _expected("a text")]


class Section(BaseModel):
    """Immutable, no unknown keys, no silent conversions between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Memory(Section):
    """One level of the memory hierarchy; the outermost needs no size.

    `bits_per_cycle` bounds the time of what passes it; without it the level never waits.
    """

    energy_mac_units_per_word: Price
    size_bytes: Count | None = None
    bank_bytes: Count | None = None
    bits_per_cycle: Count | None = None

    @property
    def bits(self) -> int:
        """Bits that fit; 0 without a size."""
        return 8 * (self.size_bytes or 0)

    @property
    def banks(self) -> int:
        """Banks that data are allotted by; 0 without a size, 1 without `bank_bytes`."""
        size = self.size_bytes or 0
        return size // (self.bank_bytes or size) if size else 0

    @model_validator(mode="after")
    def _whole_banks(self) -> Self:
        if self.bank_bytes is not None and (self.size_bytes or 0) % self.bank_bytes:
            raise ValueError(f"size_bytes {self.size_bytes} is no multiple of bank_bytes")
        return self


class KnownWidths(Section):
    """Bits of operands that the machine, or the library on it, computes with."""

    weights: tuple[Count, ...] = Field(min_length=1)
    activations: tuple[Count, ...] = Field(min_length=1)

    def of(self, kind: Literal["weights", "activations"]) -> tuple[int, ...]:
        """Those of one kind of operand."""
        return self.weights if kind == "weights" else self.activations


class ZeroSkipping(Section):
    """What a zero saves: `skip_mac` names the operand whose zeros skip a MAC.

    The operands of `skip_register_file` spare their register-file accesses (ofmap: the psum's
    read and write) in a skipped MAC; the others access it in every MAC.
    """

    skip_mac: Literal["either", "ifmap", "none"]
    skip_register_file: tuple[Literal["weights", "ifmap", "ofmap"], ...]


class NoCode(Section):
    """Words travel as they are."""

    code: Literal["none"]

    def ratio(self, density: float) -> float:
        """Words moved per word of data, here 1 at any density (0 to 1) of non-zero words."""
        del density
        return 1.0


class RunLengthCode(Section):
    """Pairs of a run of zeros and a level, packed into blocks [1].

    [1] Chen, Krishna, Emer, Sze, "Eyeriss: An Energy-Efficient Reconfigurable Accelerator for
    Deep Convolutional Neural Networks", JSSC 2017, section V-A.
    """

    code: Literal["run-length"]
    run_bits: Count
    level_bits: Count
    pairs_per_block: Count
    block_bits: Count
    raw_fallback: bool

    def ratio(self, density: float) -> float:
        """Words moved per word of data of `density` (0 to 1) non-zero words.

        A pair covers up to 2^run_bits words. If zeros fall independently with probability z,
        (1 - z) / (1 - z^(2^run_bits)) pairs are spent per word, each of block_bits /
        pairs_per_block bits. With `raw_fallback`, data that would grow stay raw.
        """
        longest = 1 << self.run_bits
        zeros = 1.0 - min(1.0, max(0.0, density))
        pairs = 1 / longest if zeros == 1.0 else (1 - zeros) / (1 - zeros**longest)
        coded: float = self.block_bits / self.pairs_per_block / self.level_bits * pairs
        return min(1.0, coded) if self.raw_fallback else coded

    @model_validator(mode="after")
    def _pairs_fit_block(self) -> Self:
        if self.pairs_per_block * (self.run_bits + self.level_bits) > self.block_bits:
            raise ValueError("pairs_per_block pairs of run_bits + level_bits exceed block_bits")
        return self


Code = Annotated[NoCode | RunLengthCode, Field(discriminator="code")]


class Compression(Section):
    """How each operand is coded in the outermost memory."""

    weights: Code
    ifmap: Code
    ofmap: Code


Memories = Mapping[str, Memory]


class MachineSection(Section):
    """What every dataflow's section answers; its further fields are what the file has to hold.

    It names the memory levels that the dataflow counts, checks them, and says which of them an
    operand passes through.
    """

    dataflow: Text

    @abstractmethod
    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Raise ValueError where the memories are not those that the dataflow counts."""

    @abstractmethod
    def route(self, operand: str) -> tuple[str, ...]:
        """Memory levels that `weights`, `ifmap` or `ofmap` pass through once, outermost first."""

    @property
    def resident_level(self) -> str | None:
        """The level in which feature maps that fit it live for good, if there is one."""
        return None

    @property
    def keeping_levels(self) -> tuple[str, ...]:
        """Levels inside the outermost that all feature maps pass, where some may be kept."""
        ofmap = self.route("ofmap")
        return tuple(level for level in self.route("ifmap")[1:] if level in ofmap[1:])

    @property
    def cycles_of_mac_unit(self) -> float | None:
        """Cycles in which one MAC unit is spent, where energy is in proportion to time."""
        return None

    @property
    def skips_dead_channels(self) -> bool:
        """Whether filters of zeros and channels that nobody reads are left out of a layer."""
        return False

    @property
    def homes(self) -> tuple[str, str] | None:
        """The levels that all weights and all feature maps have to fit, if there are such."""
        return None

    def require_levels(self, memories: Memories, expected: tuple[str, ...]) -> None:
        """Raise ValueError unless the memories are these."""
        if set(memories) != set(expected):
            raise ValueError(f"a {self.dataflow} machine has memories {', '.join(expected)}")

    def refuse_banks(self, memories: Memories) -> None:
        """Raise ValueError if a memory has banks."""
        banked = [name for name, memory in memories.items() if memory.bank_bytes]
        if banked:
            raise ValueError(
                f"memories.{banked[0]}.bank_bytes: {self.dataflow} does not allot by banks"
            )


def require_sizes(memories: Memories, names: tuple[str, ...], least_bits: int) -> None:
    """Raise ValueError if one of some memories has no size, or less than `least_bits`."""
    for name in names:
        if memories[name].bits < least_bits:
            raise ValueError(f"memories.{name} has no size_bytes, or less than {least_bits} bits")


def _of_its_dataflow(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
    """The section, read as the one of the dataflow that it names."""
    if not isinstance(value, Mapping):
        return inner(value)
    name, tag = value.get("dataflow"), {"discriminator": "'dataflow'"}
    if name is None:
        raise PydanticKnownError("union_tag_not_found", tag)
    if not isinstance(name, str) or name not in DATAFLOWS:
        choice = ", ".join(map(repr, DATAFLOWS))
        raise PydanticKnownError(
            "union_tag_invalid", {**tag, "tag": str(name), "expected_tags": choice}
        )
    return DATAFLOWS[name].machine.model_validate(value)


Machine = Annotated[SerializeAsAny[MachineSection], WrapValidator(_of_its_dataflow)]
"""The section of whichever dataflow it names."""
