"""A browser that opens one file and sees to it that the file needs nothing else.

Only files and what a page holds itself may be asked for; whatever else is asked for, and every
word on the console, is a fault of the page.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BROWSER_VARIABLE = "EAPC_BROWSER"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Commands by which distributions know Chromium."""

DESKTOP, PHONE = 1280, 390
"""Widths of windows, in CSS pixels."""

OWN_SCHEMES = ("file:", "data:", "blob:")


def find_browser(environment: Mapping[str, str] = os.environ) -> str | None:
    """Path of the browser that is named, or else of the first that is installed."""
    if named := environment.get(BROWSER_VARIABLE):
        return shutil.which(named)
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def launched(playwright: Any, path: str) -> Any:
    """A headless Chromium; as root it runs without its sandbox, as it refuses to do else."""
    sandbox = os.geteuid() != 0
    return playwright.chromium.launch(executable_path=path, chromium_sandbox=sandbox)


class Reader:
    """One page in one window, with what went wrong in it.

    `page` is Playwright's.
    """

    def __init__(self, browser: Any, path: Path, width: int, scheme: str) -> None:
        height = 844 if width == PHONE else 900
        self._context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
        )
        self.faults: list[str] = []
        self.page: Any = self._context.new_page()
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.route("**/*", self._pass_on)
        self.page.goto(path.resolve().as_uri(), wait_until="load")

    def _note_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text}")

    def _pass_on(self, route: Any) -> None:
        address = route.request.url
        if address.startswith(OWN_SCHEMES):
            route.continue_()
        else:
            self.faults.append(f"asked for {address}")
            route.abort()

    def close(self) -> None:
        """The end of the window and of what it kept."""
        self._context.close()

    def tell(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.page.evaluate(expression)

    def texts(self, selector: str) -> list[str]:
        """The visible words of each element."""
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    @property
    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        root = "document.documentElement"
        return int(self.tell(f"{root}.scrollWidth - {root}.clientWidth"))

    def reach(self, selector: str, most: int = 60) -> bool:
        """Whether Tab, from the top of the page, comes to an element within so many strokes."""
        self.tell("document.activeElement.blur()")
        wanted = f"document.activeElement.matches({json.dumps(selector)})"
        for _ in range(most):
            self.page.keyboard.press("Tab")
            if self.tell(wanted):
                return True
        return False

    def pdf(self) -> bytes:
        """The page as it prints."""
        return bytes(self.page.pdf(format="A4"))
