"""Nodes held against what onnx says of their operator: attributes, and how many operands.

Operators of other domains, of opsets newer than onnx knows and of local functions are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import onnx
from onnx import AttributeProto, OperatorSetIdProto
from onnx.defs import OpSchema

from eapc.model.attribute_values import value_faults
from eapc.model.declarations import FunctionKey, called_by

_DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}

_TYPES: Mapping[int, str] = {
    number: f"a list of {name.lower()[:-1]}" if name.endswith("S") else f"of type {name.lower()}"
    for name, number in AttributeProto.AttributeType.items()
}


Calls = Mapping[FunctionKey, tuple[int, int]]


class Signature(NamedTuple):
    """What an operator asks of its nodes: (fewest, most) operands, attributes by their type.

    `single` are the places of inputs that must not be left out.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    single: tuple[int, ...]
    types: Mapping[str, int]
    required: tuple[str, ...]


class Signatures:
    """The operators of a graph by its opsets.

    `own` has how many inputs and outputs each local function takes at most.
    """

    def __init__(self, opsets: Iterable[OperatorSetIdProto], own: Calls) -> None:
        self._versions = {_DOMAINS.get(o.domain, o.domain): o.version for o in opsets}
        self._own = own
        self._sound: set[object] = set()

    @property
    def opset(self) -> int:
        """The version of onnx's own operators; 0 where the graph uses none."""
        return self._versions.get("", 0)

    def faults(
        self,
        node: onnx.NodeProto,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: Sequence[AttributeProto],
    ) -> list[str]:
        """What is wrong with a node by itself, each fault with the node's label.

        `inputs`, `outputs` and `attributes` are the node's own. Nodes that are alike in all but
        names are looked at once.
        """
        shape = (tuple(map(bool, inputs)), tuple(map(bool, outputs)))
        overload = node.overload if self._own else ""
        kind = (node.op_type, node.domain, overload, shape, tuple(map(_content, attributes)))
        if kind in self._sound:
            return []
        found = list(self._new_faults(node, inputs, outputs, attributes))
        if not found:
            self._sound.add(kind)
        return [f"{label(node)}: {fault}" for fault in found]

    def _new_faults(
        self,
        node: onnx.NodeProto,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: Sequence[AttributeProto],
    ) -> Iterator[str]:
        for text in (t for a in attributes for t in (a.name, a.ref_attr_name)):
            if type(text) is not str:
                yield f"the name {text!r} of an attribute is not valid UTF-8"
                return
        domain = _DOMAINS.get(node.domain, node.domain)
        call = self._own.get(called_by(node))
        if domain not in self._versions:
            yield f"the model imports no opset for its domain, '{domain or 'ai.onnx'}'"
        elif call is not None:
            yield from _call_faults(inputs, outputs, *call)
        elif domain in _DOMAINS:
            known = _signature(node.op_type, domain, self._versions[domain])
            if known is not None:
                yield from _attribute_faults(node, attributes, known)
                yield from _operand_faults(inputs, outputs, known)


_HOLDING = frozenset(
    AttributeProto.AttributeType.Value(kind)
    for kind in "TENSOR TENSORS GRAPH GRAPHS SPARSE_TENSOR SPARSE_TENSORS".split()
)
"""Attributes that may be large, and are looked at elsewhere."""


def _content(attribute: AttributeProto) -> object:
    """What of an attribute its operator may object to."""
    if attribute.type in _HOLDING:
        return attribute.name, attribute.type, attribute.ref_attr_name, attribute.t.data_type
    return attribute.SerializeToString()


def counted(count: int, noun: str) -> str:
    """`1 input`, `2 inputs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def label(node: onnx.NodeProto) -> str:
    """`Conv 'stem'`: operator and name, or what it writes first where it has none."""
    name = node.name or next((name for name in node.output if name), "")
    return f"{node.op_type} '{name}'" if name else f"{node.op_type} without a name"


@cache
def _signature(op_type: str, domain: str, version: int) -> Signature | None:
    """None where onnx knows no such operator in this version."""
    newest = onnx.defs.onnx_opset_version() if domain == "" else 1 << 30
    if not 0 < version <= newest or not onnx.defs.has(op_type, domain):
        return None
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
    if schema.deprecated:
        return None
    single = OpSchema.FormalParameterOption.Single
    return Signature(
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        tuple(place for place, each in enumerate(schema.inputs) if each.option == single),
        {name: _number(each.type) for name, each in schema.attributes.items()},
        tuple(name for name, each in schema.attributes.items() if each.required),
    )


def _call_faults(
    inputs: Sequence[str], outputs: Sequence[str], most_inputs: int, most_outputs: int
) -> Iterator[str]:
    for what, count, most in (
        ("input", len(inputs), most_inputs),
        ("output", len(outputs), most_outputs),
    ):
        if count > most:
            yield f"{counted(count, what)}, the local function has {most}"


def _number(kind: OpSchema.AttrType) -> int:
    """The same type as a file has it; the stubs do not tell that it is a number."""
    return int(kind)  # type: ignore[call-overload,no-any-return]


def _operand_faults(
    inputs: Sequence[str], outputs: Sequence[str], known: Signature
) -> Iterator[str]:
    """Those left out at the end do not count."""
    for what, names, (least, most) in (
        ("input", inputs, known.inputs),
        ("output", outputs, known.outputs),
    ):
        count = len(names)
        while count and not names[count - 1]:
            count -= 1
        if not least <= count <= most:
            span = f"{least}" if least == most else f"{least} to {most}"
            span = f"{least} or more" if most > 1 << 20 else span
            yield f"{counted(count, what)}, the operator takes {span}"
    for place in known.single if "" in inputs else ():
        if place < len(inputs) and not inputs[place]:
            yield f"input {place} is left out, the operator needs it"


def _attribute_faults(
    node: onnx.NodeProto, attributes: Sequence[AttributeProto], known: Signature
) -> Iterator[str]:
    found: dict[str, AttributeProto] = {}
    is_typed = True
    for attribute in attributes:
        name, kind = attribute.name, attribute.type
        if name in found:
            yield f"attribute '{name}' is given twice"
        found[name] = attribute
        wanted = known.types.get(name, kind)
        if kind != wanted:
            is_typed = False
            is_a = _TYPES.get(kind, "of no known type") if kind else "of no type"
            yield f"attribute '{name}' is {is_a}, expected {_TYPES[wanted].removeprefix('of ')}"
    for name in known.required:
        if name not in found:
            yield f"the attribute '{name}' is missing"
    if is_typed and found:
        fixed = {name: given for name, given in found.items() if not given.ref_attr_name}
        yield from value_faults(node.op_type, fixed, len(node.input))
