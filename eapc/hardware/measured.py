"""A machine known by its latencies: layers measured over grids of channel counts.

Latency over a channel count is a staircase [1]: kernels work on blocks of channels. A layer's
grid is read as one. What is measured is cleaned first: no count takes longer than a larger one,
since channels of zeros could be added (a running minimum from the larger counts, on both axes).

[1] Radu, Kaszyk, Wen, Turner, Cano, Crowley, Franke, Storkey, O'Boyle, "Performance Aware
Convolutional Neural Network Channel Pruning for Embedded GPUs", IISWC 2019 (arXiv:2002.08697).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from eapc.hardware.sections import Amount, Count, KnownWidths, Number, Price, Section, Text
from eapc.hardware.source import SourcedSection

Axis = Literal["in", "out"]

_LAYOUT = "(blocked|channels-last|plain)"
_LAYOUTS = re.compile(rf" {_LAYOUT}(/{_LAYOUT})*(?=,| ->|$)")

RISE = 0.04
"""A rise of latency by less than this share is noise: it begins no new step."""


class MeasuredLayer(Section):
    """The latency of one distinct layer, with what is fused into it, over its channel counts.

    `layer` says which it is: operators, attributes, shapes but for the channels, layouts. `ms`
    has a row for each of `in_channels` and a column for each of `out_channels`; without
    `in_channels` the layer has one axis, its input's channels following its output's.
    """

    layer: Text
    in_channels: tuple[Count, ...] = ()
    out_channels: tuple[Count, ...] = Field(min_length=1)
    ms: tuple[tuple[Price, ...], ...]

    @field_validator("in_channels", "out_channels")
    @classmethod
    def _in_order(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if list(counts) != sorted(set(counts)):
            raise ValueError("channel counts have to grow from one to the next")
        return counts

    @field_validator("ms")
    @classmethod
    def _of_the_grid(
        cls, ms: tuple[tuple[float, ...], ...], seen: ValidationInfo
    ) -> tuple[tuple[float, ...], ...]:
        rows, columns = seen.data.get("in_channels"), seen.data.get("out_channels")
        if rows is None or columns is None:
            return ms
        if len(ms) != max(1, len(rows)) or any(len(row) != len(columns) for row in ms):
            raise ValueError("give a row for each in_channels, a number for each out_channels")
        return ms

    @cached_property
    def cleaned(self) -> tuple[tuple[float, ...], ...]:
        """`ms` made monotone: the least of a count's and all larger counts' latencies."""
        grid = np.asarray(self.ms)[::-1, ::-1]
        for axis in (0, 1):
            grid = np.minimum.accumulate(grid, axis)
        return tuple(tuple(map(float, row)) for row in grid[::-1, ::-1])

    def counts(self, axis: Axis) -> tuple[int, ...]:
        """The measured counts of an axis."""
        return self.in_channels if axis == "in" else self.out_channels

    def latency_ms(self, in_channels: int, out_channels: int, steps: Mapping[Axis, int]) -> float:
        """Milliseconds at some counts, see `weights_of`; linear between measured ones."""
        columns = weights_of(self.out_channels, out_channels, steps["out"])
        rows = weights_of(self.in_channels, in_channels, steps["in"])
        return float(
            sum(p * q * self.cleaned[row][column] for row, p in rows for column, q in columns)
        )


Weights = tuple[tuple[int, float], ...]


def weights_of(counts: Sequence[int], count: int, step: int) -> Weights:
    """Positions in `counts` and their shares, by which a latency at `count` is interpolated.

    `count` first goes up to the end of its step: the next measured count or the next multiple
    of `step`, whichever comes first. Beyond the largest count latency grows in proportion.
    Without counts there is one position.
    """
    if not counts:
        return ((0, 1.0),)
    if count > counts[-1]:
        return ((len(counts) - 1, count / counts[-1]),)
    above = bisect_left(counts, count)
    end = min(counts[above], -(-count // step) * step)
    if above == 0 or end == counts[above]:
        return ((above, 1.0),)
    share = (end - counts[above - 1]) / (counts[above] - counts[above - 1])
    return ((above - 1, 1 - share), (above, share))


class Scan(Section):
    """Latency of one layer over single counts of one axis, the other at its largest."""

    layer: Text
    axis: Axis
    channels: tuple[Count, ...]
    ms: tuple[Price, ...]

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if len(self.channels) != len(self.ms):
            raise ValueError("channels and ms have to be as many")
        return self


class Metered(Section):
    """What a meter tells: the median over windows, and bounds that hold it with 95 % confidence."""

    median: Number
    low: Number
    high: Number

    @model_validator(mode="after")
    def _in_between(self) -> Self:
        if not self.low <= self.median <= self.high:
            raise ValueError("low, median and high have to grow from one to the next")
        return self

    def times(self, factor: float) -> Metered:
        """All three times a factor of 0 or more, to six digits."""
        scaled = (factor * each for each in (self.median, self.low, self.high))
        median, low, high = (float(f"{each:.6g}") for each in scaled)
        return Metered(median=median, low=low, high=high)


class MeasuredPower(Section):
    """What a meter told while one network ran, by `eapc profile --energy`.

    `active_w` and `inference_j`, joules per inference, are above `idle_w`; `inference_ms` is the
    quickest inference.
    """

    meter: Text
    network: Text
    idle_w: Metered
    active_w: Metered
    inference_j: Metered
    inference_ms: Amount


class MeasuredMachine(SourcedSection):
    """A machine whose layers were timed, by `eapc profile`; it knows no layer's energy.

    `power` is that of one whole network, where it was metered. `steps` are the widths, in
    channels, of the steps that `scans` show. `overhead_ms` is what one run costs whatever the
    network. Latencies are the least of `repeats` runs.
    """

    schema_version: Literal["eapc.measured/1"] = Field(alias="schema")
    kind: Literal["measured"]
    name: Text
    description: Text
    cpu: Text
    runtime: Text
    threads: Count
    batch: Count
    repeats: Count
    date: Text
    overhead_ms: Price
    steps: Mapping[Axis, Count]
    layers: tuple[MeasuredLayer, ...]
    scans: tuple[Scan, ...] = ()
    power: MeasuredPower | None = None

    @field_validator("steps")
    @classmethod
    def _both(cls, steps: Mapping[Axis, int]) -> Mapping[Axis, int]:
        if set(steps) != {"in", "out"}:
            raise ValueError("give the width of a step for `in` and for `out`")
        return steps

    @field_validator("layers")
    @classmethod
    def _distinct(cls, layers: tuple[MeasuredLayer, ...]) -> tuple[MeasuredLayer, ...]:
        names = [layer.layer for layer in layers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the layer {twice} is there twice")
        return layers

    @property
    def widths(self) -> KnownWidths:
        """What onnxruntime, which was timed, has integer kernels for."""
        return KnownWidths(weights=(8,), activations=(8,))

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash((self.name, self.date, self.cpu, len(self.layers)))

    @cached_property
    def by_layer(self) -> Mapping[str, MeasuredLayer]:
        """Layers by what they are."""
        return {layer.layer: layer for layer in self.layers}

    @cached_property
    def _known(self) -> dict[tuple[str, int, int], float]:
        return {}

    @cached_property
    def _in_any_layout(self) -> Mapping[str, str]:
        return {without_layouts(layer.layer): layer.layer for layer in reversed(self.layers)}

    def find(self, layer: str) -> str | None:
        """The name of a layer here: with its layouts if it was measured so, else with others."""
        if layer in self.by_layer:
            return layer
        return self._in_any_layout.get(without_layouts(layer))

    def node_ms(self, layer: str, in_channels: int, out_channels: int) -> float:
        """Milliseconds of a layer at some counts; KeyError where it was not measured."""
        key = (layer, in_channels, out_channels)
        if key not in self._known:
            found = self.by_layer[layer]
            self._known[key] = found.latency_ms(in_channels, out_channels, self.steps)
        return self._known[key]

    def step_edges(self, layer: str, axis: Axis) -> tuple[int, ...]:
        """The largest counts before latency rises, in ascending order, the other axis at its end.

        Empty for the input axis of a layer that has none. KeyError where it was not measured.
        """
        found = self.by_layer[layer]
        counts = found.counts(axis)
        if not counts:
            return ()
        step = self.steps[axis]
        candidates = sorted({*counts, *range(step, counts[-1], step)}, reverse=True)
        return tuple(sorted(_edges(candidates, [self._along(found, axis, c) for c in candidates])))

    def _along(self, layer: MeasuredLayer, axis: Axis, count: int) -> float:
        most = layer.in_channels[-1] if layer.in_channels else 0
        if axis == "in":
            return self.node_ms(layer.layer, count, layer.out_channels[-1])
        return self.node_ms(layer.layer, most, count)


def without_layouts(layer: str) -> str:
    """A layer's name but for the layouts that its tensors are handed on in."""
    return _LAYOUTS.sub("", layer)


def _edges(counts: Sequence[int], ms: Sequence[float]) -> list[int]:
    """Of descending counts those at which latency has fallen by more than noise."""
    edges, level = [counts[0]], ms[0]
    for count, value in zip(counts[1:], ms[1:], strict=True):
        if value < level * (1 - RISE):
            edges.append(count)
            level = value
    return edges
