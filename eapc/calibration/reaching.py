"""Which layers calibration inputs come to at all: branches may never be taken, loops never run."""

from __future__ import annotations

from collections.abc import Sequence

from eapc.calibration.activations import ActivationWalk, MemoryBudget
from eapc.data import Dataset
from eapc.layers import TiedLayers, exposed
from eapc.model import Model
from eapc.runtime import Engine, feed_size


def unreached(
    model: Model, layers: Sequence[TiedLayers], data: Dataset, engine: Engine
) -> frozenset[str]:
    """The weights of those layers in bodies that no input comes to; a model keeps the answer."""
    inner = [tied for tied in layers if all(user.node.scope for user in tied.users)]
    if not inner:
        return frozenset()
    key = ("unreached", id(data), *(tied.weight for tied in inner))
    # the data are kept with the answer, so that an id is theirs alone
    return model.view.analyses.once(key, lambda: (_unreached(model, inner, data, engine), data))[0]


def _unreached(
    model: Model, layers: Sequence[TiedLayers], data: Dataset, engine: Engine
) -> frozenset[str]:
    twin, batch = exposed(model.original), feed_size(model, data)
    plan = [[user.x for user in tied.users] for tied in layers]
    budget = MemoryBudget(engine.memory)
    walk = ActivationWalk(twin, data, plan, batch, engine.threads, budget)
    steps = (walk.step(index, twin) for index in range(len(layers)))
    return frozenset(
        tied.weight
        for tied, seen in zip(layers, steps, strict=True)
        if not any(x.size for batches in seen.values() for x in batches)
    )
