"""Shapes as operands: which numbers of a target shape must change with the axes it describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from eapc.channels.axis_rules import Counts, Effect, Follows, Freeze, Port, Site
from eapc.channels.entries import Entries, Entry, Literal, follows, lengths_in
from eapc.channels.groups import Number, Patch

COMPUTED = "its shape is computed in a way that need not follow"
FIRST_OPSET_OF_WHERE = 9


def describe_target(
    site: Site,
    operand: int,
    described: Port,
    shrinking: Mapping[int, int],
    free: Mapping[int, int] | None = None,
) -> Iterator[Effect]:
    """Ties, freezes and numbers that make a shape operand follow the axes of `described`.

    `shrinking` maps positions of the operand to the axes that a rule has tied; the axis at any
    other position keeps its length, and so does every length that its entry comes from. `free`
    has, by position, a number that may stand there whatever the length is.
    """
    entries = site.entries(site.node.input(operand))
    yield Follows(operand)
    if entries is None or len(entries) <= max(shrinking, default=0):
        for axis in shrinking.values():
            yield Freeze(described, axis, COMPUTED)
        yield from _kept(site, entries or (), None)
        return
    target = _Target(site, operand, described, len(entries), free or {})
    for place, entry in enumerate(_own_literals(entries)):
        if place in shrinking:
            yield from target.following(entry, place, shrinking[place])
        elif place < described.rank:
            yield from _kept(site, (entry,), target.patch(entry, place, place))
        else:
            yield from _kept(site, (entry,), None)


def _own_literals(entries: Entries) -> Iterator[Entry]:
    """The entries; a number of a constant that two of them come from counts as shared."""
    uses = Counter(entries)
    for entry in entries:
        shared = isinstance(entry, Literal) and uses[entry] > 1
        yield replace(entry, shared=True) if isinstance(entry, Literal) and shared else entry


def _kept(site: Site, entries: Entries, patch: Patch | None) -> Iterator[Freeze]:
    """The lengths that entries come from must not change."""
    for length in lengths_in(entries):
        port = site.port_of(length.tensor)
        if port is not None:
            yield Freeze(port, length.axis, patch=patch)


@dataclass(frozen=True)
class _Target:
    """A shape operand of `count` entries and the tensor that it describes."""

    site: Site
    operand: int
    described: Port
    count: int
    free: Mapping[int, int]

    def following(self, entry: Entry, place: int, axis: int) -> Iterator[Effect]:
        """What makes an entry follow an axis that may shrink."""
        if isinstance(entry, Literal):
            yield from self._number(entry, place, axis)
            return
        patch = self.patch(entry, place, axis)
        counts = self._counts(entry, axis)
        if counts is not None:
            yield replace(counts, patch=patch)
            return
        yield Freeze(self.described, axis, COMPUTED, patch)
        yield from _kept(self.site, (entry,), patch)

    def patch(self, entry: Entry, place: int, axis: int) -> Patch | None:
        """The entry overwritten by what may always stand there; None where nothing may."""
        if place not in self.free:
            return None
        lengths = frozenset((found.tensor, found.axis) for found in lengths_in((entry,)))
        return replace(self._new_length(place, axis), value=self.free[place], lengths=lengths)

    def _new_length(self, place: int, axis: int) -> Patch:
        node, tensor, size = self.site.node.key, self.described.tensor, self.described.shape[axis]
        return Patch(node, self.operand, place, self.count, tensor, axis, size, None)

    def _number(self, entry: Literal, place: int, axis: int) -> Iterator[Effect]:
        size = self.described.shape[axis]
        if entry.value <= 0 or entry.value != size:
            return
        if not entry.shared:
            reader = entry.reader or self.site.node.key
            place_of = (reader, entry.index, self.described.tensor, axis, 0, size)
            yield Number(*place_of, constant=entry.constant)
        elif self.site.opset >= FIRST_OPSET_OF_WHERE:
            yield self._new_length(place, axis)
        else:
            yield Freeze(self.described, axis, "a number of its shape is used elsewhere too")

    def _counts(self, entry: Entry, axis: int) -> Counts | None:
        length = next(iter(lengths_in((entry,))), None)
        source = self.site.port_of(length.tensor) if length else None
        if length is None or source is None:
            return None
        size = self.described.shape[axis]
        ratio = follows(entry, source.shape[length.axis], size)
        return Counts(source, length.axis, self.described, axis, ratio) if ratio else None
