"""A model's graph that torch runs: one operator after another, gradients to its parameters."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import onnx
import onnx.inliner
import torch
from torch import Tensor

from eapc.autograd.arrays import tensor_of
from eapc.autograd.control_flow import CONTROL, Runner
from eapc.autograd.parameters import Parameter
from eapc.autograd.rules import Call, Rule, rule_of
from eapc.errors import ModelError
from eapc.model import Array, Model, Stored, attributes_of, decode, numpy_type, stored_in

RULES = (
    "attention",
    "contractions",
    "elementwise",
    "indexing",
    "normalisation",
    "pooling",
    "quantization",
    "recurrent",
    "reductions",
    "resizing",
    "shaping",
)
"""The modules whose rules make the table."""

for _module in RULES:
    import_module(f"eapc.autograd.{_module}")

Values = MutableMapping[str, Tensor]


@dataclass(frozen=True)
class _Operation:
    """One node, ready to run."""

    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rule: Rule | None = None
    bodies: Mapping[str, _OperationGraph] | None = None

    def run(self, values: Values) -> None:
        """Enter the node's outputs among the values."""
        operands = [values[name] if name else None for name in self.inputs]
        try:
            found = self._found(values, operands)
            values.update(zip(self.outputs, found, strict=True))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            said = str(error).splitlines()[0]
            raise ModelError(f"'{self.outputs[0]}' ({self.call.op_type}): {said}") from error

    def _found(self, values: Values, operands: Sequence[Tensor | None]) -> Sequence[Tensor]:
        if self.rule is not None:
            return self.rule.call(self.call, operands)
        return CONTROL[self.call.op_type](self.call, self._runners(values), *operands)

    def _runners(self, values: Values) -> dict[str, Runner]:
        def runner(graph: _OperationGraph) -> Runner:
            return lambda inputs: graph.run(ChainMap({}, values), inputs)

        return {name: runner(graph) for name, graph in (self.bodies or {}).items()}


@dataclass(frozen=True)
class _OperationGraph:
    """A graph's constants and steps in order."""

    constants: Mapping[str, Tensor]
    steps: tuple[_Operation, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, values: Values, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, of inputs in their order and whatever else is among the values."""
        values.update(self.constants)
        values.update(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            step.run(values)
        return [values[name] for name in self.outputs]


class Network:
    """A model as a function of its inputs and its parameters.

    What depends on neither is worked out once. Raises ModelError, with all that are missing,
    where an operator has no rule.
    """

    def __init__(self, model: Model, parameters: Mapping[str, Parameter] | None = None) -> None:
        require_rules(model)
        self.parameters = dict(parameters or {})
        proto = model.to_proto(embed=True)
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
        graph = _graph_of(proto.graph, {o.domain: o.version for o in proto.opset_import})
        self._fixed = {k: v for k, v in graph.constants.items() if k not in self.parameters}
        self._steps = self._settled(graph)

    def _settled(self, graph: _OperationGraph) -> tuple[_Operation, ...]:
        """Run the steps that depend on constants alone; what is left."""
        left = []
        for step in graph.steps:
            if step.bodies is None and all(not n or n in self._fixed for n in step.inputs):
                with torch.no_grad():
                    step.run(self._fixed)
            elif step.outputs[0] not in self.parameters:
                left.append(step)
        return tuple(left)

    def run(self, feed: Mapping[str, Tensor], wanted: Sequence[str]) -> list[Tensor]:
        """Some tensors of the graph by name, for inputs by name."""
        seen = {name: parameter.seen() for name, parameter in self.parameters.items()}
        values: Values = ChainMap({}, seen, dict(feed), self._fixed)
        for step in self._steps:
            step.run(values)
        return [values[name] for name in wanted]

    def stored(self) -> dict[str, Array]:
        """The parameters' values by name, as the file stores them."""
        return {name: parameter.stored() for name, parameter in self.parameters.items()}


def require_rules(model: Model) -> None:
    """ModelError that names all operators of a model that have no rule."""
    missing = unruled(model)
    if missing:
        raise ModelError(f"no rule for {', '.join(missing)}: such a model cannot be trained")


def unruled(model: Model) -> list[str]:
    """Operators of a model that have no rule, each with the first node that is one."""
    functions = {(f.domain, f.name) for f in model.view.proto.functions}
    found: dict[str, str] = {}
    for node in model.nodes:
        is_known = rule_of(node.op_type, node.domain) or (node.domain, node.op_type) in functions
        if not is_known and not (node.op_type in CONTROL and not node.domain):
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            found.setdefault(name, f"{name} ('{node.key}')")
    return list(found.values())


def _graph_of(graph: onnx.GraphProto, opsets: Mapping[str, int]) -> _OperationGraph:
    stored = stored_in(graph)
    constants = {name: tensor_of(decode(tensor, Path())) for name, tensor in stored.items()}
    steps = tuple(_operation(n, opsets, stored) for n in graph.node if n.output[0] not in constants)
    inputs = tuple(i.name for i in graph.input if i.name not in constants)
    return _OperationGraph(constants, steps, inputs, tuple(o.name for o in graph.output))


def _operation(
    node: onnx.NodeProto, opsets: Mapping[str, int], stored: Mapping[str, Stored]
) -> _Operation:
    domain = "" if node.domain == "ai.onnx" else node.domain
    opset = opsets.get(domain, opsets.get("ai.onnx", 1))
    types = {
        place: numpy_type(stored[name].data_type)
        for place, name in enumerate(node.input)
        if isinstance(stored.get(name), onnx.TensorProto)
    }
    call = Call(node.op_type, attributes_of(node), opset, len(node.output), types)
    bodies = {a.name: _graph_of(a.g, opsets) for a in node.attribute if a.HasField("g")}
    return _Operation(
        call,
        tuple(node.input),
        tuple(node.output),
        rule_of(node.op_type, domain),
        bodies or None,
    )
