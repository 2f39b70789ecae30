"""Options in groups: a command's parameter is a group of them.

There are those that most commands have, those that say how layers are pruned, and those that
state a goal, one per kind: one value for `prune`, several for `sweep`. Choices that come from a
table are those that it has when the command line is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from typer import Option

from eapc.cli import options as opt
from eapc.cli.session import begin
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
        from eapc.commands.arguments import read_size
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
            memory=None if memory is None else read_size(memory),
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
            help="What is to fall: energy, weights, macs, size, or latency on a measured --hw; "
            "by default what the goal or --hw tells.",
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

    bits: Annotated[
        str | None,
        Option(
            "--bits",
            metavar="8|weights=4,activations=8|mixed",
            help="Quantize what is left; alone, and not mixed, nothing is pruned.",
            rich_help_panel="Quantization",
        ),
    ] = None

    def recipe(self) -> Recipe:
        """What the options come to."""
        from eapc.commands.arguments import recipe_of

        return recipe_of({each.name: getattr(self, each.name) for each in fields(self)})
