"""A file of two networks held against both of them, routed by hand."""

from __future__ import annotations

import numpy as np

from eapc.data import Dataset
from eapc.errors import VerificationError
from eapc.model import Array, Model
from eapc.routing.merge import Router
from eapc.runtime import open_model

_ROUNDING = 1e-4
"""Hardness this close to the threshold may fall to either side in a run of another size."""

_AT_ONCE = 32


def check_routing(
    model: Model, data: Dataset, by_hand: Array, router: Router, hardness: Array, threads: int
) -> None:
    """Raise VerificationError unless all mixes of inputs are answered as by hand."""
    session, (name,) = open_model(model, threads), model.outputs
    hard = router.is_hard(hardness)
    with np.errstate(invalid="ignore"):
        sure = ~(np.abs(hardness - router.threshold) < _ROUNDING * (1 + np.abs(hardness)))
    kinds = (np.flatnonzero(each & sure) for each in (hard, ~hard, np.ones_like(hard)))
    for rows in kinds:
        for size in (1, _AT_ONCE):
            asked = rows[:size]
            feeds = data.take(asked).batches(_AT_ONCE) if len(asked) else ()
            given = [np.asarray(session.run(feed)[name]) for feed in feeds]
            if given and not _alike(np.concatenate(given), by_hand[asked]):
                raise VerificationError(
                    f"the dynamic network answers {len(asked)} inputs otherwise than its parts do"
                )


def _alike(given: Array, expected: Array) -> bool:
    given = given.reshape(len(given), -1)
    room = 1e-3 * float(np.nanmax(np.abs(expected), initial=1e-6))
    return given.shape == expected.shape and np.allclose(
        given, expected, rtol=1e-3, atol=room, equal_nan=True
    )
