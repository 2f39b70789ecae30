"""Data held against a model before any work: what is refused, and what warned of."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from eapc.data import Dataset
from eapc.errors import DataError
from eapc.goals import ALIKE, Goal
from eapc.model import Model, infer_shapes
from eapc.scale import scale_misfit

logger = logging.getLogger(__name__)


def require_variety(data: Dataset | None, goals: Sequence[Goal]) -> None:
    """Refuse to search on inputs that are all the same; warn where a goal is obeyed on them."""
    if data is None:
        return
    if not data.are_alike:
        warn_of_repeats(data, "calibration inputs")
        for name in data.constant_inputs:
            logger.warning(
                f"input '{name}' never varies: nothing tells what it does to the outputs"
            )
        return
    if any(goal.is_searched for goal in goals):
        raise DataError(f"{ALIKE}; give other ones")
    logger.warning(f"{ALIKE}, and layers cannot be fitted to them")


def warn_of_repeats(data: Dataset, what: str) -> None:
    """Where most samples repeat others, less is known of the outputs than their number says."""
    distinct = data.distinct
    if 2 * distinct < len(data):
        said = f"only {distinct} of the {len(data)} {what} are distinct"
        logger.warning(f"{said}: less is known of the outputs than their number says")


def other_classes(model: Model, data: Dataset) -> str:
    """What to say where subfolders of images are not as many as the model's classes; else empty."""
    found, scores = len(data.classes), scores_of(model, data) if data.classes else None
    if not found or scores in (None, found):
        return ""
    return (
        f"{found} subfolders of images count as classes 0 to {found - 1}, and the model tells "
        f"{scores} classes; give --labels FILE where they are some of its classes only"
    )


def scores_of(model: Model, data: Dataset) -> int | None:
    """How many classes a model of one output tells on such inputs; None where shapes do not say.

    One number per sample tells two classes apart.
    """
    found = infer_shapes(model, data.shapes(1))
    shapes = [found.main(name) for name in model.outputs]
    if len(shapes) != 1 or shapes[0] is None or len(shapes[0]) < 2 or 0 in shapes[0]:
        return None
    _, scores, *more = shapes[0]
    return None if any(size != 1 for size in more) else max(scores, 2)


def require_classes(model: Model, data: Dataset, origin: str) -> None:
    """Raise DataError, with the `origin` of the data, for labels that the model has no class for.

    Where shapes do not tell the number of classes, the outputs will.
    """
    largest, classes = int(data.require_labels().max()), scores_of(model, data)
    if classes is not None and largest >= classes:
        where = f"{origin}: " if origin else ""
        raise DataError(f"{where}label {largest} is out of range: {classes} classes")


def check_scale(
    model: Model, data: Dataset | None, option: str, threads: int, refuses: bool = True
) -> None:
    """Warn of data that seem to be at another scale than the network expects.

    Where that is next to certain and the data do not say their scaling, it `refuses` them: raises
    DataError.
    """
    if data is None or data.synthesised or data.are_alike:
        return
    misfit = scale_misfit(model, data, threads)
    if misfit is None:
        return
    if misfit.is_certain and data.affine is None and refuses:
        raise DataError(
            f"{option}: {misfit.said}; give scale, mean and std in the file or by --scale, --mean "
            "and --std; --scale 1 says that the values are right"
        )
    logger.warning(f"{option}: {misfit.said}: check scale, mean and std")
