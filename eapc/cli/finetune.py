"""eapc finetune: train a pruned model towards its original."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from eapc.cli import options as opt
from eapc.cli.image_options import ImageOptions
from eapc.cli.option_groups import Common
from eapc.cli.session import progress_bar, publish

_PANEL = "Training"

Teacher = Annotated[
    Path, Option("--teacher", metavar="ORIGINAL", help="The model that it was pruned from.")
]
Data = Annotated[
    Path,
    Option("--data", metavar="PATH", help="Inputs: .npz, or a folder of .npy or images."),
]
Labels = Annotated[
    bool,
    Option(
        "--labels",
        metavar="",
        help="Learn y of the data in place of the original's outputs.",
        rich_help_panel=_PANEL,
    ),
]
Epochs = Annotated[
    int,
    Option("--epochs", min=1, metavar="N", help="Passes over the data.", rich_help_panel=_PANEL),
]
Minutes = Annotated[
    float | None,
    Option(
        "--minutes",
        metavar="M",
        help="Fewer passes where they would take longer.",
        rich_help_panel=_PANEL,
    ),
]
LearningRate = Annotated[
    float | None,
    Option(
        "--learning-rate",
        metavar="R",
        help="Share of its tensor's size that a step may change a weight by; 0.025 unless given.",
        rich_help_panel=_PANEL,
    ),
]
BatchSize = Annotated[
    int,
    Option("--batch-size", min=1, metavar="N", help="Inputs of one step.", rich_help_panel=_PANEL),
]
Augment = Annotated[
    str,
    Option(
        "--augment",
        metavar="KIND",
        help="How images are changed: auto, none, shift, flip or shift+flip.",
        rich_help_panel=_PANEL,
    ),
]
BatchNorm = Annotated[
    str,
    Option(
        "--batch-norm",
        metavar="trained|frozen",
        help="Whether scale and shift of BatchNormalization follow.",
        rich_help_panel=_PANEL,
    ),
]


def finetune(
    model: opt.ModelPath,
    *,
    teacher: Teacher,
    data: Data,
    samples: opt.Samples = None,
    evaluation: opt.Evaluation = None,
    hw: opt.Hardware = "eyeriss",
    labels: Labels = False,
    epochs: Epochs = 30,
    minutes: Minutes = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = 64,
    augment: Augment = "auto",
    batch_norm: BatchNorm = "trained",
    output: opt.Output = None,
    force: opt.Force = False,
    json: opt.Json = False,
    resume: opt.Resume = False,
    images: ImageOptions,
    common: Common,
) -> None:
    """Train MODEL, which was pruned, until its original's answers come back; zeros stay.

    Without -o the result is MODEL.tuned.onnx beside MODEL. Needs torch: eapc[finetune].
    """
    warnings = common.begin()
    from eapc.commands import finetuning
    from eapc.commands.preparation import Settings
    from eapc.report.finetuning import finetune_document, finetune_table
    from eapc.tuning import Options

    inputs, labelled = images.sources(data, evaluation)
    settings = Settings(
        hardware=hw, calibration=inputs, samples=samples, threads=common.threads, seed=common.seed
    )
    options = Options(
        epochs=epochs,
        minutes=math.inf if minutes is None else minutes,
        batch=batch_size,
        learning_rate=learning_rate or 0.0,
        augment=augment,
        batch_norm=batch_norm,
        labels=labels,
        seed=common.seed,
    )
    with progress_bar(common.quiet, "loading", str(model)) as progress:
        done = finetuning.finetune(
            model,
            teacher,
            settings,
            options,
            evaluation=labelled,
            output=output or finetuning.default_tuned(model),
            force=force,
            resume=resume,
            progress=progress,
        )
    publish(partial(finetune_table, done), partial(finetune_document, done, warnings), json)
