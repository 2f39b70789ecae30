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
    """The command with options in place of each parameter that is a dataclass: its fields.

    Typer reads options off a function's signature, one for each parameter.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {n: kind for n, kind in hints.items() if is_dataclass(kind)}

    @wraps(command)
    def gathered(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        command(**given, **made)

    shown = [
        option
        for parameter in inspect.signature(command).parameters.values()
        for option in _options(parameter, hints[parameter.name])
    ]
    gathered.__annotations__ = {option.name: option.annotation for option in shown}
    gathered.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return gathered


def _options(parameter: inspect.Parameter, kind: Any) -> list[inspect.Parameter]:
    """The parameter itself, or those that a group's fields come to."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    if not is_dataclass(kind):
        return [parameter.replace(kind=keyword, annotation=kind)]
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name])
        for f in fields(kind)
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
