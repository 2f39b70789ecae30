"""eapc dynamic: two pruning levels in one file."""

from __future__ import annotations

from functools import partial

from eapc.cli import options as opt
from eapc.cli.image_options import LabelledImageOptions
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.session import progress_bar, publish
from eapc.errors import GoalError, UsageError


def dynamic(
    model: opt.ModelPath,
    inputs: Inputs,
    evaluation: opt.Evaluation = None,
    *,
    mild: opt.Mild = None,
    aggressive: opt.Aggressive = None,
    max_drop: opt.DynamicDrop = 0.01,
    bits: opt.LevelBits = None,
    output: opt.Output = None,
    force: opt.Force = False,
    json: opt.Json = False,
    images: LabelledImageOptions,
    common: Common,
) -> None:
    """Let an aggressively pruned MODEL answer what it can, and a mildly pruned one the rest.

    Inputs of --eval fit a selector, choose its threshold and judge the result, each a part of
    them. Without -o the result is MODEL.dynamic.onnx beside MODEL.
    """
    warnings = common.begin()
    if evaluation is None:
        raise UsageError("--eval: is needed: inputs that fit a selector, choose and judge")
    second = opt.read_network("--mild", mild)
    first = opt.read_network("--aggressive", aggressive)
    from eapc.commands import dynamic as two_levels
    from eapc.energy import read_bits
    from eapc.report import dynamic as report

    calibration, labelled = images.sources(inputs.calib, evaluation)
    assert labelled is not None  # as evaluation is given
    settings = inputs.settings(common, calibration)
    target = output or model.with_name(f"{model.stem}.dynamic.onnx")
    with progress_bar(common.quiet, "loading", str(model)) as progress:
        done = two_levels.dynamic(
            *(model, settings),
            mild=second,
            aggressive=first,
            evaluation=labelled,
            max_drop=max_drop,
            bits=None if bits is None else read_bits(bits),
            output=target,
            force=force,
            progress=progress,
        )
    publish(
        partial(report.dynamic_table, done), partial(report.dynamic_document, done, warnings), json
    )
    if done.shortfall:
        raise GoalError(f"--max-drop {max_drop:g} {done.shortfall}")
