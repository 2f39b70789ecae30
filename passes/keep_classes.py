"""keep-classes: cut a classifier to some of its classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from eapc.classes import ClassMap, choose, class_map, find_head, keep_classes, known_classes
from eapc.data import Dataset
from eapc.errors import DataError, UsageError
from eapc.evaluation import require_kept_answers
from eapc.model import Model
from eapc.pipeline import Compilation, Names, Pass

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeepClasses(Pass):
    """Cut a classifier's head to some of its classes; what follows is fitted to what is left.

    A network that was cut to these very classes stays as it is.
    """

    name: ClassVar[str] = "keep-classes"

    classes: Names = field(
        default=(), metadata={"help": "classes to keep, in their new order: 3|17|42"}
    )

    def __post_init__(self) -> None:
        if not self.classes:
            raise UsageError("keep-classes: give classes=3|17|42")

    def check(self, model: Model) -> None:
        """Raise what is wrong with the classes, or with the head that is to be cut."""
        self._chosen(model)

    def run(self, compilation: Compilation) -> Compilation:
        """The cut network in place of model and reference, on the inputs of these classes."""
        model, reference = compilation.model, compilation.reference
        data, before = compilation.calibration, class_map(model)
        chosen = self._chosen(model, data.classes if data else ())
        if before is not None and before.classes == chosen.classes:
            return compilation
        positions = before.positions(chosen.classes) if before else chosen.classes
        cut = keep_classes(model, positions, chosen)
        if data is not None:
            ending, threads = find_head(model).ending, compilation.conditions.engine.threads
            require_kept_answers(model, cut, positions, ending, data, threads)
        is_own = model.original is reference
        return replace(
            compilation.with_model(cut),
            reference=cut if is_own else keep_classes(reference, positions, chosen),
            calibration=_of_classes(data, positions, find_head(model).classes),
        )

    def _chosen(self, model: Model, names: Sequence[str] = ()) -> ClassMap:
        return choose(self.classes, known_classes(model, names))


def _of_classes(data: Dataset | None, positions: Sequence[int], scores: int) -> Dataset | None:
    """The inputs of these classes, where labels tell them; DataError for labels of none of all."""
    if data is None or data.synthesised:
        return data
    if data.labels is None:
        why = data.unusable_labels or "calibration data has no labels y"
        logger.warning(f"{why}: inputs of all classes are used, not of those kept")
        return data
    if (largest := int(data.labels.max())) >= scores:
        raise DataError(f"label {largest} is out of range: {scores} classes")
    found = data.of_classes(positions)
    logger.info("%d of %d calibration inputs are of the classes kept", len(found), len(data))
    return found
