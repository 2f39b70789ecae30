"""What commands leave behind: files, once they have been verified, and finished parts until then.

Parts are kept beside the output; they count for the very run that they belong to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eapc.checkpoints import (
    Checkpoint,
    Checkpoints,
    Finished,
    data_digest,
    digest,
    file_digest,
    model_digest,
    software,
)
from eapc.errors import DataError, EapcError, UsageError
from eapc.pipeline import Compilation


def save(compilation: Compilation, output: str | Path, force: bool) -> None:
    """Write a rewritten model once it has been verified."""
    compilation.save(output, force)


def default_output(model: str | Path) -> Path:
    """`MODEL.pruned.onnx` beside the model."""
    path = Path(model)
    if not path.name:
        raise UsageError(f"{model}: is not a file name")
    return path.with_name(f"{path.stem}.pruned.onnx")


# --- finished parts ------------------------------------------------------------------------------


logger = logging.getLogger(__name__)


def partial_folder(output: str | Path) -> Path:
    """`OUT.partial` beside the output."""
    path = Path(output)
    return path.with_name(f"{path.name}.partial")


@contextmanager
def resumable(
    compilation: Compilation, goal: str, output: str | Path | None, resume: bool
) -> Iterator[Compilation]:
    """The compilation with checkpoints beside its output, removed once all has gone well.

    With `resume` those of an earlier run count if everything that decides the result is the
    same; otherwise they are removed. Without an output nothing is kept.
    """
    with kept_beside(output, _run(compilation, goal), resume) as checkpoints:
        yield replace(compilation, checkpoints=checkpoints)


@contextmanager
def kept_beside(output: str | Path | None, run: str, resume: bool) -> Iterator[Checkpoints | None]:
    """Checkpoints beside an output, of the run that `run` identifies; as `resumable` keeps them."""
    if output is None:
        yield None
        return
    checkpoints = Checkpoints(partial_folder(output), run)
    _settle_leftover(checkpoints, resume)
    try:
        yield checkpoints
    except BaseException as error:
        if isinstance(error, EapcError) and _is_refusal(error) and not checkpoints.has_results:
            checkpoints.clear()
        if checkpoints.parts:
            logger.warning("%s: holds what is finished; --resume goes on", checkpoints.folder)
        raise
    checkpoints.clear()


def _is_refusal(error: EapcError) -> bool:
    """Whether the same run would end in the same way again: of the model or the data."""
    return error.exit_code == DataError.exit_code


def _run(compilation: Compilation, goal: str) -> str:
    """Everything that the result's bytes depend on."""
    data, measured = compilation.calibration, compilation.measured
    conditions = compilation.conditions
    return digest(
        software(),
        model_digest(compilation.model),
        "" if data is None else data_digest(data),
        compilation.hardware.model_dump_json(),
        "" if measured is None else measured.model_dump_json(),
        repr(replace(conditions, engine=conditions.engine._replace(memory=None))),
        goal,
    )


def _settle_leftover(checkpoints: Checkpoints, resume: bool) -> None:
    """Drop what an earlier run has left unless it is to be used and can be."""
    folder, parts = checkpoints.folder, checkpoints.parts
    if resume and checkpoints.is_of_this_run:
        logger.info("%s: %d finished parts are used", folder, parts)
        return
    if resume and parts:
        logger.warning("%s: is of another model, data or options: begun anew", folder)
    elif resume:
        logger.warning("%s: nothing to resume: begun anew", folder)
    elif parts:
        logger.warning("%s: %d parts of an earlier run are dropped: no --resume", folder, parts)
    checkpoints.clear()


@dataclass(frozen=True)
class Written:
    """The files that a run of several outputs has written: going on, it may replace them."""

    finished: Finished

    def note(self, output: Path) -> None:
        """Take up a file that has just been written."""
        self.finished.save(output.name, Checkpoint(facts={"digest": file_digest(output)}))

    def holds(self, output: Path) -> bool:
        """True for a file that is still as the run has left it."""
        part = self.finished.load(output.name)
        return part is not None and output.is_file() and part.facts["digest"] == file_digest(output)
