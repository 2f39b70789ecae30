"""Concrete shapes of every tensor, for one choice of the model's dynamic axes.

The choice serves analysis alone: the model keeps its dynamic axes. Weights take no part,
only their shapes do, so a model of any size is inferred in the time of its node count.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from eapc.errors import ModelError, UsageError
from eapc.folding import LARGEST_ELEMENTS, fold_constants, known_constants
from eapc.graph import Node, free_names
from eapc.model import Model
from eapc.tensors import Array, TensorSpec, spec_of, subgraphs_of_node

InputShapes = Mapping[str, tuple[int, ...]]
Scopes = dict[str, ChainMap[str, TensorSpec]]


@dataclass(frozen=True)
class Shapes:
    """Specs of tensors by the scope they are seen from."""

    by_scope: Mapping[str, Mapping[str, TensorSpec]]

    def spec(self, node: Node, tensor: str) -> TensorSpec | None:
        """The spec of a tensor as `node` sees it; None where nothing is known of it."""
        return self.by_scope.get(node.scope, {}).get(tensor)

    def shape(self, node: Node, tensor: str) -> tuple[int, ...] | None:
        """The tensor's shape if every axis is known, else None."""
        spec = self.spec(node, tensor)
        return static_shape(spec) if spec else None

    def main(self, tensor: str) -> tuple[int, ...] | None:
        """Like `shape`, for a tensor of the main graph."""
        spec = self.by_scope[""].get(tensor)
        return static_shape(spec) if spec else None


def static_shape(spec: TensorSpec) -> tuple[int, ...] | None:
    """The shape as integers, or None if an axis is unknown."""
    sizes = tuple(axis for axis in spec.shape if isinstance(axis, int))
    return sizes if len(sizes) == len(spec.shape) else None


def input_shapes(model: Model, given: InputShapes, batch: int | None) -> dict[str, tuple[int, ...]]:
    """A concrete shape for every input.

    `given` wins; `batch` replaces the batch axis of the others (see `batch_inputs`);
    remaining dynamic axes take the size that the same name has elsewhere, else 1.
    Raises UsageError for shapes that do not fit the model.
    """
    specs = {spec.name: spec for spec in model.inputs}
    for name, shape in given.items():
        _check_given(specs, name, shape)
    batched = batch_inputs(specs.values()) if batch else frozenset()
    symbols = _symbol_sizes(specs, given)
    for name in batched - given.keys():
        symbol = specs[name].shape[0]
        if isinstance(symbol, str) and batch:
            symbols.setdefault(symbol, batch)
    shapes = dict(given)
    for name, spec in specs.items():
        if name not in shapes:
            first = (batch,) if batch and name in batched else ()
            rest = spec.shape[len(first) :]
            shapes[name] = (*first, *(_size(axis, symbols) for axis in rest))
    return {name: shapes[name] for name in specs}


def batch_inputs(specs: Iterable[TensorSpec]) -> frozenset[str]:
    """Inputs of rank two or more whose first axis counts inferences.

    Those with a dynamic first axis; where there are none, all if they agree on its size.
    """
    candidates = [spec for spec in specs if len(spec.shape) > 1]
    dynamic = [spec.name for spec in candidates if not isinstance(spec.shape[0], int)]
    if dynamic:
        return frozenset(dynamic)
    sizes = {spec.shape[0] for spec in candidates}
    return frozenset(spec.name for spec in candidates) if len(sizes) == 1 else frozenset()


def _check_given(specs: Mapping[str, TensorSpec], name: str, shape: tuple[int, ...]) -> None:
    if name not in specs:
        raise UsageError(f"--input-shape: no input '{name}'; the model has {', '.join(specs)}")
    declared = specs[name].shape
    if len(declared) != len(shape):
        raise UsageError(f"--input-shape: '{name}' has {len(declared)} axes, got {len(shape)}")
    for axis, (size, wanted) in enumerate(zip(declared, shape, strict=True)):
        if isinstance(size, int) and size != wanted and axis > 0:
            raise UsageError(
                f"--input-shape: axis {axis} of '{name}' is fixed at {size}, got {wanted}"
            )


def _symbol_sizes(specs: Mapping[str, TensorSpec], given: InputShapes) -> dict[str, int]:
    """Sizes of the named axes that the given shapes fix."""
    return {
        symbol: given[name][axis]
        for name, spec in specs.items()
        if name in given
        for axis, symbol in enumerate(spec.shape)
        if isinstance(symbol, str)
    }


def _size(declared: int | str | None, symbols: Mapping[str, int]) -> int:
    if isinstance(declared, int):
        return declared
    return symbols.get(declared, 1) if declared else 1


def infer_shapes(model: Model, inputs: InputShapes) -> Shapes:
    """Shapes of every tensor once the inputs have the given shapes.

    Inference and the folding of shape arithmetic take turns until nothing new is learnt; what
    contradicts itself inside the graph stays unknown. Raises ModelError where onnx gives up.
    """
    skeleton = _skeleton(model, inputs)
    scopes = _settle(skeleton, model, inputs)
    if _as_declared(model, inputs) and _declare_unknown(skeleton, model, scopes):
        scopes = _settle(skeleton, model, inputs)
    return Shapes(scopes)


def _settle(skeleton: onnx.ModelProto, model: Model, inputs: InputShapes) -> Scopes:
    while True:
        inferred = _infer_once(skeleton, model, inputs)
        scopes = dict(_scopes(inferred.graph, model, "", {}))
        if not _has_gaps(scopes, model) or not _fold_all(skeleton.graph, model, scopes, "", {}):
            return scopes


def _infer_once(skeleton: onnx.ModelProto, model: Model, inputs: InputShapes) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{model.name}: shapes {dict(inputs)} do not fit: {reason}") from error


def _has_gaps(scopes: Scopes, model: Model) -> bool:
    shapes = Shapes(scopes)
    return any(
        shapes.shape(node, name) is None for node in model.nodes for name in node.outputs if name
    )


def _fold_all(
    graph: onnx.GraphProto, model: Model, scopes: Scopes, scope: str, outer: Mapping[str, Array]
) -> int:
    """Fold the constants of a graph and of its subgraphs; how many steps forward that was."""
    seen = scopes[scope]

    def shape_of(name: str) -> tuple[int, ...] | None:
        spec = seen.get(name)
        return static_shape(spec) if spec else None

    folded = fold_constants(graph, shape_of, model.view.proto.opset_import, outer)
    nodes = (node for node in model.nodes if node.scope == scope)
    for node, proto in zip(nodes, graph.node, strict=True):
        if node.subgraphs:
            known = known_constants(graph, outer)
            for inner_scope, inner in zip(node.subgraphs, subgraphs_of_node(proto), strict=True):
                folded += _bring_in(inner, known)
                folded += _fold_all(inner, model, scopes, inner_scope, known)
    return folded


def _bring_in(inner: onnx.GraphProto, known: Mapping[str, Array]) -> int:
    """Give a subgraph the constants that it takes from outside; onnx does not look there."""
    captured = sorted(free_names(inner) & known.keys())
    inner.initializer.extend(numpy_helper.from_array(known[name], name) for name in captured)
    return len(captured)


def _as_declared(model: Model, inputs: InputShapes) -> bool:
    """True when no axis has another size than the file gives it."""
    return all(
        declared in (size, None) or isinstance(declared, str)
        for spec in model.inputs
        for declared, size in zip(spec.shape, inputs[spec.name], strict=True)
    )


def _declare_unknown(skeleton: onnx.ModelProto, model: Model, scopes: Scopes) -> bool:
    """Fall back on the file's own value_info where inference knows less; False if nowhere."""
    main = Shapes(scopes).main
    missing = [
        value
        for value in model.view.proto.graph.value_info
        if (spec := spec_of(value)) and static_shape(spec) and main(value.name) is None
    ]
    skeleton.graph.value_info.extend(missing)
    return bool(missing)


def _skeleton(model: Model, inputs: InputShapes) -> onnx.ModelProto:
    """The model without large constants and stale shapes, its inputs made concrete."""
    proto = model.view.proto
    skeleton = onnx.ModelProto(ir_version=max(proto.ir_version, 4))
    skeleton.opset_import.extend(proto.opset_import)
    skeleton.functions.extend(proto.functions)
    graph = skeleton.graph
    graph.name = proto.graph.name or "graph"
    graph.node.extend(proto.graph.node)
    graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    _add_constants(model, graph)
    constants = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name not in constants:
            graph.input.append(_concrete(value, inputs.get(value.name)))
    for value in proto.graph.output:
        graph.output.append(_without_shape(value))
    return skeleton


def _add_constants(model: Model, graph: onnx.GraphProto) -> None:
    """Small constants by value, external ones included; others by their shape."""
    for tensor in model.view.proto.graph.initializer:
        if math.prod(tensor.dims) <= LARGEST_ELEMENTS:
            graph.initializer.extend(model.initializers([tensor.name]))
        else:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(value)


def _concrete(value: onnx.ValueInfoProto, shape: tuple[int, ...] | None) -> onnx.ValueInfoProto:
    if shape is None:
        return value
    elem_type = value.type.tensor_type.elem_type
    return onnx.helper.make_tensor_value_info(value.name, elem_type, shape)


def _without_shape(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    if not value.type.HasField("tensor_type"):
        return value
    elem_type = value.type.tensor_type.elem_type
    return onnx.helper.make_tensor_value_info(value.name, elem_type, None)


def _scopes(
    graph: onnx.GraphProto, model: Model, scope: str, outer: Mapping[str, TensorSpec]
) -> Iterator[tuple[str, ChainMap[str, TensorSpec]]]:
    own = {spec.name: spec for spec in _specs(graph.input)}
    own |= {tensor.name: _spec_of_tensor(tensor) for tensor in graph.initializer}
    own |= {spec.name: spec for spec in _specs(graph.output)}
    own |= {spec.name: spec for spec in _specs(graph.value_info)}
    seen: ChainMap[str, TensorSpec] = ChainMap(own, dict(outer))
    yield scope, seen
    nodes = (node for node in model.nodes if node.scope == scope)
    for node, proto in zip(nodes, graph.node, strict=True):
        for inner_scope, inner in zip(node.subgraphs, subgraphs_of_node(proto), strict=True):
            yield from _scopes(inner, model, inner_scope, seen)


def _specs(values: Iterable[onnx.ValueInfoProto]) -> Iterator[TensorSpec]:
    for value in values:
        spec = spec_of(value)
        if spec is not None:
            yield spec


def _spec_of_tensor(tensor: onnx.TensorProto) -> TensorSpec:
    value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
    spec = spec_of(value)
    assert spec is not None  # a value made with a shape has one
    return spec
