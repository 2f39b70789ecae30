"""Which classes are to be kept: numbers or names, as a list or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eapc.classes.class_map import CLASSES_KEY, ClassMap, class_map, names_told
from eapc.classes.heads import find_head
from eapc.data import shortened
from eapc.errors import ModelError, UsageError
from eapc.model import Model

ChosenClasses = str | Path | Sequence[int | str]
"""`3,17,42`, the path of a file, or a list of numbers and names."""


def parse_classes(given: ChosenClasses) -> tuple[str, ...]:
    """The entries of a list or of a file, one per line or separated by commas, as texts.

    A line is one entry where it is a name that holds commas, which is for `choose` to tell: so
    lines stay whole here. Raises UsageError for a file that cannot be read, and for no entries.
    """
    if isinstance(given, str | Path):
        lines = _lines(given)
    elif all(
        isinstance(each, int | str | np.integer) and not isinstance(each, bool) for each in given
    ):
        lines = [str(each) for each in given]
    else:
        raise UsageError("--classes: expected numbers or names")
    entries = tuple(filter(None, (line.strip() for line in lines)))
    if not entries:
        raise UsageError(f"--classes: no class in '{given}'")
    return entries


def _lines(given: str | Path) -> list[str]:
    path = Path(given)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # a long list is no name that a file could have
        is_file = False
    if not is_file:
        if isinstance(given, Path) or path.suffix in (".txt", ".csv"):
            raise UsageError(f"--classes: {given}: no such file")
        return [given]
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--classes: {given}: cannot be read: {error}") from error


@dataclass(frozen=True)
class KnownClasses:
    """The classes that a network tells: how many scores it has, and what they stand for."""

    scores: int
    kept: ClassMap | None = None
    names: tuple[str, ...] = ()

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the scores, as the uncut network counts them."""
        return self.kept.classes if self.kept else range(self.scores)


def known_classes(model: Model, names: Sequence[str] = ()) -> KnownClasses:
    """What a network tells of its classes; `names` where its file names none.

    Raises ModelError where it has no head to cut, or another number of classes than its file says.
    """
    scores, kept = find_head(model).classes, class_map(model)
    if kept is not None and len(kept.classes) != scores:
        said = f"metadata {CLASSES_KEY} list {len(kept.classes)} classes, and it has {scores}"
        raise ModelError(f"{model.name}: {said}")
    return KnownClasses(scores, kept, names_told(model) or tuple(names))


def choose(entries: Sequence[str], known: KnownClasses) -> ClassMap:
    """The classes that entries stand for, in their order; digits are a number and never a name.

    Raises UsageError for a class that does not exist or is given twice, and for fewer than two.
    """
    numbers, names = list(known.numbers), known.names
    by_name = dict(zip(names, numbers, strict=False)) if len(names) == len(numbers) else {}
    chosen: list[int] = []
    for entry in _split(entries, by_name):
        number = int(entry) if entry.isdecimal() else by_name.get(entry)
        if number is None or number not in numbers:
            raise UsageError(f"no class '{entry}': {_told(known, by_name)}")
        if not entry.isdecimal() and names.count(entry) > 1:
            raise UsageError(f"several classes are called '{entry}': give the number")
        if number in chosen:
            raise UsageError(f"class {number} is given twice")
        chosen.append(number)
    if len(chosen) < 2:
        raise UsageError("one class answers nothing: give two or more")
    name_of = dict(zip(numbers, names, strict=False)) if by_name else {}
    return ClassMap(tuple(chosen), tuple(name_of[n] for n in chosen) if name_of else ())


def _split(entries: Sequence[str], names: Mapping[str, int]) -> Iterator[str]:
    for entry in entries:
        if entry in names:
            yield entry
        else:
            yield from filter(None, (part.strip() for part in entry.split(",")))


def _told(known: KnownClasses, names: Mapping[str, int]) -> str:
    """Which classes there are."""
    numbers = list(known.numbers)
    if known.kept:
        told = f"the network was cut to {shortened(numbers)}"
    else:
        told = f"the network tells 0 to {numbers[-1]}"
    return told if names else f"{told}, and nothing tells their names"
