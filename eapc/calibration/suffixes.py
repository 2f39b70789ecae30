"""The part of a network behind some constants, run again and again with other values of them.

Whoever changes one layer need not compute what comes before it: the suffix starts from
tensors that the change does not reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from eapc.calibration.activations import Batches, segment
from eapc.model import Array, Model, Node
from eapc.runtime import Session, joined_batches


@dataclass(frozen=True)
class Suffix:
    """Every main-graph node that constants reach, and what these nodes read and make.

    `changed` are the constants, `inputs` the other tensors that are computed or fed and
    that the nodes read, `outputs` those of the model's outputs that the nodes make.
    """

    nodes: tuple[Node, ...]
    changed: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def suffix_behind(model: Model, changed: Iterable[str]) -> Suffix:
    """The nodes that depend on any of some constants, in file order."""
    view, changed = model.view, tuple(changed)
    reached = view.descendants(changed)
    nodes = tuple(node for node in view.main_nodes if node in reached)
    made = {name for node in nodes for name in node.outputs if name}
    read = dict.fromkeys(name for node in nodes for name in view.dependencies(node))
    fed = {spec.name for spec in model.inputs}
    inputs = (
        name
        for name in read
        if name not in made and name not in changed and (name in fed or view.producer(name))
    )
    outputs = tuple(name for name in model.outputs if name in made)
    return Suffix(nodes, changed, tuple(inputs), outputs)


class SuffixRun:
    """A suffix ready to run over the batches of its inputs.

    `inputs` holds one array per batch of each of the suffix's inputs, `values` its changed
    constants, for their types; both may be of other constants' values at every run.
    """

    def __init__(
        self,
        model: Model,
        suffix: Suffix,
        inputs: Mapping[str, Batches],
        values: Mapping[str, Array],
        threads: int,
    ) -> None:
        self._inputs = {name: inputs[name] for name in suffix.inputs}
        samples = {name: batches[0] for name, batches in self._inputs.items()}
        samples |= {name: values[name] for name in suffix.changed}
        proto = segment(model, suffix.nodes, samples, suffix.outputs)
        self._session = Session(proto, threads)

    def outputs(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The suffix's outputs over all batches, joined, with these values of its constants."""
        count = max((len(batches) for batches in self._inputs.values()), default=1)
        fed = {name: np.ascontiguousarray(value) for name, value in values.items()}
        return joined_batches(
            self._session.run({**fed, **{name: b[i] for name, b in self._inputs.items()}})
            for i in range(count)
        )
