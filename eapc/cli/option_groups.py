"""Options in groups: a command's parameter is a group of them.

There are those that most commands have, those that say how layers are pruned, and those that
state a goal, one per kind: one value for `prune`, several for `sweep`. Choices that come from a
table are those that it has when the command line is made.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from typer import Option

from eapc.cli import options as opt
from eapc.cli.session import begin
from eapc.errors import UsageError
from eapc.goals import DEFAULT_GOAL, GOALS, Goal, Sparsity
from eapc.registry import CRITERIA, METHODS, any_of

if TYPE_CHECKING:
    from eapc.commands.preparation import DataSource, Settings
    from eapc.pipeline import Recipe


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with options in place of each parameter that is a group of them.

    A group is a dataclass, whose fields are options, or says them by `parameters()`. Typer reads
    options off a function's signature, one for each parameter.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {
        name: _parameters(kind)
        for name, kind in hints.items()
        if is_dataclass(kind) or hasattr(kind, "parameters")
    }

    @wraps(command)
    def gathered(**given: Any) -> None:
        made = {
            name: hints[name](**{option.name: given.pop(option.name) for option in options})
            for name, options in groups.items()
        }
        command(**given, **made)

    shown = []
    for name, parameter in inspect.signature(command).parameters.items():
        alone = parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
        shown += groups.get(name, [alone])
    gathered.__annotations__ = {option.name: option.annotation for option in shown}
    gathered.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return gathered


def _parameters(group: Any) -> list[inspect.Parameter]:
    """The parameters that a group comes to."""
    if hasattr(group, "parameters"):
        return list(group.parameters())
    hints, keyword = get_type_hints(group, include_extras=True), inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name])
        for f in fields(group)
    ]


@dataclass(frozen=True)
class Common:
    """How a command runs and what it says."""

    threads: opt.Threads = 0
    seed: opt.Seed = 0
    verbose: opt.Verbose = 0
    quiet: opt.Quiet = False
    debug: opt.Debug = False

    def begin(self) -> list[str]:
        """Set up logging and threads; the list that is returned takes up warnings to come."""
        return begin(self.verbose, self.quiet, self.debug, self.threads)


@dataclass(frozen=True)
class Inputs:
    """The machine, and what the model is fed."""

    hw: opt.Hardware = "eyeriss"
    batch: opt.Batch = None
    input_shape: opt.InputShapes = None
    calib: opt.Calibration = None
    samples: opt.Samples = None

    def settings(
        self,
        common: Common,
        calibration: DataSource | None,
        *,
        density: str | None = None,
        bits: str | None = None,
        memory: str | None = None,
    ) -> Settings:
        """What the options that commands share come to; `calibration` is `calib` as it is read."""
        from eapc.commands.preparation import Settings

        return Settings(
            hardware=self.hw,
            batch=self.batch,
            input_shapes=opt.read_input_shapes(self.input_shape),
            calibration=calibration,
            samples=self.samples,
            density=density,
            bits=bits,
            threads=common.threads,
            seed=common.seed,
            memory=None if memory is None else opt.read_size(memory),
        )


# --- how layers are pruned -----------------------------------------------------------------------


_PANEL = "How layers are pruned"
_CHANNELS = "Channels"
_TRAINING = "Training"


@dataclass(frozen=True)
class Layers:
    """The group of all these options."""

    method: Annotated[
        str,
        Option(
            "--method",
            metavar="NAME",
            help=f"{any_of(METHODS)}.",
            rich_help_panel=_PANEL,
        ),
    ] = "admm"
    thorough: Annotated[
        bool,
        Option(
            "--thorough",
            metavar="",
            help="Take more time for large layers too.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    pattern: Annotated[
        str,
        Option(
            "--pattern",
            metavar="P",
            help="unstructured, N:M such as 2:4, block:RxC or kernel.",
            rich_help_panel=_PANEL,
        ),
    ] = "unstructured"
    include: Annotated[
        list[str] | None,
        Option(
            "--include",
            metavar="GLOB",
            help="Prune these layers only: nodes, weights, operators.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        Option(
            "--exclude",
            metavar="GLOB",
            help="Leave these layers as they are; repeatable.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    order: Annotated[
        str,
        Option(
            "--order",
            metavar="NAME",
            help="How energy is shared out: shared, energy or uniform.",
            rich_help_panel=_PANEL,
        ),
    ] = "shared"
    structured: Annotated[
        bool,
        Option(
            "--structured",
            metavar="",
            help="Take out whole channels, so that tensors get smaller.",
            rich_help_panel=_CHANNELS,
        ),
    ] = False
    zeros: Annotated[
        bool,
        Option(
            "--zeros",
            metavar="",
            help="With --structured: then zero weights in what is left.",
            rich_help_panel=_CHANNELS,
        ),
    ] = False
    criterion: Annotated[
        str,
        Option(
            "--criterion",
            metavar="NAME",
            help=f"Which channels go first: {any_of(CRITERIA)}.",
            rich_help_panel=_CHANNELS,
        ),
    ] = "obs"
    objective: Annotated[
        str,
        Option(
            "--objective",
            metavar="NAME",
            help="What is to fall: energy, or latency on a measured --hw; "
            "by default what --hw tells.",
            rich_help_panel=_CHANNELS,
        ),
    ] = ""

    repair: Annotated[
        int,
        Option(
            "--repair",
            metavar="N",
            help="Rounds that move and scale channels until outputs come back; needs no torch.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0
    finetune: Annotated[
        bool,
        Option(
            "--finetune",
            metavar="",
            help="Train what is left on the calibration inputs; needs torch, eapc[finetune].",
            rich_help_panel=_TRAINING,
        ),
    ] = False
    minutes: Annotated[
        float | None,
        Option(
            "--minutes",
            metavar="M",
            help="With --finetune: train for so long at most, each time.",
            rich_help_panel=_TRAINING,
        ),
    ] = None
    classes: Annotated[
        str | None,
        Option(
            "--classes",
            metavar="3,17|FILE",
            help="Keep these classes of a classifier: numbers or names.",
            rich_help_panel="Classes",
        ),
    ] = None

    def recipe(self) -> Recipe:
        """What the options come to."""
        from eapc.classes import parse_classes
        from eapc.pipeline import Recipe

        return Recipe(
            method=self.method,
            thorough=self.thorough,
            pattern=self.pattern,
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            order=self.order,
            structured=self.structured,
            zeros=self.zeros,
            criterion=self.criterion,
            objective=self.objective,
            repair=self.repair,
            finetune=self.finetune,
            minutes=math.inf if self.minutes is None else self.minutes,
            classes=() if self.classes is None else parse_classes(self.classes),
        )


# --- goals ---------------------------------------------------------------------------------------


class GoalOptions:
    """A group of an option per kind of goal, one of which may be given, and what refines them."""

    def __init__(self, **values: Any) -> None:
        given = {
            f"--{name.replace('_', '-')}": value
            for name, value in values.items()
            if value is not None
        }
        self._given = {option: value for option, value in given.items() if option in GOALS}
        self._refined = {o: value for o, value in given.items() if o not in GOALS}

    def _made(self, option: str, value: Any) -> Goal:
        """The goal of an option, refined as far as is given."""
        kind = GOALS[option]
        names = {each.metadata["option"]: each.name for each in _refinements(kind)}
        self._refuse_others(names)
        return kind(value, **{names[o]: value for o, value in self._refined.items()})

    def _refuse_others(self, known: Collection[str]) -> None:
        for option in self._refined:
            if option not in known:
                owners = [o for o, kind in GOALS.items() if option in _options_of(kind)]
                raise UsageError(f"{option}: goes with {' or '.join(owners)}")


class OneGoal(GoalOptions):
    """The group that `prune` knows: each option has one value."""

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with one value."""
        panel = f"Goal (one of these; {DEFAULT_GOAL} if none is given)"
        return [
            _parameter(
                kind.option,
                kind.kind,
                metavar=kind.metavar,
                help=kind.help,
                rich_help_panel=panel,
            )
            for kind in GOALS.values()
        ] + _refining(panel)

    def goal(self, pattern: str) -> Goal:
        """The goal that is given, else the one of a pattern that fixes it, else the default."""
        if len(self._given) > 1:
            raise UsageError(f"{' and '.join(self._given)}: give one goal at a time")
        goals = [self._made(option, value) for option, value in self._given.items()]
        fixed = _fixed_sparsity(pattern, goals)
        if goals:
            return goals[0]
        self._refuse_others(())
        return DEFAULT_GOAL if fixed is None else Sparsity(fixed)


class SeveralGoals(GoalOptions):
    """The group of the same options in `sweep`, each with several values."""

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with comma-separated values."""
        shown = {"help": "As for prune.", "rich_help_panel": "Goals (values of one of these)"}
        return [
            _parameter(kind.option, str, metavar=f"{kind.metavar},{kind.metavar},...", **shown)
            for kind in GOALS.values()
        ] + _refining(shown["rich_help_panel"])

    def goals(self, pattern: str) -> list[Goal]:
        """The goals of one option's comma-separated values, in their order."""
        if not self._given:
            raise UsageError(f"a sweep needs values of a goal: {', '.join(GOALS)}")
        if len(self._given) > 1:
            raise UsageError(f"{' and '.join(self._given)}: give values of one goal")
        ((option, text),) = self._given.items()
        values = [_read(GOALS[option], part.strip()) for part in text.split(",")]
        goals = [self._made(option, value) for value in values]
        _fixed_sparsity(pattern, goals)
        return goals


def _parameter(option: str, kind: Any, **shown: Any) -> Parameter:
    """A command's parameter for an option; None where it is not given."""
    annotation = Annotated[kind | None, Option(option, **shown)]
    name = option.removeprefix("--").replace("-", "_")
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _refining(panel: str) -> list[Parameter]:
    """The parameters of what refines goals, each once."""
    found = {
        each.metadata["option"]: each for kind in GOALS.values() for each in _refinements(kind)
    }
    return [
        _parameter(
            option,
            float,
            metavar=each.metadata["metavar"],
            help=each.metadata["help"],
            rich_help_panel=panel,
        )
        for option, each in found.items()
    ]


def _refinements(kind: type[Goal]) -> list[Field[Any]]:
    return [each for each in fields(kind) if "option" in each.metadata]


def _options_of(kind: type[Goal]) -> set[str]:
    return {each.metadata["option"] for each in _refinements(kind)}


def _read(goal: type[Goal], text: str) -> Any:
    try:
        return goal.kind(text)
    except ValueError as error:
        expected = f"expected numbers like 0.9,0.8,0.7, got '{text}'"
        raise UsageError(f"{goal.option}: {expected}") from error


def _fixed_sparsity(pattern: str, goals: Sequence[Goal]) -> float | None:
    """The share of zeros that a pattern fixes, if it does; then no goal may say another thing."""
    from eapc.solvers import parse_pattern

    density = parse_pattern(pattern).fixed_density
    if density is None:
        return None
    other = [goal.option for goal in goals if not isinstance(goal, Sparsity)]
    if other:
        raise UsageError(
            f"{other[0]}: --pattern {pattern} fixes the share of zeros; "
            f"give --sparsity {1 - density:.4g} or another pattern"
        )
    return 1 - density
