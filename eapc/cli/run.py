"""eapc run: a pipeline as it is typed."""

from __future__ import annotations

from functools import partial

from eapc.cli import options as opt
from eapc.cli.image_options import ImageOptions
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.session import progress_bar, publish


def run(
    model: opt.ModelPath,
    pipeline: opt.PipelineText,
    inputs: Inputs,
    *,
    output: opt.Output = None,
    force: opt.Force = False,
    json: opt.Json = False,
    memory: opt.Memory = None,
    images: ImageOptions,
    common: Common,
) -> None:
    """Run a pipeline of passes over MODEL; eapc passes lists them.

    Without -o nothing is written.
    """
    warnings = common.begin()
    from eapc.commands import compiler
    from eapc.report.documents import run_document
    from eapc.report.pruning import run_table

    calibration, _ = images.sources(inputs.calib)
    settings = inputs.settings(common, calibration, memory=memory)
    with progress_bar(common.quiet, "loading", str(model)) as progress:
        done = compiler.run(
            model, pipeline, settings, output=output, force=force, progress=progress
        )
    publish(partial(run_table, done), partial(run_document, done, warnings), json)
