"""The keywords of each function, for type checkers and at run time.

Each has the name of the command's option, with _ for -; `hw`, `calib`, `eval` and `input_shape` may
be written out. None is as if a keyword were not given. Goals of your own, which no type checker
knows, are keywords at run time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

if TYPE_CHECKING:
    from eapc.classes import ChosenClasses
    from eapc.commands.dynamic import NetworkSource
    from eapc.commands.preparation import DataSource, MetricSource
    from eapc.energy import BitsSource
    from eapc.hardware import HardwareModel, MeasuredMachine
    from eapc.profiling import Meter
    from eapc.progress import Progress

FilePath = str | PathLike[str]

ALIASES = {
    "hardware": "hw",
    "calib": "calibration",
    "eval": "evaluation",
    "input_shapes": "input_shape",
}
"""Other names of keywords, with those that functions know them under and help() shows."""


class MachineOptions(TypedDict, total=False):
    """The machine, and what it runs; `input_shape` of a model of one input may be the shape."""

    hw: FilePath | HardwareModel | MeasuredMachine | None
    hardware: FilePath | HardwareModel | MeasuredMachine | None
    batch: int | None
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None
    input_shapes: Mapping[str, Sequence[int]] | Sequence[int] | None
    threads: int | None
    seed: int | None


class CalibrationOptions(TypedDict, total=False):
    """Inputs to fit and to measure on."""

    calib: DataSource | PathLike[str] | None
    calibration: DataSource | PathLike[str] | None
    samples: int | None


class EvaluationOptions(TypedDict, total=False):
    """Inputs to evaluate on, and by what."""

    eval: DataSource | PathLike[str] | None
    evaluation: DataSource | PathLike[str] | None
    metric: MetricSource | None


class WrittenOptions(TypedDict, total=False):
    """Where the result goes, and who is told how far it is."""

    output: FilePath | None
    force: bool | None
    progress: Progress | None


class RecipeOptions(TypedDict, total=False):
    """How layers are pruned, whatever the goal: see `eapc.Recipe`."""

    method: str | None
    thorough: bool | None
    pattern: str | None
    include: str | Sequence[str] | None
    exclude: str | Sequence[str] | None
    order: str | None
    structured: bool | None
    zeros: bool | None
    criterion: str | None
    objective: str | None
    repair: int | None
    finetune: bool | None
    minutes: float | None
    classes: ChosenClasses | None
    bits: BitsSource | None


class GoalOptions(TypedDict, total=False):
    """A goal, or a cost and a bound; without any the least energy that keeps 98 % of answers."""

    sparsity: float | None
    target_energy: float | None
    target_latency: float | None
    target_size: float | str | None
    packed: str | None
    target_weights: float | None
    target_macs: float | None
    min_agreement: float | None
    max_drop: float | None
    confidence: float | None
    densities: FilePath | None


class GoalLists(TypedDict, total=False):
    """The same with several values each."""

    sparsity: float | Sequence[float] | None
    target_energy: float | Sequence[float] | None
    target_latency: float | Sequence[float] | None
    target_size: float | str | Sequence[float | str] | None
    packed: str | None
    target_weights: float | Sequence[float] | None
    target_macs: float | Sequence[float] | None
    min_agreement: float | Sequence[float] | None
    max_drop: float | Sequence[float] | None
    confidence: float | None
    densities: FilePath | Sequence[FilePath] | None


class AnalyzeOptions(MachineOptions, CalibrationOptions, total=False):
    """The keywords of `analyze`."""

    density: float | FilePath | None
    bits: BitsSource | None
    share: float | None


class PruneOptions(
    MachineOptions,
    CalibrationOptions,
    EvaluationOptions,
    GoalOptions,
    RecipeOptions,
    WrittenOptions,
    total=False,
):
    """The keywords of `prune`."""

    memory: int | str | None
    resume: bool | None


class SweepOptions(
    MachineOptions, CalibrationOptions, EvaluationOptions, GoalLists, RecipeOptions, total=False
):
    """The keywords of `sweep`; `output` is a folder, as `folder` is."""

    memory: int | str | None
    output: FilePath | None
    folder: FilePath | None
    force: bool | None
    resume: bool | None
    progress: Progress | None


class CompareOptions(MachineOptions, CalibrationOptions, EvaluationOptions, total=False):
    """The keywords of `compare` and `compare_all`; `energy` opens this machine's meter."""

    density: float | FilePath | None
    bits: BitsSource | None
    latency: bool | None
    repeats: int | None
    energy: bool | None
    meter: Meter | None


class RunOptions(MachineOptions, CalibrationOptions, WrittenOptions, total=False):
    """The keywords of `run`."""

    memory: int | str | None


class TimeOptions(MachineOptions, total=False):
    """The keywords of `time_nodes`."""


class ProfileOptions(WrittenOptions, total=False):
    """The keywords of `profile`; `energy` opens this machine's meter."""

    batch: int | None
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None
    input_shapes: Mapping[str, Sequence[int]] | Sequence[int] | None
    threads: int | None
    repeats: int | None
    minutes: float | None
    name: str | None
    resume: bool | None
    energy: bool | None
    meter: Meter | None


class DynamicOptions(MachineOptions, CalibrationOptions, WrittenOptions, total=False):
    """The keywords of `dynamic`."""

    eval: DataSource | PathLike[str] | None
    evaluation: DataSource | PathLike[str] | None
    mild: NetworkSource | None
    aggressive: NetworkSource | None
    max_drop: float | None
    bits: BitsSource | None


class FinetuneOptions(WrittenOptions, total=False):
    """The keywords of `finetune`."""

    data: DataSource | PathLike[str] | None
    samples: int | None
    eval: DataSource | PathLike[str] | None
    evaluation: DataSource | PathLike[str] | None
    hw: FilePath | HardwareModel | None
    hardware: FilePath | HardwareModel | None
    threads: int | None
    seed: int | None
    labels: bool | None
    epochs: int | None
    minutes: float | None
    learning_rate: float | None
    batch_size: int | None
    augment: str | None
    batch_norm: str | None
    resume: bool | None


class _Unset:
    def __repr__(self) -> str:
        return "unset"


Function = TypeVar("Function", bound=Callable[..., Any])


def taking(keywords: type) -> Callable[[Function], Function]:
    """A function whose `**options` are shown one by one by help() and by an editor's completion."""

    def shown(function: Function) -> Function:
        own = inspect.signature(function)
        kind, unset = inspect.Parameter.KEYWORD_ONLY, _Unset()
        plain = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        more = [
            inspect.Parameter(name, kind, default=unset, annotation=annotation.__forward_arg__)
            for name, annotation in keywords.__annotations__.items()
            if name not in ALIASES
        ]
        signature = own.replace(parameters=[*plain, *more])
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    return shown
