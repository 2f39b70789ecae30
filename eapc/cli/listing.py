"""eapc passes, eapc hw list, show and validate: what there is to choose from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

from typer import Argument

from eapc.cli import options as opt
from eapc.cli.session import begin, show, write


def passes(verbose: opt.Verbose = 0, quiet: opt.Quiet = False, debug: opt.Debug = False) -> None:
    """List every pass with its options."""
    begin(verbose, quiet, debug)
    from eapc.pipeline import load_passes
    from eapc.report.listings import passes_table

    found = load_passes()
    show(lambda _: passes_table(found))


def hw_list(verbose: opt.Verbose = 0, quiet: opt.Quiet = False, debug: opt.Debug = False) -> None:
    """List the machines that come with eapc."""
    begin(verbose, quiet, debug)
    from eapc.hardware import load_hardware, shipped_hardware
    from eapc.report.listings import hardware_list

    machines = [load_hardware(name) for name in shipped_hardware()]
    show(lambda _: hardware_list(machines))


def hw_show(
    name: Annotated[str, Argument(metavar="NAME|PATH", help="A shipped machine or a YAML file.")],
    json: opt.Json = False,
    verbose: opt.Verbose = 0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Print a machine's YAML file, a summary in comments before it.

    The output is a valid file itself: a start for a machine of your own.
    """
    begin(verbose, quiet, debug)
    from eapc.hardware import load_machine
    from eapc.report.documents import hardware_document, to_json
    from eapc.report.listings import hardware_summary

    machine = load_machine(name)
    summary = "".join(f"# {line}".rstrip() + "\n" for line in hardware_summary(machine))
    write(to_json(hardware_document(machine)) if json else f"{summary}\n{_yaml_text(name)}")


def hw_validate(
    file: Annotated[str, Argument(metavar="FILE", help="A YAML file, or a shipped machine.")],
    verbose: opt.Verbose = 0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Check a machine's YAML file and sum it up; exits with 3 where it is invalid."""
    begin(verbose, quiet, debug)
    from eapc.hardware import load_machine
    from eapc.report.listings import hardware_summary

    summary = hardware_summary(load_machine(file))
    write("".join(f"{line}\n" for line in (f"{file}: valid", "", *summary)))


def _yaml_text(name: str) -> str:
    """The file that `load_machine` reads for this name, which it has found valid."""
    path = Path(name)
    shipped = resources.files("eapc.hwmodels") / f"{name.removesuffix('.yaml')}.yaml"
    return (path if path.is_file() else shipped).read_text(encoding="utf-8-sig")
