"""Whether the channels of a layer reach the network's outputs each by itself.

Behind most layers another sums up all channels, so that an error counts by its size, in whichever
channel it is. Where nothing does, outputs of different scale are judged apart (see
`eapc/evaluation/parts.py`), and so they should be fitted.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from eapc.model import Model, Node, spec_of
from eapc.operators import operator_of

_MOVES = frozenset(
    """Concat DepthToSpace Expand Flatten Gather Pad Reshape Slice SpaceToDepth Split Squeeze Tile
    Transpose Unsqueeze""".split()
)
"""What puts elements elsewhere and changes none."""

_CHANNELWISE = frozenset(("BatchNormalization", "QuantizeLinear", "DequantizeLinear"))
"""What makes each element of the one at its place, by constants of its channel."""

_POOLS = frozenset(("Resize", "Upsample"))
"""What makes an element of several at other positions, besides pooling."""


def is_unmixed(model: Model, tensor: str, channel_axis: int) -> bool:
    """Whether all that depends on a tensor, up to the outputs, depends on one channel at a time.

    Between are but functions of single elements, pooling, and what moves, joins and splits. A
    classifier's scores are compared with each other, so they count as mixed.
    """
    if _are_scores(model):
        return False
    stages, pending = {tensor: tensor}, [tensor]
    while pending:
        for node in model.view.consumers(pending.pop()):
            if node not in model.view.needed or operator_of(node).kind == "source":
                continue
            read = {stages[name] for name in model.view.dependencies(node) if name in stages}
            if len(read) > 1 and node.op_type != "Concat":
                return False  # channels meet others at the same place
            stage = _stage_behind(node, read, tensor if channel_axis == 1 else "")
            if stage is None:
                return False
            pending += [name for name in node.outputs if name and name not in stages]
            stages |= {name: stage or name for name in node.outputs}
    return True


def _stage_behind(node: Node, read: AbstractSet[str], mapped: str) -> str | None:
    """The tensor that a node's results are elements of, place by place.

    Empty where they are in places of their own, None where channels are mixed. `read` names such
    tensors of its operands, and `mapped` the one whose second axis is that of the channels.
    """
    row = operator_of(node)
    (first, *_) = read
    if row.is_element_wise or node.op_type in _CHANNELWISE:
        return first
    if node.domain:
        return None
    if row.kind == "pooling" or node.op_type in _POOLS:
        return first if first == mapped else None
    return "" if node.op_type in _MOVES else None


def _are_scores(model: Model) -> bool:
    """Whether the outputs are (samples, classes), or their rank is unknown."""
    if len(model.outputs) != 1:
        return False
    spec = spec_of(model.view.proto.graph.output[0])
    return spec is None or all(size == 1 for size in spec.shape[2:])
