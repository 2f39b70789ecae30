"""Shapes that only a run shows: of what data decide about, and of what inference gives up on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from eapc.data import Dataset
from eapc.errors import EapcError
from eapc.model import InputShapes, Model, Shapes, TensorSpec
from eapc.runtime.sessions import Session, with_outputs


def with_shapes_of_run(
    model: Model, shapes: Shapes, sizes: InputShapes, data: Dataset, threads: int = 0
) -> Shapes:
    """The shapes with those of a run on the first inputs where the main graph's are unknown.

    `sizes` are those of the inputs that `shapes` are for. Where the data have others, or the
    model does not run, shapes stay as they are, and where none is unknown nothing runs. What
    depends on the values of inputs has the shape that these give it.
    """
    unknown = [
        name
        for node in model.view.main_nodes
        if node in model.view.needed
        for name in node.outputs
        if name and shapes.main(name) is None
    ]
    if not unknown:
        return shapes
    return model.view.analyses.once(
        ("shapes of a run", *((name, tuple(size)) for name, size in sizes.items())),
        lambda: _known(shapes, _run(model, unknown, sizes, data, threads)),
    )


def _run(
    model: Model, tensors: list[str], sizes: InputShapes, data: Dataset, threads: int
) -> Mapping[str, TensorSpec]:
    """Specs of tensors on the first inputs; none where these have other shapes or do not run."""
    batch = max((size[0] for size in sizes.values() if size), default=1)
    feed = next(data.batches(batch), {})
    if {name: array.shape for name, array in feed.items()} != {n: (*s,) for n, s in sizes.items()}:
        return {}
    try:
        proto = with_outputs(model.to_proto(embed=True), tensors)
        made = Session(proto, threads, optimise=False).run(feed)
    except EapcError:
        return {}
    arrays = {name: value for name, value in made.items() if isinstance(value, np.ndarray)}
    return {n: TensorSpec(n, value.dtype, value.shape) for n, value in arrays.items()}


def _known(shapes: Shapes, found: Mapping[str, TensorSpec]) -> Shapes:
    by_scope = {scope: {**specs, **found} for scope, specs in shapes.by_scope.items()}
    return replace(shapes, by_scope=by_scope)
