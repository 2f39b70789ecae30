#!/usr/bin/env python3
"""Which layers of quantized files OpenVINO runs on integers, on this CPU.

    pip install openvino
    python benchmarks/openvino_precisions.py int8.onnx ...

Counts kinds of layers of the compiled network by the precision that they run in; constants are
left out. Dynamic axes are taken to be 1.
"""

from __future__ import annotations

import sys
from collections import Counter
from importlib import import_module
from typing import Any

_DYNAMIC = 1


def layers(openvino: Any, path: str) -> Counter[str]:
    """Layers of a compiled network as `Convolution u8`."""
    core = openvino.Core()
    model = core.read_model(path)
    shapes = {port: [_length(axis) for axis in port.partial_shape] for port in model.inputs}
    model.reshape(shapes)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    facts = (node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops())
    kinds = ((each["layerType"].value, each["runtimePrecision"].value) for each in facts)
    return Counter(f"{kind} {precision}" for kind, precision in kinds if kind != "Const")


def _length(axis: Any) -> int:
    return _DYNAMIC if axis.is_dynamic else int(axis.get_length())


def main() -> None:
    try:
        openvino = import_module("openvino")
    except ImportError:
        sys.exit("openvino is not installed: pip install openvino")
    for path in sys.argv[1:]:
        counts = layers(openvino, path).most_common()
        print(f"{path}: {', '.join(f'{count} {name}' for name, count in counts)}")


if __name__ == "__main__":
    main()
