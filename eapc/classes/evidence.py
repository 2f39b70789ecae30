"""Whether anything says that a network's outputs are scores of classes: shapes alone do not."""

from __future__ import annotations

import logging
import math

from eapc.classes.class_map import class_map, names_told
from eapc.classes.heads import find_head
from eapc.data import Dataset
from eapc.errors import ModelError
from eapc.model import Model, input_shapes

logger = logging.getLogger(__name__)

_REMEDY = "labels y of --calib or --eval say so"


def require_scores(model: Model, data: Dataset | None, *, is_told: bool = False) -> None:
    """Warn where nothing says that outputs of a network are scores of classes.

    What says so: a Softmax behind them, as many names, a file that was cut to classes, labels or
    subfolders of `data`, or whoever calls (`is_told`). Raises ModelError where nothing does and
    there are as many outputs as an input has numbers: those of an autoencoder are no classes.
    """
    head = find_head(model)
    names = len(data.classes) if data else 0
    labelled = data is not None and data.labels is not None
    known = head.classes in (names, len(names_told(model))) or class_map(model) is not None
    if is_told or known or labelled or head.ending:
        return
    said = f"no Softmax, names or labels say that its {head.classes} outputs are scores of classes"
    if head.classes in _numbers_of_inputs(model):
        why = f"{said}, and an input has as many numbers, as of an autoencoder"
        raise ModelError(f"{model.name}: no classifier head to cut: {why}; {_REMEDY}")
    logger.warning(f"--classes: {model.name}: {said}; {_REMEDY}")


def _numbers_of_inputs(model: Model) -> set[int]:
    """How many numbers a sample of each input has."""
    return {math.prod(shape[1:]) for shape in input_shapes(model, {}, None).values()}
