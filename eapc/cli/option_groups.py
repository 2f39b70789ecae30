"""Options that commands have in common, in groups: a command's parameter is a group of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, get_type_hints

from eapc.cli import options as opt
from eapc.cli.session import begin

if TYPE_CHECKING:
    from eapc.commands.preparation import Settings


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
        *,
        density: str | None = None,
        bits: str | None = None,
        memory: str | None = None,
    ) -> Settings:
        """What the options that commands share come to."""
        from eapc.commands.preparation import Settings

        return Settings(
            hardware=self.hw,
            batch=self.batch,
            input_shapes=opt.read_input_shapes(self.input_shape),
            calibration=self.calib,
            samples=self.samples,
            density=density,
            bits=bits,
            threads=common.threads,
            seed=common.seed,
            memory=None if memory is None else opt.read_size(memory),
        )
