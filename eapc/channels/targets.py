"""Shapes as operands: which numbers of a target shape must change with the axes it describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from eapc.channels.axis_rules import Counts, Effect, Follows, Freeze, Port, Site
from eapc.channels.groups import Number
from eapc.channels.shape_entries import Entries, Entry, Length, Literal, lengths_in

COMPUTED = "its shape is computed in a way that need not follow"


def describe_target(
    site: Site, operand: int, described: Port, shrinking: dict[int, int]
) -> Iterator[Effect]:
    """Ties, freezes and numbers that make a shape operand follow the axes of `described`.

    `shrinking` maps positions of the operand to the axes that a rule has tied; the axis at any
    other position keeps its length, and so does every length that its entry comes from.
    """
    name = site.node.input(operand)
    yield Follows(operand)
    entries = site.entries(name)
    if entries is None or len(entries) <= max(shrinking, default=0):
        for axis in shrinking.values():
            yield Freeze(described, axis, COMPUTED)
        for length in lengths_in(entries or ()):
            yield from _frozen(site, length)
        return
    for place, entry in enumerate(_own_literals(entries)):
        if place in shrinking:
            yield from _following(site, entry, described, shrinking[place])
        else:
            for length in lengths_in((entry,)):
                yield from _frozen(site, length)


def _own_literals(entries: Entries) -> Iterator[Entry]:
    """The entries; a number of a constant that two of them come from counts as shared."""
    uses = Counter(entries)
    for entry in entries:
        shared = isinstance(entry, Literal) and uses[entry] > 1
        yield replace(entry, shared=True) if isinstance(entry, Literal) and shared else entry


def _following(site: Site, entry: Entry, described: Port, axis: int) -> Iterator[Effect]:
    size = described.shape[axis]
    if isinstance(entry, Literal):
        if entry.value <= 0 or entry.value != size:
            return
        if entry.shared:
            yield Freeze(described, axis, "a number of its shape is used elsewhere too")
            return
        reader = entry.reader or site.node.key
        place = (reader, entry.index, described.tensor, axis, 0, size)
        yield Number(*place, constant=entry.constant)
        return
    source = site.port_of(entry.tensor) if isinstance(entry, Length) else None
    if isinstance(entry, Length) and source and _is_part(entry, source, size):
        yield Counts(source, entry.axis, described, axis, entry.divisor)
        return
    yield Freeze(described, axis, COMPUTED)
    for length in lengths_in((entry,)):
        yield from _frozen(site, length)


def _is_part(length: Length, source: Port, size: int) -> bool:
    return source.shape[length.axis] == length.divisor * size


def _frozen(site: Site, length: Length) -> Iterator[Freeze]:
    port = site.port_of(length.tensor)
    if port is not None:
        yield Freeze(port, length.axis)
