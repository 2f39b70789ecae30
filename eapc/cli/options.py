"""The options of all commands, each declared once; the same word means the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from eapc.errors import UsageError

_DATA = "Data"
_RESULT = "Result"
_COMMON = "Common"

ModelPath = Annotated[
    Path, Argument(metavar="MODEL", help="ONNX file; it is never written to.", show_default=False)
]
BeforePath = Annotated[
    Path, Argument(metavar="BEFORE", help="ONNX file to compare with.", show_default=False)
]
AfterPath = Annotated[
    Path, Argument(metavar="AFTER", help="ONNX file to compare.", show_default=False)
]
MorePaths = Annotated[
    list[Path] | None,
    Argument(metavar="MORE", help="Further files to compare with BEFORE.", show_default=False),
]
Hardware = Annotated[
    str,
    Option("--hw", metavar="NAME|PATH", help="A shipped machine or a YAML file."),
]
PipelineText = Annotated[
    str,
    Option(
        "--pipeline",
        metavar="TEXT",
        help='Passes in order: "annotate-energy, prune-weights{sparsity=0.8}".',
        show_default=False,
    ),
]
Batch = Annotated[
    int | None,
    Option("--batch", min=1, metavar="N", help="Batch, for analysis; figures stay per inference."),
]
InputShapes = Annotated[
    list[str] | None,
    Option(
        "--input-shape",
        metavar="NAME:1,3,224,224",
        help="Shape of an input, for analysis; repeatable.",
    ),
]

Calibration = Annotated[
    Path | None,
    Option(
        "--calib",
        metavar="PATH",
        help="Calibration inputs: .npz, or a folder of .npy or images.",
        rich_help_panel=_DATA,
    ),
]
Samples = Annotated[
    int | None,
    Option(
        "--samples",
        min=1,
        metavar="N",
        help="Take N calibration inputs: the first, or images spread over all.",
        rich_help_panel=_DATA,
    ),
]
Density = Annotated[
    str | None,
    Option(
        "--density",
        metavar="D|PATH",
        help="Fraction of activations not 0, or YAML by tensor.",
        rich_help_panel=_DATA,
    ),
]
Bits = Annotated[
    str | None,
    Option(
        "--bits",
        metavar="weights=8,activations=8",
        help="Widths instead of those the model implies.",
        rich_help_panel=_DATA,
    ),
]
LevelBits = Annotated[
    str | None,
    Option(
        "--bits",
        metavar="8|weights=4,activations=8",
        help="Quantize the networks that are pruned; what answers which inputs stays in floats.",
    ),
]
Evaluation = Annotated[
    Path | None,
    Option(
        "--eval",
        metavar="PATH",
        help="Inputs with labels, or with what --metric takes.",
        rich_help_panel=_DATA,
    ),
]
OwnMetric = Annotated[
    str | None,
    Option(
        "--metric",
        metavar="FILE.py:NAME",
        help="A function of outputs and arrays of --eval, in place of accuracy.",
        rich_help_panel=_DATA,
    ),
]

Output = Annotated[
    Path | None,
    Option("-o", "--output", metavar="PATH", help="Where the model goes.", rich_help_panel=_RESULT),
]
Force = Annotated[
    bool, Option("--force", metavar="", help="Overwrite existing files.", rich_help_panel=_RESULT)
]
Json = Annotated[
    bool,
    Option("--json", metavar="", help="Print one JSON document instead.", rich_help_panel=_RESULT),
]
Csv = Annotated[
    Path | None,
    Option(
        "--csv",
        metavar="PATH",
        help="Write a row per node; - for stdout.",
        rich_help_panel=_RESULT,
    ),
]
SweepCsv = Annotated[
    Path | None,
    Option(
        "--csv",
        metavar="PATH",
        help="Write a row per goal; - for stdout.",
        rich_help_panel=_RESULT,
    ),
]
CompareCsv = Annotated[
    Path | None,
    Option(
        "--csv",
        metavar="PATH",
        help="Write a row per figure; - for stdout.",
        rich_help_panel=_RESULT,
    ),
]
Folder = Annotated[
    Path | None,
    Option(
        "-o",
        "--output",
        metavar="FOLDER",
        help="Write each model there, by the name of its goal.",
        rich_help_panel=_RESULT,
    ),
]
Annotate = Annotated[
    Path | None,
    Option(
        "--annotate",
        metavar="PATH",
        help="Write the model with energies on its nodes.",
        rich_help_panel=_RESULT,
    ),
]
DryRun = Annotated[
    bool,
    Option(
        "--dry-run",
        metavar="",
        help="Print pipeline, densities, energy.",
        rich_help_panel=_RESULT,
    ),
]
Resume = Annotated[
    bool,
    Option(
        "--resume",
        metavar="",
        help="Continue a run that was killed: same model, data, options.",
        rich_help_panel=_RESULT,
    ),
]

Mild = Annotated[
    str | None,
    Option(
        "--mild",
        metavar="E|PATH",
        help="What hard inputs go to: a fraction of the energy, or a ready network.",
    ),
]
Aggressive = Annotated[
    str | None,
    Option(
        "--aggressive",
        metavar="E|PATH",
        help="What answers all others; either is chosen unless given.",
    ),
]
DynamicDrop = Annotated[
    float,
    Option("--max-drop", metavar="D", help="Send on as few inputs as lose at most this."),
]
Share = Annotated[
    float | None,
    Option(
        "--share",
        metavar="S",
        help="Of a dynamic network: the fraction of inputs that is sent on.",
        rich_help_panel=_DATA,
    ),
]

MeasureLatency = Annotated[
    bool,
    Option("--latency/--no-latency", help="Measure both in onnxruntime.", metavar=""),
]
Repeats = Annotated[
    int | None,
    Option(
        "--repeats",
        min=1,
        metavar="N",
        help="Rounds of both models; as many as take 2 s unless given.",
    ),
]

MeasureEnergy = Annotated[
    bool,
    Option("--energy", help="Measure joules too, by a meter. Needs eapc[energy].", metavar=""),
]

Threads = Annotated[
    int,
    Option(
        "--threads",
        min=0,
        metavar="N",
        help="Threads; all cores unless given.",
        show_default=False,
        rich_help_panel=_COMMON,
    ),
]
Memory = Annotated[
    str | None,
    Option(
        "--memory",
        metavar="2GB",
        help="Feature maps beyond this go to disk; half of the memory unless given.",
        show_default=False,
        rich_help_panel=_COMMON,
    ),
]
Seed = Annotated[
    int,
    Option(
        "--seed",
        min=0,
        metavar="N",
        help="Same seed, same bytes; 0 unless given.",
        show_default=False,
        rich_help_panel=_COMMON,
    ),
]
Verbose = Annotated[
    int,
    Option(
        "-v",
        "--verbose",
        count=True,
        metavar="",
        help="Say what is done; -vv says more.",
        show_default=False,
        rich_help_panel=_COMMON,
    ),
]
Quiet = Annotated[
    bool,
    Option("-q", "--quiet", metavar="", help="No warnings, errors only.", rich_help_panel=_COMMON),
]
Debug = Annotated[
    bool,
    Option("--debug", metavar="", help="Log everything; show tracebacks.", rich_help_panel=_COMMON),
]


def metric_file(text: str | None) -> Path | None:
    """The file of `FILE.py:NAME`."""
    return None if text is None else Path(text.rpartition(":")[0])


def read_network(option: str, text: str | None) -> float | Path | None:
    """The fraction or the file that stands for a network; UsageError where it is neither."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        path = Path(text)
    if not path.is_file():
        raise UsageError(f"{option}: expected a fraction such as 0.7 or a file, got '{text}'")
    return path


def read_input_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes by input name of `NAME:1,3,224,224`; the name may hold colons itself."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, axes = text.rpartition(":")
        sizes = [axis.strip() for axis in axes.split(",")]
        if not name or not all(size.isdecimal() and int(size) > 0 for size in sizes):
            raise UsageError(f"--input-shape: expected NAME:1,3,224,224, got '{text}'")
        if name in shapes:
            raise UsageError(f"--input-shape: '{name}' is given twice")
        shapes[name] = tuple(int(size) for size in sizes)
    return shapes
