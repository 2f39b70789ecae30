"""Models in float16 are opened in another process first: onnxruntime may end the one it is in.

Some layouts and fusions of onnxruntime abort on float16 where they should refuse, and a process
that has gone says nothing. One child process opens every graph that is new before eapc itself does;
a signal that ends it becomes one line.
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


class TrialOpener:
    """A child process that opens models; started for the first, and anew after one ended it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command, self._lock = tuple(command), threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._survived: set[str] = set()
        atexit.register(self.close)

    def require_opening(self, proto: onnx.ModelProto, source: str | bytes, level: int) -> None:
        """Raise ModelError where opening `source`, of which `proto` is the graph, is fatal.

        `level` is onnxruntime's of optimisation. What has been opened once at it is not again.
        """
        key = f"{level} {_structure(proto)}"
        with self._lock:
            if key in self._survived:
                return
            ended_by = self._opened(source, level)
            if ended_by is None:
                self._survived.add(key)
                return
        raise ModelError(
            f"onnxruntime ends the process ({ended_by}) as it opens the model in float16; "
            "convert the model to float32"
        )

    def close(self) -> None:
        """End the child process, if there is one."""
        child, self._child = self._child, None
        if child is not None and child.stdin and child.stdout:
            with contextlib.suppress(OSError):
                child.stdin.close()
            child.wait()
            child.stdout.close()

    def _opened(self, source: str | bytes, level: int) -> str | None:
        """The signal that ended the child as it opened a model, if one did."""
        try:
            child = self._started()
        except OSError as error:
            logger.info("no process to try models in: %s", error)
            return None
        assert child.stdin
        assert child.stdout
        path, size = (source, 0) if isinstance(source, str) else ("", len(source))
        header = json.dumps({"level": level, "path": path, "size": size})
        answer = b""
        with contextlib.suppress(OSError):  # it has gone
            child.stdin.write(f"{header}\n".encode())
            child.stdin.write(b"" if isinstance(source, str) else source)
            child.stdin.flush()
            answer = child.stdout.read(1)
        if answer:
            return None
        self.close()
        return signal.Signals(-child.returncode).name if child.returncode < 0 else None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._child


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
