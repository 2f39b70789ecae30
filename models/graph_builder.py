"""A small builder of ONNX graphs: one method per layer, weights from a source of choice.

Activations are passed around as `Feature`, the name of a tensor with the length of its channel
axis, so that a layer knows the shape of its own weights. Every node has a name, and its output is
called `<name>.out`; weights are called `<name>.weight` and `<name>.bias`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

FloatArray = NDArray[np.float32]
WeightSource = Callable[[str, tuple[int, ...], float, float], FloatArray]
"""(name, shape, mean, standard deviation) -> values of that shape."""


class Feature(NamedTuple):
    """An activation: the tensor's name and the length of its channel (or feature) axis."""

    name: str
    channels: int


def weights_from(seed: int | None) -> WeightSource:
    """Normal weights drawn from `seed`; None gives weights of zeros, enough for counting."""
    if seed is None:
        return lambda _name, shape, _mean, _std: np.zeros(shape, np.float32)
    rng = np.random.default_rng(seed)

    def draw(_name: str, shape: tuple[int, ...], mean: float, std: float) -> FloatArray:
        values = rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(std)
        values += np.float32(mean)
        return values

    return draw


def weights_stored(arrays: Mapping[str, FloatArray]) -> WeightSource:
    """Weights looked up by name; raises ValueError where one has another shape."""

    def look_up(name: str, shape: tuple[int, ...], _mean: float, _std: float) -> FloatArray:
        values = np.asarray(arrays[name], np.float32)
        if values.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {values.shape}")
        return values

    return look_up


class Builder:
    """Collects nodes and weights; `finish` turns them into a model of opset 17 and IR 8.

    `batch` is the length of the first axis of inputs and outputs, "N" (dynamic) where None.
    """

    def __init__(self, name: str, weights: WeightSource, batch: int | None = None) -> None:
        self.batch: int | str = "N" if batch is None else batch
        self._weights = weights
        self._stored: set[str] = set()
        # Filled in place: the helpers copy what they are given, and weights are large.
        self._model = helper.make_model(
            helper.make_graph([], name, [], []),
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="eapc-models",
        )
        self._graph = self._model.graph

    def input(
        self, name: str, shape: Sequence[int], dtype: int = TensorProto.FLOAT, channels: int = 0
    ) -> Feature:
        """Declare an input of (batch, *shape); its channels are shape[0] unless given."""
        value = helper.make_tensor_value_info(name, dtype, [self.batch, *shape])
        self._graph.input.append(value)
        return Feature(name, channels or shape[0])

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Store `values` as an initializer once, however often it is asked for."""
        if name not in self._stored:
            self._stored.add(name)
            self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def weight(self, name: str, shape: tuple[int, ...], mean: float, std: float) -> str:
        """Store weights of `shape` taken from the weight source."""
        return self.constant(name, self._weights(name, shape, mean, std))

    def node(self, op_type: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Append a node of one output; return the output's name."""
        output = f"{name}.out"
        node = helper.make_node(op_type, list(inputs), [output], name=name, **attributes)
        self._graph.node.append(node)
        return output

    def conv(
        self,
        x: Feature,
        name: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        bias: bool = True,
        gain: float = 2.0,
    ) -> Feature:
        """Square convolution of (N, C, H, W) with He-style weights of variance gain / fan-in.

        A gain of 2 keeps the second moment behind a ReLU, a gain of 1 that of other inputs.
        """
        fan_in = x.channels // groups * kernel * kernel
        shape = (channels, x.channels // groups, kernel, kernel)
        inputs = [x.name, self.weight(f"{name}.weight", shape, 0.0, (gain / fan_in) ** 0.5)]
        if bias:
            inputs.append(self.weight(f"{name}.bias", (channels,), 0.0, 0.05))
        geometry = {
            "kernel_shape": [kernel, kernel],
            "strides": [stride, stride],
            "pads": [pad] * 4,
            "group": groups,
        }
        return Feature(self.node("Conv", name, *inputs, **geometry), channels)

    def batch_norm(self, x: Feature, name: str, scale: float = 1.0) -> Feature:
        """BatchNormalization whose statistics scatter slightly about mean 0 and variance 1."""
        moments = {
            "weight": (scale, 0.05 * scale),
            "bias": (0.0, 0.05),
            "running_mean": (0.0, 0.05),
            "running_var": (1.0, 0.05),
        }
        parameters = [
            self.weight(f"{name}.{part}", (x.channels,), mean, std)
            for part, (mean, std) in moments.items()
        ]
        out = self.node("BatchNormalization", name, x.name, *parameters, epsilon=1e-5)
        return Feature(out, x.channels)

    def fully_connected(self, x: Feature, name: str, features: int, gain: float = 2.0) -> Feature:
        """One Gemm: x (N, K) @ weight (features, K) transposed, plus bias."""
        std = (gain / x.channels) ** 0.5
        weight = self.weight(f"{name}.weight", (features, x.channels), 0.0, std)
        bias = self.weight(f"{name}.bias", (features,), 0.0, 0.05)
        return Feature(self.node("Gemm", name, x.name, weight, bias, transB=1), features)

    def linear(self, x: Feature, name: str, features: int, gain: float = 1.0) -> Feature:
        """MatMul of x (N, L, K) and weight (K, features), then an Add of the bias."""
        std = (gain / x.channels) ** 0.5
        weight = self.weight(f"{name}.weight", (x.channels, features), 0.0, std)
        bias = self.weight(f"{name}.bias", (features,), 0.0, 0.05)
        product = self.node("MatMul", name, x.name, weight)
        return Feature(self.node("Add", f"{name}.add", product, bias), features)

    def unary(self, op_type: str, x: Feature, name: str, **attributes: Any) -> Feature:
        """A node of one input that keeps the channels: Relu, Softmax, LRN, GlobalAveragePool."""
        return Feature(self.node(op_type, name, x.name, **attributes), x.channels)

    def relu(self, x: Feature, name: str) -> Feature:
        """Larger of x and 0."""
        return self.unary("Relu", x, name)

    def relu6(self, x: Feature, name: str) -> Feature:
        """Clip of x to 0..6."""
        low = self.constant("relu6.min", np.array(0.0, np.float32))
        high = self.constant("relu6.max", np.array(6.0, np.float32))
        return Feature(self.node("Clip", name, x.name, low, high), x.channels)

    def max_pool(
        self, x: Feature, name: str, kernel: int = 3, stride: int = 2, pad: int = 0, ceil: int = 0
    ) -> Feature:
        """Square max pooling; ceil=1 keeps the last, partial window."""
        geometry = {
            "kernel_shape": [kernel, kernel],
            "strides": [stride, stride],
            "pads": [pad] * 4,
            "ceil_mode": ceil,
        }
        return self.unary("MaxPool", x, name, **geometry)

    def add(self, x: Feature, y: Feature, name: str) -> Feature:
        """Sum of two features of equal channels."""
        return Feature(self.node("Add", name, x.name, y.name), x.channels)

    def concat(self, parts: Sequence[Feature], name: str) -> Feature:
        """Join along the channel axis."""
        out = self.node("Concat", name, *(part.name for part in parts), axis=1)
        return Feature(out, sum(part.channels for part in parts))

    def flatten(self, x: Feature, name: str, positions: int = 1) -> Feature:
        """(N, C, H, W) to (N, C * positions), where positions = H * W."""
        return Feature(self.node("Flatten", name, x.name, axis=1), x.channels * positions)

    def finish(self, x: Feature, output: str, shape: Sequence[int]) -> ModelProto:
        """Close the graph with the last node's tensor `x`, renamed, as output (batch, *shape)."""
        last = self._graph.node[-1]
        if last.output[0] != x.name:
            raise ValueError(f"{x.name} is not the output of the last node {last.name}")
        last.output[0] = output
        value = helper.make_tensor_value_info(output, TensorProto.FLOAT, [self.batch, *shape])
        self._graph.output.append(value)
        return self._model
