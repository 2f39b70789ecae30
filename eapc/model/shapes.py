"""Concrete shapes of every tensor, for one choice of the model's dynamic axes.

The choice serves analysis alone: the model keeps its dynamic axes. Weights take no part,
only their shapes do, so a model of any size is inferred in the time of its node count.
"""

from __future__ import annotations

import logging
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import onnx

from eapc.errors import ModelError
from eapc.model.constants import fold_constants, known_constants
from eapc.model.control_flow import carry_shapes, runs_of
from eapc.model.graph import Node, free_names, initializers_of
from eapc.model.model import Model
from eapc.model.own_shapes import declare_own
from eapc.model.refusals import MISFIT, ONNX, explained
from eapc.model.tensors import (
    Array,
    TensorSpec,
    element_type,
    numpy_type,
    spec_of,
    subgraphs_of_node,
)
from eapc.model.weightless_copy import loosen_reshapes, weightless_copy

logger = logging.getLogger(__name__)

InputShapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Shapes:
    """Specs of tensors by the scope they are seen from.

    `runs` says how often each subgraph, by its scope, runs when its node does; those whose
    runs depend on data are missing. A mean over inputs may be a fraction.
    """

    by_scope: Mapping[str, Mapping[str, TensorSpec]]
    runs: Mapping[str, float] = field(default_factory=dict)

    def spec(self, node: Node, tensor: str) -> TensorSpec | None:
        """The spec of a tensor as `node` sees it; None where nothing is known of it."""
        return self.by_scope.get(node.scope, {}).get(tensor)

    def seen_from(self, scope: str, tensor: str) -> tuple[int, ...] | None:
        """The shape of a tensor as a scope's nodes see it if every axis is known, else None."""
        spec = self.by_scope.get(scope, {}).get(tensor)
        return static_shape(spec) if spec else None

    def shape(self, node: Node, tensor: str) -> tuple[int, ...] | None:
        """Like `seen_from`, as `node` sees the tensor."""
        return self.seen_from(node.scope, tensor)

    def main(self, tensor: str) -> tuple[int, ...] | None:
        """Like `seen_from`, for a tensor of the main graph."""
        return self.seen_from("", tensor)


def static_shape(spec: TensorSpec) -> tuple[int, ...] | None:
    """The shape as integers, or None if an axis is unknown."""
    sizes = tuple(axis for axis in spec.shape if isinstance(axis, int))
    return sizes if len(sizes) == len(spec.shape) else None


def infer_shapes(model: Model, inputs: InputShapes) -> Shapes:
    """Shapes of every tensor once the inputs have the given shapes.

    Inference and the folding of shape arithmetic take turns until nothing new is learnt; what
    contradicts itself inside the graph stays unknown. Raises ModelError where onnx gives up.
    Models that share a graph share them too: no weights change them.
    """
    key = ("shapes", *((name, tuple(shape)) for name, shape in inputs.items()))
    return model.view.analyses.once(key, lambda: _inferred(model, inputs))


def _inferred(model: Model, inputs: InputShapes) -> Shapes:
    weightless = weightless_copy(model, inputs)
    shapes = _settle(weightless, model, inputs)
    if _as_declared(model, inputs) and _declare_unknown(weightless, model, shapes):
        shapes = _settle(weightless, model, inputs)
    if model.origin is None and (wrong := list(_contradicted(model, inputs, shapes))):
        logger.warning(f"{model.name}: the file declares other shapes than follow: {wrong[0]}")
    return replace(shapes, runs=dict(_runs(weightless.graph, model, shapes, "", {})))


def _contradicted(model: Model, inputs: InputShapes, shapes: Shapes) -> Iterator[str]:
    """Tensors that are declared to have another shape than that which follows from the inputs."""
    if any(spec.shape != tuple(inputs[spec.name]) for spec in model.view.inputs):
        return
    for value in model.view.proto.graph.value_info:
        spec, follows = spec_of(value), shapes.main(value.name)
        declared = static_shape(spec) if spec else None
        if declared is not None and follows is not None and declared != follows:
            yield f"'{value.name}' is {list(declared)}, {list(follows)} follows"


def _settle(weightless: onnx.ModelProto, model: Model, inputs: InputShapes) -> Shapes:
    while True:
        inferred = _infer_once(weightless, model, inputs)
        shapes = Shapes(dict(_scopes(inferred.graph, model, "", {})))
        if loosen_reshapes(weightless.graph, shapes.main):
            continue
        if not _has_gaps(shapes, model) or not _fold_all(weightless.graph, model, shapes, "", {}):
            return shapes


_LONGEST_LIST = 1 << 20
"""An input of more numbers is no list of sizes; onnx would keep each."""


def _infer_once(weightless: onnx.ModelProto, model: Model, inputs: InputShapes) -> onnx.ModelProto:
    lists = (shape[0] for shape in inputs.values() if len(shape) == 1)
    longest = max((*lists, *_ranges(weightless.graph)), default=0)
    follows = longest <= _LONGEST_LIST
    try:
        return onnx.shape_inference.infer_shapes(weightless, data_prop=follows)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        said, sizes = explained(error, ONNX), ", ".join(f"'{n}' {s}" for n, s in inputs.items())
        remedy = "; --input-shape gives other sizes" if MISFIT in said else ""
        raise ModelError(f"{model.name}: with inputs {sizes}: {said}{remedy}") from error


def _ranges(graph: onnx.GraphProto) -> Iterator[float]:
    """Lengths of the lists that Range makes of constants; onnx would count them up."""
    nodes = [node for node in graph.node if node.op_type == "Range"]
    known = known_constants(graph, {}) if nodes else {}
    for node in nodes:
        bounds = [known[name].reshape(-1) for name in node.input if name in known]
        if len(bounds) == 3 and all(bound.size == 1 for bound in bounds):
            start, limit, step = (float(bound[0]) for bound in bounds)
            yield (limit - start) / step if step else 0.0


def _has_gaps(shapes: Shapes, model: Model) -> bool:
    return any(
        shapes.shape(node, name) is None for node in model.nodes for name in node.outputs if name
    )


def _subgraphs(
    graph: onnx.GraphProto, model: Model, scope: str
) -> Iterator[tuple[onnx.NodeProto, str, onnx.GraphProto]]:
    """Each subgraph in a graph of that scope, with the node that holds it and its own scope."""
    for node, proto in zip(model.view.by_scope.get(scope, ()), graph.node, strict=True):
        for inner_scope, inner in zip(node.subgraphs, subgraphs_of_node(proto), strict=True):
            yield proto, inner_scope, inner


def _fold_all(
    graph: onnx.GraphProto, model: Model, shapes: Shapes, scope: str, outer: Mapping[str, Array]
) -> int:
    """Fold the constants of a graph and of its subgraphs; how many steps forward that was."""
    shape_of = partial(shapes.seen_from, scope)
    folded, known = fold_constants(graph, shape_of, model.view.proto.opset_import, outer)
    folded += declare_own(graph, shape_of, shapes.by_scope[scope])
    for node, inner_scope, inner in _subgraphs(graph, model, scope):
        folded += _bring_in(inner, known)
        folded += carry_shapes(graph, node, inner, shape_of)
        folded += _fold_all(inner, model, shapes, inner_scope, known)
    for node, branches in _ifs(graph, model, scope):
        taken = [b for b in branches if runs_of(node, b[0], known, shape_of) == 1] or branches
        specs = [[shapes.by_scope[at].get(each.name) for each in b.output] for at, b in taken]
        folded += _declare_results(graph, shapes, scope, node, specs)
    return folded


def _ifs(
    graph: onnx.GraphProto, model: Model, scope: str
) -> Iterator[tuple[onnx.NodeProto, list[tuple[str, onnx.GraphProto]]]]:
    """Each If of a graph of that scope with its branches and their scopes."""
    for node, found in groupby(_subgraphs(graph, model, scope), lambda each: each[0]):
        if node.op_type == "If" and node.domain in ("", "ai.onnx"):
            yield node, [(inner_scope, inner) for _, inner_scope, inner in found]


def _declare_results(
    graph: onnx.GraphProto,
    shapes: Shapes,
    scope: str,
    node: onnx.NodeProto,
    branches: Iterable[Iterable[TensorSpec | None]],
) -> int:
    """Give an If the shapes that all branches agree on of those it may take; how many.

    Left to itself, inference unites the shapes of both branches, and does not know what eapc
    found out of each.
    """
    declared = 0
    for name, *results in zip(node.output, *branches, strict=True):
        found = {static_shape(spec) if spec else None for spec in results}
        shape, spec = found.pop(), results[0]
        if found or not (name and spec) or shape is None:
            continue
        if shapes.seen_from(scope, name) is None:
            kind = onnx.helper.np_dtype_to_tensor_dtype(spec.dtype)
            graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, shape))
            declared += 1
    return declared


def _runs(
    graph: onnx.GraphProto, model: Model, shapes: Shapes, scope: str, outer: Mapping[str, Array]
) -> Iterator[tuple[str, int]]:
    known = known_constants(graph, outer)
    for node, inner_scope, inner in _subgraphs(graph, model, scope):
        count = runs_of(node, inner_scope, known, partial(shapes.seen_from, scope))
        if count is not None:
            yield inner_scope, count
        yield from _runs(inner, model, shapes, inner_scope, known)


def _bring_in(inner: onnx.GraphProto, known: Mapping[str, Array]) -> int:
    """Give a subgraph the constants that it takes from outside; onnx does not look there."""
    captured = sorted(free_names(inner) & known.keys())
    inner.initializer.extend(onnx.numpy_helper.from_array(known[name], name) for name in captured)
    return len(captured)


def _as_declared(model: Model, inputs: InputShapes) -> bool:
    """True when no axis has another size than the file gives it."""
    return all(
        declared in (size, None) or isinstance(declared, str)
        for spec in model.view.inputs
        for declared, size in zip(spec.shape, inputs[spec.name], strict=True)
    )


def _declare_unknown(weightless: onnx.ModelProto, model: Model, shapes: Shapes) -> bool:
    """Fall back on the file's own value_info where inference knows less; False if nowhere."""
    missing = [
        value
        for value in model.view.proto.graph.value_info
        if (spec := spec_of(value)) and static_shape(spec) and shapes.main(value.name) is None
    ]
    weightless.graph.value_info.extend(missing)
    return bool(missing)


def _scopes(
    graph: onnx.GraphProto, model: Model, scope: str, outer: Mapping[str, TensorSpec]
) -> Iterator[tuple[str, ChainMap[str, TensorSpec]]]:
    own = _specs(graph.input)
    for name, tensor in initializers_of(graph).items():
        own[name] = TensorSpec(name, numpy_type(element_type(tensor)), tuple(tensor.dims))
    own |= _specs(graph.output) | _specs(graph.value_info)
    seen: ChainMap[str, TensorSpec] = ChainMap(own, dict(outer))
    yield scope, seen
    for _, inner_scope, inner in _subgraphs(graph, model, scope):
        yield from _scopes(inner, model, inner_scope, seen)


def _specs(values: Iterable[onnx.ValueInfoProto]) -> dict[str, TensorSpec]:
    return {value.name: spec for value in values if (spec := spec_of(value))}
