"""Tensors to numpy and back in every element type, and finding all tensors of a model."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from builders import (
    constant_node,
    ints,
    make_graph,
    make_model,
    normal,
    op,
    save,
    scalar,
    sparse,
    value,
)
from onnx import TensorProto, helper, numpy_helper

from eapc.errors import ModelError
from eapc.model import TensorSpec, decode, encode, is_float, numpy_type, tensors_of_model
from eapc.model.file import payload_bytes
from eapc.model.tensors import spec_of

NUMERIC = [
    kind
    for name, kind in TensorProto.DataType.items()
    if name not in ("UNDEFINED", "STRING") and numpy_type(kind) != np.dtype(object)
]


@pytest.mark.parametrize("kind", NUMERIC, ids=TensorProto.DataType.Name)
def test_every_element_type_survives_encoding(kind: int) -> None:
    zero = int(kind == TensorProto.FLOAT8E8M0)  # powers of two: it has no zero
    array = np.array([[zero, 1, 1], [1, zero, 1]]).astype(numpy_type(kind))
    original = numpy_helper.from_array(np.zeros_like(array), "t")
    written = encode(array, original)
    assert written.data_type == kind
    assert len(written.raw_data) == payload_bytes(written)
    assert np.array_equal(decode(written, Path()), array)


def test_encoding_casts_to_the_type_of_the_file() -> None:
    original = numpy_helper.from_array(np.zeros(2, np.float16), "half")
    original.doc_string = "kept"
    written = encode(np.array([1.0, 2.5]), original)
    assert (written.data_type, written.doc_string) == (TensorProto.FLOAT16, "kept")
    assert decode(written, Path()).tolist() == [1.0, 2.5]


def test_encoding_replaces_typed_fields() -> None:
    original = helper.make_tensor("t", TensorProto.FLOAT, [2], [1.0, 2.0])
    written = encode(np.array([3.0, 4.0], np.float32), original)
    assert not written.float_data
    assert decode(written, Path()).tolist() == [3.0, 4.0]
    assert list(original.float_data) == [1.0, 2.0]


def test_encoding_a_strided_or_scalar_array() -> None:
    original = numpy_helper.from_array(np.zeros((3, 2), np.float32), "t")
    array = normal((2, 3)).T
    assert np.array_equal(decode(encode(array, original), Path()), array)
    number = numpy_helper.from_array(scalar(0), "s")
    assert decode(encode(np.array(2.0), number), Path()).shape == ()


def test_a_tensor_that_cannot_be_decoded_is_a_model_error() -> None:
    short = TensorProto(name="t", dims=[4], data_type=TensorProto.FLOAT, float_data=[1.0])
    with pytest.raises(ModelError, match="tensor 't' cannot be read"):
        decode(short, Path())
    with pytest.raises(ModelError, match="tensor 't' cannot be read"):
        decode(TensorProto(name="t"), Path())


def test_decoding_external_data_leaves_the_proto_as_it_was(tmp_path: Path) -> None:
    array = normal((3, 5))
    (tmp_path / "w.bin").write_bytes(array.tobytes())
    tensor = TensorProto(name="w", dims=[3, 5], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    before = tensor.SerializeToString()
    assert np.array_equal(decode(tensor, tmp_path), array)
    assert tensor.SerializeToString() == before


def test_float_types() -> None:
    floats = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]
    assert all(is_float(np.dtype(kind)) for kind in floats)
    assert not any(is_float(np.dtype(kind)) for kind in (np.int8, np.int64, np.bool_))
    assert TensorSpec("t", np.dtype(ml_dtypes.bfloat16), (1,)).is_float


def test_specs_keep_names_of_dynamic_axes() -> None:
    spec = spec_of(value("x", ["N", 3, None]))
    assert spec == TensorSpec("x", np.dtype(np.float32), ("N", 3, None))
    assert spec_of(value("x", [-1, 0])) == TensorSpec("x", np.dtype(np.float32), (None, 0))
    assert spec_of(value("x", [])) == TensorSpec("x", np.dtype(np.float32), ())
    assert spec_of(value("x", None)) is None
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [1])
    assert spec_of(sequence) is None


def test_an_element_type_that_is_not_known() -> None:
    assert numpy_type(999) == np.dtype(object)


def test_every_tensor_of_a_model_is_found(tmp_path: Path) -> None:
    branch = make_graph([constant_node("t", normal((2,)))], {}, ["t"], {"inner": ints(1)})
    nodes = [
        constant_node("c", normal((1,))),
        op("If", "flag", "y", then_branch=branch, else_branch=branch),
    ]
    flag = [value("flag", [], TensorProto.BOOL)]
    model = make_model(nodes, flag, [value("y", None)], {"w": normal((2,))})
    model.graph.sparse_initializer.append(sparse("s", [4], [1, 3]))
    model.training_info.add().initialization.initializer.append(numpy_helper.from_array(ints(7)))
    function = model.functions.add(name="f", domain="local")
    function.node.append(constant_node("f", ints(8)))
    save(model, tmp_path / "m.onnx")
    shapes = [tuple(tensor.dims) for tensor in tensors_of_model(model)]
    # w, sparse values and indices, c, inner and t of both branches, training, function
    assert shapes == [(2,), (2,), (2,), (1,), (1,), (2,), (1,), (2,), (1,), (1,)]
