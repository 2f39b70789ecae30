"""What onnx and onnxruntime say of a model, in eapc's words: which node, what is wrong, what helps.

A table of known kinds; the first whose pattern is found decides. What is not known gets through,
on one short line that names who says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import onnx

ONNX = "onnx"
ONNXRUNTIME = "onnxruntime"

_LONGEST = 200

MISFIT = "the shapes of its operands do not fit each other"
"""What shape inference finds; other sizes of inputs may fit."""

_SIZES = "--input-shape sets the sizes of made-up inputs, --calib gives real ones"


class Refusal(NamedTuple):
    """A kind of message: its pattern, and what to say of it.

    `says` takes the match and the model where that is at hand.
    """

    pattern: re.Pattern[str]
    says: Callable[[re.Match[str], onnx.ModelProto | None], str]


def explained(
    error: Exception, whose: str, verdict: str = "", model: onnx.ModelProto | None = None
) -> str:
    """One line for the user of what `whose` library says.

    `verdict` begins what is not known: `onnxruntime refuses the model`. With the `model` the
    types are told that an operator has no kernel for.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    for kind in REFUSALS:
        found = kind.pattern.search(text)
        if found:
            return kind.says(found, model)
    return f"{verdict or whose}: {shortened(text)}"


_STATUS = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"\S*/\S+\.(?:cc|h):\d+ .*?\)(?: const)? |\b\w+\.(?:cc|h):\d+ \w+ ")


def shortened(text: str) -> str:
    """Without status codes and places in a library's source, and not too long."""
    bare = _PLACE.sub("", _STATUS.sub("", text)).strip()
    return bare if len(bare) <= _LONGEST else f"{bare[:_LONGEST].rstrip()} …"


# --- what is said ------------------------------------------------------------------------------


def _node(op_type: str, name: str) -> str:
    """`Conv 'stem'`; layouts that onnxruntime turns nodes into are not told."""
    name = name.removesuffix("_nchwc")
    return f"{op_type} '{name}'" if name else f"a node {op_type} without a name"


def _type(text: str) -> str:
    """`tensor(float16)` without its wrapping."""
    return text.removeprefix("tensor(").removesuffix(")")


def _no_kernel(found: re.Match[str], model: onnx.ModelProto | None) -> str:
    op_type, name = found.groups()
    of, label = "", name
    for node in model.graph.node if model else ():
        if model and (node.op_type, node.name) == (op_type, name):
            label = name or node.output[0]
            types = " and ".join(_types_read(model, node))
            of = f" of {types}" if types else ""
    return (
        f"onnxruntime runs no {op_type}{of} on CPUs (node '{label}'); convert the model to float32"
    )


def _types_read(model: onnx.ModelProto, node: onnx.NodeProto) -> Sequence[str]:
    """The types that a node reads, as far as the graph itself gives its operands one."""
    graph = model.graph
    declared = (*graph.input, *graph.value_info, *graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in declared}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    read = dict.fromkeys(kinds[name] for name in node.input if kinds.get(name))
    return [onnx.TensorProto.DataType.Name(kind).lower() for kind in read]


def _unknown_operator(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    return (
        f"onnxruntime does not know the operator {found[2]} of domain '{found[1]}', which eapc has "
        "no library for; export the model without it (`eapc analyze` does not run models)"
    )


def _no_opset(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    domain = found["domain"] or "ai.onnx"
    return (
        f"operator {found['op']} is of domain '{domain}', for which the model imports no opset; "
        "export the model anew"
    )


def _mixed_types(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    one, other = _type(found[2]), _type(found[3])
    return (
        f"{_node(found[1], found[4])} reads {one} and {other}, which must be of one type "
        "(onnxruntime); put a Cast in front"
    )


def _no_layout(_: re.Match[str], model: onnx.ModelProto | None) -> str:
    turned = (
        node
        for node in (model.graph.node if model else ())
        if any(each.name == "layout" and each.i for each in node.attribute)
    )
    node = next(turned, None)
    label = _node(node.op_type, node.name) if node else "a recurrent cell"
    return (
        f"{label} has layout 1, batches in front, which onnxruntime does not run; export it with "
        "layout 0 and a Transpose on either side"
    )


def _type_not_taken(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    label = _node(found[3], found[4])
    return f"{label}: onnxruntime takes no {_type(found[1])} as its input '{found[2]}'"


def _declared_otherwise(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    declared, real = _type(found[1]), _type(found[4])
    node = f"node '{found[3]}'" if found[3] else "its node"
    return f"tensor '{found[2]}' is declared as {declared}, {node} writes {real} (onnxruntime)"


def _at_node(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    return f"{_node(found[2], found[1])}: {shortened(found[3]).rstrip(' .')} (onnxruntime)"


def _out_of_memory(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    return (
        f"memory ran out when onnxruntime ran {_node(found[1], found[2])}; smaller inputs "
        "(--input-shape, --calib) take less"
    )


def _at_run(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    """What went wrong when a node ran; where sizes are the matter, what sets them."""
    label, detail = _node(found[1], found[2]), found[3]
    for pattern, words in _MISFITS:
        known = re.search(pattern, detail)
        if known:
            return f"{label}: {known.expand(words)} (onnxruntime); {_SIZES}"
    return f"{label}: onnxruntime cannot run it: {shortened(detail)}"


_MISFITS = (
    (r"MatMul dimension mismatch", "the inner sizes of its operands differ"),
    (
        r"GEMM: Dimension mismatch, W: \{([\d,]+)\} K: (\d+)",
        r"its input has \2 along the axis that it sums over, its weights are [\1]",
    ),
    (
        r"broadcast an axis by a dimension other than 1\. (\d+) by (\d+)",
        r"sizes \1 and \2 of its operands meet along an axis and differ",
    ),
    (
        r"Can broadcast (\d+) by \d+ or 1\. (\d+) is invalid",
        r"sizes \1 and \2 of its operands meet along an axis and differ",
    ),
    (
        r"Input shape:\{([\d,]*)\}, requested shape:\{([-\d,]*)\}",
        r"[\1] has not as many elements as [\2], which it is to become",
    ),
    (
        r"Axis (\d+) has mismatched dimensions of (\d+) and (\d+)",
        r"sizes \2 and \3 of its inputs differ along axis \1",
    ),
    (
        r"C: (\d+) kernel channels: (\d+) group: (\d+)",
        r"its input has \1 along axis 1, its kernel \2 channels in each of \3 groups",
    ),
    (
        r"Invalid input shape: \{([\d,]+)\}",
        r"its kernel is larger than its input, [\1] along the spatial axes",
    ),
    (
        r"Calculated output dimension is negative",
        "its kernel is larger than its input along a spatial axis",
    ),
    (
        r"idx=(-?\d+) must be within the inclusive range \[(-?\d+),(-?\d+)\]",
        r"index \1 is outside \2 to \3",
    ),
    (
        r"Dimension of input (\d+) must be 1 instead of (\d+)",
        r"axis \1 of its input has size \2, not 1",
    ),
    (r"invalid expand shape", "its input does not fit the shape that it is to become"),
    (r"Invalid input (\w+): 0th dimension != (\d+)", r"its input has \2 channels, its \1 has not"),
)
"""Sizes that do not fit at run time: what onnxruntime says, and what to say instead."""


def _misfit(found: re.Match[str], _: onnx.ModelProto | None) -> str:
    """What shape inference finds in the model's own sizes, onnxruntime's or onnx's."""
    detail = shortened(found["detail"]).rstrip(" .")
    label = _node(found["op"], found["name"] or "")
    return f"{label}: {MISFIT} ({detail})"


def _plainly(words: str) -> Callable[[re.Match[str], onnx.ModelProto | None], str]:
    return lambda found, _: found.expand(words)


def _kind(
    pattern: str, says: str | Callable[[re.Match[str], onnx.ModelProto | None], str]
) -> Refusal:
    return Refusal(re.compile(pattern), _plainly(says) if isinstance(says, str) else says)


_RUNNING = r"while running (\w+) node\. Name:'([^']*)' Status Message: "

REFUSALS = (
    _kind(r"find an implementation for (\w+)\(\d+\) node with name '([^']*)'", _no_kernel),
    _kind(
        r"Fatal error: ([\w.]*):(\w+)\([-\d]+\) is not a registered function/op", _unknown_operator
    ),
    _kind(
        r"In Node, \(\"[^\"]*\", (?P<op>\w+), \"(?P<domain>[\w.]*)\", .*No opset import for domain",
        _no_opset,
    ),
    _kind(r"No opset import for domain (?P<domain>\S*?) ?optype (?P<op>\w+)", _no_opset),
    _kind(
        r"No Op registered for (\w+) with domain_version of (\d+)",
        r"opset \2 has no operator \1, neither onnx's nor onnxruntime's; export the model anew",
    ),
    _kind(
        r"Opset (\d+) is under development.* for domain ([\w.]+) is till opset (\d+)",
        r"the model's opset \1 is newer than onnxruntime's, which ends at \3 for domain \2; export "
        "to an older one or update onnxruntime",
    ),
    _kind(
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        r"the model's IR version \1 is newer than onnxruntime's \2; export to an older one or "
        "update onnxruntime",
    ),
    _kind(
        r"for initializer: (\S+?)\. Error: .*External data path does not exist: \"?([^\"]+)\"?",
        r"the external data of tensor '\1' are missing: \2 must lie beside the model",
    ),
    _kind(
        r"of Optype \((\w+)\) bound to different types \((\S+\)) and (\S+\)) in node \((.*?)\)",
        _mixed_types,
    ),
    _kind(r"layout_ == 0 was false", _no_layout),
    _kind(
        r"Type '(\S+)' of input parameter \((.*?)\) of operator \((\w+)\) in node \((.*?)\)",
        _type_not_taken,
    ),
    _kind(
        r"Type \((\S+)\) of output arg \((.*?)\) of node \((.*?)\) does not match expected type "
        r"\((\S+)\)",
        _declared_otherwise,
    ),
    _kind(r"In Node, \(\"(.*?)\", (\w+), \"[\w.]*\", [-\d]+\) : .* , Error (.*)", _at_node),
    _kind(_RUNNING + r".*(?:bad_alloc|Failed to allocate memory)", _out_of_memory),
    _kind(_RUNNING + "(.*)", _at_run),
    _kind(
        r"Node \((?P<name>.*?)\) Op \((?P<op>\w+)\) \[\w+InferenceError\] (?P<detail>.*)",
        _misfit,
    ),
    _kind(
        r"\(op_type:(?P<op>\w+)(?:, node name: (?P<name>.*?))?\): (?:\[\w+\] )?(?P<detail>.*)",
        _misfit,
    ),
    _kind(
        r"invalid dimensions for input: (\S+) .*?index: (\d+) Got: (\d+) Expected: (\d+)",
        r"input '\1' has size \3 along axis \2, the model takes \4 (onnxruntime)",
    ),
    _kind(
        r"Invalid rank for input: (\S+) Got: (\d+) Expected: (\d+)",
        r"input '\1' has \2 axes, the model takes \3 (onnxruntime)",
    ),
    _kind(
        r"input data type\. Actual: \(tensor\((\w+)\)\) , expected: \(tensor\((\w+)\)\)",
        r"an input has type \1, the model takes \2 (onnxruntime)",
    ),
)
"""The kinds that are known, the more special first."""
