"""The model: an ONNX file as the truth, with new weights and annotations laid over it.

The ModelProto that was read is never changed and never re-exported from a graph library,
so whatever eapc does not touch stays bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from eapc.errors import ModelError
from eapc.model import file as modelfile
from eapc.model.constants import Constants
from eapc.model.editor import write_constants, write_inner_constants, write_result
from eapc.model.file import Check
from eapc.model.float_types import in_types
from eapc.model.graph import Analyses, GraphView, Node, walk
from eapc.model.inlining import function_tensors
from eapc.model.notes import notes_of
from eapc.model.refusals import ONNX, explained
from eapc.model.scopes import graphs_by_scope, plain_by_unique_name, scopes_of
from eapc.model.tensors import (
    Array,
    TensorSpec,
    encode,
    is_external,
    is_float,
    subgraphs_of_node,
)

logger = logging.getLogger(__name__)

ANNOTATION_PREFIX = "eapc."

BITS_KEY = "eapc.bits"
"""Metadata of a node: how many bits its integers have that are stored in wider ones.

What makes or reads codes has it; unlike annotations it stays when a model is annotated anew.
"""


@dataclass(frozen=True)
class KeptPart:
    """What a constant kept of another: the indices along some axes, all along the others."""

    constant: str
    indices: Mapping[int, Array] = field(default_factory=dict)

    def of(self, array: Array) -> Array:
        """The part of the other constant's value."""
        for axis, kept in self.indices.items():
            array = np.take(array, kept, axis)
        return array


@dataclass(frozen=True)
class Origin:
    """The model that a smaller one was cut out of.

    `parts` gives, for each constant of the smaller one that differs, what it kept of which
    constant; `new` are those with values of their own: shapes, and what takes a branch's place,
    weights that were fitted before more was cut. `removed` gives, for each tensor that is
    computed, the sorted indices along each axis that have gone.
    """

    model: Model
    parts: Mapping[str, KeptPart] = field(default_factory=dict)
    new: frozenset[str] = frozenset()
    removed: Mapping[str, Mapping[int, Array]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """An ONNX model with new weights and annotations laid over it.

    `weights` replaces constants by name; `annotations` adds metadata to nodes by key. `origin`
    is the model that this one was cut out of, if it was; its file is then that at `path`.
    """

    view: GraphView
    path: Path | None = None
    weights: Mapping[str, Array] = field(default_factory=dict)
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    origin: Origin | None = None

    @classmethod
    def load(cls, path: str | Path, warn: bool = True) -> Model:
        """Read an ONNX file; external data is read when it is asked for.

        With `warn` what is unusual about it is logged. Raises ModelError for whatever is not a
        complete, valid ONNX model.
        """
        proto = modelfile.read(Path(path))
        for note in notes_of(proto) if warn else ():
            logger.warning(f"{path}: {note}")
        return cls(GraphView(proto), Path(path))

    @classmethod
    def from_proto(cls, proto: onnx.ModelProto) -> Model:
        """A model that has no file; `proto` must not change afterwards."""
        return cls(GraphView(proto))

    def save(self, path: str | Path, check: Check = modelfile.accept, force: bool = False) -> None:
        """Write the model atomically once `check(temporary file)` has let it pass.

        Raises UsageError when `path` exists and not `force`, or is a file of the input.
        """
        modelfile.write(self.to_proto(), Path(path), self.path, check, force)

    def require_writable(self, path: str | Path, force: bool) -> None:
        """Raise UsageError if `save` would refuse this name, before any work is done."""
        modelfile.require_writable(self.view.proto, Path(path), self.path, force)

    def __repr__(self) -> str:
        fed = ", ".join(spec.name for spec in self.inputs)
        found = f"{len(self.nodes)} nodes, {fed} to {', '.join(self.outputs)}"
        return f"<Model {self.path or self.name}: {found}>"

    @property
    def original(self) -> Model:
        """The model as it was read, without new weights and annotations."""
        is_laid_over = self.weights or self.annotations
        return replace(self, weights={}, annotations={}) if is_laid_over else self

    def with_weights(self, weights: Mapping[str, Array]) -> Model:
        """This model with some constants replaced.

        Shapes must stay; the file keeps each tensor's element type, and no finite number becomes
        infinite or 0 by that.
        """
        for name, array in weights.items():
            shape = self.constants.shape(name)
            if shape != array.shape:
                raise ModelError(f"tensor '{name}': shape {array.shape} does not fit {shape}")
        typed = {name: _typed(array, self.constants.dtype(name)) for name, array in weights.items()}
        return replace(self, weights={**self.weights, **typed})

    def with_annotations(self, annotations: Mapping[str, Mapping[str, str]]) -> Model:
        """This model with `eapc.*` metadata on nodes, by node key; older ones are dropped."""
        return replace(self, annotations=dict(annotations))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node in file order; a node's subgraphs follow it."""
        return self.view.nodes

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model must be fed: graph inputs that no initializer gives a value."""
        from eapc.model.batch_axes import with_batch_axes  # which reads models

        view = self.view
        return view.analyses.once("inputs", lambda: with_batch_axes(self.original, view.inputs))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return self.view.outputs

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators that the model asks for."""
        imports = self.view.proto.opset_import
        return max((o.version for o in imports if o.domain in ("", "ai.onnx")), default=1)

    @property
    def folder(self) -> Path:
        """Where the model's external data is found."""
        return self.path.parent if self.path else Path()

    @cached_property
    def name(self) -> str:
        """The file's name, or the graph's where there is no file."""
        return self.path.name if self.path else self.view.proto.graph.name

    @cached_property
    def constants(self) -> Constants:
        """The constants of the main graph, the overlay's values included."""
        return Constants(self.view, self.folder, self.weights)

    @cached_property
    def analyses(self) -> Analyses:
        """What is known of the model: that of the graph, unless new weights are laid over it."""
        return Analyses() if self.weights else self.view.analyses

    def with_plain(self, names: Iterable[str]) -> Model:
        """This model with constants as plain tensors where its file computes them, say.

        Those that the file stores as such stay as they are.
        """
        file, stored = self.original.constants, plain_by_unique_name(self.view.proto)
        computed = (name for name in names if name not in stored)
        values = {name: value for name in computed if (value := file.value(name)) is not None}
        if not values:
            return self
        return replace(self, view=GraphView(replace(self.original, weights=values).to_proto()))

    def node_proto(self, node: Node) -> onnx.NodeProto:
        """A node as the file will have it, a Constant's new value included; to read only."""
        proto = self.view.node_proto(node)
        inner = self._inner_weights if node.subgraphs else {}
        own = {scope: new for scope, new in inner.items() if scope.startswith(node.subgraphs)}
        if self.weights.keys().isdisjoint(node.outputs) and not own:
            return proto
        copy = onnx.NodeProto()
        copy.CopyFrom(proto)
        if own:
            graphs: dict[str, onnx.GraphProto] = {}
            for scope, held in zip(node.subgraphs, subgraphs_of_node(copy), strict=True):
                graphs |= graphs_by_scope(held, scope)
            write_inner_constants(graphs, own)
            return copy
        write_result(copy, self.weights[node.outputs[0]])
        return copy

    @cached_property
    def _inner_weights(self) -> dict[str, dict[str, Array]]:
        """New values of what subgraphs hold, by scope and name there."""
        found: dict[str, dict[str, Array]] = {}
        scopes = scopes_of(self.view)
        for name in self.weights.keys() - scopes.main_names - scopes.in_functions.keys():
            scope, own = scopes.inner[name]
            found.setdefault(scope, {})[own] = self.weights[name]
        return found

    def initializers(self, names: Iterable[str]) -> Iterator[onnx.TensorProto]:
        """Those of the names that are initializers, with the overlay's values, data embedded."""
        for name in names:
            tensor = self.view.initializers.get(name)
            if isinstance(tensor, onnx.SparseTensorProto):
                yield onnx.numpy_helper.from_array(self.constants[name], name)
            elif tensor is not None:
                is_as_stored = name not in self.weights and not is_external(tensor)
                yield tensor if is_as_stored else encode(self.constants[name], tensor)

    def emptied(self) -> onnx.ModelProto:
        """A model without a graph, of the same opsets and local functions."""
        source = self.view.proto
        proto = onnx.ModelProto(ir_version=max(source.ir_version, 4))
        proto.opset_import.extend(source.opset_import)
        proto.functions.extend(source.functions)
        self._write_functions(proto)
        return proto

    def _write_functions(self, proto: onnx.ModelProto) -> None:
        """New values of what functions hold, in place."""
        held = function_tensors(proto) if self.weights and proto.functions else {}
        for name in held.keys() & self.weights.keys():
            held[name].CopyFrom(encode(self.weights[name], held[name]))

    def to_proto(self, embed: bool = False) -> onnx.ModelProto:
        """A copy of the file's proto with new weights and annotations written in.

        `embed` brings external data in, for runtimes that are handed bytes.
        """
        proto = onnx.ModelProto()
        proto.CopyFrom(self.view.proto)
        if self.annotations:
            self._write_annotations(proto)
        self._write_functions(proto)
        if self._inner_weights:
            write_inner_constants(graphs_by_scope(proto.graph), self._inner_weights)
        write_constants(proto.graph, self.weights)
        if embed:
            _embed(proto, self.folder)
        return proto

    def _write_annotations(self, proto: onnx.ModelProto) -> None:
        for node, target in walk(proto.graph):
            drop_annotations(target)
            for key, value in self.annotations.get(node.key, {}).items():
                target.metadata_props.add(key=key, value=value)


def _typed(array: Array, dtype: np.dtype[Any]) -> Array:
    if array.dtype == dtype or not (is_float(dtype) and is_float(array.dtype)):
        return array.astype(dtype, copy=False)
    kept = in_types(array, [dtype])
    infinite = ~np.isfinite(array.astype(np.float64))
    if infinite.any():
        kept[infinite] = array[infinite].astype(dtype)
    return kept


def drop_annotations(node: onnx.NodeProto) -> None:
    """Take eapc's metadata off a node, in place, but for the widths of its integers."""
    kept = [
        entry
        for entry in node.metadata_props
        if entry.key == BITS_KEY or not entry.key.startswith(ANNOTATION_PREFIX)
    ]
    del node.metadata_props[:]
    node.metadata_props.extend(kept)


def _embed(proto: onnx.ModelProto, folder: Path) -> None:
    from onnx.external_data_helper import load_external_data_for_model

    try:
        load_external_data_for_model(proto, str(folder))
    except (ValueError, OSError, onnx.checker.ValidationError) as error:
        raise ModelError(f"external data cannot be read: {explained(error, ONNX)}") from error
