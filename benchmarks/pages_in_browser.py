#!/usr/bin/env python3
"""How soon Chromium shows pages of large networks, and how soon they answer.

    python benchmarks/pages_in_browser.py        # needs eapc[report], eapc[docs-test], Chromium

Pages are those of report_pages.py. Prints the quickest of a few loads in seconds of wall time, from
the request until all is laid out and painted, beside those of an empty page; and milliseconds
until a search and a sort of the table of all nodes are painted.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from report_pages import made_up, page_of, resnet50

LOADS = 5
_EMPTY = "<!doctype html><title>empty</title><p>empty</p>"
_TABLE = "document.querySelector('.table:has(input)')"
_SEARCH = f"""(() => {{ const box = {_TABLE}.querySelector('input');
    box.value = 'conv'; box.dispatchEvent(new Event('input')) }})()"""
_SORT = f"{_TABLE}.querySelector('thead th:last-child button').click()"


def main() -> None:
    """Load each page a few times."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--browser", default=shutil.which("chromium"), metavar="PATH")
    path = parser.parse_args().browser
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder = Path(made)
        pages = {"empty": folder / "empty.html"}
        pages["empty"].write_text(_EMPTY, encoding="utf-8")
        for model in (resnet50(folder), made_up(folder)):
            pages[model.stem] = page_of(model)
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        print(f"{'page':<10}{'shown, s':>10}{'search, ms':>12}{'sort, ms':>10}")
        for name, page in pages.items():
            print(f"{name:<10}{row(browser, page)}")
        browser.close()


def row(browser: Any, path: Path) -> str:
    """The quickest of some loads, and what follows of the last."""
    shown = []
    for _ in range(LOADS):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        begin = time.perf_counter()
        page.goto(path.as_uri(), wait_until="load")
        painted(page, "null")
        shown.append(time.perf_counter() - begin)
        if len(shown) < LOADS:
            page.close()
    has_table = page.evaluate(f"{_TABLE} !== null")
    answers = [painted(page, action) for action in (_SEARCH, _SORT)] if has_table else []
    page.close()
    return f"{min(shown):>10.2f}" + "".join(f"{ms:>11.0f}" for ms in answers)


def painted(page: Any, action: str) -> float:
    """Milliseconds from an action until its frame has been painted."""
    told: float = page.evaluate(
        f"""new Promise(told => {{
            const begin = performance.now();
            {action};
            requestAnimationFrame(() => setTimeout(() => told(performance.now() - begin)));
        }})"""
    )
    return told


if __name__ == "__main__":
    main()
