"""How many of a quantized file's nodes onnxruntime runs on integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eapc.model import Model, Node
from eapc.operators import operator, operator_of
from eapc.profiling.integer_layers import is_rounding
from eapc.profiling.kernels import find_kernels, running_graph

_ORT = "com.microsoft"


@dataclass(frozen=True)
class IntegerUse:
    """Nodes by operator: those that stand between codes in the file, and those that run on them."""

    able: Mapping[str, int]
    fused: Mapping[str, int]

    @property
    def counts(self) -> tuple[int, int]:
        """(running on integers, could)."""
        return sum(self.fused.values()), sum(self.able.values())

    def __str__(self) -> str:
        """`19 of 19 Conv, 9 of 9 Add`."""
        return ", ".join(f"{self.fused.get(op, 0)} of {n} {op}" for op, n in self.able.items())


NO_INTEGERS = IntegerUse({}, {})
"""Of a float file."""


def integer_use(model: Model, threads: int = 0) -> IntegerUse:
    """Which nodes of a file are to run on integers, and do; a float file has none."""
    able = list(_able(model))
    if not able:
        return NO_INTEGERS
    kernels = find_kernels(model, running_graph(model, threads))
    fused = {node for each in kernels if _is_integer(each.runs) for node in each.nodes}
    return IntegerUse(
        Counter(node.op_type for node in able),
        Counter(node.op_type for node in able if node in fused),
    )


def _able(model: Model) -> Iterator[Node]:
    """Nodes that compute on codes, or between DequantizeLinear and others that do."""
    for node in model.view.main_nodes:
        row = operator_of(node)
        is_coded = row.quantized is not None and not is_rounding(node)
        if is_coded or (row.on_integers == "own grid" and _reads_rounded(model, node)):
            yield node


def _reads_rounded(model: Model, node: Node) -> bool:
    maker = model.view.producer(node.input(0))
    return maker is not None and maker.op_type == "DequantizeLinear"


def _is_integer(runs: str) -> bool:
    """Whether an operator of the running graph computes on codes."""
    rows = (operator(runs, _ORT), operator(runs))
    return any(row.quantized is not None and row.kind != "quantization" for row in rows)
