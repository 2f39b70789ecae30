"""Workloads of the operators that stream their operands: element-wise, pooling, copies, views.

Which operators these are, and how many operations they do, the table of operators says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from eapc.operators import operator_of
from eapc.workload.loop_nests import StreamWorkload
from eapc.workload.rules import Operands, Part, Rule, Work, workload_rule


def stream(
    operands: Operands,
    operations: int,
    read: Iterable[int] | None = None,
    requantises: bool = False,
    requantising: int = 0,
) -> Work:
    """Every operand is read once, the first output written once."""
    node = operands.node
    indices = [i for i, name in enumerate(node.inputs) if name] if read is None else list(read)
    moving = [i for i in indices if not operands.is_constant(i)]
    words = {i: math.prod(operands.input(i)) for i in indices}
    workload = StreamWorkload(
        operations=operations,
        ifmap_words=sum(words[i] for i in moving),
        weight_words=sum(words[i] for i in indices if i not in moving),
        ofmap_words=math.prod(operands.output()),
        requantises=requantises,
        requantising=requantising,
    )
    ifmap, *more = [node.inputs[i] for i in moving] or [""]
    return Work((Part(workload, ifmap=ifmap, ofmap=node.outputs[0], more=tuple(more)),))


def element_wise(operands: Operands) -> Work:
    """A fixed number of operations per output element; every operand is read once."""
    row = operator_of(operands.node)
    operations = row.operations * math.prod(operands.output())
    return stream(operands, operations, requantises=row.kind == "quantization")


def reduction(operands: Operands) -> Work:
    """A fixed number of operations per element of the first operand."""
    each = operator_of(operands.node).operations
    return stream(operands, each * math.prod(operands.input(0)), read=[0])


def view(_: Operands) -> Work:
    """No operations and no traffic."""
    return Work()


def copy(operands: Operands) -> Work:
    """Each output word is read once from somewhere and written once; nothing is computed."""
    node = operands.node
    words = math.prod(operands.output())
    constant = operands.is_constant(0)
    workload = StreamWorkload(
        ifmap_words=0 if constant else words,
        weight_words=words if constant else 0,
        ofmap_words=words,
    )
    ifmap = "" if constant or not node.inputs else node.inputs[0]
    return Work((Part(workload, ifmap=ifmap, ofmap=node.outputs[0]),))


def pool(operands: Operands) -> Work:
    """One operation per kernel element and output element."""
    kernel = math.prod(operands.node.attribute("kernel_shape", []))
    return stream(operands, kernel * math.prod(operands.output()))


@workload_rule("LRN")
def local_response_normalization(operands: Operands) -> Work:
    """`size` squares summed, then one power and one division, per element."""
    size = operands.node.attribute("size", 1)
    return stream(operands, (size + 2) * math.prod(operands.output()))


STREAMED: Mapping[str, Rule] = {
    "output": element_wise,
    "input": reduction,
    "kernel": pool,
    "copy": copy,
    "view": view,
}
"""The rule of operators that have none of their own, by what their operations are counted by."""
