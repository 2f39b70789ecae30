"""The two weights of a recurrent cell as matrices: W of the inputs, R of the hidden states.

    gates_t = f(x_t W^T + h_{t-1} R^T + b)

Each is a product for every step, sequence and direction. A GRU that resets before it multiplies
takes r * h_{t-1} for its third gate, so that each of its gates is a group with inputs of its own.

Gates, directions and layouts: ONNX operators LSTM, GRU and RNN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eapc.layers.forms import LayerForm, UnsupportedLayerError
from eapc.model import Array, BiasSink, Model, Node, Shape, WeightSource, is_float

W, R = 1, 2
"""Places of the weights among a cell's operands."""

BIAS, LENGTHS, INITIAL, PEEPHOLES = 3, 4, 5, 7
"""Places of other operands; an LSTM's second state follows the first."""

_RANGE_OPSET = 11
"""From which on there is Range."""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class RecurrentForm(LayerForm):
    """y (rows, groups m) of x (rows, 1 or groups, k); w is (directions, gates * hidden, k).

    A row is one step of one sequence.
    """

    @property
    def channel_axis(self) -> int:
        """The last."""
        return -1

    @property
    def channel_shape(self) -> Shape:
        """All directions' gates, (directions * gates * hidden,)."""
        return (self.weight_shape[0] * self.weight_shape[1],)

    @property
    def positions(self) -> int:
        """None but one: the weights have no kernel."""
        return 1

    def arranged(self, weight: Array) -> Array:
        """(groups, m, k): a group is a direction, or a gate of one."""
        return weight.reshape(self.groups, -1, self.weight_shape[2])

    def to_weight(self, matrix: Array) -> Array:
        """Back to (directions, gates * hidden, k)."""
        return np.ascontiguousarray(matrix.reshape(self.weight_shape))

    def inputs(self, x: Array, y: Shape, rows: Array) -> Array:  # noqa: ARG002 (the protocol's)
        """x (groups, rows, k); where it is the same for all groups it comes once."""
        chosen = np.moveaxis(x[rows], 1, 0)
        shape = (self.groups, *chosen.shape[1:])
        return np.ascontiguousarray(np.broadcast_to(chosen, shape), np.float32)


def resets_first(node: Node) -> bool:
    """Whether a cell multiplies R by other states than the hidden ones: r * h in a GRU."""
    return node.op_type == "GRU" and not node.attribute("linear_before_reset", 0)


def recurrent_form(node: Node, operand: int, weight_shape: Shape) -> RecurrentForm:
    """The form of a cell's W or R; raises UnsupportedLayerError where eapc knows none."""
    if node.attribute("layout", 0):
        raise UnsupportedLayerError("layout 1, which onnxruntime does not run; take layout 0")
    gates = _GATES.get(node.op_type, 1)
    if len(weight_shape) != 3 or weight_shape[1] % gates:
        raise UnsupportedLayerError(f"weights of shape {weight_shape} of {node.op_type}")
    groups = weight_shape[0]
    if operand == R and resets_first(node):
        _require_plain_gate(node)
        groups *= gates
    return RecurrentForm(weight_shape, groups)


def require_gatherable(node: Node, opset: int) -> None:
    """Raise UnsupportedLayerError where rows within sequences of a length cannot be told."""
    if node.input(LENGTHS) and opset < _RANGE_OPSET:
        said = f"sequence lengths at opset {opset}; convert the model to {_RANGE_OPSET} or later"
        raise UnsupportedLayerError(said)


def _require_plain_gate(node: Node) -> None:
    if "clip" in node.attributes:
        raise UnsupportedLayerError("R of a GRU that clips what its gates take")
    functions = {_text(name) for name in node.attribute("activations", ())[::2]}
    if not functions <= {"Sigmoid"}:
        said = ", ".join(sorted(functions))
        raise UnsupportedLayerError(f"R of a GRU whose gates take {said} in place of Sigmoid")


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def recurrent_bias(model: Model, node: Node, operand: int, weight_shape: Shape) -> BiasSink | None:
    """The half of a cell's biases that adds to the product with W or with R.

    None where there is none, or it is computed or belongs to others too.
    """
    name, consumers = node.input(BIAS), model.view.consumers(node.input(BIAS))
    outputs = weight_shape[1]
    if not name or model.constants.shape(name) != (weight_shape[0], 2 * outputs):
        return None
    if not is_float(model.constants.dtype(name)) or name in model.outputs:
        return None
    if len(consumers) != 1 or node.inputs.count(name) != 1:
        return None
    part = slice(0, outputs) if operand == W else slice(outputs, 2 * outputs)
    sink = WeightSource(name, name)
    return BiasSink(sink, np.ones(weight_shape[0] * outputs, np.float32), part)
