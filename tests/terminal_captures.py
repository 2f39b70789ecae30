"""Programs run in a pseudo-terminal, and what they write to it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

PROJECT = Path(__file__).parents[1]


def in_terminal(
    arguments: Sequence[str],
    columns: int,
    settings: Mapping[str, str] | None = None,
    folder: Path = PROJECT,
) -> str:
    """What `eapc` with these arguments writes to a terminal so wide, control codes included.

    It runs in a folder, with more settings of the environment.
    """
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "eapc.cli", *arguments],
        cwd=folder,
        stdin=far,
        stdout=far,
        stderr=far,
        env=surroundings() | dict(settings or {}),
    )
    os.close(far)
    try:
        return _read_all(near)
    finally:
        process.wait()
        os.close(near)


def surroundings() -> dict[str, str]:
    """The environment, without what tells a program another terminal than the one that it has."""
    misleading = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM")
    known = {name: value for name, value in os.environ.items() if name not in misleading}
    return {**known, "TERM": "xterm-256color"}


def _read_all(near: int) -> str:
    """All that is written until nobody holds the other end."""
    found = b""
    while True:
        try:
            part = os.read(near, 65536)
        except OSError:  # how Linux says that the other end is closed
            part = b""
        if not part:
            return found.decode().replace("\r\n", "\n")
        found += part


def lines_of(text: str) -> list[str]:
    """The lines without control codes and trailing spaces."""
    return [line.rstrip() for line in CONTROL.sub("", text).splitlines()]
