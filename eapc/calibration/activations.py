"""A network's activations over a calibration set, computed segment by segment.

Each node runs once: a step runs only what its wanted tensors still lack, keeps what later
steps need and drops the rest. New weights given at a step hold for the nodes that step and
later ones run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from eapc.calibration.spill import MemoryBudget
from eapc.data import Dataset
from eapc.model import Array, Model, Node, decode, encode, is_external, tensors_of_model
from eapc.runtime import Session

Batches = list[Array]


class ActivationWalk:
    """Walks one network forward over a plan: the tensors wanted at each step.

    `plan[i]` names the tensors that `step(i)` must make available; steps go in order. What
    is kept from step to step counts against `memory`, which several walks may share.
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

    `inputs` names what is fed, with a sample for the type.
    """
    proto = model.emptied()
    graph = proto.graph
    graph.name = "segment"
    graph.node.extend(model.node_proto(node) for node in nodes)
    for name, sample in inputs.items():
        elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.asarray(sample).dtype)
        shape = [None] * np.asarray(sample).ndim
        graph.input.append(onnx.helper.make_tensor_value_info(name, elem_type, shape))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    read = dict.fromkeys(name for node in nodes for name in model.view.dependencies(node))
    graph.initializer.extend(model.initializers(name for name in read if name not in inputs))
    for tensor in filter(is_external, tensors_of_model(proto)):  # those that subgraphs hold
        tensor.CopyFrom(encode(decode(tensor, model.folder), tensor))
    return proto
