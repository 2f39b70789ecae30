"""Networks of operators on integers, each as quantizers write it or as the operator allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from builders import make_model, normal, op, scalar, value
from onnx import NodeProto, TensorProto
from pruning_builders import Net, images

from eapc.model import Array

ORT = "com.microsoft"
INT8, UINT8 = np.dtype(np.int8), np.dtype(np.uint8)


@dataclass(frozen=True)
class Codes:
    """Integers and how they are read."""

    codes: Array
    scale: Array
    zero: Array


def quantized(
    weight: Array, dtype: np.dtype[Any] = INT8, axis: int | None = None, offset: int = 0
) -> Codes:
    """The nearest codes about a zero point that is `offset` beside the middle."""
    others = tuple(i for i in range(weight.ndim) if axis is not None and i != axis % weight.ndim)
    most = np.abs(weight).max(axis=others if axis is not None else None)
    scale = (most / 100).astype(np.float32)
    middle = (128 if dtype == UINT8 else 0) + offset
    shown = scale
    if axis is not None:
        shape = [1] * weight.ndim
        shape[axis] = -1
        shown = scale.reshape(shape)
    codes = np.rint(weight / shown) + middle
    return Codes(codes.astype(dtype), scale, np.full(scale.shape, middle, dtype))


def tensors_of(prefix: str, codes: Codes) -> dict[str, Array]:
    """Those of codes by name: w, ws and wz of prefix w."""
    return {prefix: codes.codes, f"{prefix}s": codes.scale, f"{prefix}z": codes.zero}


def signals(*shape: int, seed: int = 5) -> Array:
    """Inputs whose last axis is correlated."""
    mix = np.random.default_rng(seed).normal(0, 1, (shape[-1], shape[-1]))
    mixed = normal(shape, seed + 1, 0.5) @ (mix + 2 * np.eye(shape[-1]))
    return np.asarray(mixed / np.abs(mixed).max(), np.float32)


def _scaled(prefix: str, scale: float, zero: int, dtype: np.dtype[Any]) -> dict[str, Array]:
    return {f"{prefix}s": scalar(scale), f"{prefix}z": np.array(zero, dtype)}


def qlinear_convolutions(
    dtype: np.dtype[Any] = INT8, axis: int | None = 0, offset: int = 0, domain: str = "",
    opset: int = 17,
) -> Net:  # fmt: skip
    """Two convolutions with a residual sum, channels last in onnxruntime's own domain."""
    last = {"channels_last": 1} if domain else {}
    kind = UINT8
    first, second = (normal((8, 8, 3, 3), seed, 0.2) for seed in (1, 2))
    one, two = (quantized(w, dtype, axis, offset) for w in (first, second))
    biases = {
        name: np.rint(normal((8,), seed, 0.2) / (unit * codes.scale)).astype(np.int32)
        for name, codes, unit, seed in (("b", one, 1 / 128, 3), ("c", two, 0.02, 4))
    }
    window = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3], **last}
    nodes = [
        op("QuantizeLinear", "x xs xz", "xq"),
        op("QLinearConv", "xq xs xz w ws wz hs hz b", "h", "first", domain=domain, **window),
        op("QLinearConv", "h hs hz v vs vz gs gz c", "g", "second", domain=domain, **window),
        op("QLinearAdd", "g gs gz h hs hz ys yz", "yq", domain=ORT),
        op("DequantizeLinear", "yq ys yz", "y"),
    ]
    tensors = {
        **tensors_of("w", one), **tensors_of("v", two), **biases,
        **_scaled("x", 1 / 128, 128, kind), **_scaled("h", 0.02, 0, kind),
        **_scaled("g", 0.02, 120, kind), **_scaled("y", 0.03, 90, kind),
    }  # fmt: skip
    x = images(60, 8)
    x = x / np.abs(x).max()
    if domain:
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    shape = ("N", *x.shape[1:])
    return Net(make_model(nodes, {"x": shape}, ["y"], tensors, opset=opset), {"x": x})


def qlinear_products(axis: int | None = None, dtype: np.dtype[Any] = INT8, offset: int = 0) -> Net:
    """QLinearMatMul, then QGemm with a result of real numbers."""
    one = quantized(normal((24, 16), 1, 0.3), dtype, axis and 1, offset)
    two = quantized(normal((10, 16), 2, 0.3), dtype, axis and 0, offset)
    unit = 0.02 * two.scale
    bias = np.broadcast_to(np.rint(normal((10,), 3) / unit), (10,)).astype(np.int32)
    nodes = [
        op("QuantizeLinear", "x xs xz", "xq"),
        op("QLinearMatMul", "xq xs xz w ws wz hs hz", "h", "product"),
        op("QGemm", "h hs hz v vs vz b", "y", "gemm", domain=ORT, transB=1),
    ]
    tensors = {
        **tensors_of("w", one), **tensors_of("v", two), "b": bias,
        **_scaled("x", 1 / 128, 128, UINT8), **_scaled("h", 0.02, 128, UINT8),
    }  # fmt: skip
    x = signals(400, 24)
    outputs = [value("y", ("N", 10))]
    return Net(make_model(nodes, {"x": ("N", 24)}, outputs, tensors), {"x": x})


def _product_net(nodes: Sequence[NodeProto], tensors: dict[str, Array]) -> Net:
    outputs = [value("y", ("N", 16))]
    proto = make_model(nodes, {"x": ("N", 24)}, outputs, tensors)
    return Net(proto, {"x": signals(400, 24)})


def matmul_integer(axis: int | None = None, dtype: np.dtype[Any] = INT8, offset: int = 0) -> Net:
    """As quantize_dynamic writes it, with a bias behind."""
    w = quantized(normal((24, 16), 1, 0.3), dtype, axis, offset)
    nodes = [
        op("DynamicQuantizeLinear", "x", "xq xs xz"),
        op("MatMulInteger", "xq w xz wz", "i", "product"),
        op("Cast", "i", "f", to=TensorProto.FLOAT),
        op("Mul", "xs ws", "s"),
        op("Mul", "f s", "m"),
        op("Add", "m b", "y"),
    ]
    return _product_net(nodes, {**tensors_of("w", w), "b": normal((16,), 3)})


def bare_matmul_integer() -> Net:
    """One whose integers are made otherwise, and the result read as such."""
    w = quantized(normal((24, 16), 1, 0.3))
    nodes = [
        op("QuantizeLinear", "x xs xz", "xq"),
        op("MatMulInteger", "xq w xz wz", "i", "product"),
        op("Cast", "i", "y", to=TensorProto.FLOAT),
    ]
    return _product_net(nodes, {**tensors_of("w", w), **_scaled("x", 1 / 128, 128, UINT8)})


def conv_integer(dtype: np.dtype[Any] = INT8, offset: int = 0) -> Net:
    """As quantize_dynamic writes it."""
    w = quantized(normal((8, 8, 3, 3), 1, 0.2), dtype, None, offset)
    nodes = [
        op("DynamicQuantizeLinear", "x", "xq xs xz"),
        op("ConvInteger", "xq w xz wz", "i", "conv", pads=[1, 1, 1, 1]),
        op("Cast", "i", "f", to=TensorProto.FLOAT),
        op("Mul", "xs ws", "s"),
        op("Mul", "f s", "m"),
        op("Add", "m b", "y"),
    ]
    tensors = {**tensors_of("w", w), "b": normal((1, 8, 1, 1), 3)}
    proto = make_model(nodes, {"x": ("N", 8, 8, 8)}, [value("y", ("N", 8, 8, 8))], tensors)
    return Net(proto, {"x": images(60, 8)})


def dynamic_product(axis: int | None = 1, dtype: np.dtype[Any] = INT8, offset: int = 0) -> Net:
    """DynamicQuantizeMatMul with a bias."""
    w = quantized(normal((24, 16), 1, 0.3), dtype, axis, offset)
    node = op("DynamicQuantizeMatMul", "x w ws wz b", "y", "product", domain=ORT)
    return _product_net([node], {**tensors_of("w", w), "b": normal((16,), 3)})


def product_to_float(axis: int | None = 1, dtype: np.dtype[Any] = INT8, offset: int = 0) -> Net:
    """MatMulIntegerToFloat with a bias."""
    w = quantized(normal((24, 16), 1, 0.3), dtype, axis, offset)
    nodes = [
        op("QuantizeLinear", "x xs xz", "xq"),
        op("MatMulIntegerToFloat", "xq w xs ws xz wz b", "y", "product", domain=ORT),
    ]
    scales = _scaled("x", 1 / 128, 128, UINT8)
    return _product_net(nodes, {**tensors_of("w", w), **scales, "b": normal((16,), 3)})


def cast_and_scaled(with_zeros: bool = True) -> Net:
    """Weights behind Cast, Sub and Mul."""
    w = quantized(normal((24, 16), 1, 0.3), UINT8 if with_zeros else INT8, 1)
    nodes = [op("Cast", "w", "wf", to=TensorProto.FLOAT)]
    if with_zeros:
        nodes += [op("Cast", "wz", "zf", to=TensorProto.FLOAT), op("Sub", "wf zf", "wd")]
    nodes += [
        op("Mul", "wd ws" if with_zeros else "wf ws", "wr"),
        op("MatMul", "x wr", "y", "product"),
    ]
    tensors = {"w": w.codes, "ws": w.scale[None]}
    return _product_net(nodes, {**tensors, **({"wz": w.zero[None]} if with_zeros else {})})


def cast_and_scaled_behind() -> Net:
    """Weights behind a Cast alone; what they make is multiplied by the scales."""
    w = quantized(normal((24, 16), 1, 0.3), INT8, 1)
    nodes = [
        op("Cast", "w", "wf", to=TensorProto.FLOAT),
        op("MatMul", "x wf", "m", "product"),
        op("Mul", "m ws", "y"),
    ]
    return _product_net(nodes, {"w": w.codes, "ws": w.scale})


def packed(codes: Array, bits: int) -> Array:
    """Codes (n, blocks, block) in bytes, the lowest bits first."""
    each = 8 // bits
    words = codes.astype(np.uint8).reshape(*codes.shape[:-1], -1, each)
    return np.asarray(sum(words[..., i] << (bits * i) for i in range(each)), np.uint8)


def n_bits(bits: int = 4, with_zeros: bool = True, inputs: int = 40, outputs: int = 12) -> Net:
    """MatMulNBits in blocks of 16, the last of which reaches beyond the inputs."""
    block, blocks = 16, -(-inputs // 16)
    weight = np.zeros((outputs, blocks * block), np.float32)
    weight[:, :inputs] = normal((outputs, inputs), 1, 0.3)
    split = weight.reshape(outputs, blocks, block)
    most, least = (
        np.maximum(f(split, axis=2), 0) for f in (np.max, lambda a, axis: (-a).max(axis))
    )
    top = (1 << bits) - 1
    middle = 1 << (bits - 1)
    if with_zeros:
        scale = (most + least) / top
        zero = np.rint(least / scale)
    else:
        scale, zero = np.maximum(most, least) / (middle - 0.5), np.full(most.shape, middle)
    codes = np.clip(np.rint(split / scale[..., None]) + zero[..., None], 0, top)
    tensors: dict[str, Array] = {
        "w": packed(codes, bits), "ws": scale.astype(np.float32), "b": normal((outputs,), 3)
    }  # fmt: skip
    if with_zeros:
        padded = np.zeros((outputs, -(-blocks * bits // 8) * 8 // bits))
        padded[:, :blocks] = zero
        tensors["wz"] = packed(padded, bits).reshape(-1)
    node = op(
        "MatMulNBits", f"x w ws {'wz' if with_zeros else '-'} - b", "y", "product",
        domain=ORT, K=inputs, N=outputs, bits=bits, block_size=block,
    )  # fmt: skip
    proto = make_model([node], {"x": ("N", inputs)}, [value("y", ("N", outputs))], tensors)
    return Net(proto, {"x": signals(400, inputs)})


def blocked(signed: bool = True) -> Net:
    """Four-bit weights behind a DequantizeLinear of blocks."""
    weight = normal((32, 16), 1, 0.3).reshape(2, 16, 16)
    scale = np.abs(weight).max(axis=1) / 7
    zero = 0 if signed else 8
    codes = np.clip(np.rint(weight / scale[:, None]), -7, 7).reshape(32, 16) + zero
    dtype = np.dtype(ml_dtypes.int4 if signed else ml_dtypes.uint4)
    tensors = {
        "w": codes.astype(np.int8).astype(dtype), "ws": scale.astype(np.float32),
        "wz": np.full((2, 16), zero, np.int8).astype(dtype),
    }  # fmt: skip
    nodes = [
        op("DequantizeLinear", "w ws wz", "wd", axis=0, block_size=16),
        op("MatMul", "x wd", "y", "product"),
    ]
    proto = make_model(nodes, {"x": ("N", 32)}, ["y"], tensors, opset=21, ir_version=10)
    return Net(proto, {"x": signals(400, 32)})


def dynamic_lstm(by_gate: bool = True, directions: int = 1) -> Net:
    """DynamicQuantizeLSTM, a scale for each direction or also for each gate's row."""
    hidden, inputs = 8, 12
    tensors: dict[str, Array] = {"b": normal((directions, 8 * hidden), 3, 0.2)}
    for name, size, seed in (("w", inputs, 1), ("r", hidden, 2)):
        weight = normal((directions, size, 4 * hidden), seed, 0.4)
        scale = (np.abs(weight).max(axis=1 if by_gate else (1, 2)) / 100).astype(np.float32)
        shown = scale[:, None] if by_gate else scale[:, None, None]
        tensors |= {
            name: np.rint(weight / shown).astype(np.int8), f"{name}s": scale,
            f"{name}z": np.zeros(scale.shape, np.int8),
        }  # fmt: skip
    way = {"direction": "bidirectional"} if directions == 2 else {}
    node = op(
        "DynamicQuantizeLSTM", "x w r b - - - - ws wz rs rz", "y", "cell",
        domain=ORT, hidden_size=hidden, **way,
    )  # fmt: skip
    outputs = [value("y", ("T", directions, "N", hidden))]
    proto = make_model([node], {"x": (10, 20, inputs)}, outputs, tensors)
    return Net(proto, {"x": signals(10, 20, inputs)})


NETS: dict[str, Callable[[], Net]] = {
    "qlinear conv": qlinear_convolutions,
    "qlinear conv, unsigned, one scale": lambda: qlinear_convolutions(UINT8, None, 7),
    "qlinear conv, lists at opset 10": lambda: qlinear_convolutions(opset=12),
    "qlinear conv, channels last": lambda: qlinear_convolutions(domain=ORT),
    "qlinear products": qlinear_products,
    "qlinear products, lists, zero points": lambda: qlinear_products(1, UINT8, -5),
    "MatMulInteger": matmul_integer,
    "MatMulInteger, lists": lambda: matmul_integer(1, UINT8, 3),
    "MatMulInteger, bare": bare_matmul_integer,
    "ConvInteger": conv_integer,
    "ConvInteger, unsigned": lambda: conv_integer(UINT8, 4),
    "DynamicQuantizeMatMul": dynamic_product,
    "DynamicQuantizeMatMul, unsigned": lambda: dynamic_product(None, UINT8, 4),
    "MatMulIntegerToFloat": product_to_float,
    "MatMulIntegerToFloat, unsigned": lambda: product_to_float(None, UINT8, 4),
    "Cast, Sub, Mul": cast_and_scaled,
    "Cast, Mul": lambda: cast_and_scaled(False),
    "Cast": cast_and_scaled_behind,
    "4 bits": n_bits,
    "4 bits, no zero points": lambda: n_bits(4, False),
    "2 bits": lambda: n_bits(2),
    "8 bits": lambda: n_bits(8),
    "blocked": blocked,
    "blocked, unsigned": lambda: blocked(False),
    "DynamicQuantizeLSTM": dynamic_lstm,
    "DynamicQuantizeLSTM, one scale": lambda: dynamic_lstm(False),
    "DynamicQuantizeLSTM, both ways": lambda: dynamic_lstm(False, 2),
    "DynamicQuantizeLSTM, both ways, lists": lambda: dynamic_lstm(True, 2),
}
