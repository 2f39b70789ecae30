"""Names in little room: what different names have in common goes, and they stay different."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal

from rich.cells import cell_len

Cut = Literal["middle", "end"]

_GONE = "…"
_ELEMENT = re.compile(r"[^/;:]+")
_ELEMENT_WITHOUT_SLASHES = re.compile(r"[^.;:]+")
_MOST_ELEMENTS = 3
_LEAST_TAIL = 3


def plain(text: str) -> str:
    """The text with anything that could steer a terminal or break a line replaced."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def shorten(name: str, width: int, cut: Cut = "middle") -> str:
    """The name in at most `width` columns: where it is too long, something is left out.

    Of a node's name the end says most: cut in the middle, it gets two thirds of the space.
    """
    name = plain(name)
    return _split(name, width, _usual_tail(width, cut))


def cropped(text: str, width: int) -> str:
    """The text without what does not fit behind its beginning, which a mark stands for."""
    return text if cells(text) <= width else f"{_head(text, width - 1)}{_GONE}"


def apart(names: Iterable[str], width: int, cut: Cut = "middle") -> dict[str, str]:
    """What to show of each name in at most `width` columns, never the same of two names.

    Names are cut as by `shorten`. Those that would look the same are cut at another place if
    there is one that keeps all of them apart, else down to the elements of their paths in which
    they differ, and their end; where that does not do either, they are numbered.
    """
    shown: dict[str, str] = dict.fromkeys(names, "")
    alike: dict[str, list[str]] = defaultdict(list)
    for name in shown:
        text = plain(name)
        if cells(text) <= width and text not in alike:
            shown[name] = text
        alike[shorten(text, width, cut)].append(name)
    groups = [
        [name for name in group if not shown[name]] for group in alike.values() if len(group) > 1
    ]
    shown |= {group[0]: cut_text for cut_text, group in alike.items() if len(group) == 1}
    taken = {text for text in shown.values() if text}
    found = _group_by_group(groups, width, cut, taken) or _all_at_once(groups, width, cut, taken)
    return shown | found


def _group_by_group(
    groups: Iterable[Sequence[str]], width: int, cut: Cut, taken: Collection[str]
) -> dict[str, str]:
    """The names of each group cut in the first way that tells them apart; nothing if one fails."""
    found: dict[str, str] = {}
    known = set(taken)
    for group in groups:
        texts = _first_distinct(group, width, cut, known)
        if texts is None:
            return {}
        found.update(zip(group, texts, strict=True))
        known.update(texts)
    return found


def _all_at_once(
    groups: Iterable[Sequence[str]], width: int, cut: Cut, taken: Collection[str]
) -> dict[str, str]:
    """The names of all groups cut in one way, and numbered where that does not tell them apart."""
    names = [name for group in groups for name in group]
    texts = _first_distinct(names, width, cut, taken)
    if texts is None:
        texts = _numbered(_by_elements([plain(name) for name in names], width), width, taken)
    return dict(zip(names, texts, strict=True))


def _first_distinct(
    names: Sequence[str], width: int, cut: Cut, taken: Collection[str]
) -> Sequence[str] | None:
    """Cut names, none of which is another or one that is taken; None where no way does it."""
    for found in _ways([plain(name) for name in names], width, cut):
        if len(set(found)) == len(found) and not any(text in taken for text in found):
            return found
    return None


def _ways(texts: Sequence[str], width: int, cut: Cut) -> Iterator[list[str]]:
    """The texts cut in one way after the other: the usual one first, rather more end than less."""
    usual = _usual_tail(width, cut)
    for tail in (*range(usual, width), *range(usual - 1, _LEAST_TAIL - 1, -1)):
        yield [_split(text, width, tail) for text in texts]
    yield _by_elements(texts, width)


def _usual_tail(width: int, cut: Cut) -> int:
    return 2 * (width - 1) // 3 if cut == "middle" else 0


def _split(text: str, width: int, tail: int) -> str:
    """Head and tail of a text that is too long; the tail has so many columns."""
    if cells(text) <= width:
        return text
    return f"{_head(text, width - 1 - tail)}{_GONE}{_tail(text, tail)}"


def _head(text: str, width: int) -> str:
    """As much of the beginning as fits."""
    text = text[: max(0, width)]
    while cells(text) > width:
        text = text[:-1]
    return text


def _tail(text: str, width: int) -> str:
    """As much of the end as fits."""
    text = text[len(text) - width :] if 0 < width < len(text) else text if width > 0 else ""
    while cells(text) > width:
        text = text[1:]
    return text


def _numbered(texts: Sequence[str], width: int, taken: Collection[str]) -> list[str]:
    """The texts, those that are there already with a number: `name~2`."""
    found: list[str] = []
    known = set(taken)
    for text in texts:
        numbered, number = text, 1
        while numbered in known:
            number += 1
            mark = f"~{number}"
            numbered = f"{_head(text, width - len(mark))}{mark}"
        found.append(numbered)
        known.add(numbered)
    return found


# --- elements of paths ---------------------------------------------------------------------------


def _by_elements(texts: Sequence[str], width: int) -> list[str]:
    """Of each text the elements that tell it from the others, and its end."""
    kind = _ELEMENT if any("/" in text for text in texts) else _ELEMENT_WITHOUT_SLASHES
    spans = [[match.span() for match in kind.finditer(text)] for text in texts]
    paths = [
        [text[start:end] for start, end in own] for text, own in zip(texts, spans, strict=True)
    ]
    telling = _telling(paths)
    return [
        _shown_elements(text, [own[place] for place in _places(telling, len(own))], width)
        for text, own in zip(texts, spans, strict=True)
    ]


def _telling(paths: Sequence[Sequence[str]]) -> list[int]:
    """Places of the elements, counted from the end, by which most paths can be told apart.

    The last element is shown in any case and is none of them.
    """
    chosen: list[int] = []
    keys: list[tuple[str, ...]] = [tuple(path[-1:]) for path in paths]
    places = range(-2, -max(map(len, paths)) - 1, -1)
    while len(chosen) < _MOST_ELEMENTS and len(set(keys)) < len(keys):
        known = len(set(keys))
        found = {place: len(set(_extended(keys, paths, place))) for place in places}
        best = max(found, key=lambda place: found[place], default=0)
        if not best or found[best] == known:
            break
        chosen.append(best)
        keys = _extended(keys, paths, best)
    return chosen


def _extended(
    keys: Sequence[tuple[str, ...]], paths: Sequence[Sequence[str]], place: int
) -> list[tuple[str, ...]]:
    """The keys with one more element of each path; an empty one where it is too short."""
    return [
        (*key, path[place] if len(path) >= -place else "")
        for key, path in zip(keys, paths, strict=True)
    ]


def _places(telling: Sequence[int], length: int) -> list[int]:
    """Those of the places that a path of this length has, from its beginning on."""
    return sorted(length + place for place in telling if length + place >= 0)


def _shown_elements(text: str, spans: Sequence[tuple[int, int]], width: int) -> str:
    """The end of each element in these spans, and that of the text, in `width` columns."""
    if not spans:
        return _split(text, width, width - 1)
    room = width - len(spans) - 1
    share = max(1, (room - max(_LEAST_TAIL, room // 3)) // len(spans))
    found = "".join(_GONE + _tail(text[start:end], share) for start, end in spans)
    rest, left = text[spans[-1][1] :], width - cells(found)
    return found + (rest if cells(rest) <= left else _GONE + _tail(rest, left - 1))
