"""Arrays in memory up to a budget, and on disk beyond it.

What goes to disk is written to a file that has no name any more, so that it is gone with the
process however that ends, and is mapped back: whoever reads the array need not know.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path

import numpy as np

from eapc.errors import DataError
from eapc.model import Array

_SHARE_OF_MEMORY = 0.5
_UNKNOWN_MEMORY = 8 << 30
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_ON_DISK = Path("/var/tmp")


class MemoryBudget:
    """Counts the arrays that are handed to it until they are let go.

    `limit` is in bytes; None takes half of the memory that the process may use.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = default_limit() if limit is None else limit
        self.held = 0
        self.spilled = 0

    def keep(self, array: Array) -> Array:
        """The array itself where the budget has room, else its like on disk, to read only.

        Raises DataError where the disk is full.
        """
        if array.size == 0 or array.dtype.hasobject:
            return array
        if self.held + array.nbytes > self._limit:
            self.spilled += array.nbytes
            return _on_disk(array)
        self.held += array.nbytes
        weakref.finalize(array, self._let_go, array.nbytes).atexit = False
        return array

    def _let_go(self, size: int) -> None:
        self.held -= size


def _on_disk(array: Array) -> Array:
    try:
        with tempfile.TemporaryFile(dir=_folder()) as stream:
            np.ascontiguousarray(array).view(np.uint8).tofile(stream)
            stream.flush()
            mapped = np.memmap(stream, np.uint8, mode="r")
    except OSError as error:
        reason = f"{error.strerror}; set TMPDIR to a folder with room, or give more --memory"
        raise DataError(f"activations cannot be put on disk: {reason}") from error
    return np.asarray(mapped).view(array.dtype).reshape(array.shape)


def _folder() -> Path | None:
    """TMPDIR's if set, else one that is on disk: /tmp is in memory on many systems."""
    return _ON_DISK if "TMPDIR" not in os.environ and _ON_DISK.is_dir() else None


def default_limit() -> int:
    """Half of the memory that the process may use, in bytes."""
    return int(_SHARE_OF_MEMORY * min(_physical_memory(), _allowed_memory()))


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return _UNKNOWN_MEMORY


def _allowed_memory() -> float:
    """What a container grants; infinite without one."""
    try:
        return float(_CGROUP_LIMIT.read_text())
    except (OSError, ValueError):  # no such file, or `max`
        return float("inf")
