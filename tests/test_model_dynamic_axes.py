"""Open axes take the sizes that such networks are used at, where the network has room for them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from builders import ints, loaded, make_model, normal, op, value
from onnx import NodeProto

from eapc.model import Model, assumed_sizes, infer_shapes, input_shapes
from eapc.model.strides import total_stride

Shape = tuple[int | str | None, ...]


def conv(shape: Shape, kernel: int = 3, stride: int = 1, filters: int = 4) -> Model:
    rank = len(shape) - 2
    weight = normal((filters, int(shape[1] or 1), *(kernel,) * rank))
    nodes = [op("Conv", "x w", "y", strides=[stride] * rank)]
    return Model.from_proto(make_model(nodes, {"x": shape}, ["y"], {"w": weight}))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (conv(("N", 3, "H", "W")), (1, 3, 64, 64)),
        (conv((None, 3, None, None)), (1, 3, 64, 64)),
        (conv(("N", 1, "height", 32)), (1, 1, 64, 32)),
        (conv(("N", 3, 32, "frames")), (1, 3, 32, 64)),
        (conv(("N", 8, "length")), (1, 8, 64)),
        (conv(("N", 1, "samples"), kernel=400, stride=160), (1, 1, 1120)),
        (conv(("N", 3, "H", "W"), stride=32), (1, 3, 224, 224)),
        (conv(("N", 3, "H", "W"), stride=24), (1, 3, 168, 168)),
        (conv(("N", 3, "H", "W"), kernel=300), (1, 3, 512, 512)),
        (conv((2, 3, 10, 10)), (2, 3, 10, 10)),
    ],
    ids="named nameless one frames sequence kernels imagenet strides large fixed".split(),
)
def test_open_axes(model: Model, expected: tuple[int, ...]) -> None:
    assert input_shapes(model, {}, None)["x"] == expected


def test_what_is_given_goes_first() -> None:
    model = conv(("N", 3, "H", "W"))
    assert input_shapes(model, {"x": (2, 3, 9, 8)}, None)["x"] == (2, 3, 9, 8)
    assert input_shapes(model, {}, 5)["x"] == (5, 3, 64, 64)
    assert assumed_sizes(model, {"x": (2, 3, 9, 8)}) == ()
    assert assumed_sizes(model, {}) == (
        "axis 2 of input 'x' is dynamic and taken to be 64; --input-shape sets it",
        "axis 3 of input 'x' is dynamic and taken to be 64; --input-shape sets it",
    )


def test_one_name_has_one_size() -> None:
    inputs = [value("x", ("N", "L", 4)), value("m", ("N", "L", 1))]
    model = Model.from_proto(make_model([op("Mul", "x m", "y")], inputs, ["y"], {}))
    assert input_shapes(model, {}, None) == {"x": (1, 64, 4), "m": (1, 64, 1)}
    assert input_shapes(model, {"x": (1, 7, 4)}, None)["m"] == (1, 7, 1)
    (said,) = assumed_sizes(model, {"x": (1, 7, 4)})
    assert said.startswith("axis 1 of input 'm' is dynamic and taken to be 7;")


def test_images_may_have_their_channels_last() -> None:
    nodes = [op("Transpose", "x", "t", perm=[0, 3, 1, 2]), op("Conv", "t w", "y")]
    tensors = {"w": normal((4, 3, 3, 3))}
    model = Model.from_proto(make_model(nodes, {"x": ("N", "a", "b", 3)}, ["y"], tensors))
    assert input_shapes(model, {}, None)["x"] == (1, 64, 64, 3)


def test_weights_tell_the_size_of_the_axis_that_they_run_along() -> None:
    """A product takes its own inner axis, a convolution its channels, those of all groups."""
    product = Model.from_proto(
        make_model([op("MatMul", "x w", "y")], {"x": ("N", "t", "k")}, ["y"], {"w": normal((7, 3))})
    )
    assert input_shapes(product, {}, None)["x"] == (1, 64, 7)
    nodes = [op("Conv", "x w", "y", group=2)]
    made = make_model(nodes, {"x": ("N", "c", "h", "w")}, ["y"], {"w": normal((4, 3, 3, 3))})
    assert input_shapes(Model.from_proto(made), {}, None)["x"] == (1, 6, 64, 64)


def test_sizes_that_no_network_has_room_for_are_one() -> None:
    """A product behind a view has a fixed inner axis that nobody looks for there."""
    nodes = [op("Reshape", "x flat", "r"), op("MatMul", "r w", "y")]
    tensors = {"w": normal((7, 3)), "flat": ints(0, -1)}
    made = make_model(nodes, {"x": ("N", "k", 2)}, ["y"], tensors)
    assert input_shapes(Model.from_proto(made), {}, None)["x"] == (1, 1, 2)


def test_integers_are_sequences_and_caches_are_short() -> None:
    inputs = [
        value("ids", ("batch", "seq"), onnx.TensorProto.INT64),
        value("past", ("batch", 4, "past_len", 16)),
    ]
    nodes = [op("Identity", "ids", "y"), op("Identity", "past", "z")]
    model = Model.from_proto(make_model(nodes, inputs, ["y", "z"], {}))
    assert input_shapes(model, {}, None) == {"ids": (1, 64), "past": (1, 4, 1, 16)}


def test_every_tensor_has_elements_at_the_sizes_taken() -> None:
    nodes = [
        op("Conv", "x w", "a", strides=[2, 2]),
        op("MaxPool", "a", "b", kernel_shape=[90, 90], strides=[45, 45]),
        op("Conv", "b v", "y"),
    ]
    tensors = {"w": normal((4, 3, 3, 3)), "v": normal((2, 4, 4, 4))}
    model = Model.from_proto(make_model(nodes, {"x": ("N", 3, "H", "W")}, ["y"], tensors))
    sizes = input_shapes(model, {}, None)
    assert sizes["x"][2] > 224
    made = infer_shapes(model, sizes).main("y")
    assert made is not None
    assert np.prod(made) > 0


@pytest.mark.parametrize(
    "begin",
    [
        [
            op("Concat", "n none", "shape", axis=0),
            op("ConstantOfShape", "shape", "list"),
            op("Identity", "list", "begin"),
        ],
        [op("Concat", "n one", "shape", axis=0), op("Expand", "nothing shape", "begin")],
    ],
    ids=["list", "constant"],
)
def test_what_begins_empty_does_not_tell_of_sizes(begin: list[NodeProto]) -> None:
    """A list that a decoder fills, (N, 0, 4): of one step no recurrent layer would show its R."""
    nodes = [
        op("Shape", "x", "n", start=0, end=1),
        *begin,
        op("MatMul", "x w", "m"),
        op("Concat", "begin m", "y", axis=1),
    ]
    tensors = {
        "none": ints(0, 4), "one": ints(1, 1), "nothing": np.zeros((1, 0, 4), np.float32),
        "w": normal((4, 4)),
    }  # fmt: skip
    model = loaded(nodes, {"x": ("N", "T", 4)}, ["y"], tensors)
    assert input_shapes(model, {}, None) == {"x": (1, 64, 4)}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (
            {"x": ("N", "seq", 16), "mask": ("N", 1, "seq", "seq")},
            {"x": (1, 64, 16), "mask": (1, 1, 64, 64)},
        ),
        (
            {"x": ("N", "s", 16), "mask": ("N", 1, "q", "s")},
            {"x": (1, 64, 16), "mask": (1, 1, 64, 64)},
        ),
        ({"x": (None, 8), "state": (2, None, 8)}, {"x": (1, 8), "state": (2, 1, 8)}),
        ({"x": ("N", "n_frames")}, {"x": (1, 64)}),
        ({"x": ("N", "text_n")}, {"x": (1, 64)}),
    ],
    ids=["mask", "mask of two names", "state", "frames", "text"],
)
def test_masks_are_no_images_and_states_no_sequences(
    inputs: dict[str, Shape], expected: dict[str, tuple[int, ...]]
) -> None:
    nodes = [op("Identity", name, f"y_{name}") for name in inputs]
    made = make_model(nodes, inputs, [f"y_{name}" for name in inputs], {})
    assert input_shapes(Model.from_proto(made), {}, None) == expected


# --- strides -------------------------------------------------------------------------------------


def test_strides_multiply_on_the_way_down_and_divide_on_the_way_up() -> None:
    """4 * 2 = 8 down, 8 / 2 / 2 = 2 up, 2 * 3 = 6 down again: 8 is the most, 7 * 8 is below 64."""
    nodes = [
        op("Conv", "x w", "a", strides=[4, 4], kernel_shape=[3, 3]),
        op("MaxPool", "a", "b", kernel_shape=[2, 2], strides=[2, 1]),
        op("Resize", "b  scales", "c"),
        op("DepthToSpace", "c", "d", blocksize=2),
        op("AveragePool", "d", "y", kernel_shape=[3, 3], strides=[3, 3]),
    ]
    nodes[2].input[:] = ["b", "", "scales"]
    tensors = {"w": normal((4, 3, 3, 3)), "scales": np.array([1, 1, 2, 2], np.float32)}
    model = Model.from_proto(make_model(nodes, {"x": ("N", 3, "H", "W")}, ["y"], tensors))
    assert total_stride(model) == 8
    assert input_shapes(model, {}, None)["x"] == (1, 3, 64, 64)


# --- tables of positions -------------------------------------------------------------------------

IDS = [value("ids", ("batch", "seq"), onnx.TensorProto.INT64)]
COUNTED = [
    op("Shape", "ids", "s"),
    op("Gather", "s one", "n"),
    op("Range", "zero n one", "r"),
    op("Cast", "r", "places", to=onnx.TensorProto.INT64),
    op("Gather", "table places", "p"),
]
SLICED = [
    op("Shape", "ids", "s"),
    op("Slice", "s ones twos", "n"),
    op("Slice", "table zeros n", "p"),
]


@pytest.mark.parametrize(
    ("nodes", "rows", "expected"),
    [
        (COUNTED, 48, 48),
        (COUNTED, 128, 64),
        (SLICED, 20, 20),
        ([op("Identity", "table", "p")], 7, 7),
    ],
    ids=["gathered", "long enough", "sliced", "added"],
)
def test_sequences_are_no_longer_than_their_table(
    nodes: list[onnx.NodeProto], rows: int, expected: int
) -> None:
    """The words' table has 30 rows: no length, but a size that is tried before 20 and 7."""
    tensors = {
        "words": normal((30, 8)),
        "table": normal((rows, 8)),
        "zero": ints(0).reshape(()),
        "one": ints(1).reshape(()),
        "zeros": ints(0),
        "ones": ints(1),
        "twos": ints(2),
    }
    embedding = [op("Gather", "words ids", "e"), op("Add", "e p", "y")]
    model = Model.from_proto(make_model([*nodes, *embedding], IDS, ["y"], tensors))
    assert input_shapes(model, {}, None)["ids"] == (1, expected)
