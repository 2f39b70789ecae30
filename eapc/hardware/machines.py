"""The `machine` section of a hardware description: what every dataflow's has and answers.

A section names the memory levels that its dataflow counts, checks them, and says which of them
an operand passes through. Each stands with its dataflow in `eapc/dataflow/`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticKnownError

from eapc.hardware.sections import Memory, Section, Text
from eapc.registry import DATAFLOWS

Memories = Mapping[str, Memory]


class MachineSection(Section):
    """What every dataflow's section answers; its further fields are what the file has to hold."""

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
        if (memories[name].size_bytes or 0) * 8 < least_bits:
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
