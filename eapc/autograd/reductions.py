"""Sums, extremes and norms along axes, and what is ordered or counted along one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eapc.autograd.arrays import ints
from eapc.autograd.rules import Call, rule

Axes = tuple[int, ...]


def axes_of(call: Call, given: Tensor | None) -> Axes | None:
    """The axes that a node names, by attribute or by input; None where it names none."""
    axes = call.get("axes") if given is None else ints(given)
    return tuple(axes) if axes else None


def _product(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, Callable[[Tensor, Axes, bool], Tensor]] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


@rule(*_REDUCTIONS)
def reduction(call: Call, x: Tensor, given: Tensor | None = None) -> Tensor:
    """f along axes: all of them where none is named, unless that is to change nothing."""
    axes = axes_of(call, given)
    if axes is None and call.get("noop_with_empty_axes", 0):
        return x
    axes = axes if axes is not None else tuple(range(x.dim()))
    y = _REDUCTIONS[call.op_type](x, axes, bool(call.get("keepdims", 1)))
    return y if x.is_floating_point() else y.to(x.dtype)


@rule("ArgMax", "ArgMin")
def arg_extreme(call: Call, x: Tensor) -> Tensor:
    """Where the extreme lies along an axis: the first place, or the last if asked for."""
    axis, keep = call.get("axis", 0), bool(call.get("keepdims", 1))
    find = torch.argmax if call.op_type == "ArgMax" else torch.argmin
    if not call.get("select_last_index", 0):
        return find(x, dim=axis, keepdim=keep)
    last: Tensor = x.shape[axis] - 1 - find(x.flip(axis), dim=axis, keepdim=keep)
    return last


@rule("TopK")
def top_k(call: Call, x: Tensor, count: Tensor | None = None) -> list[Tensor]:
    """The greatest or least values along an axis, and where they were; ties in their order."""
    k = call.get("k") if count is None else ints(count)[0]
    axis, greatest = call.get("axis", -1), bool(call.get("largest", 1))
    values, places = torch.sort(x, dim=axis, descending=greatest, stable=True)
    return [values.narrow(axis, 0, k), places.narrow(axis, 0, k)]


@rule("CumSum")
def cumulative_sum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    """Sums of all elements up to each along an axis, without itself or backwards if asked for."""
    along = ints(axis)[0]
    x = x.flip(along) if call.get("reverse", 0) else x
    y = x.cumsum(along).to(x.dtype)
    y = y - x if call.get("exclusive", 0) else y
    return y.flip(along) if call.get("reverse", 0) else y
