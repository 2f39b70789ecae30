"""The work of tiny graphs: what the rules make of one node, or of a whole model."""

from __future__ import annotations

import onnx
from builders import Array, loaded, value
from onnx import ModelProto

from eapc.energy import NodeWork, work_list
from eapc.model import Model, infer_shapes, input_shapes
from eapc.workload import ConvWorkload, StreamWorkload, Work

Sizes = dict[str, tuple[int, ...]]


def items_of(model: Model | ModelProto) -> list[NodeWork]:
    loaded_model = model if isinstance(model, Model) else Model.from_proto(model)
    shapes = infer_shapes(loaded_model, input_shapes(loaded_model, {}, None))
    return list(work_list(loaded_model, shapes))


def conv_of(model: Model | ModelProto) -> ConvWorkload:
    """The only workload of a model's last node."""
    (workload,) = items_of(model)[-1].work.workloads
    assert isinstance(workload, ConvWorkload)
    return workload


def work_of_node(
    node: onnx.NodeProto, inputs: Sizes, tensors: dict[str, Array] | None = None
) -> Work:
    model = loaded([node], inputs, [value(name, None) for name in node.output], tensors, opset=20)
    (item,) = items_of(model)
    assert not item.reason
    return item.work


def stream_of(
    node: onnx.NodeProto, inputs: Sizes, tensors: dict[str, Array] | None = None
) -> StreamWorkload:
    (workload,) = work_of_node(node, inputs, tensors).workloads
    assert isinstance(workload, StreamWorkload)
    return workload


def reason_of(node: onnx.NodeProto, inputs: Sizes, tensors: dict[str, Array] | None = None) -> str:
    model = loaded([node], inputs, [value(name, None) for name in node.output], tensors, opset=20)
    return items_of(model)[0].reason
