"""Standard operators whose results have the shapes of onnxruntime's own ones.

onnx infers no shapes through operators of other domains. In the copy of a model that serves
shape inference alone, each of these is replaced by one that it does know.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import AttributeProto, GraphProto, NodeProto

from eapc.tensors import subgraphs_of_node

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
        LayerNormalization BiasSoftmax BiasDropout MultiHeadAttention""".split(),
        ("Identity", _at(0)),
    ),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), ("Add", _at(0, 3))),
    "QLinearConv": ("Conv", _at(0, 3)),
    "FusedConv": ("Conv", _at(0, 1)),
    "QGemm": ("Gemm", _at(0, 3)),
    "FusedGemm": ("Gemm", _at(0, 1)),
    **dict.fromkeys(
        ("FusedMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"), ("MatMul", _at(0, 1))
    ),
    "QLinearConcat": ("Concat", _from(2, 3)),
    "QLinearAveragePool": ("AveragePool", _at(0)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", _at(0)),
    "QLinearReduceMean": ("ReduceMean", _at(0)),
}

_WITH_SUM = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
"""Their fourth result is the sum that was normalised."""

_KEPT_ATTRIBUTES = {
    "Conv": "auto_pad dilations group kernel_shape pads strides",
    "Gemm": "transA transB",
    "Concat": "axis",
    "AveragePool": "auto_pad ceil_mode count_include_pad kernel_shape pads strides",
    "ReduceMean": "axes keepdims",
}


def use_stand_ins(graph: GraphProto) -> None:
    """Replace onnxruntime's operators in a graph and its subgraphs, in place, one for one."""
    for node in graph.node:
        if node.domain == _ORT and node.op_type in _STAND_INS and not _turns_around(node):
            _replace(node)
        for inner in subgraphs_of_node(node):
            use_stand_ins(inner)


def _turns_around(node: NodeProto) -> bool:
    """A product of transposed matrices has no single operator to stand in for it."""
    return node.op_type == "FusedMatMul" and any(
        a.i for a in node.attribute if a.name.startswith("trans")
    )


def _replace(node: NodeProto) -> None:
    op_type, pick = _STAND_INS[node.op_type]
    inputs, outputs = pick(node), [node.output[0]]
    if node.op_type in _WITH_SUM and len(node.output) > 3:
        op_type = "Dropout"  # its two results have one shape
        outputs.append(node.output[3])
    names = _KEPT_ATTRIBUTES.get(op_type, "").split()
    kept: list[AttributeProto] = [a for a in node.attribute if a.name in names]
    node.op_type, node.domain = op_type, ""
    del node.input[:], node.output[:], node.attribute[:]
    node.input.extend(inputs)
    node.output.extend(outputs)
    node.attribute.extend(kept)
