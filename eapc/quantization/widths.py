"""Which tensors of a float model will be integers once it is quantized, and how wide."""

from __future__ import annotations

from eapc.energy import GivenBits
from eapc.model import Model, Shapes
from eapc.quantization.folding import folded
from eapc.quantization.plan import plan_of


def widths_to_write(model: Model, shapes: Shapes, given: GivenBits) -> GivenBits:
    """The widths of the tensors of a float model as the file quantized to `given` will have them.

    What stays float is not named: its width is the model's own.
    """
    prepared = folded(model)
    plan, old = plan_of(prepared.model, shapes), {new: old for old, new in prepared.names.items()}
    weights = (each.weights for each in plan.nodes if each.weights)
    kept = (name if name in model.constants else old.get(name, name) for name in weights)
    named = dict.fromkeys((*plan.tensors, *kept))
    widths = ((name, given.of(name, is_constant=name in model.constants)) for name in named)
    return GivenBits(by_tensor=tuple((name, bits) for name, bits in widths if bits is not None))
