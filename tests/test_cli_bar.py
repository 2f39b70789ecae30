"""The progress bar: on a terminal only, and only of what runs."""

from __future__ import annotations

import io
import sys

import pytest

from eapc.cli.session import progress_bar
from eapc.progress import Step, silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar(quiet=False) as progress:
        assert progress is silent
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(quiet=True) as progress:
        assert progress is silent


def test_a_terminal_sees_layers_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar(quiet=False) as progress:
        progress(Step("error-curves", 0, 2, "conv[a]"))
        progress(Step("error-curves", 1, 2, "fc"))
        progress(Step("reconstruct-outputs", 0, 2, "conv[a]"))
        progress(Step("reconstruct-outputs", 1, 2, "fc", 0.1234))
        terminal.truncate(0)
        progress(Step("reconstruct-outputs", 1, 2, "last", 0.25))
    assert "error-curves" not in terminal.getvalue()
    assert "reconstruct-outputs" in terminal.getvalue()
    assert "last; output error of the last 0.250" in terminal.getvalue()
