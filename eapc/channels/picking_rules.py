"""Axis rules of operators that pick indices of an axis: Slice and Gather."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eapc.channels.axis_rules import (
    Counts,
    Effect,
    Follows,
    Freeze,
    LeftWholeError,
    Port,
    Site,
    Tie,
    axis_rule,
    number_at,
    positive,
    span,
    tie_axes,
)
from eapc.channels.entries import Derived, Entries, Entry, Length, Literal, follows, lengths_in
from eapc.channels.groups import Number, Renumbering


@axis_rule("Slice")
def cut(site: Site) -> Iterator[Effect]:
    """Axes that are not cut follow; of one that is cut, what the bounds leave."""
    x, y = site.input(0), site.output()
    starts, ends = _entries(site, 1, "starts"), _entries(site, 2, "ends")
    axes = site.integers(3, "axes") or list(range(len(starts or ends or ())))
    if not axes:
        raise LeftWholeError("its bounds are computed")
    cut_axes = [positive(axis, x.rank) for axis in axes]
    steps = site.integers(4, "steps") or [1] * len(axes)
    yield from tie_axes(x, y, (axis for axis in range(x.rank) if axis not in cut_axes))
    if starts is None or ends is None or min(len(starts), len(ends)) < len(axes):
        return  # nothing is known of the bounds: what is cut stays whole
    yield from (Follows(1), Follows(2))
    for place, axis in enumerate(cut_axes):
        one = _Cut(site, x, y, axis, place, starts[place], ends[place], steps[place])
        yield from one.effects()


def _entries(site: Site, operand: int, attribute: str) -> Entries | None:
    """Where bounds come from; those of an attribute are numbers as well."""
    if attribute in site.node.attributes:
        numbers = enumerate(site.integers(operand, attribute) or ())
        return tuple(Literal(number, "", place, "", False) for place, number in numbers)
    if not site.node.input(operand):
        raise LeftWholeError("its bounds are missing")
    return site.entries(site.node.input(operand))


@dataclass(frozen=True)
class _Cut:
    """One axis of a Slice, and its bounds at `place` of their operands."""

    site: Site
    x: Port
    y: Port
    axis: int
    place: int
    start: Entry
    end: Entry
    step: int

    def effects(self) -> Iterator[Effect]:
        """What of x is tied to what of y, and what the bounds become."""
        bounds = self._value(self.start), self._value(self.end)
        size = self.x.shape[self.axis]
        if None in bounds or not self._is_own():
            yield from self._left_whole()
            return
        start, stop, step = slice(*bounds, self.step).indices(size)
        if (start, stop, step) == (0, size, 1) and self._are_numbers():
            yield from tie_axes(self.x, self.y, (self.axis,))
        elif step == 1 <= stop - start:
            yield from self._part(start, stop)
        elif self._are_numbers() and (start, stop, step) == (size - 1, -1, -1):
            yield Tie(self.x, self.axis, self.y, self.axis, span(0, size)[::-1])
        elif self._is_regular(start, step) and stop == size:
            yield from self._every(start, step, size)
        else:
            yield from self._left_whole()

    def _is_own(self) -> bool:
        """True unless a bound comes from the length of another axis, which inputs may decide."""
        lengths = lengths_in((self.start, self.end))
        return lengths <= {Length(self.x.tensor, self.axis)}

    def _are_numbers(self) -> bool:
        return isinstance(self.start, Literal) and isinstance(self.end, Literal)

    def _is_regular(self, start: int, step: int) -> bool:
        """True for one of every so many neighbours, whatever the length is."""
        fits = 0 <= start < step and self.x.shape[self.axis] % step == 0
        return fits and self._are_numbers() and self._value(self.start) == start

    def _value(self, entry: Entry) -> int | None:
        if isinstance(entry, Literal):
            return entry.value
        if isinstance(entry, Derived):
            return entry.values[-1]
        port = self.site.port_of(entry.tensor) if isinstance(entry, Length) else None
        return port.shape[entry.axis] if port and isinstance(entry, Length) else None

    def _part(self, start: int, stop: int) -> Iterator[Effect]:
        following = [*self._follow(1, "starts", self.start, start)]
        if stop < self.x.shape[self.axis] or not self._reaches_end():
            following += self._follow(2, "ends", self.end, stop)
        yield Tie(self.x, self.axis, self.y, self.axis, span(start, stop - start))
        yield from following

    def _reaches_end(self) -> bool:
        """True where the end is no less than the axis's length, whatever that becomes."""
        if isinstance(self.end, Literal):
            return True  # it is no less than the length now
        own = Length(self.x.tensor, self.axis)
        if not isinstance(self.end, Derived) or self.end.length != own:
            return self.end == own
        return all(value >= length for length, value in enumerate(self.end.values))

    def _every(self, start: int, step: int, size: int) -> Iterator[Effect]:
        """Neighbours go together, so that what is left is picked in the same steps."""
        indices = span(0, size)
        yield Tie(self.x, self.axis, self.x, self.axis, None, indices // step * step)
        yield Tie(self.x, self.axis, self.y, self.axis, indices[start::step])

    def _follow(self, operand: int, name: str, entry: Entry, bound: int) -> Iterator[Effect]:
        """What makes a bound, `bound` now, follow the axis."""
        if isinstance(entry, Literal):
            yield from self._number(operand, name, entry, bound)
            return
        ratio = follows(entry, self.x.shape[self.axis], bound)
        if ratio is None:
            yield Freeze(self.x, self.axis)
            return
        yield Counts(self.x, self.axis, self.x, self.axis, ratio, span(0, bound))

    def _number(self, operand: int, name: str, entry: Literal, bound: int) -> Iterator[Effect]:
        is_given = name in self.site.node.attributes
        operand_name = self.site.node.input(operand)
        if is_given or self.site.constant(operand_name) is not None:
            place = (self.place, self.x, self.axis, (0, bound))
            yield number_at(self.site, operand, name, *place)
        elif entry.shared:
            yield Freeze(self.x, self.axis)
        else:
            reader = entry.reader or self.site.node.key
            place_of = (reader, entry.index, self.x.tensor, self.axis, 0, bound)
            yield Number(*place_of, constant=entry.constant)

    def _left_whole(self) -> Iterator[Effect]:
        """The axis is in no tie and so stays; so do the lengths that its bounds come from."""
        yield from self._lengths(self.start)
        yield from self._lengths(self.end)

    def _lengths(self, entry: Entry) -> Iterator[Effect]:
        for length in lengths_in((entry,)):
            port = self.site.port_of(length.tensor)
            if port is not None:
                yield Freeze(port, length.axis)


@axis_rule("Gather")
def gathering(site: Site) -> Iterator[Effect]:
    """Of the axis that is picked from go those that are picked, where the indices are constant.

    Computed indices leave it whole. Those of the indices' own axes take its place in the result.
    """
    data, indices, y = site.input(0), site.input(1), site.output()
    axis = positive(site.node.attribute("axis", 0), data.rank)
    for place in range(data.rank):
        if place != axis:
            yield Tie(data, place, y, place if place < axis else place + indices.rank - 1)
    for place in range(indices.rank):
        yield Tie(indices, place, y, axis + place)
    picked = site.constant(indices.tensor)
    is_list = indices.rank == 1 and indices.shape[0] > 1
    size = data.shape[axis]
    is_within = picked is not None and bool(np.all((-size <= picked) & (picked < size)))
    if is_within and is_list and data.rank > 1 and site.is_stored(indices.tensor):
        assert picked is not None  # it is within
        yield Tie(data, axis, y, axis, np.where(picked < 0, picked + size, picked))
        yield Tie(data, axis, data, axis)
        yield Renumbering(indices.tensor, indices.reader, data.tensor, axis, size)
