"""Windows that move over maps: strides, dilations and padding by ONNX's attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from eapc.autograd.rules import Call

Pads = tuple[tuple[int, int], ...]
"""What is added before and behind each spatial axis."""


@dataclass(frozen=True)
class Window:
    """A kernel over spatial axes, `pads` worked out."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: Pads

    @classmethod
    def of(cls, call: Call, sizes: Sequence[int], kernel: Sequence[int] = ()) -> Window:
        """The window of a node over maps of the given sizes; `kernel` is that of weights."""
        kernel = tuple(call.get("kernel_shape", kernel))
        ones = (1,) * len(kernel)
        strides = tuple(call.get("strides", ones))
        dilations = tuple(call.get("dilations", ones))
        spans = [step * (taps - 1) + 1 for taps, step in zip(kernel, dilations, strict=True)]
        return cls(kernel, strides, dilations, _pads(call, sizes, spans, strides))

    @property
    def spans(self) -> tuple[int, ...]:
        """What the kernel spans on each axis, dilation included."""
        return tuple(
            step * (taps - 1) + 1 for taps, step in zip(self.kernel, self.dilations, strict=True)
        )


def _pads(call: Call, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> Pads:
    mode = call.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return ((0, 0),) * len(spans)
    if mode == "NOTSET":
        flat = call.get("pads", [0] * 2 * len(spans))
        return tuple((flat[axis], flat[axis + len(spans)]) for axis in range(len(spans)))
    pads = []
    for size, span, stride in zip(sizes, spans, strides, strict=True):
        whole = max((-(-size // stride) - 1) * stride + span - size, 0)
        less = whole // 2
        pads.append((less, whole - less) if mode == "SAME_UPPER" else (whole - less, less))
    return tuple(pads)


def padded(x: Tensor, pads: Pads, value: float) -> tuple[Tensor, tuple[int, ...]]:
    """x padded where the pads of an axis differ; what is left for the operation to pad itself."""
    if all(begin == end for begin, end in pads):
        return x, tuple(begin for begin, _ in pads)
    return pad_with(x, pads, value), (0,) * len(pads)


def pad_with(x: Tensor, pads: Pads, value: float) -> Tensor:
    """x (N, C, *spatial) with a value around its spatial axes."""
    return F.pad(x, [edge for pair in reversed(pads) for edge in pair], value=value)
