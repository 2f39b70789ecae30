"""The app: which commands there are, and how errors become exit codes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from eapc import __version__
from eapc.cli.analyze import analyze
from eapc.cli.compare import compare
from eapc.cli.data import data_show
from eapc.cli.dynamic import dynamic
from eapc.cli.examples import epilog
from eapc.cli.finetune import finetune
from eapc.cli.fit import hw_fit
from eapc.cli.listing import hw_list, hw_show, hw_validate, passes
from eapc.cli.option_groups import spread
from eapc.cli.profile import profile
from eapc.cli.prune import prune
from eapc.cli.run import run
from eapc.cli.session import one_line
from eapc.cli.sweep import sweep
from eapc.errors import DataError, EapcError

logger = logging.getLogger(__name__)

INTERNAL_ERROR = 1
USAGE_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"eapc {__version__}")
        raise typer.Exit


def _eapc(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """Energy-aware pruning compiler for ONNX models."""


def _data() -> None:
    """Show what a network will see of data."""  # keeps `show` a subcommand while it is alone


def make_app() -> typer.Typer:
    """The app with its commands; `prune` and `sweep` have an option for each goal known by now."""
    app = typer.Typer(
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_eapc)
    for command in (analyze, profile, prune, finetune, sweep, dynamic, compare, run, passes):
        app.command(epilog=epilog(command.__name__))(spread(command))
    hw = typer.Typer(help="List the machines that come with eapc, show one, check a file, fit one.")
    for name, subcommand in (("list", hw_list), ("show", hw_show), ("validate", hw_validate)):
        hw.command(name, epilog=epilog(f"hw {name}"))(subcommand)
    hw.command("fit", epilog=epilog("hw fit"))(hw_fit)
    app.add_typer(hw, name="hw")
    data = typer.Typer(help="Show what a network will see of data.")
    data.callback()(_data)
    data.command("show", epilog=epilog("data show"))(spread(data_show))
    app.add_typer(data, name="data")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; whatever goes wrong is one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = make_app()(args=given, prog_name="eapc", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as end:  # typer and rich make the latter of the former
        if isinstance(end, SystemExit) and not end.code:  # what completes has been said
            return 0
        _abandon_stdout()
        return BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    """Print an error as one line and give its exit code; the traceback is for --debug."""
    usage: Any = typer.BadParameter.__base__  # typer has no public name for usage errors at large
    if isinstance(error, EapcError):
        text, code = str(error), error.exit_code
    elif isinstance(error, MemoryError):
        said = f" ({error})" if str(error) else ""
        text = f"memory ran out{said}; fewer --samples or smaller inputs (--input-shape) take less"
        code = DataError.exit_code
    elif isinstance(error, usage):
        text, code = _usage_error(error), USAGE_ERROR
    else:
        described = ": ".join(filter(None, (type(error).__name__, str(error))))
        text, code = f"internal error: {described}; --debug says more", INTERNAL_ERROR
    sys.stderr.write(f"eapc: {one_line(text)}\n")
    logger.debug("traceback of the error:", exc_info=error)
    return code


def _usage_error(error: Any) -> str:
    """A mistake in what was typed, in the style of our own messages."""
    command = error.ctx.command_path if error.ctx else "eapc"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]} (see {command} --help)"


def _abandon_stdout() -> None:
    """Send what is still buffered nowhere: the reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
