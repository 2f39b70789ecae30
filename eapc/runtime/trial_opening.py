"""Models in float16 are opened in another process first: onnxruntime may end the one it is in.

Some layouts and fusions of onnxruntime abort on float16 where they should refuse, and a process
that has gone says nothing. One child process opens every graph that is new before eapc itself does;
a signal that ends it becomes one line, and so does an answer that does not come.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache

import onnx

from eapc.errors import ModelError

logger = logging.getLogger(__name__)

_CHILD = """
import json, sys
sys.path[:] = sys.argv[1:]
import onnxruntime
for line in sys.stdin.buffer:
    wanted = json.loads(line)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(wanted["level"])
    source = wanted["path"] or sys.stdin.buffer.read(wanted["size"])
    try:
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception:
        pass
    sys.stdout.buffer.write(b".")
    sys.stdout.buffer.flush()
"""

_SECONDS = 120
"""What opening a model may take; gigabytes take seconds."""

_SECONDS_TO_END = 5
"""What a child may take to go once nothing more comes."""


class TrialOpener:
    """A child process that opens models; started for the first, and anew after one ended it.

    One that has not opened a model after `seconds` is ended, and that model is not tried again.
    """

    def __init__(self, command: Sequence[str], seconds: float = _SECONDS) -> None:
        self._command, self._lock, self._seconds = tuple(command), threading.Lock(), seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._failures: dict[str, str] = {}
        atexit.register(self.close)

    def require_opening(self, proto: onnx.ModelProto, source: str | bytes, level: int) -> None:
        """Raise ModelError where opening `source`, of which `proto` is the graph, is fatal.

        `level` is onnxruntime's of optimisation. What has been opened once at it is not again.
        """
        key = f"{level} {_structure(proto)}"
        with self._lock:
            failure = self._failures.get(key)
            if failure is None:
                failure, is_final = self._failure(source, level)
                if is_final:
                    self._failures[key] = failure
        if failure:
            raise ModelError(f"{failure}; convert the model to float32")

    def close(self) -> None:
        """End the child process, if there is one."""
        child, self._child = self._child, None
        if child is not None and child.stdin and child.stdout:
            with contextlib.suppress(OSError):
                child.stdin.close()
            try:
                child.wait(min(self._seconds, _SECONDS_TO_END))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            child.stdout.close()

    def _failure(self, source: str | bytes, level: int) -> tuple[str, bool]:
        """What went wrong as the child opened a model, empty if it lived on; whether that stays."""
        try:
            child = self._started()
        except OSError as error:
            logger.info("no process to try models in: %s", error)
            return "", True
        late = threading.Event()
        answer = self._answer_in_time(child, source, level, late)
        if answer:
            return "", True
        if late.is_set():
            within = f"within {self._seconds:g} s"
            return f"onnxruntime has not opened the model in float16 {within}", True
        if child.returncode >= 0:
            return "", True
        ended_by = signal.Signals(-child.returncode).name
        return f"onnxruntime ends the process ({ended_by}) as it opens the model in float16", False

    def _answer_in_time(
        self, child: subprocess.Popen[bytes], source: str | bytes, level: int, late: threading.Event
    ) -> bytes:
        """The child's answer; without one it is ended, and `late` set if it took too long."""

        def give_up() -> None:
            late.set()
            child.kill()

        timer, answer = threading.Timer(self._seconds, give_up), b""
        timer.daemon = True
        timer.start()
        try:
            answer = _answer(child, source, level)
        except BaseException:  # what it may yet say is for no one
            child.kill()
            raise
        finally:
            timer.cancel()
            if not answer or late.is_set():
                self.close()
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._child


def _answer(child: subprocess.Popen[bytes], source: str | bytes, level: int) -> bytes:
    """What a child says once it has opened a model; empty where it has gone."""
    assert child.stdin
    assert child.stdout
    path, size = (source, 0) if isinstance(source, str) else ("", len(source))
    header = json.dumps({"level": level, "path": path, "size": size})
    with contextlib.suppress(OSError):
        child.stdin.write(f"{header}\n".encode())
        child.stdin.write(b"" if isinstance(source, str) else source)
        child.stdin.flush()
        return child.stdout.read(1)
    return b""


@cache
def trial_opener() -> TrialOpener:
    """The one that this process has."""
    return TrialOpener([sys.executable, "-c", _CHILD, *sys.path])


def _structure(proto: onnx.ModelProto) -> str:
    """A digest of a graph: all but the numbers that its initializers hold."""
    found = hashlib.blake2b(digest_size=16)
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *proto.functions, *proto.opset_import):
        found.update(part.SerializeToString(deterministic=True))
    for tensor in graph.initializer:
        found.update(repr((tensor.name, tensor.data_type, tuple(tensor.dims))).encode())
    return found.hexdigest()
