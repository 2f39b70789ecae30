"""Elements by their places: slices, gathers and scatters."""

from __future__ import annotations

import torch
from torch import Tensor

from eapc.autograd.arrays import ints
from eapc.autograd.rules import Call, rule


@rule("Slice")
def slices(
    call: Call,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """x between bounds along some axes, backwards where a step is negative."""
    begin = call.get("starts") if starts is None else ints(starts)
    end = call.get("ends") if ends is None else ints(ends)
    along = call.get("axes", range(len(begin))) if axes is None else ints(axes)
    by = [1] * len(begin) if steps is None else ints(steps)
    for axis, first, last, step in zip(along, begin, end, by, strict=True):
        places = range(x.shape[axis])[first:last:step]
        if step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(places.start, places.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(places, dtype=torch.int64))
    return x


@rule("Gather")
def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Slices of x along an axis."""
    axis = call.get("axis", 0) % x.dim()
    places = indices.long() % x.shape[axis]
    found = x.index_select(axis, places.flatten())
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@rule("GatherElements")
def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """One element of x for each index along an axis."""
    axis = call.get("axis", 0)
    return torch.gather(x, axis, indices.long() % x.shape[axis])


@rule("GatherND")
def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Slices of x at places of several coordinates, within each of the first axes."""
    batch = call.get("batch_dims", 0)
    shared = [
        torch.arange(length).reshape([-1] + [1] * (indices.dim() - 2 - axis))
        for axis, length in enumerate(indices.shape[:batch])
    ]
    return x[(*shared, *indices.long().unbind(-1))]


_REDUCED = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@rule("ScatterElements", "Scatter")
def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with elements along an axis replaced, or combined with what stands there."""
    axis, how = call.get("axis", 0), call.get("reduction", "none")
    places = indices.long() % x.shape[axis]
    if how == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, _REDUCED[how])


@rule("ScatterND")
def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with slices at places of several coordinates replaced, or combined with them."""
    depth, how = indices.shape[-1], call.get("reduction", "none")
    sizes = torch.tensor(x.shape[:depth], dtype=torch.int64)
    strides = sizes.flip(0).cumprod(0).flip(0).div(sizes, rounding_mode="trunc")
    rows = ((indices.long() % sizes) * strides).sum(-1).flatten()
    flat = x.reshape(int(sizes.prod()), -1)
    changes = updates.reshape(len(rows), -1)
    if how == "none":
        return flat.index_copy(0, rows, changes).reshape(x.shape)
    places = rows[:, None].expand(changes.shape)
    return flat.scatter_reduce(0, places, changes, _REDUCED[how]).reshape(x.shape)


@rule("OneHot")
def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """One of two values by whether an index is a place of the new axis."""
    count = ints(depth)[0]
    axis = call.get("axis", -1) % (indices.dim() + 1)
    places = torch.arange(count).reshape([-1] + [1] * (indices.dim() - axis))
    at = indices.long()
    at = torch.where((at < 0) & (at >= -count), at + count, at)
    hot = at.unsqueeze(axis) == places
    return torch.where(hot, values[1], values[0])


@rule("NonZero")
def non_zero(_: Call, x: Tensor) -> Tensor:
    """Places of elements that are not zero, by axis."""
    return torch.nonzero(x).t()


@rule("Compress")
def compress(call: Call, x: Tensor, condition: Tensor) -> Tensor:
    """Slices of x along an axis, or elements of it, where a condition holds."""
    places = torch.nonzero(condition).flatten()
    axis = call.get("axis")
    return x.flatten()[places] if axis is None else x.index_select(axis, places)
