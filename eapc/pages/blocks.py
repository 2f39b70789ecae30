"""The blocks of a network: nodes whose names begin alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SEPARATORS = re.compile(r"[/.:]+")
_MOST_BLOCKS = 40
OTHERS = "(no block)"


def blocks_of(names: Sequence[str]) -> list[str]:
    """The block of each name: as many of its first parts as tell at most 40 blocks apart.

    Parts end in `/`, `.` or `:`, the last one being the node itself: `layer1.0.conv1` is in
    `layer1` or in `layer1.0`. A name of one part is in no block.
    """
    parts = [[part for part in _SEPARATORS.split(name) if part][:-1] for name in names]
    depth = max(map(len, parts), default=0)
    while depth > 1 and len({tuple(each[:depth]) for each in parts}) > _MOST_BLOCKS:
        depth -= 1
    return [_prefix(name, len(each[:depth])) for name, each in zip(names, parts, strict=True)]


def _prefix(name: str, parts: int) -> str:
    """The first parts of a name with what separates them, but for what it begins with."""
    name = name.lstrip("/.:")
    ends = [found.start() for found in _SEPARATORS.finditer(name)]
    return name[: ends[parts - 1]] if parts else OTHERS
