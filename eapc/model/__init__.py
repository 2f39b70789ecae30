"""The ONNX file: its graph, constants and shapes, and new weights laid over it."""

from eapc.model.constants import (
    LARGEST_ELEMENTS,
    Constants,
    evaluate_node,
    fold_constants,
    known_constants,
)
from eapc.model.dynamic_axes import is_single_image
from eapc.model.editor import GraphEditor, declare_constants
from eapc.model.epilogue import BiasSink, Clipping, Epilogue, epilogue_of
from eapc.model.file import Check, files_of
from eapc.model.graph import GraphView, Node, free_names, plain_tensors, walk
from eapc.model.input_sizes import assumed_sizes, batch_inputs, input_shapes, require_fitting
from eapc.model.interface import common_inputs, sample_axes
from eapc.model.model import ANNOTATION_PREFIX, KeptPart, Model, Origin, drop_annotations
from eapc.model.refusals import ONNX, ONNXRUNTIME, explained
from eapc.model.shapes import InputShapes, Shapes, infer_shapes, static_shape
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
    spec_of,
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
    tensor_bits,
    zero_points,
)
from eapc.model.windows import excess_of, weights_fault

__all__ = [
    "ANNOTATION_PREFIX",
    "LARGEST_ELEMENTS",
    "ONNX",
    "ONNXRUNTIME",
    "Array",
    "BiasSink",
    "Check",
    "Clipping",
    "Constants",
    "Epilogue",
    "GraphEditor",
    "GraphView",
    "InputShapes",
    "KeptPart",
    "Model",
    "Node",
    "Origin",
    "Shape",
    "ShapeOf",
    "Shapes",
    "TensorSpec",
    "WeightSource",
    "all_finite",
    "as_seen",
    "as_stored",
    "assumed_sizes",
    "batch_inputs",
    "common_inputs",
    "count_nonzero",
    "declare_constants",
    "decode",
    "drop_annotations",
    "encode",
    "epilogue_of",
    "evaluate_node",
    "excess_of",
    "explained",
    "files_of",
    "find_weights",
    "fold_constants",
    "free_names",
    "infer_shapes",
    "input_shapes",
    "is_external",
    "is_float",
    "is_single_image",
    "known_constants",
    "numpy_type",
    "obstacle",
    "plain_tensors",
    "require_fitting",
    "sample_axes",
    "seen_shapes",
    "seen_through",
    "spec_of",
    "spread_zero_points",
    "static_shape",
    "subgraphs_of_node",
    "tensor_bits",
    "tensors_of_model",
    "walk",
    "weights_fault",
    "zero_points",
]
