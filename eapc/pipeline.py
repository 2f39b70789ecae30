"""The compiler's passes: what is handed from one to the next, and how they are typed.

A pipeline is written `annotate-energy, prune-weights{sparsity=0.8}, reconstruct-outputs`:
pass names in order, each with the options that its dataclass fields declare.
"""

from __future__ import annotations

import dataclasses
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from eapc.allocation import Curves
from eapc.checkpoints import Checkpoints, Finished
from eapc.data import Dataset
from eapc.energy import DensityTable, EnergyReport, GivenBits
from eapc.errors import EapcError, PassError, UsageError
from eapc.fingerprints import data_digest, digest, model_digest
from eapc.hardware import HardwareModel, MeasuredMachine
from eapc.layers import Skipped
from eapc.model import InputShapes, Model
from eapc.progress import Progress, silent
from eapc.structured import ChannelPlan


@dataclass(frozen=True)
class Conditions:
    """Under what a model is looked at: shapes, densities and widths for analysis, threads, seed.

    `batch` None keeps the model's own batch, or one where it is dynamic. `densities` None
    measures them on calibration data; without data every activation counts as dense. `memory`
    bounds the activations kept in memory, in bytes; None leaves it to the machine.
    """

    batch: int | None = None
    input_shapes: InputShapes = field(default_factory=dict)
    densities: DensityTable | None = None
    bits: GivenBits = field(default=GivenBits())
    threads: int = 0
    seed: int = 0
    memory: int | None = None


@dataclass(frozen=True)
class LayerRecord:
    """What pruning did to one weight tensor, under the name of its first layer.

    `relative_output_error` is E||y - y'||^2 / E||y||^2 about the means on the rows that were
    fitted, y the original outputs; what an activation right behind cuts off is no error. None
    before the layer is reconstructed.
    """

    name: str
    weights: int
    nonzero_weights: int
    relative_output_error: float | None = None

    @property
    def sparsity(self) -> float:
        """Fraction of weights that are zero."""
        return 1 - self.nonzero_weights / self.weights


@dataclass(frozen=True)
class ChannelRecord:
    """What became of the channels of one group, by its name."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class Latency:
    """What a machine's measurements say of a network, in ms per inference."""

    machine: str
    before_ms: float
    ratio: float

    @property
    def after_ms(self) -> float:
        """Milliseconds of the pruned network."""
        return self.before_ms * self.ratio


@dataclass(frozen=True)
class Record:
    """What passes found out: per-layer results, what they left alone, curves, time spent.

    `channels` has those of each channel group that are to stay, by the group's name, `groups`
    how many each had and has; `latency` is what that saves on a measured machine, if it counts.
    `budget` is the energy that was to be kept, a fraction of that of the curves.
    """

    layers: Mapping[str, LayerRecord] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    curves: Curves | None = None
    channels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    channel_plan: ChannelPlan | None = None
    groups: tuple[ChannelRecord, ...] = ()
    latency: Latency | None = None
    budget: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Compilation:
    """The one object that passes hand on; `energy` is None unless it is that of `model`.

    Long passes tell `progress` how far they are and keep finished layers in `checkpoints`.
    `measured` is the machine whose latencies count, if any does.
    """

    model: Model
    hardware: HardwareModel
    calibration: Dataset | None = None
    conditions: Conditions = field(default_factory=Conditions)
    energy: EnergyReport | None = None
    record: Record = field(default_factory=Record)
    progress: Progress = silent
    checkpoints: Checkpoints | None = None
    measured: MeasuredMachine | None = None

    def finished(self, step: str) -> Finished:
        """The layers that `step` has finished on this model and data, in this run or before."""
        if self.checkpoints is None or self.calibration is None:
            return Finished()
        return Finished(
            self.checkpoints,
            digest(step, model_digest(self.model), data_digest(self.calibration)),
        )

    def with_model(self, model: Model) -> Compilation:
        """The same with another model; its energy is unknown until it is estimated."""
        return replace(self, model=model, energy=None)

    def with_record(self, **changes: Any) -> Compilation:
        """The same with parts of the record replaced."""
        return replace(self, record=replace(self.record, **changes))


@dataclass(frozen=True)
class Pass(ABC):
    """One step of the compiler; its dataclass fields are its options."""

    name: ClassVar[str]

    @property
    def needs_calibration(self) -> bool:
        """True when the pass cannot run without calibration inputs."""
        return False

    def check(self, model: Model) -> None:  # noqa: B027 (most passes suit every model)
        """Raise what is wrong with the options for a model, before time is spent on it."""

    @abstractmethod
    def run(self, compilation: Compilation) -> Compilation:
        """The compilation after this pass; what it was given stays as it is."""

    @classmethod
    def summary(cls) -> str:
        """The first line of the pass's docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    def __str__(self) -> str:
        """The pass as it would be typed: its name and the options that are not default."""
        options = [
            f"{option.name}={_typed(getattr(self, option.name))}"
            for option in dataclasses.fields(self)
            if getattr(self, option.name) != option.default
        ]
        return self.name + (f"{{{', '.join(options)}}}" if options else "")


def _split_names(value: object) -> object:
    return tuple(filter(None, value.split(SEPARATOR))) if isinstance(value, str) else value


SEPARATOR = "|"
"""Between the names of a list in a pipeline's text, where commas separate options."""

Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]
"""An option that lists names: `conv1|block3/*`."""


def _typed(value: object) -> str:
    return SEPARATOR.join(value) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Pipeline:
    """Passes in order."""

    passes: tuple[Pass, ...]

    @classmethod
    def parse(cls, text: str, table: Mapping[str, type[Pass]]) -> Pipeline:
        """Read `name{option=value, ...}, name`; raises UsageError naming what is wrong."""
        return cls(tuple(_make_pass(name, body, table) for name, body in _split(text)))

    def check(self, model: Model) -> None:
        """Check every pass's options; raises PassError with the name of the one that is wrong."""
        for step in self.passes:
            try:
                step.check(model)
            except EapcError as error:
                raise PassError(step.name, error) from error

    def run(self, compilation: Compilation) -> Compilation:
        """Run every pass; raises PassError with the name of the one that failed."""
        for step in self.passes:
            start = time.perf_counter()
            try:
                compilation = step.run(compilation)
            except EapcError as error:
                raise PassError(step.name, error) from error
            spent = dict(compilation.record.seconds)
            spent[step.name] = spent.get(step.name, 0.0) + time.perf_counter() - start
            compilation = compilation.with_record(seconds=spent)
        return compilation

    def __str__(self) -> str:
        """The pipeline as it would be typed."""
        return ", ".join(str(step) for step in self.passes)


_PASS = re.compile(r"\s*([A-Za-z][\w.-]*)\s*(?:\{([^{}]*)\})?\s*(?:,|$)")


def _split(text: str) -> list[tuple[str, str]]:
    text = " ".join(text.split())
    parts: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PASS.match(text, position)
        if match is None:
            raise UsageError(f"pipeline: cannot read '{text[position:]}'")
        parts.append((match[1], match[2] or ""))
        position = match.end()
    if not parts:
        raise UsageError("pipeline: empty; name at least one pass")
    return parts


def _make_pass(name: str, body: str, table: Mapping[str, type[Pass]]) -> Pass:
    if name not in table:
        raise UsageError(f"pipeline: no pass '{name}'; there are {', '.join(sorted(table))}")
    kind = table[name]
    known = {option.name for option in dataclasses.fields(kind)}
    options: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in body.split(","))):
        key, equals, value = (part.strip() for part in entry.partition("="))
        key = key.replace("-", "_")
        if not equals or key not in known or key in options:
            choice = ", ".join(sorted(known)) or "none"
            raise UsageError(f"pipeline: {name}: bad option '{entry}'; options: {choice}")
        options[key] = value
    try:
        made: Pass = TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"pipeline: {name}: {where}: {first['msg']}") from error
    return made
