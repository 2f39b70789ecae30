"""One browser for all tests of pages; where there is none, they skip and say why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.reader import BROWSER_VARIABLE, BROWSERS, DESKTOP, Reader, find_browser, launched

Opener = Callable[..., Reader]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running Chromium."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="no Playwright here: make docs-test installs it"
    )
    path = find_browser()
    if path is None:
        named = f"{BROWSER_VARIABLE} or one of {', '.join(BROWSERS)}"
        pytest.skip(f"no browser here ({named}): make browser installs one")
    with sync_api.sync_playwright() as playwright:
        browser = launched(playwright, path)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Opener]:
    """`opened(path, width, scheme)` is a page, for one test, with what went wrong in it."""
    readers: list[Reader] = []

    def open_page(path: Path, width: int = DESKTOP, scheme: str = "light") -> Reader:
        readers.append(Reader(chromium, path, width, scheme))
        return readers[-1]

    yield open_page
    for reader in readers:
        reader.close()


@pytest.fixture
def read(opened: Opener) -> Iterator[Opener]:
    """`opened`, of pages that must have no fault when the test ends."""
    readers: list[Reader] = []

    def read_page(path: Path, width: int = DESKTOP, scheme: str = "light") -> Reader:
        readers.append(opened(path, width, scheme))
        return readers[-1]

    yield read_page
    assert [fault for reader in readers for fault in reader.faults] == []
