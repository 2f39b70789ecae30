"""eapc hw fit: a microcontroller's file from networks that were measured on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from eapc.cli import options as opt
from eapc.cli.session import begin, show, write

Measured = Annotated[
    Path, Argument(metavar="BOARD.csv", help="Columns network, and ms or microjoules or both.")
]
Base = Annotated[
    str, Option("--hw", metavar="NAME|PATH", help="The microcontroller to start from.")
]
Clock = Annotated[
    float | None,
    Option("--clock-mhz", min=0.001, metavar="MHZ", help="The board's clock; else --hw's."),
]
Output = Annotated[
    Path,
    Option("-o", "--output", metavar="PATH", help="The hardware file.", show_default=False),
]


def hw_fit(
    board: Measured,
    output: Output,
    hw: Base = "cortex-m4",
    clock_mhz: Clock = None,
    json: opt.Json = False,
    force: opt.Force = False,
    verbose: opt.Verbose = 0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Fit a microcontroller to measured networks, and write its file for --hw.

    Each network is also predicted from the others. Constants are fitted where that predicts
    better than one figure for the board.
    """
    warnings = begin(verbose, quiet, debug)
    from eapc.commands.board_fit import board_yaml, fit_board
    from eapc.report.csv import require_writable, write_report
    from eapc.report.documents import to_json
    from eapc.report.kernel_fits import fit_document, fit_table

    require_writable(output, force, [board, Path(hw)])
    fitted = fit_board(board, hw, clock_mhz, output.stem)
    write_report(output, board_yaml(fitted.hardware))
    if json:
        write(to_json(fit_document(fitted, output, warnings)))
    else:
        show(lambda width: fit_table(fitted, width, output))
