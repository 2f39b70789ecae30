"""Constants as axis rules read them: those of the file, and integers that follow from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property

import onnx
from onnx import numpy_helper

from eapc.model import LARGEST_ELEMENTS, Array, Model, fold_constants, known_constants

ConstantOf = Callable[[str], Array | None]


class Constants:
    """A look-up of constants, whatever form a Constant node gives them."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def value(self, name: str) -> Array | None:
        """The value of a small constant, or of a tensor that small integers alone determine."""
        found = self.folded.get(name)
        return self._small(name) if found is None else found

    def _small(self, name: str) -> Array | None:
        stored = self._model.constants.plain.get(name)
        if stored is None or math.prod(stored.dims) > LARGEST_ELEMENTS:
            return None
        return self._model.constants[name]

    @cached_property
    def folded(self) -> Mapping[str, Array]:
        """Values of small tensors that nodes compute from constants and no shape.

        They hold whatever the inputs' shapes are.
        """
        graph = onnx.GraphProto()
        graph.node.extend(self._model.view.proto.graph.node)
        graph.initializer.extend(
            numpy_helper.from_array(array, name)
            for name in self._model.view.initializers
            if (array := self._small_integers(name)) is not None
        )
        fold_constants(graph, lambda _: None, self._model.view.proto.opset_import)
        stored = self._model.constants.plain
        found = known_constants(graph, {})
        return {name: array for name, array in found.items() if name not in stored}

    @cached_property
    def settled(self) -> frozenset[str]:
        """Constants, and integers that follow from them: their axes keep their length.

        What is folded to real numbers is data, such as a bias that is reshaped, and may shrink.
        """
        integers = {name for name, array in self.folded.items() if array.dtype.kind in "iub"}
        return frozenset(integers | self._model.constants.plain.keys())

    def _small_integers(self, name: str) -> Array | None:
        array = self._small(name)
        return array if array is not None and array.dtype.kind in "iu" else None
