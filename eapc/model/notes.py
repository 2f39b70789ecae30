"""What is unusual about a model though runtimes take it: one line for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from eapc.model.graph import REPLACEABLE_FROM, captured_by, initializers_of

_TOLD = 3
"""Names that a line gives; the others are counted."""


def notes_of(proto: onnx.ModelProto) -> Iterator[str]:
    """What an exporter is unlikely to have meant, or what this version of onnx has no rules for."""
    yield from _versions(proto)
    stored = initializers_of(proto.graph)
    read = {value.name for value in proto.graph.output}
    read |= {name for node in proto.graph.node for name in node.input}
    unread = stored.keys() - read
    if unread:
        unread -= {name for node in proto.graph.node for name in captured_by(node)}
    if unread:
        yield f"no node reads {named('initializer', [n for n in stored if n in unread])}"
    if proto.ir_version >= REPLACEABLE_FROM:
        fed = [value.name for value in proto.graph.input if value.name in stored]
        if fed:
            said = "is an input too, so that callers may replace it"
            if len(fed) > 1:
                said = "are inputs too, so that callers may replace them"
            yield f"{named('initializer', fed)} {said}"


def _versions(proto: onnx.ModelProto) -> Iterator[str]:
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            said = "its operators are not checked"
            yield f"opset {opset.version} is newer than onnx's, which ends at {newest}: {said}"
    if proto.ir_version > onnx.IR_VERSION:
        yield f"IR version {proto.ir_version} is newer than onnx's, which ends at {onnx.IR_VERSION}"


def named(noun: str, names: Sequence[str]) -> str:
    """`initializer 'w'`, `5 initializers: 'a', 'b', 'c' and 2 others`."""
    if len(names) == 1:
        return f"{noun} '{names[0]}'"
    told = ", ".join(f"'{name}'" for name in names[:_TOLD])
    more = f" and {len(names) - _TOLD} others" if len(names) > _TOLD else ""
    return f"{len(names)} {noun}s ({told}{more})"
