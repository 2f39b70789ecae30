"""What eapc knows of an operator: its traits, one frozen row each.

Whoever prices, fuses, prunes, times or infers shapes asks the row; an operator without one has
no traits and is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal[
    "",
    "unary",
    "broadcasting",
    "pooling",
    "reduction",
    "normalisation",
    "selection",
    "copy",
    "view",
    "source",
    "quantization",
    "quantized",
    "product",
    "convolution",
    "transposed convolution",
    "recurrent",
    "attention",
]
"""What an operator computes. A source makes its result of no element that it reads; a
selection ranks elements; the quantized do on integers what others do on real numbers."""

Work = Literal["", "output", "input", "kernel", "copy", "view"]
"""What an operator's operations are counted by: elements of its output or its first input,
kernel elements for each of the output; a copy only moves, a view does not even that."""


@dataclass(frozen=True)
class WeightLayout:
    """Where an operator holds its weights and how their axes run.

    `outputs` and `inputs` are axes of the weights, negative ones counted from the end; the
    attribute `swapped_by` makes them change places. With groups, axis 0 runs over all of them
    and the other axis within one. `x_swapped_by` names the attribute that turns the feature map.
    `channels` is the axis of the channels in feature maps. Bias and weights are multiplied by
    the attributes `bias_scale` and `scale`, 1 if these are not given.
    """

    outputs: int
    inputs: int
    channels: int
    operand: int = 1
    bias: int | None = None
    grouped: bool = False
    swapped_by: str = ""
    x_swapped_by: str = ""
    scale: str = ""
    bias_scale: str = ""

    def in_front(self) -> WeightLayout:
        """The layout where a product's first operand is the weights, W @ x."""
        return replace(
            self, outputs=-2, inputs=-1, channels=-2, operand=0,
            swapped_by=self.x_swapped_by, x_swapped_by=self.swapped_by,
        )  # fmt: skip

    def axes(self, attributes: Mapping[str, Any], rank: int) -> tuple[int, int]:
        """Axes (of outputs, of inputs) of weights of a rank, counted from the front."""
        found = self.outputs % rank, self.inputs % rank
        return found[::-1] if attributes.get(self.swapped_by, 0) else found

    def groups(self, attributes: Mapping[str, Any]) -> int:
        """How many groups the channels are split into."""
        return int(attributes.get("group", 1)) if self.grouped else 1

    def output_count(self, attributes: Mapping[str, Any], shape: tuple[int, ...]) -> int:
        """Output channels of weights of a shape, those of all groups."""
        outputs, _ = self.axes(attributes, len(shape))
        return shape[outputs] * (self.groups(attributes) if self.grouped and outputs else 1)

    def channel_axis(self, rank: int) -> int:
        """The axis of the channels in a feature map of a rank, counted from the end."""
        return self.channels - rank if self.channels >= 0 else self.channels

    def bias_of(self, inputs: Sequence[str]) -> str:
        """The name of the bias among a node's inputs; empty where there is none."""
        has_bias = self.bias is not None and self.bias < len(inputs)
        return inputs[self.bias] if has_bias and self.bias is not None else ""

    def factor(self, attributes: Mapping[str, Any]) -> float:
        """What the product of feature map and weights is multiplied by."""
        return float(attributes.get(self.scale, 1.0))

    def bias_factor(self, attributes: Mapping[str, Any]) -> float:
        """What the bias is multiplied by."""
        return float(attributes.get(self.bias_scale, 1.0))


@dataclass(frozen=True)
class QuantizedOperands:
    """Places of an operator's integers that stand for real numbers, each with its zero point.

    Zero points are inputs (`output` is that of the result), or a result (`zero_output`).
    `channel_axis` is the axis of the weights that a list of zero points runs along. `plain`
    results are integers without a zero point; `packed` is the place of weights of as many bits
    as the attribute `bits` says.
    """

    inputs: tuple[tuple[int, int], ...] = ()
    output: int | None = None
    zero_output: int | None = None
    channel_axis: int = -1
    plain: bool = False
    packed: int | None = None


@dataclass(frozen=True)
class Substitute:
    """A standard operator whose result has the same shape, to infer shapes through.

    It reads the operands at `places`, or every `step`-th from the only place on, and takes over
    the named `attributes`; attributes `unless` which a node has change its shape further.
    `sum_place` is a further result of the same shape; of the others the first `results` are kept.
    """

    name: str
    places: tuple[int, ...] = (0,)
    step: int = 0
    attributes: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    sum_place: int | None = None
    results: int = 1


@dataclass(frozen=True)
class Operator:
    """An operator of a domain (the empty one is ONNX's own) and its traits.

    What it costs:
        operations: per element of what `work` names; transcendental functions count as one.
        fuses: a machine works on it before it writes the producer's result.
        factors: places of the two operands that its multiplications pair.
        countable: pairs of non-zero factors can be counted, as of the kind's usual layout.
        like: the operator that it is on its `factors`, or on its first operand without any.

    What it does to values:
        keeps_zero: its result is zero where all that it reads for it is zero.
        keeps_constants: a constant per channel in, one per channel out, the same everywhere.
        keeps_width: its result has as many bits as its first operand.
        shows_weights: its result holds the values of its first operand, in another form.
        invertible: that form can be undone, element by element.

    What it does to channels:
        effect: what it does to those along an axis that has to stay whole, in words.
        varies: it can be timed with any number of channels, all in proportion.
        steered: its operands but the first decide about its work by their values.
        joins: its result has the channels of all its operands, one behind the other.

    What onnxruntime makes of it: `absorbed_as` a sum or an activation by a convolution in
    blocked layout. Between quantized tensors it runs on integers, with a result on a grid of its
    own or on the same grid as what it reads, as `on_integers` says.
    """

    name: str
    domain: str = ""
    kind: Kind = ""
    work: Work = ""
    operations: int = 1
    fuses: bool = False
    factors: tuple[int, int] | None = None
    countable: bool = True
    like: str = ""
    keeps_zero: bool = False
    keeps_constants: bool = False
    keeps_width: bool = False
    shows_weights: bool = False
    invertible: bool = False
    effect: str = "needs all of their channels"
    varies: bool = False
    steered: bool = False
    joins: bool = False
    absorbed_as: Literal["", "sum", "activation"] = ""
    on_integers: Literal["", "own grid", "same grid"] = ""
    weights: WeightLayout | None = None
    quantized: QuantizedOperands | None = None
    substitute: Substitute | None = None

    @property
    def full_name(self) -> str:
        """The name with its domain; that of the default domain stands alone."""
        return f"{self.domain}.{self.name}" if self.domain else self.name

    @property
    def is_element_wise(self) -> bool:
        """Every element of the result is made of the operands' elements at the same place."""
        return self.kind in ("unary", "broadcasting")

    @property
    def contracts(self) -> bool:
        """It sums products of two operands along an axis."""
        return self.kind in ("product", "convolution", "transposed convolution")


def element_wise(name: str, domain: str = "", **traits: Any) -> Operator:
    """The row of an element-wise operator of one operand: fused, timed, keeping constants.

    `traits` are fields of `Operator` that differ; `kind="broadcasting"` for several operands.
    """
    usual = {"kind": "unary", "work": "output", "fuses": True, "varies": True}
    return Operator(name, domain, **{**usual, "keeps_constants": True, **traits})
