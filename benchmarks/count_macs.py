#!/usr/bin/env python3
"""MACs of `eapc analyze` held against a count that shares no code with it.

    python benchmarks/count_macs.py                # every graph, a few minutes
    python benchmarks/count_macs.py lstm mnist     # graphs whose name has one of the words

The count runs a network node by node in onnxruntime, the bodies of If, Loop and Scan as often as
they really run, and multiplies the shapes of real arrays. Graphs are those of `models` and `cases`
in EAPC_DATA where it is there, some of the onnx package's backend tests, and those that
`mac_graphs.py` makes. A row has the count, eapc's, and the count without taps on padding
(`mac_rules.py` has the conventions). eapc counts one inference, so its figure is multiplied by
the batch that it found, which the row tells where it is more than one. Exit code 1 where a count
differs.
"""

from __future__ import annotations

import argparse
import json
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
from mac_rules import ON_VALUES, OPERATIONS, RULES, UncountedError, attribute
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

Array = NDArray[Any]
Values = Mapping[str, Array]
OPEN_AXIS = 16
SHAPES = {"silero_vad": {"input": [1, 576], "state": [2, 1, 128]}}
"""Those of inputs with open axes that depend on each other."""
FIXED = {"silero_vad": {"sr": 16000}}
"""Values of inputs that decide which branch runs: they are made constants for both counts."""
CONVERTED = ("Conv2d_group", "Conv2d_dep", "Conv3d_dil", "Conv1d", "ConvTrans", "Linear")
"""Of the converted networks, those whose name has one of these words."""


# --- running --------------------------------------------------------------------------------------


class Counter:
    """Runs a model and counts as it goes."""

    def __init__(self, model: ModelProto) -> None:
        self._model = inline_local_functions(model) if model.functions else model
        self._sessions: dict[int, tuple[NodeProto, onnxruntime.InferenceSession]] = {}
        self.by_operator: dict[str, int] = {}
        self.on_values = 0
        self.apart: set[str] = set()

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
        self._count(node, read, wrote)
        return wrote

    def _count(self, node: NodeProto, read: Sequence[Any], wrote: Sequence[Any]) -> None:
        kind = node.op_type
        if kind in OPERATIONS:
            self.apart.add(kind)
        if kind in RULES:
            macs = RULES[kind](node, read, wrote)
            self.by_operator[kind] = self.by_operator.get(kind, 0) + macs
            self.on_values += ON_VALUES[kind](node, read, wrote) if kind in ON_VALUES else macs

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
            version = next(o.version for o in self._model.opset_import if o.domain == node.domain)
            reason = f"onnxruntime does not take {node.op_type} of opset {version}"
            raise UncountedError(reason) from error

    def run_if(self, node: NodeProto, read: Sequence[Any], known: dict[str, Any]) -> list[Any]:
        """The branch that is taken."""
        branch = "then_branch" if bool(np.asarray(read[0]).reshape(-1)[0]) else "else_branch"
        return self._graph(attribute(node, branch, None), dict(known))

    def run_loop(self, node: NodeProto, read: Sequence[Any], known: dict[str, Any]) -> list[Any]:
        """States, then what each turn hands out, stacked."""
        body, states = attribute(node, "body", None), list(read[2:])
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
        body, count = attribute(node, "body", None), attribute(node, "num_scan_inputs", 1)
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
    for each in node.attribute:
        if each.HasField("g"):
            found |= _free(each.g)
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


def inputs_of(model: ModelProto, name: str) -> tuple[dict[str, Array], list[str]]:
    """Made-up inputs of a graph, and the options that tell eapc their sizes where it does not."""
    rng = np.random.default_rng(0)
    stored = {tensor.name for tensor in model.graph.initializer}
    arrays, options = {}, []
    for value in (v for v in model.graph.input if v.name not in stored):
        tensor = value.type.tensor_type
        sizes = [d.dim_value if d.dim_value > 0 else 0 for d in tensor.shape.dim]
        shape = [size or (1 if axis == 0 else OPEN_AXIS) for axis, size in enumerate(sizes)]
        shape = SHAPES.get(name, {}).get(value.name, shape)
        kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if shape != sizes:
            options += ["--input-shape", f"{value.name}:{','.join(map(str, shape))}"]
        is_float = np.issubdtype(kind, np.floating)
        made = rng.normal(0, 1, shape) if is_float else np.ones(shape)
        arrays[value.name] = made.astype(kind)
    return arrays, options


@dataclass(frozen=True)
class Count:
    """MACs of a graph, and without those on padding; None and why (`said`) where it is not run."""

    macs: int | None = None
    on_values: int | None = None
    said: str = ""
    apart: str = ""


@dataclass(frozen=True)
class Found:
    """eapc's MACs of one inference, None where it refuses; its batch, and what it leaves out."""

    macs: float | None
    batch: int = 1
    left_out: str = ""


@dataclass(frozen=True)
class Row:
    """A graph with both counts."""

    name: str
    count: Count
    found: Found

    @property
    def eapc(self) -> float | None:
        """Of the whole batch."""
        return None if self.found.macs is None else self.found.macs * self.found.batch

    @property
    def verdict(self) -> str:
        """`agrees`, `differs`, or that there is nothing to compare."""
        if self.count.macs is None or self.eapc is None:
            return "-"
        return "agrees" if self.count.macs == self.eapc else "differs"

    @property
    def said(self) -> str:
        """What the figures alone do not tell."""
        parts = [f"batch of {self.found.batch}"] if self.found.batch > 1 else []
        if self.count.apart:
            parts.append(f"{self.count.apart} as operations, no MACs")
        if self.verdict != "agrees":
            left_out = self.found.left_out
            parts += [self.count.said, f"left out: {left_out}" if left_out else ""]
        return "; ".join(part for part in parts if part)

    def __str__(self) -> str:
        figures = (self.count.macs, self.eapc, self.count.on_values)
        columns = "".join(f"{'' if each is None else int(each):>14}" for each in figures)
        return f"{self.name[:34]:35}{columns}  {self.verdict:8}{self.said}"


def counted(model: ModelProto, inputs: Values) -> Count:
    """The count by running it."""
    counter = Counter(model)
    try:
        counter.run(inputs)
    except UncountedError as error:
        return Count(said=str(error))
    except Exception as error:  # whatever onnxruntime raises while it runs
        return Count(said=f"not run: {' '.join(str(error).split())[:90]}")
    by_operator = counter.by_operator
    said = " ".join(f"{k} {v}" for k, v in by_operator.items())
    return Count(
        sum(by_operator.values()), counter.on_values, said, " and ".join(sorted(counter.apart))
    )


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

    def of(self, path: Path, options: Sequence[str]) -> Found:
        """What it finds of a file."""
        assert self._process.stdin
        assert self._process.stdout
        line = json.dumps(["analyze", str(path), "--json", *options])
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        if code:
            return Found(None, left_out=err.strip().splitlines()[-1].replace(str(path), "FILE"))
        document = json.loads(out)
        left_out = {f"{node['op_type']}: {node['reason']}" for node in document["unmodelled"]}
        macs, batch = document["totals"]["macs"], document["batch"]
        return Found(macs, batch, "; ".join(sorted(left_out)))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def _fix(graph: GraphProto, values: Mapping[str, float]) -> None:
    """Make constants of inputs."""
    for value in [each for each in graph.input if each.name in values]:
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        array = np.array(values[value.name], kind)
        graph.initializer.append(numpy_helper.from_array(array, value.name))
        graph.input.remove(value)


def compared(name: str, path: Path, analyses: Analyses, folder: Path) -> Row:
    """Both counts of one graph; `folder` takes a changed one."""
    model = onnx.load(str(path))
    if name in FIXED:
        _fix(model.graph, FIXED[name])
        path = folder / path.name
        onnx.save(model, str(path))
    arrays, options = inputs_of(model, name)
    return Row(name, counted(model, arrays), analyses.of(path, options))


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
        if any(word in path.parent.name for word in CONVERTED):
            yield path.parent.name, path


def main() -> int:
    """Print a row for each graph, then how many agree."""
    parser = argparse.ArgumentParser(description="MACs of eapc against an independent count.")
    parser.add_argument("words", nargs="*", help="words of graphs' names; all by default")
    words = parser.parse_args().words
    rows: list[Row] = []
    print(f"{'':35}{'counted':>14}{'eapc':>14}{'off padding':>14}")
    analyses = Analyses()
    with tempfile.TemporaryDirectory() as folder:
        for name, path in graphs(Path(folder)):
            if not words or any(word in name for word in words):
                rows.append(compared(name, path, analyses, Path(folder)))
                print(rows[-1], flush=True)
    analyses.close()
    verdicts = [row.verdict for row in rows]
    told = ", ".join(f"{verdicts.count(each)} {each}" for each in sorted(set(verdicts)))
    print(f"{len(rows)} graphs: {told}")
    return int("differs" in verdicts)


if __name__ == "__main__":
    sys.exit(main())
