#!/usr/bin/env python3
"""MACs of `eapc analyze` held against a count that shares no code with it.

    python benchmarks/count_macs.py                # every graph, a few minutes
    python benchmarks/count_macs.py lstm mnist     # graphs whose name has one of the words

The count runs a network node by node in onnxruntime, the bodies of If, Loop and Scan as often as
they really run, and multiplies the shapes of real arrays. Graphs are those of `models` and `cases`
in EAPC_DATA where it is there, some of the onnx package's backend tests, and those that
`mac_graphs.py` makes. Exit code 1 where a count differs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from mac_graphs import MADE
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

Array = NDArray[Any]
Values = Mapping[str, Array]
OPEN_AXIS = 16
SHAPES = {"silero_vad": {"input": [1, 512], "state": [2, 1, 128]}}
"""Those of inputs with open axes that depend on each other."""
CONVERTED = ("Conv2d_group", "Conv2d_dep", "Conv3d_dil", "Conv1d", "ConvTrans", "Linear")
"""Of the converted networks, those whose name has one of these words."""


# --- MACs of a node -------------------------------------------------------------------------------

Rule = Callable[[NodeProto, Sequence[Array], Sequence[Array]], int]
"""MACs of a node by the arrays that it read and wrote; None stands for one left out."""


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return found.get(name, default)


def _conv(weights: int) -> Rule:
    """Each output sums over the kernel and the channels of its group."""
    return lambda _, read, wrote: wrote[0].size * math.prod(read[weights].shape[1:])


def _transposed(node: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    """Each output sums over the taps that its place meets, at the border too, as in Conv."""
    if _attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or _attribute(node, "output_shape", 0):
        raise UncountedError("a ConvTranspose that pads by itself")
    channels, filters, *kernel = read[1].shape
    ones = [1] * len(kernel)
    strides, dilations = _attribute(node, "strides", ones), _attribute(node, "dilations", ones)
    begins = _attribute(node, "pads", [0] * len(kernel))
    taps = 1
    for axis, size in enumerate(kernel):
        places = np.arange(wrote[0].shape[2 + axis])[:, None] + begins[axis]
        taps *= int(((places - np.arange(size) * dilations[axis]) % strides[axis] == 0).sum())
    return int(read[0].shape[0] * channels * filters * taps)


def _product(_: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    return int(wrote[0].size * read[0].shape[-1])


def _gemm(node: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    summed = read[0].shape[0 if _attribute(node, "transA", 0) else 1]
    return int(wrote[0].size * summed)


def _einsum(node: NodeProto, read: Sequence[Array], _: Sequence[Array]) -> int:
    """All axes of two operands, each once; an ellipsis stands for those that have no letter."""
    if len(read) != 2:
        raise UncountedError("an Einsum of other than two operands")
    terms = _attribute(node, "equation", b"").decode().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, array in zip(terms, read, strict=True):
        free = array.ndim - len(term.replace("...", ""))
        axes = [*term.replace("...", "." * free)]
        numbered = [f".{axes[i:].count('.')}" if a == "." else a for i, a in enumerate(axes)]
        for axis, size in zip(numbered, array.shape, strict=True):
            sizes[axis] = max(size, sizes.get(axis, 1))
    return math.prod(sizes.values())


def _recurrent(_: NodeProto, read: Sequence[Array], __: Sequence[Array]) -> int:
    """W and R are gone through once at each step of each sequence of the batch."""
    steps, batch = read[0].shape[:2]  # their product, whatever the layout
    return int(steps * batch * (read[1].size + read[2].size))


def _attention(_: NodeProto, read: Sequence[Array], wrote: Sequence[Array]) -> int:
    """com.microsoft: x times W, then scores and their sums, as wide as q and v together."""
    batch, length, *_width = read[0].shape
    projected = batch * length * read[1].size
    return int(projected + batch * length**2 * (read[1].shape[1] - wrote[0].shape[-1]))


RULES: Mapping[str, Rule] = {
    "Conv": _conv(1),
    "FusedConv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Gemm": _gemm,
    "QGemm": _gemm,
    "Einsum": _einsum,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "Attention": _attention,
}


# --- running --------------------------------------------------------------------------------------


class UncountedError(Exception):
    """A graph that this script cannot run or has no rule for."""


class Counter:
    """Runs a model and counts as it goes."""

    def __init__(self, model: ModelProto) -> None:
        self._model = inline_local_functions(model) if model.functions else model
        self._sessions: dict[int, tuple[NodeProto, onnxruntime.InferenceSession]] = {}
        self.by_operator: dict[str, int] = {}

    def run(self, inputs: Values) -> list[Array]:
        """The outputs; `by_operator` then has the MACs."""
        return self._graph(self._model.graph, dict(inputs))

    def _graph(self, graph: GraphProto, known: dict[str, Any]) -> list[Any]:
        known |= {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        waiting = _needed(graph)
        while waiting:
            ready = [n for n in waiting if all(name in known for name in _reads(n))]
            if not ready:
                raise UncountedError(f"{waiting[0].op_type} waits for what nobody writes")
            for node in ready:
                results = self._node(node, known)
                known |= {k: v for k, v in zip(node.output, results, strict=False) if k}
            waiting = [node for node in waiting if not any(node is each for each in ready)]
        return [known[value.name] for value in graph.output]

    def _node(self, node: NodeProto, known: dict[str, Any]) -> list[Any]:
        read = [known[name] if name else None for name in node.input]
        if node.op_type in CONTROL:
            return CONTROL[node.op_type](self, node, read, known)
        wrote = self._ran(node, read)
        if node.op_type in RULES:
            macs = RULES[node.op_type](node, read, wrote)  # type: ignore[arg-type]
            self.by_operator[node.op_type] = self.by_operator.get(node.op_type, 0) + macs
        return wrote

    def _ran(self, node: NodeProto, read: Sequence[Any]) -> list[Any]:
        given = {n: v for n, v in zip(node.input, read, strict=True) if n}
        if not all(isinstance(value, np.ndarray) for value in given.values()):
            raise UncountedError(f"{node.op_type} reads a sequence")
        if id(node) not in self._sessions:
            self._sessions[id(node)] = node, self._session(node, given)
        _, session = self._sessions[id(node)]
        asked = [name for name in node.output if name]
        found = dict(zip(asked, session.run(asked, given), strict=True))
        return [found.get(name) for name in node.output]

    def _session(self, node: NodeProto, given: Values) -> onnxruntime.InferenceSession:
        fed = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), None)
            for n, v in given.items()
        ]
        results = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", fed, results)
        model = helper.make_model(graph, opset_imports=self._model.opset_import)
        model.ir_version = max(self._model.ir_version, 4)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        try:
            return onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own are many
            raise UncountedError(f"onnxruntime does not take {node.op_type}") from error

    def run_if(self, node: NodeProto, read: Sequence[Any], known: dict[str, Any]) -> list[Any]:
        """The branch that is taken."""
        branch = "then_branch" if bool(np.asarray(read[0]).reshape(-1)[0]) else "else_branch"
        return self._graph(_attribute(node, branch, None), dict(known))

    def run_loop(self, node: NodeProto, read: Sequence[Any], known: dict[str, Any]) -> list[Any]:
        """States, then what each turn hands out, stacked."""
        body, states = _attribute(node, "body", None), list(read[2:])
        most = int(read[0].reshape(-1)[0]) if read[0] is not None else 1 << 62
        goes_on = read[1] is None or bool(read[1].reshape(-1)[0])
        turn, scanned = 0, []
        while turn < most and goes_on:
            fed = [np.array(turn, np.int64), np.array(True), *states]
            named = {v.name: f for v, f in zip(body.input, fed, strict=True)}
            condition, *results = self._graph(body, {**known, **named})
            goes_on = bool(np.asarray(condition).reshape(-1)[0])
            states, rows = results[: len(states)], results[len(states) :]
            scanned.append(rows)
            turn += 1
        if not scanned and len(node.output) > len(states):
            raise UncountedError("a Loop that never runs")
        return [*states, *(np.stack(rows) for rows in zip(*scanned, strict=True))]

    def run_scan(self, node: NodeProto, read: Sequence[Any], known: dict[str, Any]) -> list[Any]:
        """The same, once for each slice along the first axis."""
        if any(a.name.startswith("scan_") for a in node.attribute):
            raise UncountedError("a Scan with axes or directions of its own")
        body, count = _attribute(node, "body", None), _attribute(node, "num_scan_inputs", 1)
        states, slices = list(read[:-count]), read[len(read) - count :]
        scanned = []
        for turn in range(slices[0].shape[0]):
            fed = [*states, *(each[turn] for each in slices)]
            named = {v.name: f for v, f in zip(body.input, fed, strict=True)}
            results = self._graph(body, {**known, **named})
            states, rows = results[: len(states)], results[len(states) :]
            scanned.append(rows)
        return [*states, *(np.stack(rows) for rows in zip(*scanned, strict=True))]


CONTROL: Mapping[str, Callable[..., list[Any]]] = {
    "If": Counter.run_if,
    "Loop": Counter.run_loop,
    "Scan": Counter.run_scan,
}


def _reads(node: NodeProto) -> set[str]:
    """What a node reads, its subgraphs included."""
    found = {name for name in node.input if name}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found |= _free(attribute.g)
    return found


def _free(graph: GraphProto) -> set[str]:
    own = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    used = {value.name for value in graph.output}.union(*map(_reads, graph.node))
    return used - own


def _needed(graph: GraphProto) -> list[NodeProto]:
    """The nodes that an output depends on."""
    writers = {name: node for node in graph.node for name in node.output if name}
    found: dict[int, NodeProto] = {}
    pending = [value.name for value in graph.output]
    while pending:
        node = writers.get(pending.pop())
        if node is not None and id(node) not in found:
            found[id(node)] = node
            pending += _reads(node)
    return [found[id(node)] for node in graph.node if id(node) in found]


# --- comparing ------------------------------------------------------------------------------------


def inputs_of(
    model: ModelProto, shapes: Mapping[str, list[int]]
) -> tuple[dict[str, Array], list[str]]:
    """Made-up inputs, and the options that tell eapc their sizes where the file does not.

    `shapes` are those of some inputs.
    """
    rng = np.random.default_rng(0)
    stored = {tensor.name for tensor in model.graph.initializer}
    arrays, options = {}, []
    for value in (v for v in model.graph.input if v.name not in stored):
        tensor = value.type.tensor_type
        sizes = [d.dim_value if d.dim_value > 0 else 0 for d in tensor.shape.dim]
        shape = [size or (1 if axis == 0 else OPEN_AXIS) for axis, size in enumerate(sizes)]
        shape = shapes.get(value.name, shape)
        kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if shape != sizes:
            options += ["--input-shape", f"{value.name}:{','.join(map(str, shape))}"]
        is_float = np.issubdtype(kind, np.floating)
        arrays[value.name] = (rng.normal(0, 1, shape) if is_float else np.ones(shape)).astype(kind)
    return arrays, options


@dataclass(frozen=True)
class Row:
    """A graph with both counts; `said` is why one of them is missing."""

    name: str
    counted: int | None
    eapc: float | None
    said: str

    @property
    def verdict(self) -> str:
        """`agrees`, `differs`, or that there is nothing to compare."""
        if self.counted is None or self.eapc is None:
            return "-"
        return "agrees" if self.counted == self.eapc else "differs"


def counted(model: ModelProto, inputs: Values) -> tuple[int | None, str]:
    """(MACs, those by operator), or None and why there is no count."""
    counter = Counter(model)
    try:
        counter.run(inputs)
    except UncountedError as error:
        return None, str(error)
    except Exception as error:  # whatever onnxruntime raises while it runs
        return None, f"not run: {' '.join(str(error).split())[:90]}"
    by_operator = counter.by_operator
    return sum(by_operator.values()), " ".join(f"{k} {v}" for k, v in by_operator.items())


_ANALYSES = """
import contextlib, io, json, sys
from eapc.cli import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
"""A process that runs eapc's command line, one line of arguments after another."""


class Analyses:
    """What `eapc analyze` says, in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _ANALYSES]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def of(self, path: Path, options: Sequence[str]) -> tuple[float | None, str]:
        """(MACs, what is left out of them), or None and the line that it refuses with."""
        assert self._process.stdin
        assert self._process.stdout
        line = json.dumps(["analyze", str(path), "--json", *options])
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        if code:
            return None, err.strip().splitlines()[-1].replace(str(path), "FILE")
        document = json.loads(out)
        left_out = {f"{node['op_type']}: {node['reason']}" for node in document["unmodelled"]}
        return document["totals"]["macs"], "; ".join(sorted(left_out))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def compared(name: str, path: Path, analyses: Analyses) -> Row:
    """Both counts of one graph; eapc's are those of one inference of a batch."""
    model = onnx.load(str(path))
    arrays, options = inputs_of(model, SHAPES.get(name, {}))
    macs, operators = counted(model, arrays)
    batch = len(next(iter(arrays.values()))) if any(word in name for word in CONVERTED) else 1
    found, left_out = analyses.of(path, [*options, "--batch", str(batch)] if batch > 1 else options)
    found = None if found is None else found * batch
    said = [operators] if macs is None or macs != found else []
    if left_out and macs != found:
        said.append(f"left out: {left_out}")
    return Row(name, macs, found, "; ".join(said))


def graphs(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of every graph; those that are made are written to `folder`."""
    for name, make in MADE.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(make().SerializeToString())
        yield name, path
    shared = Path(os.environ.get("EAPC_DATA", Path(__file__).parents[2] / "shared"))
    for place in ("models", "cases"):
        yield from ((path.stem, path) for path in sorted((shared / place).glob("*.onnx")))
    tests = Path(onnx.__file__).parent / "backend/test/data/pytorch-converted"
    for path in sorted(tests.rglob("*.onnx")):
        if any(
            word in path.parent.name
            for word in ("Conv2d_group", "Conv3d_dil", "ConvTrans", "Linear")
        ):
            yield path.parent.name, path


def main() -> int:
    """Print a row for each graph, then how many agree."""
    parser = argparse.ArgumentParser(description="MACs of eapc against an independent count.")
    parser.add_argument("words", nargs="*", help="words of graphs' names; all by default")
    words = parser.parse_args().words
    rows: list[Row] = []
    analyses = Analyses()
    with tempfile.TemporaryDirectory() as folder:
        for name, path in graphs(Path(folder)):
            if not words or any(word in name for word in words):
                row = compared(name, path, analyses)
                rows.append(row)
                counts = (f"{'' if c is None else int(c):>14}" for c in (row.counted, row.eapc))
                print(f"{name[:34]:35}{''.join(counts)}  {row.verdict:8}{row.said}", flush=True)
    analyses.close()
    verdicts = [row.verdict for row in rows]
    told = ", ".join(f"{verdicts.count(each)} {each}" for each in sorted(set(verdicts)))
    print(f"{len(rows)} graphs: {told}")
    return int("differs" in verdicts)


if __name__ == "__main__":
    sys.exit(main())
