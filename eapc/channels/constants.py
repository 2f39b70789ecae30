"""Constants as axis rules read them: those of the file, and integers that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import onnx
from onnx import numpy_helper

from eapc.folding import LARGEST_ELEMENTS, fold_constants, known_constants
from eapc.model import Model
from eapc.tensors import Array, is_external

ConstantOf = Callable[[str], Array | None]


class Constants:
    """A look-up of constants, whatever form a Constant node gives them."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def value(self, name: str) -> Array | None:
        """The value of a constant, or of a small tensor that integers alone determine."""
        found = self.folded.get(name)
        return self._model.constant(name) if found is None else found

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
        stored = self._model.view.constants
        found = known_constants(graph, {})
        return {name: array for name, array in found.items() if name not in stored}

    def _small_integers(self, name: str) -> Array | None:
        tensor = self._model.view.initializers[name]
        if is_external(tensor) or int(np.prod(tensor.dims)) > LARGEST_ELEMENTS:
            return None
        array = self._model.constant(name)
        return array if array is not None and array.dtype.kind in "iu" else None
