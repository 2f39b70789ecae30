"""A network's activations over a calibration set, computed segment by segment.

Each node runs once: a step runs only what its wanted tensors still lack, keeps what later
steps need and drops the rest. New weights given at a step hold for the nodes that step and
later ones run.

What is kept stays in memory up to a budget, and goes to disk beyond it: to a file that has no
name any more, so that it is gone with the process however that ends. It is mapped back, so
whoever reads the array need not know.

Whoever changes one layer need not compute what comes before it: the downstream subgraph starts
from tensors that the change does not reach, and is run again and again with other weights.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from eapc.data import Dataset
from eapc.errors import DataError
from eapc.model import (
    Array,
    Model,
    Node,
    decode,
    encode,
    is_external,
    sample_axes,
    tensors_of_model,
)
from eapc.operators import operator_of
from eapc.runtime import Session, joined_batches

Batches = list[Array]

Kinds = Sequence[tuple[int, ...]]
"""The kinds of samples in each batch, see `Dataset.kinds`."""


class ActivationWalk:
    """Walks one network forward over a plan: the tensors wanted at each step.

    `plan[i]` names the tensors that `step(i)` must make available; steps go in order. What
    is kept from step to step counts against `memory`, which several walks may share. `kinds` are
    those of the samples of each batch.
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        plan: Sequence[Sequence[str]],
        batch: int,
        threads: int,
        memory: MemoryBudget | None = None,
    ) -> None:
        self._view = model.view
        self._plan = [tuple(dict.fromkeys(wanted)) for wanted in plan]
        self._threads = threads
        self._memory = memory or MemoryBudget()
        self._left = self._view.ancestors(name for wanted in self._plan for name in wanted)
        self._stored: dict[str, Batches] = {name: [] for name in data.shapes(1)}
        self._steps = 0
        self.kinds = data.kinds_by_batch(batch)
        for feed in data.batches(batch) if any(self._plan) else ():
            self._steps += 1
            for name, batches in self._stored.items():
                batches.append(self._memory.keep(feed[name]))

    def step(self, index: int, model: Model) -> dict[str, Batches]:
        """The tensors wanted at a step, one array per batch; `model` gives the weights."""
        wanted = self._plan[index]
        nodes = self._view.ancestors(wanted) & self._left
        self._left -= nodes
        needed_later = self._needed_after(index)
        if nodes:
            in_order = [node for node in self._view.main_nodes if node in nodes]
            self._run(in_order, needed_later, wanted, model)
        values = {name: self._stored[name] for name in wanted}
        self._stored = {n: v for n, v in self._stored.items() if n in needed_later}
        return values

    def _needed_after(self, index: int) -> set[str]:
        needed = {name for node in self._left for name in self._view.dependencies(node)}
        return needed.union(*self._plan[index + 1 :])

    def _run(
        self, nodes: Sequence[Node], later: set[str], wanted: Sequence[str], model: Model
    ) -> None:
        made = [name for node in nodes for name in node.outputs if name]
        outputs = [name for name in made if name in later or name in wanted]
        read = dict.fromkeys(name for node in nodes for name in self._view.dependencies(node))
        inputs = [name for name in read if name in self._stored]
        samples = {name: self._stored[name][0] for name in inputs}
        proto = segment(model, nodes, samples, outputs)
        session = Session(proto, self._threads, optimise=True)
        results: dict[str, Batches] = {name: [] for name in outputs}
        for i in range(self._steps):
            values = session.run({name: self._stored[name][i] for name in inputs})
            for name in outputs:
                results[name].append(self._memory.keep(values[name]))
        self._stored.update(results)


def segment(
    model: Model,
    nodes: Sequence[Node],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """A model of some of the main graph's nodes, with the initializers that they read.

    `inputs` names what is fed, with a sample for the type, and for the shape of what an operator
    with packed weights reads, which has to know it.
    """
    proto = model.emptied()
    graph = proto.graph
    graph.name = "segment"
    graph.node.extend(model.node_proto(node) for node in nodes)
    shaped = {name for node in nodes if _is_packed(node) for name in node.inputs[1:]}
    for name, sample in inputs.items():
        elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.asarray(sample).dtype)
        shape = [size if name in shaped else None for size in np.asarray(sample).shape]
        graph.input.append(onnx.helper.make_tensor_value_info(name, elem_type, shape))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    read = dict.fromkeys(name for node in nodes for name in model.view.dependencies(node))
    graph.initializer.extend(model.initializers(name for name in read if name not in inputs))
    for tensor in filter(is_external, tensors_of_model(proto)):  # those that subgraphs hold
        tensor.CopyFrom(encode(decode(tensor, model.folder), tensor))
    return proto


def _is_packed(node: Node) -> bool:
    places = operator_of(node).quantized
    return places is not None and places.packed is not None


# --- a budget of memory --------------------------------------------------------------------------


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


# --- downstream subgraphs ------------------------------------------------------------------------


@dataclass(frozen=True)
class DownstreamSubgraph:
    """Every main-graph node that constants reach, and what these nodes read and make.

    `changed` are the constants, `inputs` the other tensors that are computed or fed and
    that the nodes read, `outputs` those of the model's outputs that the nodes make.
    """

    nodes: tuple[Node, ...]
    changed: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def downstream_of(model: Model, changed: Iterable[str]) -> DownstreamSubgraph:
    """The nodes that depend on any of some constants, in file order.

    Where one of these is made of another, its new value is given, not made.
    """
    view, changed = model.view, tuple(changed)
    reached = view.descendants(changed) & view.needed
    nodes = tuple(
        node for node in view.main_nodes if node in reached and node.outputs[0] not in changed
    )
    made = {name for node in nodes for name in node.outputs if name}
    read = dict.fromkeys(name for node in nodes for name in view.dependencies(node))
    fed = {spec.name for spec in model.inputs}
    inputs = (
        name
        for name in read
        if name not in made and name not in changed and (name in fed or view.producer(name))
    )
    outputs = tuple(name for name in model.outputs if name in made)
    return DownstreamSubgraph(nodes, changed, tuple(inputs), outputs)


class DownstreamRun:
    """A downstream subgraph ready to run over the batches of its inputs.

    `inputs` holds one array per batch of each of the subgraph's inputs, `values` its changed
    constants, for their types; both may be of other constants' values at every run.
    """

    def __init__(
        self,
        model: Model,
        downstream: DownstreamSubgraph,
        inputs: Mapping[str, Batches],
        values: Mapping[str, Array],
        threads: int,
    ) -> None:
        self._inputs = {name: inputs[name] for name in downstream.inputs}
        samples = {name: batches[0] for name, batches in self._inputs.items()}
        samples |= {name: values[name] for name in downstream.changed}
        proto = segment(model, downstream.nodes, samples, downstream.outputs)
        self._session = Session(proto, threads)
        self._axes = sample_axes(model)

    def outputs(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The subgraph's outputs over all batches, joined, with these values of its constants."""
        count = max((len(batches) for batches in self._inputs.values()), default=1)
        fed = {name: np.ascontiguousarray(value) for name, value in values.items()}
        runs = (
            self._session.run({**fed, **{name: b[i] for name, b in self._inputs.items()}})
            for i in range(count)
        )
        return joined_batches(runs, self._axes)
