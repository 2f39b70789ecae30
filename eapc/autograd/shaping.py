"""Shapes and arrangement: what moves elements without changing them, and where shapes come from."""

from __future__ import annotations

import math

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from eapc.autograd.arrays import ints, tensor_of, torch_type
from eapc.autograd.reductions import axes_of
from eapc.autograd.rules import Call, rule

# --- constants and shapes ------------------------------------------------------------------------


@rule("Constant")
def constant(call: Call) -> Tensor:
    """A value that the node holds."""
    ((name, value),) = call.attributes.items()
    if name == "value":
        return tensor_of(numpy_helper.to_array(value))
    return tensor_of(np.asarray(value, np.float32 if "float" in name else np.int64))


@rule("ConstantOfShape")
def constant_of_shape(call: Call, shape: Tensor) -> Tensor:
    """One value everywhere, 0 unless given."""
    value = call.get("value")
    filling = torch.zeros(1) if value is None else tensor_of(numpy_helper.to_array(value))
    return filling.reshape(()).expand(ints(shape)).clone()


@rule("Shape")
def shape_of(call: Call, x: Tensor) -> Tensor:
    """The lengths of some axes."""
    return torch.tensor(x.shape[call.get("start", 0) : call.get("end")], dtype=torch.int64)


@rule("Size")
def size_of(_: Call, x: Tensor) -> Tensor:
    """How many elements there are."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@rule("Range")
def sequence(_: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Evenly spaced numbers, the limit excluded."""
    count = max(0, math.ceil((limit.item() - start.item()) / delta.item()))
    return start + torch.arange(count, dtype=start.dtype) * delta


@rule("EyeLike")
def eye_like(call: Call, x: Tensor) -> Tensor:
    """Ones on a diagonal."""
    dtype = torch_type(call.get("dtype")) if call.get("dtype") else x.dtype
    rows, columns = x.shape
    places = torch.arange(columns)[None, :] - torch.arange(rows)[:, None]
    found: Tensor = places.eq(call.get("k", 0)).to(dtype)
    return found


# --- arrangement ---------------------------------------------------------------------------------


@rule("Reshape")
def reshape(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    """x in another shape: 0 keeps an axis unless that is not wanted, -1 is what is left."""
    sizes = ints(shape)
    if not call.get("allowzero", 0):
        sizes = [size or x.shape[axis] for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


@rule("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    """x as a matrix: the axes before one, and those from it on."""
    axis = call.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@rule("Squeeze")
def squeeze(call: Call, x: Tensor, given: Tensor | None = None) -> Tensor:
    """x without some axes of length 1, or any."""
    axes = axes_of(call, given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@rule("Unsqueeze")
def unsqueeze(call: Call, x: Tensor, given: Tensor | None = None) -> Tensor:
    """x with new axes of length 1, counted in the result."""
    axes = axes_of(call, given) or ()
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@rule("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    """x with its axes in another order, reversed unless given."""
    return x.permute(call.get("perm", list(range(x.dim()))[::-1]))


@rule("Concat")
def concatenate(call: Call, *parts: Tensor) -> Tensor:
    """All parts along an axis."""
    return torch.cat(parts, call.get("axis", 1))


@rule("Split")
def split(call: Call, x: Tensor, given: Tensor | None = None) -> list[Tensor]:
    """Parts along an axis: of given lengths, or as even as may be with the last one shorter."""
    axis = call.get("axis", 0)
    lengths = call.get("split") if given is None else ints(given)
    if lengths is None:
        each = -(-x.shape[axis] // call.outputs)
        starts = range(0, each * call.outputs, each)
        lengths = [min(each, x.shape[axis] - start) for start in starts]
    return list(torch.split(x, lengths, axis))


@rule("Expand")
def expand(_: Call, x: Tensor, shape: Tensor) -> Tensor:
    """x repeated along axes of length 1."""
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


@rule("Tile")
def tile(_: Call, x: Tensor, repeats: Tensor) -> Tensor:
    """x repeated along each axis."""
    return x.repeat(ints(repeats))


@rule("DepthToSpace")
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """Blocks of a map from channels, which stand by block (DCR) or by channel (CRD)."""
    n, c, h, w = x.shape
    b = call.get("blocksize")
    if call.get("mode", "DCR") == "DCR":
        parts = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // b**2, h * b, w * b)


@rule("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    """Channels from blocks of a map, in the order of DepthToSpace."""
    n, c, h, w = x.shape
    b = call.get("blocksize")
    order = (0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    parts = x.reshape(n, c, h // b, b, w // b, b).permute(order)
    return parts.reshape(n, c * b**2, h // b, w // b)


@rule("Pad")
def pad(
    call: Call,
    x: Tensor,
    given: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """x with a constant, its edge, or itself mirrored or repeated around it; negative pads cut."""
    edges = call.get("pads") if given is None else ints(given)
    which = range(x.dim()) if axes is None else [axis % x.dim() for axis in ints(axes)]
    mode = call.get("mode", "constant")
    filling = call.get("value", 0.0) if value is None else value.item()
    for at, axis in enumerate(which):
        begin, end = edges[at], edges[at + len(which)]
        if begin or end:
            x = _padded(x, axis, (begin, end), mode, filling)
    return x


def _padded(x: Tensor, axis: int, edges: tuple[int, int], mode: str, filling: float) -> Tensor:
    if mode == "constant":
        behind = x.dim() - 1 - axis
        return F.pad(x, [0, 0] * behind + list(edges), value=filling)
    length = x.shape[axis]
    places = torch.arange(-edges[0], length + edges[1])
    if mode == "reflect":
        period = max(1, 2 * (length - 1))
        places = (places % period).minimum((-places) % period)
    elif mode == "edge":
        places = places.clamp(0, length - 1)
    else:
        places = places % length
    return x.index_select(axis, places)


@rule("Trilu")
def triangle(call: Call, x: Tensor, k: Tensor | None = None) -> Tensor:
    """The upper or lower triangle of x (..., n, m), zeros elsewhere."""
    diagonal = 0 if k is None else ints(k)[0]
    return torch.triu(x, diagonal) if call.get("upper", 1) else torch.tril(x, diagonal)


@rule("ReverseSequence")
def reverse_sequence(call: Call, x: Tensor, lengths: Tensor) -> Tensor:
    """The first elements of each sequence backwards."""
    time, batch = call.get("time_axis", 0), call.get("batch_axis", 1)
    steps = torch.arange(x.shape[time])[:, None]
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    places = places if time < batch else places.t()
    shape = [x.shape[axis] if axis in (time, batch) else 1 for axis in range(x.dim())]
    return torch.gather(x, time, places.reshape(shape).expand(x.shape))
