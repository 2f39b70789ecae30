"""Pages read back: what a browser would see of them, without one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "input", "img", "hr"}


@dataclass
class Seen(HTMLParser):
    """The elements of a page, its text, and the data in it."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    data: list[Any] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        kind = self.elements[-1][1].get("type") if self.open[-1:] == ["script"] else None
        if kind == "application/json":
            self.data.append(json.loads(data))
        elif self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    def attributes(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [value for _, found in self.elements if (value := found.get(name)) is not None]


def seen(html: str) -> Seen:
    """The page as it is read; fails where elements are not closed in order."""
    reader = Seen()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


def rows_of(page: Seen, first: str) -> list[list[Any]]:
    """The rows of the table whose first column has this heading."""
    tables = (data for data in page.data if "columns" in data)
    (rows,) = [table["rows"] for table in tables if table["columns"][0] == first]
    assert isinstance(rows, list)
    return rows
