"""The ONNX file: its graph, constants and shapes, and new weights laid over it."""

from eapc.model.constants import Constants
from eapc.model.editor import GraphEditor
from eapc.model.file import Check, files_of
from eapc.model.folding import LARGEST_ELEMENTS, evaluate_node, fold_constants, known_constants
from eapc.model.graph import GraphView, Node, free_names, plain_tensors, walk
from eapc.model.interface import common_inputs
from eapc.model.model import ANNOTATION_PREFIX, Model, Origin, Part, drop_annotations
from eapc.model.neighbourhood import BiasSink, Clipping, Surroundings, surroundings
from eapc.model.quantization import tensor_bits, zero_points
from eapc.model.shapes import (
    InputShapes,
    Shapes,
    batch_inputs,
    infer_shapes,
    input_shapes,
    static_shape,
)
from eapc.model.tensors import (
    Array,
    Shape,
    ShapeOf,
    TensorSpec,
    decode,
    encode,
    is_external,
    is_float,
    numpy_type,
    subgraphs_of_node,
    tensors_of_model,
)
from eapc.model.weights import (
    WeightSource,
    all_finite,
    as_seen,
    as_stored,
    count_nonzero,
    find_weights,
    obstacle,
    seen_shapes,
    seen_through,
    spread_zero_points,
)

__all__ = [
    "ANNOTATION_PREFIX",
    "LARGEST_ELEMENTS",
    "Array",
    "BiasSink",
    "Check",
    "Clipping",
    "Constants",
    "GraphEditor",
    "GraphView",
    "InputShapes",
    "Model",
    "Node",
    "Origin",
    "Part",
    "Shape",
    "ShapeOf",
    "Shapes",
    "Surroundings",
    "TensorSpec",
    "WeightSource",
    "all_finite",
    "as_seen",
    "as_stored",
    "batch_inputs",
    "common_inputs",
    "count_nonzero",
    "decode",
    "drop_annotations",
    "encode",
    "evaluate_node",
    "files_of",
    "find_weights",
    "fold_constants",
    "free_names",
    "infer_shapes",
    "input_shapes",
    "is_external",
    "is_float",
    "known_constants",
    "numpy_type",
    "obstacle",
    "plain_tensors",
    "seen_shapes",
    "seen_through",
    "spread_zero_points",
    "static_shape",
    "subgraphs_of_node",
    "surroundings",
    "tensor_bits",
    "tensors_of_model",
    "walk",
    "zero_points",
]
