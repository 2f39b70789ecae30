"""eapc run: a pipeline as it is typed."""

from __future__ import annotations

from eapc.cli import options as opt
from eapc.cli.bar import progress_bar
from eapc.cli.session import begin, show, write


def run(
    model: opt.ModelPath,
    pipeline: opt.PipelineText,
    hw: opt.Hardware = "eyeriss",
    batch: opt.Batch = None,
    input_shape: opt.InputShapes = None,
    calib: opt.Calibration = None,
    samples: opt.Samples = None,
    output: opt.Output = None,
    force: opt.Force = False,
    json: opt.Json = False,
    threads: opt.Threads = 0,
    memory: opt.Memory = None,
    seed: opt.Seed = 0,
    verbose: opt.Verbose = 0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Run a pipeline of passes over MODEL; eapc passes lists them.

    Without -o nothing is written.
    """
    warnings = begin(verbose, quiet, debug, threads)
    from eapc import compiler
    from eapc.report.documents import run_document, to_json
    from eapc.report.pruning import run_table

    settings = opt.settings(hw, batch, input_shape, calib, samples, threads, seed, memory=memory)
    with progress_bar(quiet) as progress:
        done = compiler.run(
            model, pipeline, settings, output=output, force=force, progress=progress
        )
    if json:
        write(to_json(run_document(done, warnings)))
    else:
        show(lambda width: run_table(done, width))
