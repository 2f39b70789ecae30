"""The reader sees what is wrong with a page: each fault in a page that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser.conftest import Opener
from browser.reader import PHONE, find_browser


def written(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,"><title>t</title>'
    path.write_text(f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>")
    return path


def test_a_plain_page_has_no_fault(tmp_path: Path, opened: Opener) -> None:
    reader = opened(written(tmp_path, "<h1>Energy</h1>"))
    assert reader.faults == []
    assert reader.texts("h1") == ["Energy"]
    assert reader.overflow == 0
    assert reader.pdf().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<script>console.error('bad data')</script>", "console error: bad data"),
        ("<script>console.warn('old name')</script>", "console warning: old name"),
        ("<script>throw new Error('no chart')</script>", "error: no chart"),
        ("<img src='https://example.org/a.png' alt=''>", "asked for https://example.org/a.png"),
        ("<script>fetch('http://[::1]:9/b').catch(() => 0)</script>", "asked for http://[::1]:9/b"),
    ],
)
def test_faults_are_seen(tmp_path: Path, opened: Opener, body: str, fault: str) -> None:
    reader = opened(written(tmp_path, body))
    reader.page.wait_for_timeout(100)
    assert fault in reader.faults


def test_what_a_page_holds_is_its_own(tmp_path: Path, opened: Opener) -> None:
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    assert opened(written(tmp_path, f"<img src='{pixel}' alt=''>")).faults == []


def test_a_wide_page_overflows(tmp_path: Path, opened: Opener) -> None:
    body = "<style>body { margin: 0 }</style><div style='width: 490px'>wide</div>"
    assert opened(written(tmp_path, body), PHONE).overflow == 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_scheme_is_asked_for(tmp_path: Path, opened: Opener, scheme: str) -> None:
    reader = opened(written(tmp_path, ""), scheme=scheme)
    assert reader.tell(f"matchMedia('(prefers-color-scheme: {scheme})').matches")


def test_tab_reaches_what_can_be_reached(tmp_path: Path, opened: Opener) -> None:
    reader = opened(written(tmp_path, "<a href='#a'>a</a><input><input id='b' tabindex='-1'>"))
    assert reader.reach("input")
    assert not reader.reach("#b")


def test_a_browser_is_found_by_its_name(tmp_path: Path) -> None:
    named = tmp_path / "own-browser"
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    assert find_browser({"EAPC_BROWSER": str(named)}) == str(named)
    assert find_browser({"EAPC_BROWSER": str(tmp_path / "absent")}) is None
