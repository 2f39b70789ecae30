"""Reports that go to a file: never over an existing one unless told to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from eapc.errors import UsageError


def require_writable(path: Path, force: bool, taken: Iterable[Path | None] = ()) -> None:
    """Raise UsageError if a report may not be written to `path`, or if it is one of `taken`."""
    if any(path.resolve() == other.resolve() for other in taken if other is not None):
        raise UsageError(f"{path}: is read or written already; choose another output")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give a file name")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder; make it first")
    if path.exists() and not force:
        raise UsageError(f"{path}: exists; choose another output or add --force")


def write_report(path: Path, text: str) -> None:
    """Write a report whole or not at all; raises UsageError where the file system refuses."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            written = Path(folder) / path.name
            written.write_text(text, encoding="utf-8", newline="")
            written.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
