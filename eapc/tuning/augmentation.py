"""Other views of the same images: mirrored and moved by a few pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eapc.data import Dataset
from eapc.errors import UsageError
from eapc.model import Array

KINDS = ("auto", "none", "shift", "flip", "shift+flip")
_FARTHEST = 8
"""Images move by up to one part in so many of their width and height."""

_CHANNELS = {1: "shift", 3: "shift+flip"}
"""What `auto` does to images of one and three channels: mirrored digits are no digits."""

_SMALLEST = 16
"""Maps of fewer rows or columns are no images that could be moved."""


@dataclass(frozen=True)
class Augmentation:
    """Mirrors a random half of a batch and moves each image; `images` names the inputs that are.

    The edge is repeated where a moved image leaves room.
    """

    images: tuple[str, ...]
    flips: bool
    shifts: bool

    @classmethod
    def of(cls, kind: str, data: Dataset) -> Augmentation:
        """The augmentation of a name, for the inputs of data that are images (n, C, H, W).

        Raises UsageError for an unknown name, or where there are no images to change.
        """
        if kind not in KINDS:
            raise UsageError(f"--augment {kind}: expected one of {', '.join(KINDS)}")
        images = {name: a.shape[1] for name, a in data.arrays.items() if _is_image(a)}
        if kind == "auto":
            alike = len(images) == 1 and len(data.arrays) == 1
            kind = _CHANNELS.get(next(iter(images.values())), "none") if alike else "none"
        elif kind != "none" and not images:
            raise UsageError(f"--augment {kind}: no input is an image (batch, channels, H, W)")
        return cls(tuple(images), "flip" in kind, "shift" in kind)

    def __str__(self) -> str:
        kinds = [name for name, on in (("shift", self.shifts), ("flip", self.flips)) if on]
        return "+".join(kinds) or "none"

    def apply(self, feed: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """A feed with its images changed; all images of a sample in the same way."""
        if not (self.flips or self.shifts):
            return feed
        count = len(feed[self.images[0]])
        mirrored = rng.random(count) < 0.5 if self.flips else np.zeros(count, bool)
        moves = rng.random((count, 2)) * 2 - 1 if self.shifts else np.zeros((count, 2))
        changed = {name: _changed(feed[name], mirrored, moves) for name in self.images}
        return {**feed, **changed}


def _is_image(array: Array) -> bool:
    return array.ndim == 4 and array.shape[1] in _CHANNELS and min(array.shape[2:]) >= _SMALLEST


def _changed(x: Array, mirrored: Array, moves: Array) -> Array:
    """x (n, C, H, W) mirrored where it is to be, and moved by a share of its farthest moves."""
    height, width = x.shape[2:]
    down, right = (
        np.rint(moves[:, axis] * (size // _FARTHEST)).astype(np.intp)
        for axis, size in enumerate((height, width))
    )
    rows = (np.arange(height) + down[:, None]).clip(0, height - 1)
    columns = (np.arange(width) + right[:, None]).clip(0, width - 1)
    columns = np.where(mirrored[:, None], width - 1 - columns, columns)
    samples = np.arange(len(x))[:, None, None]
    found: Array = x.transpose(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(found.transpose(0, 3, 1, 2))
