"""eapc profile: the latency of a model's layers on this machine."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from eapc.cli import options as opt
from eapc.cli.picture_options import PictureOptions
from eapc.cli.session import begin, progress_bar, show

if TYPE_CHECKING:
    from eapc.commands.machine_profile import Profiled

_PANEL = "How it is measured"

Output = Annotated[
    Path,
    Option("-o", "--output", metavar="PATH", help="The hardware file.", show_default=False),
]
Repeats = Annotated[
    int,
    Option(
        "--repeats",
        min=1,
        metavar="N",
        help="Runs of each layer, the quickest of which counts.",
        rich_help_panel=_PANEL,
    ),
]
Minutes = Annotated[
    float,
    Option(
        "--minutes",
        min=0.0,
        metavar="M",
        help="About how long; grids are as fine as that allows.",
        rich_help_panel=_PANEL,
    ),
]


def profile(
    model: opt.ModelPath,
    output: Output,
    batch: opt.Batch = None,
    input_shape: opt.InputShapes = None,
    repeats: Repeats = 15,
    minutes: Minutes = 4.0,
    energy: opt.MeasureEnergy = False,
    *,
    pictures: PictureOptions,
    force: opt.Force = False,
    resume: opt.Resume = False,
    threads: opt.Threads = 0,
    verbose: opt.Verbose = 0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Time the layers of MODEL in onnxruntime on this machine, over their channel counts.

    The hardware file that is written serves --hw of eapc analyze.
    """
    begin(verbose, quiet, debug, threads)
    from eapc.commands import machine_profile
    from eapc.profiling import open_meter
    from eapc.report.csv import require_writable, write_report
    from eapc.report.timings import profile_facts, profile_table

    require_writable(output, force, [model])
    pictures.check(force, [model, output])
    settings = machine_profile.ProfileSettings(
        batch, opt.read_input_shapes(input_shape), threads, repeats, minutes
    )
    meter = open_meter() if energy else None
    start = time.perf_counter()
    with progress_bar(quiet, "loading", str(model)) as progress:
        done = machine_profile.profile(
            *(model, settings),
            name=output.stem,
            output=output,
            resume=resume,
            progress=progress,
            meter=meter,
        )
    write_report(output, machine_profile.machine_yaml(done.machine))
    seconds = time.perf_counter() - start
    _draw(pictures, done, list(profile_facts(done, seconds, output)))
    show(lambda _: profile_table(done, seconds, output, pictures.paths))


def _draw(pictures: PictureOptions, done: Profiled, facts: list[tuple[str, str]]) -> None:
    if pictures.paths:
        from eapc.pages.profile_page import profile_chart, profile_page

        page = partial(profile_page, done, facts)
        pictures.write(page, partial(profile_chart, done.machine))
