"""Concrete shapes of every tensor, for one choice of the model's dynamic axes.

The choice serves analysis alone: the model keeps its dynamic axes. Weights take no part,
only their shapes do, so a model of any size is inferred in the time of its node count.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import onnx

from eapc.errors import ModelError, UsageError
from eapc.model.constants import fold_constants, known_constants
from eapc.model.control_flow import carry_shapes, runs_of
from eapc.model.dynamic_axes import Axes, is_single_image, usual_sizes
from eapc.model.graph import Node, free_names, initializers_of
from eapc.model.model import Model
from eapc.model.strides import total_stride
from eapc.model.tensors import (
    Array,
    TensorSpec,
    element_type,
    numpy_type,
    spec_of,
    subgraphs_of_node,
)
from eapc.model.weightless_copy import loosen_reshapes, weightless_copy
from eapc.operators import operator_of

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


def input_shapes(model: Model, given: InputShapes, batch: int | None) -> dict[str, tuple[int, ...]]:
    """A concrete shape for every input.

    `given` wins; `batch` replaces the batch axis of the others (see `batch_inputs`);
    remaining dynamic axes take the size that the same name has elsewhere, else a usual one
    (see `usual_sizes`), else 1. Raises UsageError for shapes that do not fit the model.
    """
    if all(spec.name in given or not _open_axes(spec) for spec in model.inputs):
        return _sized(model, given, batch, {})
    key = ("usual sizes", *((name, tuple(shape)) for name, shape in sorted(given.items())))

    def has_elements(sizes: Axes) -> bool:
        return _has_elements(model, _sized(model, given, None, sizes))

    specs = [spec for spec in model.inputs if spec.name not in given]

    def sizes_that_fit() -> dict[tuple[str, int], int]:
        told = {
            (spec.name, axis): size
            for spec in specs
            for axis, size in _channels(model, spec)
            if axis in _open_axes(spec)
        }
        return usual_sizes(specs, has_elements, total_stride(model), _lengths(model), told)

    sizes = model.view.analyses.once(key, sizes_that_fit)
    return _sized(model, given, batch, sizes)


def assumed_sizes(model: Model, given: InputShapes) -> tuple[str, ...]:
    """A sentence for every open axis behind the first of inputs whose shapes are not given."""
    shapes = input_shapes(model, given, None)
    return tuple(
        f"axis {axis} of input '{spec.name}' is dynamic and taken to be "
        f"{shapes[spec.name][axis]}; --input-shape sets it"
        for spec in model.inputs
        if spec.name not in given
        for axis in _open_axes(spec)
    )


def _open_axes(spec: TensorSpec) -> list[int]:
    """Axes of no fixed size, but for the first unless that is one of an image."""
    first = 0 if is_single_image(spec) else 1
    sizes = enumerate(spec.shape[first:], first)
    return [axis for axis, size in sizes if not isinstance(size, int)]


_TOLD_BY_OPERANDS = ("convolution", "transposed convolution", "pooling", "product", "broadcasting")
"""Kinds of operators whose result has a shape wherever the operands' fit each other."""


def _has_elements(model: Model, shapes: InputShapes) -> bool:
    """Whether tensors have elements at these input shapes, as far as that is known.

    Operands that do not fit each other, such as a kernel larger than its map, leave the shape of
    a result unknown that is known otherwise.
    """
    try:
        found = infer_shapes(model, shapes)
    except ModelError:
        return False
    for node in model.view.main_nodes:
        made = [found.main(name) for name in node.outputs[:1]]
        told = operator_of(node).kind in _TOLD_BY_OPERANDS
        if told and None in made and all(_is_known(model, found, name) for name in node.inputs):
            return False
        if any(size < 1 for shape in made for size in shape or ()) or _exceeds(node, model, found):
            return False
        if _is_beyond_table(node, model, found):
            return False
    return True


def _channels(model: Model, spec: TensorSpec) -> Iterator[tuple[int, int]]:
    """The axis of an input that weights run along, and the size that they have there."""
    for node in model.view.consumers(spec.name):
        layout = operator_of(node).weights
        shape = model.constants.shape(node.input(layout.operand)) if layout else None
        if layout is None or not shape or node.input(0) != spec.name:
            continue
        if len(shape) < 2 or node.attribute(layout.x_swapped_by, 0):
            continue
        _, inputs = layout.axes(node.attributes, len(shape))
        groups = layout.groups(node.attributes) if layout.outputs < layout.inputs else 1
        yield layout.channel_axis(len(spec.shape)) % len(spec.shape), shape[inputs] * groups


def _lengths(model: Model) -> set[int]:
    """Sizes that tables have, such as those of positions, and what is added to feature maps."""
    shapes = (
        model.constants.shape(name)
        for node in model.view.main_nodes
        if node.op_type in ("Gather", "Slice") or operator_of(node).kind == "broadcasting"
        for name in node.inputs
    )
    return {size for shape in shapes if shape and len(shape) > 1 for size in shape}


def _is_beyond_table(node: Node, model: Model, shapes: Shapes) -> bool:
    """Whether a Gather is to read more positions, counted by a Range, than its table has."""
    table = model.constants.shape(node.input(0)) if node.op_type == "Gather" else None
    counted = model.view.producer(node.input(1)) if table else None
    while counted and counted.op_type in ("Cast", "Identity", "Reshape", "Unsqueeze", "Expand"):
        counted = model.view.producer(counted.input(0))
    if not table or counted is None or counted.op_type != "Range":
        return False
    positions = shapes.main(counted.outputs[0])
    return positions is not None and positions[0] > table[node.attribute("axis", 0)]


def _exceeds(node: Node, model: Model, shapes: Shapes) -> bool:
    """Whether a kernel is larger than its map, padding included; onnx infers a size even so."""
    x = shapes.main(node.input(0))
    if operator_of(node).kind not in ("convolution", "pooling") or x is None:
        return False
    kernel = (
        node.attribute("kernel_shape", None) or (model.constants.shape(node.input(1)) or ())[2:]
    )
    if len(kernel) != len(x) - 2 or node.attribute("auto_pad", "NOTSET").startswith("SAME"):
        return False
    none = (0,) * len(kernel)
    pads = node.attribute("pads", none + none)
    room = (size + a + b for size, a, b in zip(x[2:], pads, pads[len(kernel) :], strict=False))
    steps = node.attribute("dilations", (1,) * len(kernel))
    reach = (step * (size - 1) + 1 for size, step in zip(kernel, steps, strict=True))
    return any(a < b for a, b in zip(room, reach, strict=True))


def _is_known(model: Model, shapes: Shapes, name: str) -> bool:
    return not name or name in model.constants or shapes.main(name) is not None


def _sized(
    model: Model, given: InputShapes, batch: int | None, sizes: Axes
) -> dict[str, tuple[int, ...]]:
    """The shapes of inputs with the sizes of open axes that are given here."""
    specs = {spec.name: spec for spec in model.inputs}
    for name, shape in given.items():
        _check_given(specs, name, shape)
    batched = batch_inputs(specs.values()) if batch else frozenset()
    places = ((specs[name].shape[axis], size) for (name, axis), size in sizes.items())
    usual = {symbol: size for symbol, size in places if isinstance(symbol, str)}
    symbols = {**usual, **_symbol_sizes(specs, given)}
    for name in batched - given.keys():
        symbol = specs[name].shape[0]
        if isinstance(symbol, str) and batch:
            symbols.setdefault(symbol, batch)
    shapes = dict(given)
    for name, spec in specs.items():
        if name not in shapes:
            first = (batch,) if batch and name in batched else ()
            rest = spec.shape[len(first) :]
            others = (sizes.get((name, axis), 1) for axis in range(len(first), len(spec.shape)))
            shapes[name] = (
                *first,
                *(
                    size if isinstance(size, int) else symbols.get(size or "", other)
                    for size, other in zip(rest, others, strict=True)
                ),
            )
    return {name: shapes[name] for name in specs}


def batch_inputs(specs: Iterable[TensorSpec]) -> frozenset[str]:
    """Inputs of rank two or more whose first axis counts inferences.

    Those with a dynamic first axis, but for single images; where there are none, all if they agree
    on its size.
    """
    candidates = [spec for spec in specs if len(spec.shape) > 1 and not is_single_image(spec)]
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
    return replace(shapes, runs=dict(_runs(weightless.graph, model, shapes, "", {})))


def _settle(weightless: onnx.ModelProto, model: Model, inputs: InputShapes) -> Shapes:
    while True:
        inferred = _infer_once(weightless, model, inputs)
        shapes = Shapes(dict(_scopes(inferred.graph, model, "", {})))
        if loosen_reshapes(weightless.graph, shapes.main):
            continue
        if not _has_gaps(shapes, model) or not _fold_all(weightless.graph, model, shapes, "", {}):
            return shapes


def _infer_once(weightless: onnx.ModelProto, model: Model, inputs: InputShapes) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(weightless, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{model.name}: shapes {dict(inputs)} do not fit: {reason}") from error


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
    for node, inner_scope, inner in _subgraphs(graph, model, scope):
        folded += _bring_in(inner, known)
        folded += carry_shapes(graph, node, inner, shape_of)
        folded += _fold_all(inner, model, shapes, inner_scope, known)
        if node.op_type == "If" and runs_of(node, inner_scope, known, shape_of) == 1:
            results = (shapes.by_scope[inner_scope].get(result.name) for result in inner.output)
            folded += _declare_taken(graph, shapes, scope, node, results)
    return folded


def _declare_taken(
    graph: onnx.GraphProto,
    shapes: Shapes,
    scope: str,
    node: onnx.NodeProto,
    results: Iterable[TensorSpec | None],
) -> int:
    """Give an If whose condition is known the shapes of the branch it takes; how many.

    Left to itself, inference unites the shapes of both branches.
    """
    declared = 0
    for name, spec in zip(node.output, results, strict=True):
        shape = static_shape(spec) if spec else None
        if name and spec and shape is not None and shapes.seen_from(scope, name) is None:
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
        for spec in model.inputs
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
