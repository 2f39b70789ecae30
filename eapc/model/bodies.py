"""Subgraphs held against the node that has them: how many inputs and results they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import onnx

from eapc.model.signatures import counted

Body = Callable[[onnx.NodeProto, onnx.GraphProto, int], Iterator[str]]


def unlike_node(node: onnx.NodeProto, graph: onnx.GraphProto, opset: int) -> Iterator[str]:
    """What a node's subgraph has too many or too few of, in onnx's own operators of an opset."""
    if node.domain in ("", "ai.onnx") and node.op_type in _BODIES:
        yield from _BODIES[node.op_type](node, graph, opset)


def _branch(node: onnx.NodeProto, graph: onnx.GraphProto, _: int) -> Iterator[str]:
    """A branch reads what is around it, and has as many results as its node hands on."""
    yield from _inputs(graph, 0)
    yield from _results(node, graph, 0)


def _loop(node: onnx.NodeProto, graph: onnx.GraphProto, _: int) -> Iterator[str]:
    """Turn, condition and states come in; the condition that comes out is not handed on."""
    yield from _inputs(graph, max(2, len(node.input)))
    yield from _results(node, graph, 1)
    yield from _states(node, max(0, len(node.input) - 2))


def _scan(node: onnx.NodeProto, graph: onnx.GraphProto, opset: int) -> Iterator[str]:
    """States and slices come in, states and slices come out; opset 8 begins with lengths."""
    operands = len(node.input) - (1 if opset == 8 else 0)
    yield from _inputs(graph, operands)
    yield from _results(node, graph, 0)
    given = {each.name: each for each in node.attribute if not each.ref_attr_name}
    if "num_scan_inputs" not in given:
        return
    scanned = given["num_scan_inputs"].i
    states = operands - scanned
    if states < 0:
        yield f"'num_scan_inputs' is {scanned}, the node has {counted(operands, 'input')}"
        return
    yield from _states(node, states)
    for name, wanted in (
        ("scan_input_axes", scanned),
        ("scan_input_directions", scanned),
        ("directions", scanned),
        ("scan_output_axes", len(node.output) - states),
        ("scan_output_directions", len(node.output) - states),
    ):
        if name in given and len(given[name].ints) != wanted:
            yield f"'{name}' holds {counted(len(given[name].ints), 'number')}, not {wanted}"


def _mapped(node: onnx.NodeProto, graph: onnx.GraphProto, _: int) -> Iterator[str]:
    yield from _inputs(graph, len(node.input))
    yield from _results(node, graph, 0)


def _inputs(graph: onnx.GraphProto, needs: int) -> Iterator[str]:
    if len(graph.input) != needs:
        yield f"{counted(len(graph.input), 'input')}, the node needs {needs}"


def _results(node: onnx.NodeProto, graph: onnx.GraphProto, kept: int) -> Iterator[str]:
    """`kept` results are not handed on."""
    has, needs = len(graph.output), len(node.output) + kept
    if has != needs:
        outputs = counted(len(node.output), "output")
        yield f"{counted(has, 'result')}, the node has {outputs} and needs {needs}"


def _states(node: onnx.NodeProto, states: int) -> Iterator[str]:
    if states > len(node.output):
        outputs = counted(len(node.output), "output")
        yield f"the node hands in {counted(states, 'state')} and has {outputs} to take them"


_BODIES: Mapping[str, Body] = {
    "If": _branch,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _mapped,
}
