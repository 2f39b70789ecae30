"""The machine sections of a hardware description: one class per dataflow.

A section names the memory levels that its dataflow counts, checks them, and says which of them
an operand passes through.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from eapc.hardware.sections import Count, Memory, Section, Text

Memories = Mapping[str, Memory]


class MachineSection(Section):
    """What every dataflow's section answers."""

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


def _refuse_others(dataflow: str, memories: Memories, expected: tuple[str, ...]) -> None:
    if set(memories) != set(expected):
        raise ValueError(f"a {dataflow} machine has memories {', '.join(expected)}")


def _require_sizes(memories: Memories, names: tuple[str, ...], least_bits: int) -> None:
    for name in names:
        if (memories[name].size_bytes or 0) * 8 < least_bits:
            raise ValueError(f"memories.{name} has no size_bytes, or less than {least_bits} bits")


def _refuse_banks(dataflow: str, memories: Memories) -> None:
    banked = [name for name, memory in memories.items() if memory.bank_bytes]
    if banked:
        raise ValueError(f"memories.{banked[0]}.bank_bytes: {dataflow} does not allot by banks")


class LayerShape(Section):
    """The layers that a pinned mapping is for; extents not given match any."""

    filters_per_group: Count
    channels_per_group: Count
    ofmap_rows: Count
    ofmap_columns: Count
    filter_rows: Count
    filter_columns: Count
    groups: Count | None = None
    batch: Count | None = None
    stride_rows: Count | None = None
    stride_columns: Count | None = None


class PinnedMapping(Section):
    """A mapping to use for a layer instead of searching; letters as in RowStationaryMapping."""

    layer: LayerShape
    m: Count
    n: Count
    e: Count
    p: Count
    q: Count
    r: Count
    t: Count


class RowStationaryMachine(MachineSection):
    """An array of processing elements (PEs), each with scratch pads for one row of a filter.

    `filter_load` says whether PEs take in the next pass's filters while they compute
    (`overlapped`) or in between (`serial`); `ofmap_columns` whether a PE's row of the ofmap is
    divided only where the buffer demands it (`whole`) or wherever that is better (`searched`).
    """

    dataflow: Literal["row_stationary"]
    array_rows: Count
    array_columns: Count
    filter_spad_words: Count
    ifmap_spad_words: Count
    psum_spad_words: Count
    filter_network_bits: Count
    ifmap_network_bits: Count
    psum_network_bits: Count
    filter_load: Literal["serial", "overlapped"]
    ofmap_columns: Literal["whole", "searched"]
    mappings: tuple[PinnedMapping, ...] = ()

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Levels dram, glb, network and rf; the buffer has a size."""
        _refuse_others("row_stationary", memories, ("dram", "glb", "network", "rf"))
        glb = memories["glb"]
        if (glb.bank_bytes or glb.size_bytes or 0) * 8 < word_bits:
            raise ValueError("memories.glb has no size_bytes, or banks smaller than a word")
        wide = [name for name, memory in memories.items() if memory.bits_per_cycle]
        if wide:
            raise ValueError(f"memories.{wide[0]}.bits_per_cycle: give widths under machine")

    def route(self, operand: str) -> tuple[str, ...]:
        """Everything passes the global buffer."""
        del operand
        return ("dram", "glb")


class SystolicMachine(MachineSection):
    """An array of MACs through which operands step from neighbour to neighbour.

    `stationary` says what stays in place: `weights`, whose rows of the array span taps and
    channels, or `ofmap`, whose rows span positions; columns span filters. Weights reach the
    array from the buffer that they share with feature maps (`buffered`), from a memory of their
    own (`separate`, level `weight_buffer`), or past all buffers (`streamed`). Finished ofmaps
    wait in the buffer (`buffered`) or leave past it (`streamed`). `array_load` says whether the
    array is filled while it computes.
    """

    dataflow: Literal["systolic"]
    stationary: Literal["weights", "ofmap"]
    array_rows: Count
    array_columns: Count
    psum_bits: Count
    weight_path: Literal["buffered", "separate", "streamed"]
    ofmap_path: Literal["buffered", "streamed"]
    array_load: Literal["serial", "overlapped"]

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Levels dram, buffer, accumulators, array, and weight_buffer if weights have their own.

        Where ofmaps are stationary, each element of the array holds one psum and accumulators
        have no size of their own.
        """
        separate = ("weight_buffer",) if self.weight_path == "separate" else ()
        levels = ("dram", "buffer", *separate, "accumulators", "array")
        _refuse_others("systolic", memories, levels)
        _refuse_banks("systolic", memories)
        _require_sizes(memories, ("buffer", *separate), word_bits)
        if self.stationary == "weights":
            _require_sizes(memories, ("accumulators",), self.psum_bits * self.array_columns)
        elif memories["accumulators"].size_bytes:
            raise ValueError("memories.accumulators: remove size_bytes, the array holds the psums")

    def route(self, operand: str) -> tuple[str, ...]:
        """Feature maps pass the buffer, weights the memory that they are kept in."""
        inner = {"buffered": ("buffer",), "separate": ("weight_buffer",), "streamed": ()}
        path = {"weights": self.weight_path, "ofmap": self.ofmap_path}.get(operand, "buffered")
        return ("dram", *inner[path])


class CacheMachine(MachineSection):
    """A processor: vector units behind a stack of caches or scratchpads, registers innermost.

    Levels are named outermost first; `weight_levels` may start from a memory of their own (the
    flash of a microcontroller) and leave levels out. An instruction does `vector_macs` MACs,
    `instructions_per_cycle` of them start in a cycle. Feature maps of a layer that together fit
    `feature_maps_live_in` stay there and never reach the levels outside it.
    """

    dataflow: Literal["cache_hierarchy"]
    feature_map_levels: tuple[Text, ...]
    weight_levels: tuple[Text, ...]
    vector_macs: Count
    instructions_per_cycle: Count
    psum_bits: Count
    feature_maps_live_in: Text | None = None

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Every level is in a route; all but the outermost have a size; routes end in one level."""
        maps, weights = self.feature_map_levels, self.weight_levels
        if len(maps) < 2 or len(weights) < 2 or maps[-1] != weights[-1]:
            raise ValueError("feature_map_levels and weight_levels end in the same registers")
        if not set(weights[1:]) <= set(maps[1:]) or len({*maps}) < len(maps):
            raise ValueError("weight_levels past the first are feature_map_levels, in that order")
        if list(weights[1:]) != [name for name in maps if name in weights[1:]]:
            raise ValueError("weight_levels are not in the order of feature_map_levels")
        _refuse_others("cache_hierarchy", memories, tuple(dict.fromkeys((*maps, *weights))))
        _refuse_banks("cache_hierarchy", memories)
        _require_sizes(memories, maps[1:], 2 * word_bits + self.psum_bits)
        home = self.feature_maps_live_in
        if home not in (None, *maps[1:-1]):
            raise ValueError("feature_maps_live_in is no level between outermost and registers")
        if home is not None and set(weights) & set(maps[: maps.index(home) + 1]):
            raise ValueError(
                "weights pass feature_maps_live_in or outside it; keep weights out of it"
            )

    def route(self, operand: str) -> tuple[str, ...]:
        """The levels that the file gives."""
        return self.weight_levels if operand == "weights" else self.feature_map_levels

    @property
    def resident_level(self) -> str | None:
        """`feature_maps_live_in`."""
        return self.feature_maps_live_in

    @property
    def keeping_levels(self) -> tuple[str, ...]:
        """Every level between the outermost and the registers."""
        return self.feature_map_levels[1:-1]


Machine = Annotated[
    RowStationaryMachine | SystolicMachine | CacheMachine, Field(discriminator="dataflow")
]
