"""A shape for every input: what is given, what weights and strides tell, what is usual."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from eapc.errors import ModelError, UsageError
from eapc.model.dynamic_axes import Axes, is_single_image, larger_sizes, usual_sizes
from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.model.shapes import InputShapes, Shapes, infer_shapes
from eapc.model.strides import total_stride
from eapc.model.tensors import TensorSpec
from eapc.model.windows import excess_of
from eapc.operators import operator_of


def input_shapes(model: Model, given: InputShapes, batch: int | None) -> dict[str, tuple[int, ...]]:
    """A concrete shape for every input.

    `given` wins; `batch` replaces the batch axis of the others (see `batch_inputs`);
    remaining dynamic axes take the size that the same name has elsewhere, else a usual one
    (see `usual_sizes`), else 1. Raises UsageError for shapes that do not fit the model.
    """
    if all(spec.name in given or not _open_axes(spec) for spec in model.inputs):
        return _sized(model, given, batch, {})
    return _sized(model, given, batch, _usual_sizes(model, given))


def larger_input_shapes(model: Model, given: InputShapes) -> Iterator[dict[str, tuple[int, ...]]]:
    """Shapes like those of `input_shapes` with open axes ever twice as large, the smallest first.

    They are for a model that does not run at the usual sizes. None where no axis can grow.
    """
    specs = [spec for spec in model.inputs if spec.name not in given]
    usual, told = _usual_sizes(model, given), _told_by_weights(model, specs)
    for sizes in larger_sizes(specs, usual, total_stride(model), told):
        yield _sized(model, given, None, sizes)


def _usual_sizes(model: Model, given: InputShapes) -> dict[tuple[str, int], int]:
    key = ("usual sizes", *((name, tuple(shape)) for name, shape in sorted(given.items())))

    def has_elements(sizes: Axes) -> bool:
        return _has_elements(model, _sized(model, given, None, sizes))

    specs = [spec for spec in model.inputs if spec.name not in given]

    def sizes_that_fit() -> dict[tuple[str, int], int]:
        told = _told_by_weights(model, specs)
        return usual_sizes(specs, has_elements, total_stride(model), _lengths(model), told)

    return model.view.analyses.once(key, sizes_that_fit)


def _told_by_weights(model: Model, specs: Iterable[TensorSpec]) -> dict[tuple[str, int], int]:
    return {
        (spec.name, axis): size
        for spec in specs
        for axis, size in _channels(model, spec)
        if axis in _open_axes(spec)
    }


def assumed_sizes(
    model: Model, given: InputShapes, taken: InputShapes | None = None
) -> tuple[str, ...]:
    """A sentence for every open axis but the batch of inputs whose shapes are not given.

    `taken` are the shapes that made-up inputs have, where these are not the usual ones.
    """
    shapes = taken or input_shapes(model, given, None)
    return tuple(
        f"axis {axis} of input '{spec.name}' is dynamic and taken to be "
        f"{shapes[spec.name][axis]}; --input-shape sets it"
        for spec in model.inputs
        if spec.name not in given
        for axis in _open_axes(spec)
    )


def _open_axes(spec: TensorSpec) -> list[int]:
    """Axes of no fixed size but that of the batch, which a single image has none of."""
    batch = None if is_single_image(spec) else spec.batch_axis
    sizes = enumerate(spec.shape)
    return [axis for axis, size in sizes if axis != batch and not isinstance(size, int)]


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
    begin_empty = _begin_empty(model, found)
    for node in model.view.main_nodes:
        made = [found.main(name) for name in node.outputs[:1] if name not in begin_empty]
        told = operator_of(node).kind in _TOLD_BY_OPERANDS
        if told and None in made and all(_is_known(model, found, name) for name in node.inputs):
            return False
        if any(size < 1 for shape in made for size in shape or ()) or _exceeds(node, model, found):
            return False
        if _is_beyond_table(node, model, found):
            return False
    return True


def _begin_empty(model: Model, shapes: Shapes) -> set[str]:
    """Tensors without elements at any size: lists that a loop is to fill, and what is made of them.

    A source says so itself, whatever it reads.
    """
    found: set[str] = set()
    for node in model.view.main_nodes:
        is_source = operator_of(node).kind == "source"
        is_fixed = 0 in (model.constants.shape(node.input(0)) or ())
        if is_source or is_fixed or not found.isdisjoint(node.inputs):
            found |= {name for name in node.outputs if 0 in (shapes.main(name) or ())}
    return found


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
    """Whether a kernel is larger than its map; onnx infers a size even so."""
    x = shapes.main(node.input(0))
    if operator_of(node).kind not in ("convolution", "pooling") or x is None:
        return False
    return excess_of(node, x, (model.constants.shape(node.input(1)) or ())[2:]) is not None


def _is_known(model: Model, shapes: Shapes, name: str) -> bool:
    return not name or name in model.constants or shapes.main(name) is not None


def _sized(
    model: Model, given: InputShapes, batch: int | None, sizes: Axes
) -> dict[str, tuple[int, ...]]:
    """The shapes of inputs with the sizes of open axes that are given here."""
    require_fitting(model, given)
    specs = {spec.name: spec for spec in model.inputs}
    batched = batch_inputs(specs.values()) if batch else frozenset()
    places = ((specs[name].shape[axis], size) for (name, axis), size in sizes.items())
    usual = {symbol: size for symbol, size in places if isinstance(symbol, str)}
    symbols = {**usual, **_symbol_sizes(specs, given)}
    for name in batched - given.keys():
        symbol = specs[name].batch
        if isinstance(symbol, str) and batch:
            symbols.setdefault(symbol, batch)
    shapes = dict(given)
    for name, spec in specs.items():
        if name not in shapes:
            own = batch if name in batched else None
            shapes[name] = tuple(
                own
                if own and axis == spec.batch_axis
                else size
                if isinstance(size, int)
                else symbols.get(size or "", sizes.get((name, axis), 1))
                for axis, size in enumerate(spec.shape)
            )
    return {name: shapes[name] for name in specs}


def batch_inputs(specs: Iterable[TensorSpec]) -> frozenset[str]:
    """Inputs of rank two or more that have an axis of inferences, see `TensorSpec.batch_axis`.

    Those where it is dynamic, but for single images, and those where the graph tells it; where
    none is dynamic, all if they agree on its size.
    """
    candidates = [spec for spec in specs if len(spec.shape) > 1 and not is_single_image(spec)]
    dynamic = [spec for spec in candidates if not isinstance(spec.batch, int)]
    if dynamic:
        return frozenset(spec.name for spec in candidates if spec in dynamic or spec.batch_axis)
    sizes = {spec.batch for spec in candidates}
    return frozenset(spec.name for spec in candidates) if len(sizes) == 1 else frozenset()


def batch_of(specs: Iterable[TensorSpec], shapes: InputShapes) -> int:
    """How many inferences inputs of these shapes are."""
    specs = tuple(specs)
    batched = batch_inputs(specs)
    sizes = (shapes[spec.name][spec.batch_axis] for spec in specs if spec.name in batched)
    return max(1, next(sizes, 1))


def require_fitting(model: Model, given: InputShapes) -> None:
    """Raise UsageError for given shapes of no input, or of other axes than the input has."""
    specs = {spec.name: spec for spec in model.inputs}
    for name, shape in given.items():
        _check_given(specs, name, shape)


def require_one_batch(model: Model, given: InputShapes, batch: int | None) -> None:
    """Raise UsageError where shapes that are given are of different batches, or of not this one.

    A batch of one goes with any: it may be read beside each inference.
    """
    require_fitting(model, given)
    batched = batch_inputs(model.inputs)
    sizes = {
        spec.name: given[spec.name][spec.batch_axis]
        for spec in model.inputs
        if spec.name in given and spec.name in batched
    }
    for name, size in sizes.items():
        if batch and size != batch:
            said = f"'{name}' has a batch of {size} by --input-shape"
            raise UsageError(f"--batch {batch}: {said}; give one of the two")
    larger = {size: name for name, size in sizes.items() if size != 1}
    if len(larger) > 1:
        (one, first), (other, second), *_ = larger.items()
        said = f"'{first}' has a batch of {one} and '{second}' one of {other}"
        raise UsageError(f"--input-shape: {said}; give them the same")


def require_batchable(model: Model, given: InputShapes, batch: int | None) -> None:
    """Raise UsageError where the network does not take `batch` inferences at a time.

    That is where a shape is known at its own batch and not at this one, behind a Reshape that
    fixes the first axis, say.
    """
    own, asked = (input_shapes(model, given, size) for size in (None, batch))
    if own == asked:
        return
    known, found = infer_shapes(model, own), infer_shapes(model, asked)
    for node in model.view.main_nodes:
        made = next((name for name in node.outputs if name), "")
        if found.main(made) is None and known.main(made) is not None:
            size = batch_of(model.inputs, own)
            raise UsageError(
                f"--batch {batch}: '{node.key}' fits a batch of {size} alone; leave --batch out: "
                "figures are per inference"
            )


def _check_given(specs: Mapping[str, TensorSpec], name: str, shape: tuple[int, ...]) -> None:
    if name not in specs:
        raise UsageError(f"--input-shape: no input '{name}'; the model has {', '.join(specs)}")
    declared = specs[name].shape
    if len(declared) != len(shape):
        raise UsageError(f"--input-shape: '{name}' has {len(declared)} axes, got {len(shape)}")
    for axis, (size, wanted) in enumerate(zip(declared, shape, strict=True)):
        if isinstance(size, int) and size != wanted and axis != specs[name].batch_axis:
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
