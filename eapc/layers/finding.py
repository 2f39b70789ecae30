"""The prunable layers of a model: nodes with constant weights, and why others are left alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from eapc.errors import ModelError
from eapc.layers.bodies import Bodies
from eapc.layers.calls import CALLED, at_call, left_calls, without_calls
from eapc.layers.endings import is_unmixed
from eapc.layers.fixed_values import fixed_arithmetic
from eapc.layers.forms import UnsupportedLayerError, dense_form, form_of
from eapc.layers.integers import at_integers, without_integers
from eapc.layers.layer import Layer, PrunableLayers, Skipped, TiedLayers
from eapc.layers.recurrent import (
    R,
    W,
    recurrent_bias,
    recurrent_form,
    require_gatherable,
)
from eapc.model import (
    Array,
    Codes,
    Dequantization,
    Model,
    Node,
    Shape,
    WeightSource,
    all_finite,
    as_seen,
    codes_of,
    epilogue_of,
    find_weights,
    float_types,
    obstacle,
    packing_of,
    per_channel,
    scopes_of,
    seen_shapes,
    seen_through,
    value_seen,
)
from eapc.operators import WeightLayout, operator_of


def layers_of(model: Model) -> PrunableLayers:
    """What `find_layers` finds, which a model keeps."""
    return model.analyses.once("layers", lambda: find_layers(model))


def find_layers(model: Model) -> PrunableLayers:
    """Every prunable layer of the main graph, tied weights together.

    Raises ModelError where weights hold NaN or infinity.
    """
    by_weight: dict[str, list[Layer]] = {}
    whole, called = model, without_calls(model)
    model = without_integers(called)
    skipped = [Skipped(node.key, CALLED) for node in left_calls(model)]
    bodies = Bodies(model)
    for node in model.nodes:
        for make in _makers(node):
            try:
                layer = bodies.layer(node, make) if node.scope else make(model, node)
            except UnsupportedLayerError as error:
                skipped.append(Skipped(node.key, str(error)))
                continue
            if layer is not None:
                by_weight.setdefault(layer.source.root, []).append(layer)
    tied = []
    for weight, users in by_weight.items():
        reason = _conflict(model, weight, users)
        if called is not model:
            users = [at_integers(called, user) for user in users]
        if whole is not called and not reason:
            users, reason = _at_calls(whole, users)
        if reason:
            skipped.extend(Skipped(layer.node.key, reason) for layer in users)
        else:
            found = TiedLayers(weight, tuple(_in_common_units(users)))
            tied.append(replace(found, fixed=_fixed(called, found)))
    return PrunableLayers(tuple(tied), tuple(dict.fromkeys(skipped)))


def _at_calls(model: Model, users: list[Layer]) -> tuple[list[Layer], str]:
    """Layers of the model without calls as those of the model, or why they are none."""
    try:
        return [at_call(model, user) for user in users], ""
    except UnsupportedLayerError as error:
        return users, str(error)


def _fixed(model: Model, tied: TiedLayers) -> str:
    """What the file's own weights are if they were not learnt; new ones do not change that."""

    def look() -> str:
        file = model.original
        return fixed_arithmetic(as_seen(file, tied.first.source), tied.matrix(file))

    return model.view.analyses.once(("fixed", tied.first.source.tensor), look)


def with_plain_layers(model: Model) -> Model:
    """The model with its layers' weights and biases as plain tensors, out of which channels go."""
    users = [layer for tied in layers_of(model).layers for layer in tied.users]
    layers = [layer for layer in users if not layer.tapped]
    return model.with_plain(
        name for layer in layers for name in (layer.source.root, _own_bias(layer.node)) if name
    )


def _own_bias(node: Node) -> str:
    layout = operator_of(node).weights
    return "" if layout is None else layout.bias_of(node.inputs)


def require_layers(found: PrunableLayers) -> None:
    """Raise ModelError with the reasons if there is no layer to prune."""
    if found.layers:
        return
    reasons = sorted({skip.reason for skip in found.skipped})
    why = f": {reasons[0]}" if reasons else ": no Conv, Gemm or MatMul has constant weights"
    more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
    raise ModelError(f"nothing to prune{why}{more}")


def _in_common_units(users: list[Layer]) -> list[Layer]:
    """Layers that share weights see them in the same units: z is y - offset for each."""
    if len(users) == 1:
        return users
    return [
        replace(
            layer,
            scale=np.ones_like(layer.scale),
            bias=layer.bias and replace(layer.bias, factor=layer.bias.factor * layer.scale),
            other="",
            clipping=None,
        )
        for layer in users
    ]


def _makers(node: Node) -> list[Callable[[Model, Node], Layer | None]]:
    """What makes a node a layer, once for each of its weights; none of those without weights."""
    row = operator_of(node)
    if row.kind == "recurrent":
        return [partial(_recurrent_layer, operand=operand) for operand in (W, R)]
    if row.quantized is not None and row.quantized.packed is not None and row.contracts:
        return [_packed_layer]
    if node.scope and row.quantized is not None and row.contracts:
        return [_inner_integers]
    return [] if row.weights is None else [partial(_layer, usual=row.weights)]


def _inner_integers(model: Model, node: Node) -> Layer | None:  # noqa: ARG001 (as the others)
    raise UnsupportedLayerError("computes on integers inside a body")


def _require_reachable(model: Model, node: Node) -> None:
    if node not in model.view.needed:
        raise UnsupportedLayerError("no output needs it; simplify the model to be rid of it")


def _seen_shape(model: Model, source: WeightSource, x: str) -> Shape:
    """The shape in which a node reads its weights; raises where there is nothing to fit to x."""
    seen = seen_shapes(model, source)[-1]
    if 0 in seen:
        raise UnsupportedLayerError("weights are empty")
    if x in model.constants:
        raise UnsupportedLayerError("its input is a constant; fold what it computes")
    return seen


def _recurrent_layer(model: Model, node: Node, operand: int) -> Layer:
    """A cell's W or R as a layer, whose x and y nodes beside it make (`eapc/layers/taps.py`)."""
    _require_reachable(model, node)
    source = find_weights(model, node.input(operand))
    if source is None:
        raise UnsupportedLayerError("weights are computed, not constant")
    _require_replaceable(model, source)
    seen = _seen_shape(model, source, node.input(0))
    form = recurrent_form(node, operand, seen)
    require_gatherable(node, model.opset)
    x, y = (f"eapc/{node.key}/{operand}/{name}" for name in "xy")
    (channels,) = form.channel_shape
    return Layer(
        node=node, form=form, source=source, x=x, y=y, offset=np.zeros(channels, np.float32),
        scale=np.ones(channels, np.float32), bias=recurrent_bias(model, node, operand, seen),
        unmixed=False, tapped=operand,
    )  # fmt: skip


def _layer(model: Model, node: Node, usual: WeightLayout) -> Layer | None:
    """The node as a layer; None for a product of two activations."""
    _require_reachable(model, node)
    found = _weights_of(model, node, usual)
    if found is None:
        return None
    source, layout = found
    x = node.input(1 if layout.operand == 0 else 0)
    seen = _seen_shape(model, source, x)
    form = form_of(node, seen, layout)
    offset = _offset(model, node, layout, form.channel_shape)
    behind = epilogue_of(model, node, layout, offset, form.channel_shape)
    y = node.outputs[0]
    return Layer(
        node=node, form=form, source=source, x=x, y=y, offset=offset,
        unmixed=is_unmixed(model, y, form.channel_axis), **vars(behind),
    )  # fmt: skip


_PACKED = WeightLayout(outputs=0, inputs=1, channels=-1, bias=5)
"""Of weights that a product holds packed, (outputs, inputs)."""

_GROUP_INDEX = 4
"""Its operand that puts inputs into blocks."""


def _packed_layer(model: Model, node: Node) -> Layer:
    """A product of weights of a few bits that bytes hold."""
    _require_reachable(model, node)
    packing, root, scale, zero = packing_of(node), *(node.input(place) for place in (1, 2, 3))
    known = all(name in model.constants.stored for name in (root, scale, zero) if name)
    if packing is None or not known or node.input(_GROUP_INDEX):
        raise UnsupportedLayerError("weights are packed in a way of their own")
    source = WeightSource(root, root, (), Dequantization((scale,), zero), packing)
    _require_replaceable(model, source)
    codes = codes_of(model, source)
    if codes is None or not np.array_equal(codes.zero, codes.zero.astype(np.int64)):
        raise UnsupportedLayerError("zero points are no whole numbers; quantize weights anew")
    x, y = node.input(0), node.outputs[0]
    form = dense_form(node, _seen_shape(model, source, x), _PACKED)
    offset = _offset(model, node, _PACKED, form.channel_shape)
    behind = epilogue_of(model, node, _PACKED, offset, form.channel_shape)
    return Layer(
        node=node, form=form, source=source, x=x, y=y, offset=offset,
        unmixed=is_unmixed(model, y, form.channel_axis), **vars(behind),
    )  # fmt: skip


def _offset(model: Model, node: Node, layout: WeightLayout, channel_shape: Shape) -> Array:
    """The node's own bias as (m,) float32."""
    name, channels = layout.bias_of(node.inputs), math.prod(channel_shape)
    if not name:
        return np.zeros(channels, np.float32)
    bias = value_seen(model, name)
    if bias is None:
        raise UnsupportedLayerError(
            "the bias is computed, not constant; add it behind the layer instead"
        )
    spread = per_channel(bias, (channels,) if layout.grouped else channel_shape)
    if spread is None:
        raise UnsupportedLayerError(
            f"the bias has shape {bias.shape}, not one per output; add it behind the layer instead"
        )
    return np.asarray(layout.bias_factor(node.attributes) * spread, np.float32)


def _weights_of(
    model: Model, node: Node, usual: WeightLayout
) -> tuple[WeightSource, WeightLayout] | None:
    """Where a node's weights come from, and the layout that makes them its weights."""
    is_product = operator_of(node).kind == "product"
    layouts = (usual, usual.in_front()) if is_product else (usual,)
    found = ((find_weights(model, node.input(each.operand)), each) for each in layouts)
    source, layout = next((pair for pair in found if pair[0] is not None), (None, usual))
    if source is None:
        if not is_product:
            raise UnsupportedLayerError("weights are computed, not constant")
        return None
    _require_replaceable(model, source)
    return source, layout


def _require_replaceable(model: Model, source: WeightSource) -> None:
    reason = obstacle(model, source)
    if reason:
        raise UnsupportedLayerError(reason)
    if set(source.tensors) & set(model.outputs):
        raise UnsupportedLayerError("weights are an output of the model; remove that output")


# --- shared weights --------------------------------------------------------------------------


def _conflict(model: Model, weight: str, users: Sequence[Layer]) -> str:
    """Why weights cannot be changed for all that read them; empty if they can."""
    known = {node.key for user in users for node in (user.node, *user.source.chain)}
    tensors = (tensor for user in users for tensor in user.source.tensors)
    everyone = scopes_of(model.view).readers
    readers = (reader for tensor in tensors for reader in everyone.get(tensor, ()))
    other = next((reader for reader in readers if reader.key not in known), None)
    if other is not None:
        return f"weights are also read by {other.op_type} '{other.key}'; give it a copy of its own"
    reason = next(filter(None, (_difference(model, users[0], each) for each in users[1:])), "")
    if reason:
        return f"weights are shared by layers that {reason}; give each a copy of its own"
    values = model.constants[weight]
    if not all_finite(values):
        raise ModelError(f"weights '{weight}' hold NaN or infinity")
    if not all(all_finite(as_seen(model, user.source)) for user in users if user.source.chain):
        return "weights are too large for the type that they are cast to; store them in that type"
    return "" if _fits_float32(values) else "weights are too large for float32; scale them down"


def _difference(model: Model, one: Layer, two: Layer) -> str:
    """What keeps two layers that share weights from being one problem; empty if nothing does."""
    if float_types(model, one.source) != float_types(model, two.source):
        return "read them in different types"
    if not _is_one_grid(codes_of(model, one.source), codes_of(model, two.source)):
        return "read them by different scales"
    if one.form.factor != two.form.factor:
        return "multiply them by different alpha"
    first, second = (_numbered(model, layer) for layer in (one, two))
    if np.array_equal(first, second):
        return ""
    if np.array_equal(first, second.swapaxes(1, 2)):
        return "read them one as W, another as its transpose"
    return "read them as different matrices"


def _is_one_grid(one: Codes | None, two: Codes | None) -> bool:
    """Whether two layers take the same integers for the same numbers."""
    if one is None or two is None:
        return one is two
    return np.array_equal(one.scale, two.scale) and np.array_equal(one.zero, two.zero)


def _numbered(model: Model, layer: Layer) -> Array:
    """W (groups, m, k) with each weight's number in the constant in its place."""
    shape = seen_shapes(model, layer.source)[0]
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return layer.form.arranged(seen_through(model, layer.source, numbers))


def _fits_float32(values: Array) -> bool:
    """Whether solvers can take the values at all; doubles may be beyond."""
    largest = np.finfo(np.float32).max
    return values.dtype != np.float64 or bool(np.abs(values).max(initial=0) <= largest)
