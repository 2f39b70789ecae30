"""Workloads of the recurrent cells: LSTM, GRU and RNN.

The product of the inputs with W is one matrix product over all steps, so a dataflow fetches
W once if it can; the product of the hidden state with R waits for the step before, so R is
fetched anew at every step.
"""

from __future__ import annotations

from dataclasses import dataclass

from eapc.workload.loop_nests import ConvWorkload, StreamWorkload
from eapc.workload.rules import Operands, Part, Work, workload_rule


@dataclass(frozen=True)
class _Cell:
    """What tells the cells apart: gates, and per hidden unit the operations of a step.

    Each gate adds the two products and a bias and takes a non-linear function of the sum;
    what remains mixes gates and state. `kept` are words of state beside the hidden one.
    """

    gates: int
    mixing: int
    kept: int = 0


_CELLS = {
    "RNN": _Cell(gates=1, mixing=0),
    "GRU": _Cell(gates=3, mixing=5),  # r * h, and (1 - z) * n + z * h
    "LSTM": _Cell(gates=4, mixing=5, kept=1),  # f * c + i * g, and o * tanh(c)
}

_PEEPHOLES = 7
"""Input of an LSTM that holds weights from the cell state to three of its gates."""

_PEEPHOLE_OPERATIONS = 6


@workload_rule(*_CELLS)
def recurrent(operands: Operands) -> Work:
    """x (seq, batch, input), W (directions, gates * hidden, input), R (.., gates * hidden, hidden).

    macs = directions * seq * batch * gates * hidden * (input + hidden). Sequences count at
    their full length; with `layout` 1 the batch is the first axis of x.
    """
    node, cell = operands.node, _CELLS[operands.node.op_type.removeprefix("DynamicQuantize")]
    steps, batch, inputs = operands.input(0)
    if node.attribute("layout", 0):
        steps, batch = batch, steps
    directions, gate_words, hidden = operands.input(2)
    result = next(name for name in node.outputs if name)
    from_inputs = ConvWorkload(batch, 1, directions * gate_words, inputs, steps, 1)
    from_state = ConvWorkload(batch, directions, gate_words, hidden, 1, 1)
    return Work(
        (
            Part(from_inputs, weights=node.inputs[1], ifmap=node.inputs[0]),
            Part(from_state, weights=node.inputs[2], ifmap=result, times=steps),
            Part(_gates(operands, cell, batch * directions * hidden), ofmap=result, times=steps),
        )
    )


@workload_rule("DynamicQuantizeLSTM", domain="com.microsoft")
def dynamic_quantize_lstm(operands: Operands) -> Work:
    """An LSTM on W (directions, input, 4 hidden) and R (.., hidden, 4 hidden) in integers.

    To quantize inputs and states as they come counts as nothing, as in products that do so.
    """
    for place in (1, 2):
        directions, inputs, gate_words = operands.input(place)
        operands = operands.with_shape(place, (directions, gate_words, inputs))
    return recurrent(operands)


def _gates(operands: Operands, cell: _Cell, units: int) -> StreamWorkload:
    """One step: adds the inputs' share to the products with R, which are still at hand."""
    peepholes = _PEEPHOLE_OPERATIONS if operands.node.input(_PEEPHOLES) else 0
    return StreamWorkload(
        operations=units * (3 * cell.gates + cell.mixing + peepholes),
        ifmap_words=units * (cell.gates + cell.kept),
        ofmap_words=units * (1 + cell.kept),
    )
