"""Run commands by the interpreter of one checkout or another, and say what they cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code, what it printed, user and system CPU seconds."""

    code: int
    output: str
    errors: str
    cpu_seconds: float


@dataclass(frozen=True)
class Checkout:
    """A folder of the project with an environment of its own in `.venv`."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter; ends the program with a reason where it is absent."""
        python = self.folder.resolve() / ".venv/bin/python"
        if not python.is_file():
            sys.exit(f"{self.folder}: no .venv/bin/python; install the checkout there first")
        return python

    def eapc(self, arguments: Sequence[str], folder: Path, kill_at: str = "") -> Done:
        """Run `eapc` with these arguments in `folder`, see `run`."""
        return self.run(["-m", "eapc.cli", *arguments], folder, kill_at)

    def run(self, arguments: Sequence[str], folder: Path, kill_at: str = "") -> Done:
        """Run the interpreter in `folder` on one thread.

        With `kill_at` the process is killed as soon as a file of that pattern is below `folder`.
        """
        command = [str(self.python), *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=errors
            )
            code, seconds = _ended(process, folder, kill_at)
            return Done(code, _text(output), _text(errors), seconds)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()


def _ended(process: subprocess.Popen[bytes], folder: Path, kill_at: str) -> tuple[int, float]:
    """Exit code and CPU seconds of the process, its children included."""
    while kill_at:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if any(folder.rglob(kill_at)):
            process.send_signal(signal.SIGKILL)
            kill_at = ""
        time.sleep(POLL_SECONDS)
    else:
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime
