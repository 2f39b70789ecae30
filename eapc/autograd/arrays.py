"""numpy to torch and back: types that torch computes in, whatever the file stores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from eapc.model import Array, is_float, numpy_type

_KEPT = ("float32", "float64", "bool", "int8", "uint8", "int16", "int32", "int64")


def tensor_of(array: Array) -> Tensor:
    """A constant as a tensor: 16-bit floats become float32, other unusual types int64."""
    if array.dtype.name not in _KEPT:
        array = array.astype(held_as(array.dtype))
    array = np.ascontiguousarray(array).reshape(array.shape)
    return torch.from_numpy(array.copy() if not array.flags.writeable else array)


def held_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that values of a file's type are computed in."""
    if dtype.name in _KEPT:
        return dtype
    return np.dtype(np.float32 if is_float(dtype) or "float" in dtype.name else np.int64)


def torch_type(elem_type: int) -> torch.dtype:
    """The torch type that an ONNX element type is computed in."""
    return tensor_of(np.zeros((), held_as(numpy_type(elem_type)))).dtype


def ints(tensor: Tensor) -> list[int]:
    """A tensor of whole numbers as a list."""
    return [int(number) for number in tensor.flatten().tolist()]


def rounding_of(elem_type: int) -> torch.dtype | None:
    """The 16-bit float type that values of an ONNX element type are rounded to, if it is one."""
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(numpy_type(elem_type).name)
