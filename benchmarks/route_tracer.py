"""Run `eapc` with arguments and record which functions it calls; for the interpreter of a checkout.

    PATH/.venv/bin/python benchmarks/route_tracer.py ROUTE.json prune MODEL --target-energy 0.7

ROUTE.json tells files and functions of eapc/ and passes/ that were entered, as `code_size.py`
defines it, and how often some analyses were made.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import onnx

import eapc
from eapc.cli import main

FOLDER = Path(eapc.__file__).resolve().parent.parent
FOLDERS = tuple(f"{FOLDER / name}/" for name in ("eapc", "passes"))
SHAPES = "shape inference"
ANALYSES = {
    "find_layers": "layer finding",
    "find_groups": "channel groups",
    "model_digest": "digests of models",
    "measure_densities": "measured densities",
}
"""Functions by name, wherever they live, and what a call of one counts as."""


class Route:
    """What is called; `hear` serves sys.setprofile."""

    def __init__(self) -> None:
        self.codes: set[CodeType] = set()
        self.calls: Counter[str] = Counter()
        self.inferred: set[bytes] = set()
        self.loading = 0

    def hear(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Note a call, unless it serves the loading of a module."""
        code = frame.f_code
        if code.co_name == "<module>":
            self.loading += {"call": 1, "return": -1}.get(event, 0)
        if event != "call" or self.loading:
            return
        self.codes.add(code)
        if code.co_name in ANALYSES and code.co_filename.startswith(FOLDERS):
            self.calls[ANALYSES[code.co_name]] += 1

    def count_inference(self) -> None:
        """Count calls of onnx's shape inference, and the distinct models among them."""
        infer = onnx.shape_inference.infer_shapes

        def counted(model: onnx.ModelProto | bytes, *options: Any, **named: Any) -> onnx.ModelProto:
            self.calls[SHAPES] += 1
            content = model if isinstance(model, bytes) else model.SerializeToString(True)
            self.inferred.add(hashlib.sha256(content).digest())
            return infer(model, *options, **named)

        setattr(onnx.shape_inference, infer.__name__, counted)

    def document(self) -> dict[str, Any]:
        """Files, functions as (file, line, name), and counts."""
        functions = sorted(
            (str(Path(code.co_filename).relative_to(FOLDER)), code.co_firstlineno, code.co_qualname)
            for code in self.codes
            if code.co_filename.startswith(FOLDERS) and is_function(code)
        )
        calls = self.calls | {"distinct inferred": len(self.inferred)}
        return {"functions": functions, "calls": calls}


def is_function(code: CodeType) -> bool:
    """Whether code is that of a function or method of a module: no class body, nothing nested."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and "<" not in code.co_qualname


def trace(output: Path, arguments: list[str]) -> None:
    """Run the command under the profiler and write its route."""
    route = Route()
    route.count_inference()
    sys.argv = ["eapc", *arguments]
    threading.setprofile(route.hear)
    sys.setprofile(route.hear)
    try:
        main()
    finally:
        sys.setprofile(None)
        output.write_text(json.dumps(route.document()))


if __name__ == "__main__":
    trace(Path(sys.argv[1]), sys.argv[2:])
