"""Where the nodes of a network are drawn: layer by layer, in columns like those of a newspaper.

Layers are those of the longest path from an input; within them igraph puts nodes so that lines
cross little (Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system
structures", 1981). A deep network is cut into columns, so that all of it fits a screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]
Edge = tuple[int, int]

_SHAPE = 1.65
"""Width of the whole over its height."""

_STEP = (150, 46)
"""Pixels from box to box, across and down, which that shape goes by."""

_GUTTER = 0.6
_ABOVE = 0.5
"""Boxes between columns, and from a row to where lines leave or enter its column."""

_LANE = 0.25
"""Of a line's way past a box, in boxes."""

_MOST_BENDS = 200_000
"""Lines over more layers than this in total are drawn straight, and layers in file order."""

_ROUNDS = 20
"""Of reducing crossings; more change little."""


@dataclass(frozen=True)
class Layout:
    """Centres of the nodes and the corners of each line, in boxes; rows count from 0."""

    nodes: Sequence[Point]
    lines: Sequence[Sequence[Point]]


def lay_out(count: int, edges: Sequence[Edge]) -> Layout:
    """Places for nodes 0 to `count`, each edge from a lower number to a higher."""
    if not count:
        return Layout((), ())
    layers = layers_of(count, edges)
    places, bends = _crossing_little(count, edges, layers)
    paths = [[places[a], *bend, places[b]] for (a, b), bend in zip(edges, bends, strict=True)]
    corners = [x for path in paths for x, _ in path] + [x for x, _ in places]
    left, wide = min(corners), max(corners) - min(corners) + 1
    rows = _rows(max(layers) + 1, wide)
    columns = _Columns(rows, left, wide + _GUTTER)
    nodes = [columns.place(point) for point in places]
    return Layout(nodes, [columns.path(path) for path in paths])


def layers_of(count: int, edges: Sequence[Edge]) -> list[int]:
    """Layer of each node: one below the lowest that it reads; sources right above their readers."""
    layers = [0] * count
    for start, end in sorted(edges, key=lambda edge: edge[1]):
        layers[end] = max(layers[end], layers[start] + 1)
    sources = set(range(count)) - {end for _, end in edges}
    nearest: dict[int, int] = {}
    for start, end in edges:
        if start in sources:
            nearest[start] = min(nearest.get(start, layers[end]), layers[end])
    for source, reader in nearest.items():
        layers[source] = reader - 1
    return layers


def _crossing_little(
    count: int, edges: Sequence[Edge], layers: Sequence[int]
) -> tuple[list[Point], list[list[Point]]]:
    """Places of nodes, and where edges pass the layers between their ends."""
    if sum(layers[end] - layers[start] - 1 for start, end in edges) > _MOST_BENDS:
        return _in_file_order(layers), [[] for _ in edges]
    import igraph

    graph = igraph.Graph(n=count, edges=list(edges), directed=True)
    found = graph.layout_sugiyama(layers=list(layers), maxiter=_ROUNDS)
    return _side_by_side(found.coords, found.edge_routing)


def _side_by_side(
    nodes: Sequence[Sequence[float]], bends: Sequence[Sequence[Sequence[float]]]
) -> tuple[list[Point], list[list[Point]]]:
    """The same order within each layer, as close as boxes and lines allow, about one middle."""
    rows: dict[int, list[tuple[float, int, int]]] = {}
    for place, (x, layer) in enumerate(nodes):
        rows.setdefault(int(layer), []).append((x, -1, place))
    for line, bend in enumerate(bends):
        for x, layer in bend:
            rows.setdefault(int(layer), []).append((x, line, 0))
    places: list[Point] = [(0.0, 0.0)] * len(nodes)
    paths: list[list[Point]] = [[] for _ in bends]
    for layer, row in sorted(rows.items()):
        widths = [1.0 if line < 0 else _LANE for _, line, _ in sorted(row)]
        left = -sum(widths) / 2
        for (_, line, place), width in zip(sorted(row), widths, strict=True):
            point = (left + width / 2, float(layer))
            left += width
            if line < 0:
                places[place] = point
            else:
                paths[line].append(point)
    return places, paths


def _in_file_order(layers: Sequence[int]) -> list[Point]:
    taken: dict[int, int] = {}
    places = []
    for layer in layers:
        taken[layer] = taken.get(layer, 0) + 1
        places.append((taken[layer] - 1.0, float(layer)))
    return [(x - (taken[int(layer)] - 1) / 2, layer) for x, layer in places]


def _rows(layers: int, wide: float) -> int:
    """Layers per column, so that the whole has about the shape of a screen."""

    def misfit(columns: int) -> float:
        across = columns * (wide + _GUTTER) * _STEP[0]
        down = (math.ceil(layers / columns) + 1) * _STEP[1]
        return abs(math.log(across / down / _SHAPE))

    return math.ceil(layers / min(range(1, layers + 1), key=misfit))


@dataclass(frozen=True)
class _Columns:
    """Columns of so many rows, each `step` right of the one before."""

    rows: int
    left: float
    step: float

    def place(self, point: Point) -> Point:
        """Where a point stands once layers are cut into columns."""
        x, layer = point
        column, row = divmod(layer, self.rows)
        return x - self.left + column * self.step, row

    def path(self, points: Sequence[Point]) -> list[Point]:
        """The same of a line, which goes from the foot of a column to the head of the next."""
        path = [self.place(points[0])]
        for one, other in pairwise(points):
            begin, end = (int(layer // self.rows) for _, layer in (one, other))
            if begin != end:
                (x, row), (to, below) = path[-1], self.place(other)
                gutter = end * self.step - (1 + _GUTTER) / 2
                path += [(x, row + _ABOVE), (gutter, row + _ABOVE)]
                path += [(gutter, below - _ABOVE), (to, below - _ABOVE)]
            path.append(self.place(other))
        return _without_straight(path)


def _without_straight(path: Sequence[Point]) -> list[Point]:
    """The path without points in the middle of a vertical stretch."""
    kept = list(path[:1])
    for point, after in pairwise(path[1:]):
        if not kept[-1][0] == point[0] == after[0]:
            kept.append(point)
    return [*kept, path[-1]]
