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

_DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}

_TYPES: Mapping[int, str] = {
    number: f"a list of {name.lower()[:-1]}" if name.endswith("S") else f"of type {name.lower()}"
    for name, number in AttributeProto.AttributeType.items()
}


Calls = Mapping[tuple[str, str], tuple[int, int]]


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

    `own` has, by (domain, name), how many inputs and outputs local functions take at most.
    """

    def __init__(self, opsets: Iterable[OperatorSetIdProto], own: Calls) -> None:
        self._versions = {_DOMAINS.get(o.domain, o.domain): o.version for o in opsets}
        self._own = own

    def faults(
        self, node: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str]
    ) -> list[str]:
        """What is wrong with a node by itself, each fault with the node's label.

        `inputs` and `outputs` are the node's own.
        """
        domain, op_type = node.domain, node.op_type
        call = self._own.get((domain, op_type))
        found: list[str] = []
        if call is not None:
            found.extend(_call_faults(inputs, outputs, *call))
        elif domain in _DOMAINS:
            domain = _DOMAINS[domain]
            known = _signature(op_type, domain, self._versions.get(domain, 0))
            if known is not None:
                found.extend(_attribute_faults(node, known))
                found.extend(_operand_faults(inputs, outputs, known))
        return [f"{label(node)}: {fault}" for fault in found]


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


def _attribute_faults(node: onnx.NodeProto, known: Signature) -> Iterator[str]:
    found: dict[str, AttributeProto] = {}
    for attribute in node.attribute:
        name, kind = attribute.name, attribute.type
        if name in found:
            yield f"attribute '{name}' is given twice"
        found[name] = attribute
        wanted = known.types.get(name, kind)
        if kind != wanted:
            is_a = _TYPES.get(kind, "of no known type") if kind else "of no type"
            yield f"attribute '{name}' is {is_a}, expected {_TYPES[wanted].removeprefix('of ')}"
    for name in known.required:
        if name not in found:
            yield f"the attribute '{name}' is missing"
    if node.op_type in _SPATIAL:
        yield from _spatial_faults(found)
    if "perm" in found and sorted(found["perm"].ints) != list(range(len(found["perm"].ints))):
        yield f"attribute 'perm' is {list(found['perm'].ints)}, which is no order of the axes"


_SPATIAL = frozenset(
    """AveragePool Conv ConvInteger ConvTranspose DeformConv LpPool MaxPool MaxUnpool
    QLinearConv""".split()
)
"""Operators with a kernel that moves along the spatial axes."""

_PER_AXIS = ("kernel_shape", "strides", "dilations", "output_padding")


def _spatial_faults(found: Mapping[str, AttributeProto]) -> Iterator[str]:
    """One number per spatial axis, two of padding; sizes and steps begin at one."""
    lists: dict[str, Sequence[int]] = {
        name: found[name].ints for name in (*_PER_AXIS, "pads") if name in found
    }
    for name in ("kernel_shape", "strides", "dilations"):
        if any(size < 1 for size in lists.get(name, ())):
            yield f"attribute '{name}' is {list(lists[name])}, sizes begin at 1"
    if "group" in found and not found["group"].ref_attr_name and found["group"].i < 1:
        yield f"attribute 'group' is {found['group'].i}, groups begin at 1"
    lists = {name: values for name, values in lists.items() if values}
    first = next((name for name in _PER_AXIS if name in lists), "")
    axes = len(lists[first]) if first else 0
    if len(lists.get("pads", ())) % 2:
        yield f"attribute 'pads' holds {counted(len(lists['pads']), 'number')}, not two per axis"
    for name, values in lists.items():
        wanted = 2 * axes if name == "pads" else axes
        if axes and len(values) != wanted:
            holds = f"attribute '{name}' holds {counted(len(values), 'number')}, not {wanted}"
            yield f"{holds}: '{first}' holds {axes}, one per axis"
