"""Standard operators whose results have the shapes of onnxruntime's own ones.

onnx infers no shapes through operators of other domains. In the copy of a model that serves
shape inference alone, each of these is replaced by one that it does know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from eapc.model.tensors import subgraphs_of_node

_ORT = "com.microsoft"

Inputs = Callable[[NodeProto], list[str]]


def _at(*places: int) -> Inputs:
    return lambda node: [node.input[place] for place in places]


def _from(start: int, step: int) -> Inputs:
    return lambda node: list(node.input[start::step])


_STAND_INS: dict[str, tuple[str, Inputs]] = {
    **dict.fromkeys(
        """BiasGelu FastGelu Gelu QuickGelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax
        SkipLayerNormalization SkipSimplifiedLayerNormalization SimplifiedLayerNormalization
        BiasSoftmax BiasDropout Attention MultiHeadAttention GroupNormalization""".split(),
        ("Identity", _at(0)),
    ),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), ("Add", _at(0, 3))),
    "QLinearConv": ("Conv", _at(0, 3)),
    "FusedConv": ("Conv", _at(0, 1)),
    "QGemm": ("Gemm", _at(0, 3)),
    "FusedGemm": ("Gemm", _at(0, 1)),
    "FusedMatMul": ("Einsum", _at(0, 1)),
    **dict.fromkeys(
        ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"), ("MatMul", _at(0, 1))
    ),
    "QLinearConcat": ("Concat", _from(2, 3)),
    "QLinearAveragePool": ("AveragePool", _at(0)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", _at(0)),
    "QLinearReduceMean": ("ReduceMean", _at(0)),
}

_WITH_SUM = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
"""Their fourth result is the sum that was normalised."""

_DEFAULT_DOMAIN = ("SimplifiedLayerNormalization", "GroupNormalization")
"""onnxruntime enters the first there; onnx has no inference for the second, a function."""

_KEPT_ATTRIBUTES = {
    "Conv": "auto_pad dilations group kernel_shape pads strides",
    "Gemm": "transA transB",
    "Concat": "axis",
    "AveragePool": "auto_pad ceil_mode count_include_pad kernel_shape pads strides",
    "ReduceMean": "axes keepdims",
}


def use_stand_ins(graph: GraphProto, matrices: Set[str] = frozenset()) -> None:
    """Replace onnxruntime's operators in a graph and its subgraphs, in place, one for one.

    `matrices` are the constants of outer graphs that have two axes.
    """
    matrices = matrices | set(_matrices(graph))
    for node in graph.node:
        if _is_known(node):
            if node.op_type == "MatMulNBits":
                _unpack(graph, node)
            _replace(node, matrices)
        for inner in subgraphs_of_node(node):
            use_stand_ins(inner, matrices)


def _matrices(graph: GraphProto) -> Iterator[str]:
    """Constants with two axes; of large ones a skeleton has the shape alone, as an input."""
    yield from (tensor.name for tensor in graph.initializer if len(tensor.dims) == 2)
    yield from (fed.name for fed in graph.input if len(fed.type.tensor_type.shape.dim) == 2)


def _is_known(node: NodeProto) -> bool:
    """True for operators of the table, without the attributes that change a shape further."""
    if node.op_type in _DEFAULT_DOMAIN and not node.domain:
        return True
    unusual = {"transBatchA", "transBatchB", "qkv_hidden_sizes"}
    names = {a.name for a in node.attribute if a.i or a.ints}
    return node.domain == _ORT and node.op_type in _STAND_INS and not names & unusual


def _attributes(node: NodeProto) -> dict[str, int]:
    return {a.name: a.i for a in node.attribute}


def _unpack(graph: GraphProto, node: NodeProto) -> None:
    """Give packed weights a name with the shape (K, N) that they stand for."""
    sizes = _attributes(node)
    name = f"{node.output[0]}.unpacked"
    shape = (sizes["K"], sizes["N"])
    graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    node.input[1] = name


def _equation(node: NodeProto, matrices: Set[str]) -> str:
    """A product of stacks of matrices, or of a stack and a matrix, either of them transposed."""
    turned = _attributes(node)
    left = "ji" if turned.get("transA") else "ij"
    right = "kj" if turned.get("transB") else "jk"
    stack = "" if node.input[1] in matrices else "..."
    return f"...{left},{stack}{right}->...ik"


def _replace(node: NodeProto, matrices: Set[str]) -> None:
    op_type, pick = _STAND_INS[node.op_type]
    inputs, outputs = pick(node), [node.output[0]]
    if node.op_type in _WITH_SUM and len(node.output) > 3:
        op_type = "Dropout"  # its two results have one shape
        outputs.append(node.output[3])
    names = _KEPT_ATTRIBUTES.get(op_type, "").split()
    kept: list[AttributeProto] = [a for a in node.attribute if a.name in names]
    if op_type == "Einsum":
        kept = [helper.make_attribute("equation", _equation(node, matrices))]
    node.op_type, node.domain = op_type, ""
    del node.input[:], node.output[:], node.attribute[:]
    node.input.extend(inputs)
    node.output.extend(outputs)
    node.attribute.extend(kept)
