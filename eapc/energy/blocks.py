"""Blocks of a network, found in its nodes' names: parts that a user has named together.

A name is a path of elements: `/layer1/layer1.0/conv1/Conv`, or `block.conv1.bn` where no name of a
node with work has a slash. Converters that join names by semicolons put a node's own last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Path = tuple[str, ...]

_SHARED = 2
"""Nodes with work of their own that make a common beginning of their names a block."""


class NamedNode(NamedTuple):
    """A node by its key, with that of its host if it is fused; and whether it has MACs or so."""

    key: str
    host: str
    has_work: bool


def blocks_of(nodes: Iterable[NamedNode]) -> dict[str, str]:
    """The block of each node, by its key.

    A block is the longest beginning of a node's path that nodes with work share, two at least,
    beyond what all of them share. A node without such a beginning is in a block of its own: that
    of the first element in which paths differ. What is fused is in the block of its host.
    """
    nodes = list(nodes)
    working = [node.key for node in nodes if node.has_work]
    mark = "/" if any("/" in key for key in working or [node.key for node in nodes]) else "."
    paths = {node.key: _path(node.key, mark) for node in nodes}
    root = len(_common([paths[key] for key in working]))
    counts = Counter(
        path[:end] for path in map(paths.__getitem__, working) for end in range(1, len(path) + 1)
    )
    own = {key: mark.join(_block(path, root, counts)) for key, path in paths.items()}
    hosts = {node.key: node.host for node in nodes if node.host}
    return {key: own[_last_host(key, hosts, own)] for key in own}


def _path(key: str, mark: str) -> Path:
    own = key.rpartition(";")[2] or key
    return tuple(filter(None, own.split(mark))) or (own,)


def _common(paths: Sequence[Path]) -> Path:
    """The beginning that all paths share, which is none of them; nothing of one path alone."""
    if len(paths) < _SHARED:
        return ()
    first, last = min(paths), max(paths)
    most = min(map(len, paths)) - 1
    end = next((i for i in range(most) if first[i] != last[i]), most)
    return first[:end]


def _block(path: Path, root: int, counts: Mapping[Path, int]) -> Path:
    """The longest shared beginning that is longer than the root; else one element more than it."""
    for end in range(len(path), root, -1):
        if counts.get(path[:end], 0) >= _SHARED:
            return path[:end]
    return path[: root + 1]


def _last_host(key: str, hosts: Mapping[str, str], known: Mapping[str, str]) -> str:
    """The node that a chain of fused ones ends in, as far as it is known."""
    seen = {key}
    while (host := hosts.get(key, "")) in known and host not in seen:
        seen.add(host)
        key = host
    return key
