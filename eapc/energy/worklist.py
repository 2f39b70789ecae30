"""The work of a whole model: what each node does, and what is fused into its producer.

Comes before any machine or density: the list says which tensors play which part, so that
their densities can be measured, and the energy model prices it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from eapc.energy.fusion import Fusion
from eapc.energy.given import GivenBits
from eapc.model import Model, Node, Shapes, is_part_of_rounding, tensor_bits
from eapc.operators import operator_of
from eapc.workload import (
    BitWidths,
    Operands,
    Part,
    Shape,
    StreamWorkload,
    UnmodelledError,
    Work,
    work_of,
)

UNNEEDED = "no output needs it"
"""What is noted of nodes that need not run."""


@dataclass(frozen=True)
class NodeWork:
    """A node with its work, or the reason why there is none to be told.

    `ofmap` is the tensor that is written: the last of the nodes fused into this one. A
    fused node names its host in `fused_into` and moves no words. `operands` are missing where the
    work is not that of the node's own operands.
    """

    node: Node
    work: Work
    ofmap: str = ""
    reason: str = ""
    fused_into: str = ""
    note: str = ""
    operands: Operands | None = None

    def ofmap_of(self, part: Part) -> str:
        """The tensor that a part's ofmap is written as, behind what is fused into the node."""
        return self.ofmap if part.ofmap == self.work.ofmap else part.ofmap


def work_list(model: Model, shapes: Shapes, given: GivenBits | None = None) -> tuple[NodeWork, ...]:
    """The work of every node, subgraphs included, in file order.

    Nodes of a subgraph count as often as it runs where that is fixed beforehand, else once. Those
    that no output depends on do not run.
    Operands have the widths that are given, else those that the model's integers imply.
    """
    constants = _constant_names(model, shapes)
    times = _times(model, shapes)
    works = [
        NodeWork(node, Work(), note=UNNEEDED)
        if node in model.view.unneeded
        else _node_work(model, shapes, node, constants[node.scope], times[node.scope])
        for node in model.nodes
    ]
    bits = tensor_bits(model, shapes)
    return tuple(
        _with_widths(item, bits[item.node.scope], constants[item.node.scope], given or GivenBits())
        for item in _fuse(Fusion(model, shapes, constants[""]), works)
    )


def resized(
    item: NodeWork,
    input_shapes: tuple[Shape | None, ...],
    output_shapes: tuple[Shape | None, ...],
) -> NodeWork:
    """The work of a node if its operands had other shapes, all else as it was.

    Fusion, widths and repetitions are the item's own; a convolution has the groups that its
    shapes imply. Work that cannot be told has the reason. Items without operands come back as
    they are.
    """
    if item.operands is None:
        return item
    operands = replace(
        item.operands,
        node=_with_groups(item.node, (*input_shapes[:2], *output_shapes[:1])),
        input_shapes=input_shapes,
        output_shapes=output_shapes,
    )
    work, reason = _work_or_reason(operands)
    parts = (_like(part, old, item) for part, old in zip(work.parts, item.work.parts, strict=False))
    return replace(item, work=Work(tuple(parts)), reason=reason, operands=operands)


def _like(part: Part, old: Part, item: NodeWork) -> Part:
    """A part of other shape with the widths and repetitions of the old one."""
    part = _without_traffic(part) if item.fused_into else part
    workload = replace(part.workload, bits=old.workload.bits)
    return replace(part, workload=workload, times=old.times)


def with_bits(item: NodeWork, bits: Mapping[str, int]) -> NodeWork:
    """The work of a node if some tensors that it reads or writes had other widths, by name."""
    parts = []
    for part in item.work.parts:
        own, read = part.workload.bits, (part.ifmap, *part.more)
        weights, ofmap = (part.weights, own.weights), (item.ofmap_of(part), own.ofmap)
        widths = (
            bits.get(*weights),
            _widest([bits.get(name, own.ifmap) for name in read]),
            bits.get(*ofmap),
        )
        parts.append(replace(part, workload=replace(part.workload, bits=BitWidths(*widths))))
    return replace(item, work=Work(tuple(parts)))


def _widest(widths: Sequence[int | None]) -> int | None:
    """The widest of some tensors; None where one has no width of its own."""
    known = [width for width in widths if width is not None]
    return max(known) if known and len(known) == len(widths) else None


def operand_tensors(item: NodeWork) -> tuple[str, ...]:
    """The tensors whose widths a node's work depends on: what it reads, then what it writes."""
    parts = item.work.parts
    read = [name for part in parts for name in (part.weights, part.ifmap, *part.more)]
    return tuple(dict.fromkeys(filter(None, (*read, *map(item.ofmap_of, parts)))))


def _with_groups(node: Node, shapes: tuple[Shape | None, ...]) -> Node:
    """A convolution with the groups that the shapes of x, w and y imply."""
    layout = operator_of(node).weights
    if layout is None or layout.groups(node.attributes) == 1:
        return node
    split, weight = shapes[2 if layout.outputs else 0], shapes[1]  # runs over axis 1 of each group
    if split is None or weight is None or not weight[1]:
        return node
    return replace(node, attributes={**node.attributes, "group": split[1] // weight[1]})


def activation_tensors(works: tuple[NodeWork, ...]) -> tuple[str, ...]:
    """Main-graph tensors whose densities matter, each once: operands that are computed or fed."""
    names: dict[str, None] = {}
    for item in works:
        if item.node.scope or item.fused_into:
            continue
        for part in item.work.parts:
            names.update(dict.fromkeys((part.ifmap, part.weights, item.ofmap_of(part))))
    return tuple(name for name in names if name)


def _constant_names(model: Model, shapes: Shapes) -> dict[str, set[str]]:
    """Per scope, the tensors that never change between inferences."""
    scopes = {"", *(scope for node in model.nodes for scope in node.subgraphs)}
    known = {scope: set(model.constants.within(scope).stored) for scope in scopes}
    for node in model.nodes:
        if _is_constant(node, shapes, known[node.scope]):
            known[node.scope].update(node.outputs)
        for scope in node.subgraphs:
            known[scope] |= known[node.scope]
    return known


def _is_constant(node: Node, shapes: Shapes, known: set[str]) -> bool:
    """True for nodes that depend on constants and known shapes alone."""
    if node.domain or node.subgraphs:
        return False
    if node.op_type in ("Shape", "Size"):
        return shapes.shape(node, node.input(0)) is not None
    inputs = [name for name in node.inputs if name]
    return node.op_type == "Constant" or (bool(inputs) and known.issuperset(inputs))


def _times(model: Model, shapes: Shapes) -> dict[str, float]:
    """How often the nodes of each scope count."""
    times: dict[str, float] = {"": 1}
    for node in model.nodes:
        runs = node not in model.view.unneeded
        for scope in node.subgraphs:
            times[scope] = runs * times[node.scope] * shapes.runs.get(scope, 1)
    return times


_ROUNDED_ALREADY = StreamWorkload(operations=0, requantises=True)
"""The work of a Clip on codes, where rounding ends in any case, and of rounding again."""

COUNT_ONCE = "the nodes of its subgraphs count once each"
"""The note of a node when nothing tells beforehand how often its subgraphs run."""


def _note(shapes: Shapes, node: Node) -> str:
    """How often the subgraphs of a node count."""
    counts = {
        scope.removeprefix(f"{node.key}/").rstrip("/"): shapes.runs[scope]
        for scope in node.subgraphs
        if scope in shapes.runs
    }
    if not counts:
        return COUNT_ONCE
    said: dict[float, str] = {0: "never runs", 1: "runs once"}
    return ", ".join(
        f"{name} {said.get(count, f'runs {count} times')}" for name, count in counts.items()
    )


def _node_work(
    model: Model, shapes: Shapes, node: Node, constants: set[str], times: float
) -> NodeWork:
    if times == 0:
        return NodeWork(node, Work(), note="never runs")
    if node.subgraphs and not node.domain:
        return NodeWork(node, Work(), note=_note(shapes, node))
    operands = Operands(
        node,
        tuple(shapes.shape(node, name) if name else None for name in node.inputs),
        tuple(shapes.shape(node, name) if name else None for name in node.outputs),
        tuple(name in constants for name in node.inputs),
        lambda name: model.constants.within(node.scope).scalar(name),
        model.view.opset,
    )
    work, reason = _work_or_reason(operands)
    if reason:
        return NodeWork(node, work, reason=reason)
    if is_part_of_rounding(model, node):
        work = Work(tuple(replace(part, workload=_ROUNDED_ALREADY) for part in work.parts))
    repeated = Work(tuple(replace(part, times=part.times * times) for part in work.parts))
    return NodeWork(node, repeated if times != 1 else work, ofmap=work.ofmap, operands=operands)


def _work_or_reason(operands: Operands) -> tuple[Work, str]:
    """A node's work, or none and why it cannot be told."""
    try:
        return work_of(operands), ""
    except UnmodelledError as error:
        return Work(), str(error)
    except (IndexError, ValueError, ZeroDivisionError, TypeError) as error:
        return Work(), f"operands are malformed ({error})"


def _fuse(fusion: Fusion, works: list[NodeWork]) -> Iterator[NodeWork]:
    """Let per-element nodes cost no traffic behind a node that writes its result anyway."""
    hosts: dict[Node, Node] = {}
    written: dict[Node, str] = {}
    for item in works:
        node = item.node
        writes = any(load.ofmap_words for load in item.work.workloads)
        if not writes or node.scope or node in hosts:
            continue
        group = fusion.group(item.ofmap)
        if group is not None:
            hosts.update(dict.fromkeys(group.fused, node))
            written.update(dict.fromkeys((node, *group.fused), group.written))
    for item in works:
        found = replace(item, ofmap=written.get(item.node, item.ofmap))
        host = hosts.get(item.node)
        if host is not None:
            work = Work(tuple(_without_traffic(part) for part in item.work.parts))
            found = replace(found, work=work, fused_into=host.key)
        yield found


def _without_traffic(part: Part) -> Part:
    load = part.workload
    assert isinstance(load, StreamWorkload)  # only per-element operators are fused
    bare = replace(load, ifmap_words=0, weight_words=0, ofmap_words=0)
    return replace(part, workload=bare)


def _with_widths(
    item: NodeWork, bits: Mapping[str, int], constants: set[str], given: GivenBits
) -> NodeWork:
    def width(names: Sequence[str]) -> int | None:
        own = (given.of(name, is_constant=name in constants) for name in names)
        return _widest([found or bits.get(name) for name, found in zip(names, own, strict=True)])

    fixed = [name for name in item.node.inputs if name in constants]
    parts = []
    for part in item.work.parts:
        weights = [part.weights] if part.weights else fixed
        read = width([part.ifmap, *part.more])
        found = BitWidths(width(weights), read, width([item.ofmap_of(part)]))
        parts.append(replace(part, workload=replace(part.workload, bits=found)))
    return replace(item, work=Work(tuple(parts)))
