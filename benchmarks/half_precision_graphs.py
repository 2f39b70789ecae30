#!/usr/bin/env python3
"""Random networks in float16 and bfloat16, pruned in child processes: what goes wrong.

python benchmarks/half_precision_graphs.py [--count N] [--first SEED]

Networks are those of tests/test_channels_random.py, their floats in 16 bits. Counted per type:
files that keep what is promised, refusals in one line (code 2 or 3), processes ended by a signal,
internal errors, and broken promises: onnx's checker, a session, types of all tensors, tensors that
no layer has, finite outputs where the original's are. Ends with 1 where one of the last three is.
"""

from __future__ import annotations

import argparse
import importlib
import io
import multiprocessing
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import onnx
from ml_dtypes import bfloat16
from onnx import ModelProto, TensorProto, numpy_helper
from shared_data import ROOT

from eapc.cli import main as cli_main
from eapc.layers import layers_of
from eapc.model import Model, input_shapes, tensors_of_model
from eapc.runtime import Session

sys.path.insert(0, str(ROOT / "tests"))
RandomNet = importlib.import_module("test_channels_random").RandomNet

TYPES = {
    "float16": (TensorProto.FLOAT16, np.dtype(np.float16)),
    "bfloat16": (TensorProto.BFLOAT16, np.dtype(bfloat16)),
}
OPSET = 22
FORKS = multiprocessing.get_context("fork")
FAULTS = ("signal", "internal error", "broken promise")


def in_type(proto: ModelProto, kind: str) -> ModelProto:
    """A copy of a float32 model with another type for all its floats."""
    elem_type, dtype = TYPES[kind]
    copy = ModelProto()
    copy.CopyFrom(proto)
    copy.opset_import[0].version = OPSET
    for value in (*copy.graph.input, *copy.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = elem_type
    for node in copy.graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, dtype))
            node.attribute.append(onnx.helper.make_attribute("value", zero))
    for tensor in tensors_of_model(copy):
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy


def pruned(source: Path, out: Path, seed: int) -> tuple[str, str]:
    """What becomes of a file in a process of its own, with what it said last."""
    told, tells = FORKS.Pipe(duplex=False)
    child = FORKS.Process(target=_prune, args=(tells, source, out, seed))
    child.start()
    tells.close()
    try:
        verdict: tuple[str, str] = told.recv()
    except EOFError:
        verdict = ("internal error", "nothing was said")
    child.join()
    return ("signal", str(child.exitcode)) if (child.exitcode or 0) < 0 else verdict


def _prune(tells: Connection, source: Path, out: Path, seed: int) -> None:
    """In a child: prune, look at the file, and tell."""
    way = ["--structured", "--target-energy", "0.8"] if seed % 2 else ["--sparsity", "0.5"]
    options = [*way, "--samples", "16", "--threads", "1", "-o", str(out), "--force"]
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = cli_main(["prune", str(source), *options])
    last = (said.getvalue().strip().splitlines() or [""])[-1]
    if code == 1 or "internal error" in said.getvalue():
        tells.send(("internal error", last))
    elif not out.exists():
        tells.send(("refused", last))
    else:
        fault = broken(source, out, cut=bool(seed % 2))
        tells.send(("broken promise", fault) if fault else ("kept", ""))


def broken(source: Path, out: Path, cut: bool) -> str:
    """The first promise of a written file that does not hold; empty where all do."""
    before, after = Model.load(source), Model.load(out)
    try:
        onnx.checker.check_model(str(out), full_check=True)
    except onnx.checker.ValidationError as error:
        return f"checker: {error}"
    layers = layers_of(before).layers
    own = {tied.weight for tied in layers}
    own |= {user.bias.tensor for tied in layers for user in tied.users if user.bias}
    for name in after.constants.plain.keys() & before.constants.plain.keys():
        one, other = before.constants[name], after.constants[name]
        if one.dtype != other.dtype:
            return f"{name}: {one.dtype} became {other.dtype}"
        if not cut and name not in own and one.tobytes() != other.tobytes():
            return f"{name} changed"
        wide = other.astype(np.float64) if other.dtype.kind != "i" else other
        if not np.isfinite(wide).all():
            return f"{name} holds NaN or infinity"
    x = np.random.default_rng(0).standard_normal(input_shapes(before, {}, 2)["x"])
    feed = {before.inputs[0].name: x.astype(before.inputs[0].dtype)}
    wanted, found = (Session(path, 1).run(feed) for path in (source, out))
    for name, value in wanted.items():
        if np.isfinite(value).all() and not np.isfinite(found[name]).all():
            return f"output {name} is not finite"
    return ""


def count(kind: str, seeds: range) -> Counter[str]:
    """How many of some seeds end in which way; faults are printed."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
        for seed in seeds:
            out.unlink(missing_ok=True)
            onnx.save(in_type(RandomNet(seed).model().to_proto(), kind), source)
            verdict, said = pruned(source, out, seed)
            found[verdict] += 1
            if verdict != "kept":
                print(f"{kind} {seed}: {verdict}: {said}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    seeds = range(chosen.first, chosen.first + chosen.count)
    faults = 0
    for kind in TYPES:
        found = count(kind, seeds)
        print(kind, dict(found), flush=True)
        faults += sum(found[fault] for fault in FAULTS)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
