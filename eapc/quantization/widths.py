"""Which tensors of a float model will be integers once it is quantized, and how wide."""

from __future__ import annotations

from eapc.energy import GivenBits
from eapc.model import Model, Shapes
from eapc.quantization.plan import plan_of


def widths_to_write(model: Model, shapes: Shapes, bits: int) -> GivenBits:
    """The widths of the tensors of a float model as the quantized file will have them.

    What stays float is not named: its width is the model's own.
    """
    plan = plan_of(model, shapes)
    weights = (each.weights for each in plan.nodes if each.weights)
    return GivenBits(by_tensor=tuple((name, bits) for name in (*plan.tensors, *weights)))
