"""Arrays as the network has them become arrays of samples.

A network whose axis of inferences is not the first, such as [steps, batch, features], may be given
arrays of its own layout, (steps, n, features), or of samples, (n, steps, features); those of feeds,
(n, steps, batch, features), are taken apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eapc.model import Array, TensorSpec


def of_samples(
    arrays: Mapping[str, Array], specs: Mapping[str, TensorSpec], counts: Sequence[int] = ()
) -> dict[str, Array]:
    """Each array with its samples along the first axis.

    Where the shape of one fits both layouts, the number of samples that the others and `counts`
    have decides; else it is the network's own where the batch is just the network's, and that
    of samples where the batch is open.
    """
    fitting = {name: _readings(specs[name], array) for name, array in arrays.items()}
    known = {found[0].shape[0] for found in fitting.values() if len(found) == 1} | set(counts)
    result = {}
    for name, found in fitting.items():
        agreeing = [array for array in found if array.shape[0] in known]
        result[name] = (agreeing or found or [arrays[name]])[0]
    return result


def _readings(spec: TensorSpec, array: Array) -> list[Array]:
    """What an array of samples may be, the likelier first; empty where nothing fits."""
    axis, rank = spec.batch_axis, len(spec.shape)
    if not axis or array.ndim not in (rank, rank + 1):
        return [array] if array.ndim else []
    if array.ndim > rank:
        feeds = np.moveaxis(array, axis + 1, 1)
        fits = spec.batch in (None, feeds.shape[1]) or isinstance(spec.batch, str)
        return [feeds.reshape(-1, *feeds.shape[2:])] if fits else []
    own = np.moveaxis(array, axis, 0)
    found = [one for one in (array, own) if _fits(spec.sample_shape, one.shape[1:])]
    return found[::-1] if len(found) > 1 and own.shape[0] == spec.batch else found


def _fits(declared: Sequence[int | str | None], shape: Sequence[int]) -> bool:
    pairs = zip(declared, shape, strict=True)
    return all(not isinstance(size, int) or size == given for size, given in pairs)
