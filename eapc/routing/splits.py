"""Evaluation inputs in three parts: a selector is fitted, a threshold chosen, both judged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eapc.data import Dataset
from eapc.errors import DataError
from eapc.model import Array

_DEALT = "fcjfcjfcjj"
"""Of ten inputs three fit, three choose and four judge: what judges is what is reported."""

_FEWEST = 100
"""Fewer inputs tell neither which are hard nor how many."""


class Split(NamedTuple):
    """Rows of each part, in ascending order."""

    fit: Array
    choose: Array
    judge: Array


def split(data: Dataset) -> Split:
    """Rows dealt out in turn, by class where there are labels, so that all parts are alike.

    Raises DataError for fewer than a hundred inputs.
    """
    samples = len(data)
    if samples < _FEWEST:
        raise DataError(
            f"--eval: {samples} inputs are too few: {_FEWEST} or more are shared out to fit the "
            "selector, to choose its threshold and to judge"
        )
    drawn = np.random.default_rng(0).permutation(samples)
    if data.labels is not None:
        drawn = drawn[np.argsort(data.labels[drawn], kind="stable")]
    turns = np.resize(np.array(list(_DEALT)), samples)
    return Split(*(np.sort(drawn[turns == turn]) for turn in "fcj"))
