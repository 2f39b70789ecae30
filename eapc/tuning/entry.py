"""Where fine-tuning is entered: torch is looked for when it is asked for."""

from __future__ import annotations

from eapc.checkpoints import Finished
from eapc.data import Dataset
from eapc.errors import UsageError
from eapc.layers import without_integers
from eapc.model import Model
from eapc.progress import Progress, silent
from eapc.tuning.clock import Clock
from eapc.tuning.options import Options
from eapc.tuning.results import Tuned


def require_torch() -> None:
    """UsageError where the extra is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "fine-tuning needs torch, which is not installed: pip install 'eapc[finetune]'"
        ) from error


def require_trainable(model: Model) -> None:
    """UsageError without torch, ModelError that names all operators that have no rule."""
    require_torch()
    from eapc.autograd import require_rules

    require_rules(without_integers(model))


def tune(
    student: Model,
    teacher: Model,
    data: Dataset,
    options: Options,
    *,
    threads: int = 0,
    kept: Finished | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Train a pruned network until its outputs come back, on inputs for which labels are optional.

    Zeros of weights stay zero, quantised weights stay on their grids. The state that was best on
    an eighth of the inputs is kept, which is the first one where training gains nothing. The
    minutes of the options begin here and are kept to, to a step and what judging it takes. Raises
    UsageError without torch, ModelError where the network cannot be trained, DataError where data
    are too few or labels are missing.
    """
    clock = Clock(options.minutes)  # importing torch takes seconds
    require_torch()
    from eapc.tuning.training import Run

    return Run(student, teacher, data, options, threads, clock).result(kept or Finished(), progress)
