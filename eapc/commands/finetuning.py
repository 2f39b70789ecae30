"""Fine-tuning a pruned model towards its original, the whole way: load, train, verify, save."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eapc.commands.class_choice import cut_alike, of_kept_classes
from eapc.commands.data_checks import check_scale
from eapc.commands.preparation import DataSource, Settings, load_evaluation, prepare
from eapc.commands.results import resumable, save
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import TOP1_ACCURACY, Accuracy, AccuracyJudge
from eapc.model import Model
from eapc.pipeline import Compilation, Pipeline, load_passes
from eapc.progress import Progress, silent
from eapc.runtime import as_it_runs
from eapc.showing import Shown
from eapc.tuning import Options, Tuned, require_torch

logger = logging.getLogger(__name__)

_PRICED_ON = 1024
"""Inputs that densities are measured on."""


@dataclass(frozen=True, repr=False)
class FineTuned(Shown):
    """A fine-tuned model and everything known about it.

    `pruned` is the accuracy of the model as it was given, `accuracy` that of the result, both
    against the teacher's, where there are inputs to evaluate on.
    """

    model: Model
    tuned: Tuned
    before: EnergyReport
    after: EnergyReport
    pruned: Accuracy | None
    accuracy: Accuracy | None
    pipeline: str
    output: Path | None
    seconds: float


def finetune(
    model: str | Path | Model,
    teacher: str | Path | Model,
    settings: Settings,
    options: Options | None = None,
    *,
    evaluation: DataSource | None = None,
    output: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> FineTuned:
    """Train a pruned model on the inputs of `settings.calibration` to answer as its teacher does.

    Zeros of weights, grids and shapes stay. Where nothing is gained the model is written as it
    was. Without `output` nothing is written; with it, each epoch is kept in `<output>.partial`
    until all is done, and `resume` goes on from the last. Raises UsageError without torch or
    inputs, ModelError where the two models differ or the model cannot be trained.
    """
    start = time.perf_counter()
    options = options or Options(seed=settings.seed)
    settings = replace(settings, seed=options.seed)
    require_torch()
    if settings.calibration is None:
        raise UsageError("fine-tuning needs inputs: --data")
    original = teacher if isinstance(teacher, Model) else Model.load(teacher)
    compilation = _begun(prepare(model, settings), original)
    compilation = replace(compilation, progress=progress)
    if output is not None:
        for each in (compilation.model, original):
            each.require_writable(output, force)
    check_scale(compilation.model, compilation.calibration, "--data", settings.threads)
    judge = _judge(compilation, evaluation, settings)
    passes = load_passes()
    annotation = Pipeline.parse("annotate-energy", passes)
    steps = passes["fine-tune"](**{k: v for k, v in asdict(options).items() if k != "seed"})
    data = compilation.calibration
    assert data is not None  # it was asked for
    priced_on = data.first(min(len(data), _PRICED_ON))
    before = annotation.run(replace(compilation, calibration=priced_on)).priced
    with resumable(compilation, str(steps), output, resume) as started:
        done = Pipeline((steps,)).run(started)
        if output is not None:
            save(done, output, force)
    after = annotation.run(replace(done, calibration=priced_on)).priced
    tuned = done.record.tuned
    assert tuned is not None  # the pass has left it
    return FineTuned(
        done.model,
        tuned,
        before,
        after,
        judge.accuracy(compilation.model) if judge else None,
        judge.accuracy(done.model) if judge else None,
        str(steps),
        None if output is None else Path(output),
        time.perf_counter() - start,
    )


def _begun(compilation: Compilation, original: Model) -> Compilation:
    """The model beside a teacher that answers for the same classes.

    Raises UsageError where the teacher has fewer.
    """
    (student, teacher), _ = cut_alike([compilation.model, original])
    if student is not compilation.model:
        raise UsageError("--teacher: has fewer classes than the model")
    return replace(compilation, reference=teacher)


def _judge(
    compilation: Compilation, evaluation: DataSource | None, settings: Settings
) -> AccuracyJudge | None:
    """What tells accuracy against the original's, where there are labelled inputs."""
    if evaluation is None:
        return None
    original = compilation.reference
    given = settings.input_shapes
    labelled = load_evaluation(evaluation, original, original.inputs, given, TOP1_ACCURACY)
    labelled = of_kept_classes(compilation.model, labelled, "--eval")
    labelled = as_it_runs(original, labelled, settings.threads)
    return AccuracyJudge.of(original, labelled, settings.threads, TOP1_ACCURACY)


def default_tuned(model: str | Path) -> Path:
    """`MODEL.tuned.onnx` beside the model."""
    path = Path(model)
    return path.with_name(f"{path.stem}.tuned.onnx")
