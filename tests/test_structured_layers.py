"""Channel groups and the layers that make and read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from builders import Array, normal, op
from channel_builders import groups_of, net, outputs_of
from structured_builders import MODELS, answers, compiled, layered
from test_channels import IMAGE, depthwise, grouped, plain, residual, unet, weights

from eapc.channels import remove_channels
from eapc.layers import find_layers
from eapc.model import Model
from eapc.structured import LayeredGroup, without_channels


def ends(group: LayeredGroup) -> tuple[list[str], list[str]]:
    """The weights that make the channels, and those that read them."""
    made = [producer.tied.weight for producer in group.producers]
    return made, [reader.tied.weight for reader in group.readers]


def stored(model: Model, name: str) -> Array:
    found = model.constants.value(name)
    assert found is not None
    return found


# --- who makes and who reads -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (
            plain(),
            {
                "one": (["w1"], ["w2"]),
                "two": (["w2"], ["w3"]),
                "three": (["w3"], ["w4"]),
            },
        ),
        (residual(), {"stem": (["w0", "w2"], ["w1", "w3"]), "one": (["w1"], ["w2"])}),
        (depthwise(), {"expand": (["w1", "w2"], ["w3"])}),
        (grouped(8, 3, 2), {"one": (["w1", "w2"], ["w3"])}),
        (grouped(2, 5, 6), {"one": (["w1"], ["w2"]), "two": (["w2"], ["w3"])}),
        (
            unet(),
            {
                "down1": (["w1"], ["w2", "w4"]),
                "down2": (["w2"], ["w3"]),
                "up": (["w3"], ["w4"]),
                "merge": (["w4"], ["w5"]),
            },
        ),
    ],
)
def test_layers_by_hand(
    model: Model, wanted: Mapping[str, tuple[Sequence[str], Sequence[str]]]
) -> None:
    found = layered(model)
    assert {name: ends(group) for name, group in found.items()} == wanted
    assert not any(group.obstacle for group in found.values())


def test_a_group_may_read_itself() -> None:
    """A convolution of a residual stream without a bottleneck makes and reads the same."""
    nodes = [
        op("Conv", "x w0", "s", "stem"),
        op("Conv", "s w1", "c", "one"),
        op("Add", "c s", "t"),
        op("Conv", "t w2", "y", "two"),
    ]
    model = net(nodes, IMAGE, weights(w0=(6, 3, 1, 1), w1=(6, 6, 1, 1), w2=(4, 6, 1, 1)))
    assert ends(layered(model)["stem"]) == (["w0", "w1"], ["w1", "w2"])


# --- places ------------------------------------------------------------------------------------


def test_places_behind_a_flatten() -> None:
    """Gemm w3 reads 5 channels of 2 x 2: k = 20, four places each."""
    (reader,) = layered(plain())["two"].readers
    assert reader.places.tolist() == [np.arange(20).reshape(5, 4).tolist()]
    assert [(tensor, part.axis) for tensor, part in reader.maps] == [("f", 1)]


def test_places_of_kernels() -> None:
    (reader,) = layered(grouped(2, 5, 6))["one"].readers
    wanted = np.arange(45).reshape(9, 5).T.tolist()  # k runs over kernel positions first
    assert reader.places.tolist() == [wanted, wanted]


def test_filters_are_those_of_the_file() -> None:
    model = grouped(2, 5, 6)
    (made,) = layered(model)["two"].producers
    w2 = stored(model, "w2").reshape(12, -1)
    wanted = np.concatenate([w2[:6], w2[6:]], axis=1)  # position i of both groups
    np.testing.assert_array_equal(np.sort(made.filters(model)), np.sort(wanted))


@pytest.mark.parametrize("name", MODELS)
def test_zeros_at_the_places_are_zeros_of_the_channel(name: str) -> None:
    model = MODELS[name]()
    layers = find_layers(model).layers
    for group in layered(model).values():
        pruned = without_channels(model, layers, {group.group.name: [1]}, [group.group])
        for producer in group.producers:
            zero = (producer.filters(pruned) == 0).all(axis=1)
            assert zero.tolist() == [channel == 1 for channel in range(group.group.size)]
        for reader in group.readers:
            matrix = reader.tied.matrix(pruned)
            for g, places in enumerate(reader.places):
                zero = (matrix[g][:, places] == 0).all(axis=(0, 2))
                assert zero[1]
                assert zero.sum() == 1


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_places_of_more_channels_than_a_type_can_count(kind: type[np.generic]) -> None:
    """Half precision counts to 2048 only."""
    nodes = [op("Conv", "x w1", "c", "one"), op("Conv", "c w2", "y", "two")]
    tensors = weights(w1=(3000, 3, 1, 1), w2=(2, 3000, 1, 2))
    model = net(nodes, IMAGE, {name: array.astype(kind) for name, array in tensors.items()})
    (reader,) = layered(model)["one"].readers
    np.testing.assert_array_equal(reader.places[0], np.arange(6000).reshape(2, 3000).T)


# --- channels taken out ------------------------------------------------------------------------


def test_only_weights_of_layers_become_zero() -> None:
    model = plain()
    layers, groups = find_layers(model).layers, groups_of(model).groups
    pruned = without_channels(model, layers, {"one": [1, 4]}, groups)
    assert set(pruned.weights) == {"w1", "w2"}
    np.testing.assert_array_equal(np.flatnonzero(~pruned.weights["w1"].any((1, 2, 3))), [1, 4])
    np.testing.assert_array_equal(np.flatnonzero(~pruned.weights["w2"].any((0, 2, 3))), [1, 4])
    assert model.weights == {}
    assert without_channels(model, layers, {"one": []}, groups).weights == {}


@pytest.mark.parametrize("name", ["plain", "residual", "depthwise", "same positions", "gated"])
def test_zeros_stand_for_channels_that_are_gone(name: str) -> None:
    model = MODELS[name]()
    found, layers = groups_of(model), find_layers(model).layers
    gone = {group.name: [0, group.size - 1] for group in found.groups if group.size > 2}
    kept = {
        group.name: np.setdiff1d(np.arange(group.size), gone[group.name])
        for group in found.groups
        if group.name in gone
    }
    masked = without_channels(model, layers, gone, found.groups)
    feed = {"x": normal((1, 3, 8, 8))}
    wanted = outputs_of(masked, feed)["y"]
    smaller = outputs_of(remove_channels(masked, found, kept), feed)["y"]
    np.testing.assert_allclose(smaller, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


# --- obstacles ---------------------------------------------------------------------------------


def test_channels_that_a_layer_reads_which_cannot_be_pruned() -> None:
    """Zeros where they are made would leave a bias, which the quantized layer still reads."""
    nodes = [
        op("DequantizeLinear", "q s z", "w2", axis=0),
        op("Conv", "x w1 b1", "c", "one"),
        op("Conv", "c w2", "y", "two"),
    ]
    tensors = weights(w1=(6, 3, 1, 1), b1=(6,))
    rng = np.random.default_rng(0)
    quantized: dict[str, Array] = {
        "q": rng.integers(-100, 100, (4, 6, 1, 1)).astype(np.int8),
        "s": np.full(4, np.inf, np.float32),
        "z": np.zeros(4, np.int8),
    }
    (group,) = layered(net(nodes, IMAGE, {**tensors, **quantized})).values()
    assert group.obstacle == (
        "weights of its channels, those of 'two', are in no layer that can be pruned"
    )


def test_queries_and_keys_are_made_and_not_read() -> None:
    group = layered(MODELS["transformer net"]())["query"]
    assert ends(group) == (["wq", "wk"], [])
    assert group.obstacle == ""


def shared(crossed: bool) -> Model:
    """A weight w used twice: on two branches, or on the outputs of its first use."""
    nodes = [
        op("Conv", "x w0", "a", "first"),
        op("Conv", "x v0", "b", "second"),
        op("Conv", "a w", "c", "third"),
        op("Conv", "c w" if crossed else "b w", "d", "fourth"),
        op("Add", "b d" if crossed else "c d", "s"),
        op("Conv", "s w2", "y", "two"),
    ]
    shapes = {"w0": (6, 3, 1, 1), "v0": (6, 3, 1, 1), "w": (6, 6, 1, 1), "w2": (4, 6, 1, 1)}
    return net(nodes, IMAGE, weights(**shapes))


def test_layers_that_share_weights_lose_their_channels_together() -> None:
    apart, crossed = layered(shared(crossed=False)), layered(shared(crossed=True))
    assert ends(apart["first"]) == (["w0", "v0"], ["w"])
    assert ends(apart["third"]) == (["w"], ["w2"])
    assert [tensor for tensor, _ in apart["first"].readers[0].maps] == ["a", "b"]
    assert ends(crossed["first"]) == (["w0", "v0", "w"], ["w", "w2"])
    assert not any(group.obstacle for group in (*apart.values(), *crossed.values()))


def test_a_vector_of_weights_that_serves_two_groups() -> None:
    """Depthwise scales that an exporter has joined: zeros for one group would hit the other."""
    nodes = [
        op("Conv", "x w0", "a", "first"),
        op("Conv", "a d", "b", "second", group=6),
        op("Relu", "b", "r"),
        op("Conv", "r w1", "c", "third"),
        op("Conv", "c d", "e", "fourth", group=6),
        op("Conv", "e w2", "y", "two"),
    ]
    tensors = weights(w0=(6, 3, 1, 1), d=(6, 1, 1, 1), w1=(6, 6, 1, 1), w2=(4, 6, 1, 1))
    found = layered(net(nodes, IMAGE, tensors))
    reason = "weights of its channels are shared with layers that use them otherwise"
    assert {name: group.obstacle for name, group in found.items()} == dict.fromkeys(
        ("first", "third"), reason
    )


def siamese() -> Model:
    """Two branches of the same weights; the second reads them behind Identity nodes."""
    copies = [op("Identity", name, f"{name}_") for name in ("w1", "b1", "w2")]
    branches = [
        node
        for x, end in (("x", ""), ("x2", "_"))
        for node in (
            op("Conv", f"{x} w1{end} b1{end}", f"c{end}", f"one{end}"),
            op("Relu", f"c{end}", f"r{end}"),
            op("Conv", f"r{end} w2{end}", f"d{end}", f"two{end}"),
        )
    ]
    shapes = {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (4, 6, 3, 3)}
    nodes = [*copies, op("Relu", "x", "x2"), *branches, op("Sub", "d d_", "y")]
    return net(nodes, IMAGE, weights(**shapes))


def test_weights_that_branches_share_behind_identity() -> None:
    found = layered(siamese())
    assert {name: ends(group) for name, group in found.items()} == {"one": (["w1"], ["w2"])}
    assert not found["one"].obstacle


def test_branches_of_shared_weights_lose_the_same_channels() -> None:
    text = "prune-channels{fraction=0.5}, reconstruct-outputs{keep_mask=true}"
    masked = compiled(siamese(), text)
    smaller = compiled(siamese(), f"{text}, shrink-channels").model
    assert smaller.constants.shape("w1") == (3, 3, 1, 1)
    assert smaller.constants.shape("w2") == (4, 3, 3, 3)
    assert masked.calibration is not None
    wanted, after = (answers(m, masked.calibration)["y"] for m in (masked.model, smaller))
    np.testing.assert_allclose(after, wanted, rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))
