"""Fewer target classes in the commands: the cut network, and the inputs that are of its classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from eapc.classes import (
    ChosenClasses,
    ClassMap,
    choose,
    class_map,
    keep_classes,
    known_classes,
    parse_classes,
    require_scores,
)
from eapc.data import Dataset
from eapc.errors import DataError, UsageError
from eapc.model import Model
from eapc.pipeline import Compilation, Recipe

logger = logging.getLogger(__name__)


def with_classes(recipe: Recipe, classes: ChosenClasses | None) -> Recipe:
    """The recipe that keeps these classes, if any are given."""
    return recipe if classes is None else replace(recipe, classes=parse_classes(classes))


def with_numbers(recipe: Recipe, compilation: Compilation, *, is_told: bool) -> Recipe:
    """The recipe with classes by their numbers in a network.

    Names are those that the file's metadata tell, or the subfolders of calibration images;
    `is_told` says that there are labels to evaluate on. Raises UsageError for wrong classes and
    ModelError, one line, for a network without a head to cut.
    """
    data = compilation.calibration
    known = known_classes(compilation.model, data.classes if data else ())
    try:
        chosen = choose(recipe.classes, known)
    except UsageError as error:
        raise UsageError(f"--classes: {error}") from error
    require_scores(compilation.model, data, is_told=is_told)
    return replace(recipe, classes=tuple(map(str, chosen.classes)))


def cut_to_classes(compilation: Compilation, recipe: Recipe) -> Compilation:
    """The compilation of the network that is cut to a recipe's classes.

    Raises DataError where none of its inputs are of these.
    """
    for step in recipe.cut():
        try:
            compilation = step.run(compilation)
        except DataError as error:
            raise DataError(f"--calib: {error}") from error
    return compilation


def of_kept_classes(model: Model, data: Dataset, option: str) -> Dataset:
    """The inputs of the classes that a network was cut to, labelled as it counts them.

    Data without labels and networks that were not cut have all of them. Raises DataError, with the
    `option` that gave the data, where none are of these classes.
    """
    kept = class_map(model)
    if kept is None:
        return data
    return _chosen(data, kept, option)


def _chosen(data: Dataset, kept: ClassMap, option: str) -> Dataset:
    if data.labels is None:
        if option == "--eval":
            logger.warning("--eval: no labels y tell classes: inputs of all of them count")
        return data
    try:
        found = data.of_classes(kept.classes)
    except DataError as error:
        raise DataError(f"{option}: {error}") from error
    logger.info("%s: %d of %d inputs are of the classes kept", option, len(found), len(data))
    return found


# --- two networks ----------------------------------------------------------------------------


def cut_alike(models: Sequence[Model]) -> tuple[list[Model], ClassMap | None]:
    """Two models as they answer for the classes that both have, and which these are.

    The one that has more is cut to those of the other. Without a file that was cut both stay as
    they are. Raises UsageError where each has classes that the other has not.
    """
    maps = [class_map(model) for model in models]
    told = [each for each in maps if each is not None]
    if not told:
        return list(models), None
    kept = min(reversed(told), key=lambda each: len(each.classes))
    if any(not set(kept.classes) <= set(each.classes) for each in told):
        raise UsageError("each model has classes that the other was not cut to")
    return [_cut(model, known, kept) for model, known in zip(models, maps, strict=True)], kept


def _cut(model: Model, known: ClassMap | None, kept: ClassMap) -> Model:
    if known is not None and known.classes == kept.classes:
        return model
    if known is None:
        scores = known_classes(model).scores
        if max(kept.classes) >= scores:
            raise UsageError(f"{model.name} has {scores} classes, and no {max(kept.classes)}")
    positions = known.positions(kept.classes) if known else kept.classes
    return keep_classes(model, positions, kept)
