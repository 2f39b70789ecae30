"""What the file of a row-stationary machine holds."""

from __future__ import annotations

from typing import Literal

from eapc.hardware import Count, MachineSection, Memories, Section, Share


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


class Filling(Section):
    """How much of the array a mapping has to keep at work.

    On average at least the share `least_utilisation` of the PEs that the layer can keep at work.
    Those are found with whole sets of R x E PEs, cut into strips only where the array or the
    buffer has no room for one (`strips: needed`), or with the strips that fill the array best
    (`searched`). Mappings may have strips either way.
    """

    least_utilisation: Share
    strips: Literal["needed", "searched"]


class RowStationaryMachine(MachineSection):
    """An array of processing elements (PEs), each with scratch pads for one row of a filter.

    `filter_load` says whether PEs take in the next pass's filters while they compute
    (`overlapped`) or in between (`serial`); `ofmap_columns` whether a PE's row of the ofmap is
    divided only where the buffer demands it (`whole`) or wherever that is better (`searched`).
    Without `filling` a mapping may leave any part of the array idle.
    """

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
    filling: Filling | None = None
    mappings: tuple[PinnedMapping, ...] = ()

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Levels dram, glb, network and rf; the buffer has a size."""
        self.require_levels(memories, ("dram", "glb", "network", "rf"))
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
