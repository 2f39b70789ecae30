"""eapc data show: what a network will see of calibration or evaluation data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from eapc.cli import options as opt
from eapc.cli.image_options import LabelledImageOptions
from eapc.cli.session import begin, publish
from eapc.errors import DataError, UsageError


def data_show(
    path: Annotated[
        Path,
        Argument(metavar="PATH", help="An .npz file, or a folder of .npy files or images."),
    ],
    *,
    model: Annotated[
        Path | None,
        Option("--model", metavar="MODEL", help="ONNX file that the data is for."),
    ] = None,
    input_shape: opt.InputShapes = None,
    samples: opt.Samples = None,
    images: LabelledImageOptions,
    json: opt.Json = False,
    verbose: opt.Verbose = 0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Show what a network will see of PATH: shapes, ranges after scaling, labels.

    With --model it is told whether the data fits; the exit code is 3 where it does not. Without,
    arrays are shown as they are stored.
    """
    warnings = begin(verbose, quiet, debug)
    from eapc.commands.data_description import describe_data
    from eapc.data import is_image_folder
    from eapc.report.data import data_document, data_table

    if input_shape and (model is None or not is_image_folder(path)):
        raise UsageError("--input-shape: goes with --model and a folder of images")
    shapes = opt.read_input_shapes(input_shape)
    _, source = images.sources(None, path)
    described = describe_data(source or path, model, samples=samples, input_shapes=shapes)
    publish(partial(data_table, described), partial(data_document, described, warnings), json)
    if described.misfit:
        raise DataError(described.misfit)
