"""However a file holds its weights, they are as many, as dense, and in as many MACs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import Array, constant_node, ints, make_model, normal, op, save, scalar
from constant_builders import KINDS, sparse_of
from onnx import ModelProto, NodeProto, helper

import eapc
from eapc.energy import EnergyReport

ORT = "com.microsoft"
INPUTS, OUTPUTS, ROWS = 40, 6, 5
SCALE = np.float32(0.25)


def integers(bits: int, seed: int = 3) -> Array:
    """(40, 6) integers of so many bits with a sign, some of which are 0."""
    half = 1 << (bits - 1)
    return np.random.default_rng(seed).integers(-half + 1, half, (INPUTS, OUTPUTS))


def product(nodes: list[NodeProto], tensors: dict[str, Array]) -> ModelProto:
    """x @ w, and a second product behind it; nodes in front make w, or y of x."""
    first = [] if any("h" in node.output for node in nodes) else [op("MatMul", "x w", "h", "one")]
    last = [op("Relu", "h", "r", "relu"), op("MatMul", "r v", "y", "two")]
    tensors = {**tensors, "v": normal((OUTPUTS, 3), 8)}
    return make_model([*nodes, *first, *last], {"x": (ROWS, INPUTS)}, ["y"], tensors)


def dense(bits: int) -> ModelProto:
    return product([], {"w": SCALE * integers(bits).astype(np.float32)})


def report_of(model: ModelProto, folder: Path) -> EnergyReport:
    return eapc.analyze(save(model, folder / f"{len(list(folder.iterdir()))}.onnx")).energy


def assert_twins(one: ModelProto, other: ModelProto, folder: Path) -> None:
    found, wanted = report_of(one, folder), report_of(other, folder)
    assert not found.unmodelled
    assert (found.weights, found.nonzero_weights) == (wanted.weights, wanted.nonzero_weights)
    assert found.nonzero_weights < found.weights
    for of in ("macs", "nonskipped_macs"):
        assert getattr(found, of) == pytest.approx(getattr(wanted, of))
    for key in (key for key, node in wanted.by_node.items() if node.macs):
        assert found.by_node[key].macs == wanted.by_node[key].macs
        assert found.by_node[key].densities.weights == wanted.by_node[key].densities.weights


# --- floats ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_constants_of_every_kind(kind: str, tmp_path: Path) -> None:
    assert_twins(*KINDS[kind](), tmp_path)


def test_a_sparse_initializer_of_a_product(tmp_path: Path) -> None:
    weight = SCALE * integers(4).astype(np.float32)
    model = product([], {"w": weight})
    del model.graph.initializer[0]
    model.graph.sparse_initializer.append(sparse_of(weight, "w"))
    assert_twins(model, dense(4), tmp_path)


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_that_are_computed_of_integers(bits: int, tmp_path: Path) -> None:
    """Turned about, taken to floats, and scaled."""
    nodes = [
        op("Transpose", "q", "t", perm=[1, 0]),
        op("Cast", "t", "f", to=1),
        op("Mul", "f s", "w"),
    ]
    tensors = {"q": integers(bits).T.astype(np.int8), "s": scalar(float(SCALE))}
    assert_twins(product(nodes, tensors), dense(bits), tmp_path)


def test_weights_behind_a_reshape_of_a_constant(tmp_path: Path) -> None:
    flat = (SCALE * integers(4)).astype(np.float32).ravel()
    nodes = [constant_node("f", flat), op("Reshape", "f shape", "w")]
    model = product(nodes, {"shape": ints(INPUTS, OUTPUTS)})
    assert_twins(model, dense(4), tmp_path)


# --- integers --------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["", ORT])
@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_behind_dequantize_linear(domain: str, per_channel: bool, tmp_path: Path) -> None:
    zero = np.arange(OUTPUTS) - 2 if per_channel else np.array(3)
    tensors: dict[str, Array] = {
        "q": (integers(4) + zero).astype(np.int8),
        "s": np.full(zero.shape, SCALE),
        "z": zero.astype(np.int8),
    }
    node = op("DequantizeLinear", "q s z", "w", domain=domain)
    if per_channel:
        node.attribute.append(helper.make_attribute("axis", 1))
    assert_twins(product([node], tensors), dense(4), tmp_path)


def packed(words: Array, bits: int) -> Array:
    """Unsigned words (..., n) into bytes, the lowest bits first; what is lacking is 0."""
    each = 8 // bits
    lacking = [(0, 0)] * (words.ndim - 1) + [(0, -words.shape[-1] % each)]
    filled = np.pad(words, lacking).reshape(*words.shape[:-1], -1, each)
    shifted = filled.astype(np.uint32) << np.arange(0, 8, bits)
    return np.asarray(shifted.sum(axis=-1), np.uint8)


def few_bits(bits: int, block: int, zeros: str, overhang: int = 0) -> ModelProto:
    """The product with packed weights; those beyond K are `overhang`."""
    blocks = -(-INPUTS // block)
    half = 1 << (bits - 1)
    points = np.full((OUTPUTS, blocks), half)
    if zeros:
        points = half + np.arange(OUTPUTS * blocks).reshape(OUTPUTS, blocks) % 2
    signed = np.pad(integers(bits).T, ((0, 0), (0, blocks * block - INPUTS)))
    words = (signed.reshape(OUTPUTS, blocks, block) + points[:, :, None]) % (1 << bits)
    words.reshape(OUTPUTS, -1)[:, INPUTS:] = overhang
    tensors = {
        "q": packed(words, bits),
        "s": np.full((OUTPUTS, blocks), SCALE),
        "packed": packed(points, bits),
        "float": points.astype(np.float32),
    }
    node = op(
        "MatMulNBits", f"x q s {zeros}".strip(), "h", "one",
        domain=ORT, K=INPUTS, N=OUTPUTS, bits=bits, block_size=block,
    )  # fmt: skip
    return product([node], {name: a for name, a in tensors.items() if name in node.input})


@pytest.mark.parametrize("zeros", ["", "packed", "float"])
@pytest.mark.parametrize("block", [16, 32, 64])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_of_a_few_bits(bits: int, block: int, zeros: str, tmp_path: Path) -> None:
    """40 rows fill no whole number of blocks: what is stored beyond them is nobody's."""
    for overhang in (0, 1):
        assert_twins(few_bits(bits, block, zeros, overhang), dense(bits), tmp_path)


def test_weights_of_a_few_bits_in_blocks_of_scale_0(tmp_path: Path) -> None:
    """An output whose scale is 0 has 40 weights of 0 more."""
    model = few_bits(4, 16, "")
    scales = next(t for t in model.graph.initializer if t.name == "s")
    zeroed = np.full((OUTPUTS, 3), SCALE)
    zeroed[0] = 0
    scales.raw_data = zeroed.tobytes()
    weight = SCALE * integers(4).astype(np.float32)
    weight[:, 0] = 0
    assert_twins(model, product([], {"w": weight}), tmp_path)


def test_counts_by_hand(tmp_path: Path) -> None:
    """16 weights of 4 bits at K = 10: 10 count, of which two are the zero point 8."""
    words = np.array([8, 8, *range(8), 9, 9, 9, 9, 9, 9], np.uint8)
    tensors = {"q": packed(words.reshape(1, 1, 16), 4), "s": normal((1, 1))}
    node = op("MatMulNBits", "x q s", "y", "one", domain=ORT, K=10, N=1, bits=4, block_size=16)
    found = report_of(make_model([node], {"x": (1, 10)}, ["y"], tensors), tmp_path)
    assert (found.weights, found.nonzero_weights, found.macs) == (10, 8, 10)


def test_zero_points_that_are_computed_leave_weights_dense(tmp_path: Path) -> None:
    model = few_bits(4, 16, "packed")
    (kept,) = (t for t in model.graph.initializer if t.name == "packed")
    model.graph.initializer.remove(kept)
    model.graph.input.append(helper.make_tensor_value_info("packed", kept.data_type, kept.dims))
    found = report_of(model, tmp_path)
    assert found.nonzero_weights == found.weights == INPUTS * OUTPUTS + OUTPUTS * 3
