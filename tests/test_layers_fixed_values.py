"""Weights that were worked out are told from learnt ones, however few values those have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from builders import Array, loaded, make_model, normal, op, save

import eapc
from eapc.errors import PassError, UsageError
from eapc.layers import PrunableLayers, choose, find_layers, layers_of
from eapc.layers.fixed_values import fixed_arithmetic
from eapc.model import Model

RNG = np.random.default_rng(5)


def told(weight: Array) -> str:
    """Of a convolution's weights (m, c, *kernel), or of rows (m, k)."""
    matrix = np.moveaxis(weight, 1, -1).reshape(1, len(weight), -1)
    return fixed_arithmetic(weight, matrix)


def float32(array: Array) -> Array:
    return np.asarray(array, np.float32)


# --- what is fixed ---------------------------------------------------------------------------


def angles(bins: int, length: int) -> Array:
    return 2 * np.pi * np.outer(np.arange(bins), np.arange(length)) / length


def mel(filters: int, bins: int) -> Array:
    """Triangles between points that lie apart ever further."""
    points = 2 + (bins - 3) * (np.linspace(0, 1, filters + 2) ** 1.6)
    places = np.arange(bins)[None]
    left, peak, right = points[:-2, None], points[1:-1, None], points[2:, None]
    return np.maximum(
        0, np.minimum((places - left) / (peak - left), (right - places) / (right - peak))
    )


def hadamard(size: int) -> Array:
    found = np.ones((1, 1))
    while len(found) < size:
        found = np.block([[found, found], [found, -found]])
    return found


def depthwise(kernel: Sequence[Sequence[float]] | Array, channels: int = 8) -> Array:
    return np.tile(np.asarray(kernel)[None, None], (channels, 1, 1, 1))


HANN = np.hanning(65)[:-1]
BLUR = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
SOBEL = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
TENT = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
COS, SIN = np.cos(angles(33, 64)), np.sin(angles(33, 64))
DIAGONAL = np.zeros((6, 6, 4, 4))
DIAGONAL[range(6), range(6)] = TENT

FIXED: dict[str, tuple[Array, str]] = {
    "distances of boxes": (np.arange(16).reshape(1, 16, 1, 1), "counts"),
    "distances of boxes in a product": (np.arange(16)[None], "counts"),
    "a mean of 49": (np.full((1, 1, 7, 7), 1 / 49), "counts"),
    "means of every channel": (np.full((32, 1, 2, 2), 0.25), "counts"),
    "nearest upsampling": (np.ones((8, 1, 2, 2)), "counts"),
    "an identity": (np.eye(12), "a choice"),
    "a permutation": (np.eye(16)[RNG.permutation(16)], "a choice"),
    "a shift of channels": (np.eye(9).reshape(9, 1, 3, 3), "a choice"),
    "Hadamard, 8": (hadamard(8), "a Hadamard"),
    "Hadamard, 64": (hadamard(64) / 8, "a Hadamard"),
    "Haar": (hadamard(4).reshape(4, 1, 2, 2) / 2, "a Hadamard"),
    "cosines": (COS, "sinusoids"),
    "sines": (SIN, "sinusoids"),
    "all of a transform": (np.concatenate([COS, SIN]), "sinusoids"),
    "windowed cosines": ((COS * HANN)[:, None], "sinusoids"),
    "windowed sines": ((SIN * HANN)[:, None], "sinusoids"),
    "windowed sines of rounded angles": (np.sin(np.float32(angles(33, 64))) * HANN, "sinusoids"),
    "windowed sines of large rounded angles": (
        np.sin(np.float32(angles(513, 1024))) * np.hanning(1025)[:-1],
        "sinusoids",
    ),
    "a windowed transform": (np.concatenate([COS, -SIN]) * HANN, "sinusoids"),
    "a windowed transform, in turn": (
        np.stack([COS[:32], SIN[:32]], 1).reshape(64, 64) * HANN,
        "sinusoids",
    ),
    "a long transform": (np.cos(np.float32(angles(129, 2048))), "sinusoids"),
    "a cosine transform": (
        np.cos(np.pi / 40 * np.outer(np.arange(13), np.arange(40) + 0.5)),
        "sinusoids",
    ),
    "mel filters": (mel(40, 257), "a bank"),
    "mel filters turned about": (mel(40, 257).T, "a bank"),
    "a blur of one channel": (BLUR[None, None], "mirrored"),
    "a blur of every channel": (depthwise(BLUR), "the same kernel"),
    "edges of one channel": (SOBEL[None, None], "mirrored"),
    "edges of both ways": (
        np.stack([SOBEL, SOBEL.T] * 4)[:, None],
        "mirrored",
    ),
    "a Laplacian": (LAPLACE[None, None], "mirrored"),
    "bilinear upsampling": (depthwise(TENT, 1), "mirrored"),
    "bilinear upsampling of all channels": (DIAGONAL, "the same kernel"),
    "cubic interpolation between places": (
        np.outer([-0.07, 0.87, 0.23, -0.03], [-0.06, 0.8, 0.3, -0.04])[None, None],
        "separable",
    ),
}


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_fixed_arithmetic(name: str, kind: type[np.generic]) -> None:
    weight, what = FIXED[name]
    assert told(weight.astype(kind)).startswith(what)


# --- what is not -----------------------------------------------------------------------------

SHAPES = [
    *((64, 16, 3, 3), (1, 1, 3, 3), (1, 1, 5, 5), (32, 1, 3, 3), (8, 16, 1, 1), (1, 16, 1, 1)),
    *((16, 8, 5), (1, 1, 16), (4, 4), (1, 16), (10, 64), (128, 128), (2, 300)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_learnt_weights_are_not_fixed(shape: tuple[int, ...], kind: type[np.generic]) -> None:
    for seed in range(20):
        assert told(normal(shape, seed).astype(kind)) == ""
        assert told(np.abs(normal(shape, seed)).astype(kind)) == ""


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if np.prod(shape) > 30])
@pytest.mark.parametrize("values", [(-1, 1), (-1, 0, 1), (0, 1)])
def test_networks_of_few_values_are_not_fixed(
    shape: tuple[int, ...], values: tuple[int, ...]
) -> None:
    """Signs, with and without zeros, in units of a layer's scale."""
    for seed in range(20):
        drawn = np.random.default_rng(seed).choice(values, shape)
        assert told(float32(0.07 * drawn)) == ""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kept", [0.5, 0.1, 0.02])
def test_what_is_left_of_pruned_weights_is_not_fixed(shape: tuple[int, ...], kept: float) -> None:
    """Kernels of one weight are separable, and mirrored where it is the middle one."""
    for seed in range(20):
        weight = normal(shape, seed)
        weight[np.random.default_rng(seed).random(shape) > kept] = 0
        assert told(weight) == ""
        assert told(np.abs(weight)) == ""


def test_smooth_filters_are_not_fixed() -> None:
    """Noise that is averaged over some 20 neighbours, as learnt filters of sound look."""
    hat = np.hanning(41)
    for seed in range(10):
        rows = np.stack([np.convolve(row, hat, "same") for row in normal((32, 256), seed)])
        assert told(float32(rows)) == ""


def test_sinusoids_that_training_has_changed_are_not_fixed() -> None:
    assert told(float32(COS + 0.01 * normal(COS.shape))) == ""
    assert told(float32(COS * HANN + 0.01 * normal(COS.shape))) == ""


def test_zeros_and_what_is_not_finite_are_not_fixed() -> None:
    assert told(np.zeros((4, 16), np.float32)) == ""
    assert told(np.full((4, 16), np.nan, np.float32)) == ""


# --- layers ----------------------------------------------------------------------------------


def network() -> Model:
    """A convolution, the expectation over 16 distances behind it, and a product."""
    nodes = [
        op("Conv", "x w", "c", "learnt", pads=[1, 1, 1, 1]),
        op("Softmax", "c", "s", axis=1),
        op("Conv", "s d", "e", "distances"),
        op("Flatten", "e", "f"),
        op("MatMul", "f m", "y", "product"),
    ]
    tensors = {
        "w": normal((16, 3, 3, 3)),
        "d": float32(np.arange(16).reshape(1, 16, 1, 1)),
        "m": normal((64, 5)),
    }
    return loaded(nodes, {"x": ("N", 3, 8, 8)}, ["y"], tensors)


def names(found: PrunableLayers) -> list[str]:
    return [tied.first.node.key for tied in found.layers]


def test_fixed_layers_are_left_alone_unless_named() -> None:
    found = find_layers(network())
    assert names(choose(found)) == ["learnt", "product"]
    (skipped,) = choose(found).skipped
    assert skipped.name == "distances"
    assert skipped.reason == (
        "weights are fixed arithmetic: counts, means or straight lines; --include 'distances' "
        "prunes them"
    )
    assert names(choose(found, ["distances"])) == ["distances"]
    assert names(choose(found, ["*", "distances"])) == ["learnt", "distances", "product"]
    assert names(choose(found, ["d"])) == ["distances"]
    assert names(choose(found, ["Conv"])) == ["learnt"]
    assert [s.reason for s in choose(found, exclude=["distances"]).skipped] == ["excluded"]


def test_a_glob_that_means_fixed_layers_alone_is_an_error() -> None:
    said = r"include: 'dist\*' means 'distances', which is left alone: weights are fixed"
    with pytest.raises(UsageError, match=said):
        choose(find_layers(network()), ["learnt", "dist*"])


def test_a_layer_stays_fixed_when_it_has_been_pruned() -> None:
    model = network()
    assert [tied.fixed != "" for tied in layers_of(model).layers] == [False, True, False]
    pruned = model.with_weights({"d": np.zeros((1, 16, 1, 1), np.float32)})
    assert [tied.fixed != "" for tied in layers_of(pruned).layers] == [False, True, False]


def test_pruning_leaves_fixed_arithmetic_as_it_is(tmp_path: Path) -> None:
    path = save(network().to_proto(), tmp_path / "m.onnx")
    data = tmp_path / "x.npz"
    np.savez(data, x=normal((64, 3, 8, 8)))
    settings = eapc.Settings(calibration=data)
    kept = eapc.prune(path, settings, goal=eapc.Sparsity(0.5))
    assert np.array_equal(kept.model.constants["d"].ravel(), np.arange(16))
    assert "distances" in {skip.name for skip in kept.compilation.record.skipped}
    recipe = eapc.Recipe(include=("*", "distances"))
    forced = eapc.prune(path, settings, goal=eapc.Sparsity(0.5), recipe=recipe)
    assert np.count_nonzero(forced.model.constants["d"]) == 8


def test_channels_of_fixed_arithmetic_stay(tmp_path: Path) -> None:
    """16 distances have 16 inputs, and nothing is fitted in their place; a blur may have fewer."""
    blur = depthwise(BLUR, 16)
    nodes = [
        op("Conv", "x w", "a", "first", pads=[1, 1, 1, 1]),
        op("Conv", "a b", "t", "blur", pads=[2, 2, 2, 2], group=16),
        op("Conv", "t v", "c", "second"),
        op("Softmax", "c", "s", axis=1),
        op("Conv", "s d", "y", "distances"),
    ]
    tensors = {
        "w": normal((16, 3, 3, 3)),
        "b": float32(blur),
        "v": normal((16, 16, 1, 1), 2),
        "d": float32(np.arange(16).reshape(1, 16, 1, 1)),
    }
    path = save(make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], tensors), tmp_path / "m.onnx")
    data = tmp_path / "x.npz"
    np.savez(data, x=normal((64, 3, 8, 8)))
    settings, recipe = eapc.Settings(calibration=data), eapc.Recipe(structured=True)
    done = eapc.prune(path, settings, goal=eapc.Sparsity(0.5), recipe=recipe)
    left = {tied.weight: tied for tied in layers_of(done.model).layers}
    assert np.array_equal(done.model.constants["d"].ravel(), np.arange(16))
    kept = done.model.constants[left["b"].weight]
    assert len(kept) == 8
    assert all(np.array_equal(each, kept[0]) for each in kept)


def test_a_model_of_fixed_arithmetic_alone_says_so(tmp_path: Path) -> None:
    node = op("Conv", "x d", "y", "distances")
    tensors = {"d": float32(np.arange(16).reshape(1, 16, 1, 1))}
    path = save(make_model([node], {"x": ("N", 16, 4, 4)}, ["y"], tensors), tmp_path / "m.onnx")
    with pytest.raises(PassError, match="weights are fixed arithmetic"):
        eapc.prune(path, goal=eapc.Sparsity(0.5))
    with pytest.raises(UsageError, match="no prunable layer"):
        choose(find_layers(Model.load(path)), ["none"])


def test_layers_of_networks_at_hand_are_learnt(shared_data: Path) -> None:
    """All but the Fourier transforms in front of a speech detector, one for each rate."""
    for path in sorted((shared_data / "models").glob("*.onnx")):
        fixed = [t.weight for t in find_layers(Model.load(path)).layers if t.fixed]
        assert all("stft" in name for name in fixed)
        assert len(fixed) == (2 if path.stem == "silero_vad" else 0)
