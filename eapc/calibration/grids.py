"""The grid that a layer's new weights must lie on, in the solver's units."""

from __future__ import annotations

import numpy as np

from eapc.calibration.statistics import row_scale
from eapc.layers import TiedLayers
from eapc.model import Array, Model, codes_of, seen_through
from eapc.solvers import WeightGrid


def weight_grid(tied: TiedLayers, model: Model) -> WeightGrid | None:
    """What W of z may be made of where the file stores codes; None where it stores numbers."""
    first = tied.first
    codes = codes_of(model, first.source)
    if codes is None:
        return None

    def arranged(values: Array) -> Array:
        seen = seen_through(model, first.source, values)
        return first.form.arranged(seen).astype(np.float64)

    low, high = (arranged(bound) for bound in codes.bounds)
    step = arranged(codes.scale)
    step = step * first.form.factor * row_scale(tied, step)
    turned = step < 0
    return WeightGrid(abs(step), np.where(turned, -high, low), np.where(turned, -low, high))
