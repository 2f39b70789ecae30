"""What onnxruntime fuses, read off its optimised graph."""

from __future__ import annotations

import numpy as np
import pytest
from builders import chain, constant_node, ints, loaded, normal, op, replaceable
from measured_builders import measured_layer, measured_machine

from eapc.model import Model, Node, infer_shapes, input_shapes
from eapc.profiling import constant_tensors, find_kernels, notes_on_weights, prepare_network
from eapc.profiling.kernels import Kernel, folded_constants, nodes_within
from eapc.runtime import optimised_model

OPS = ["Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "Relu", "GlobalAveragePool"]


def kernels_of(model: Model) -> tuple[Kernel, ...]:
    return find_kernels(model, optimised_model(model.to_proto(), 1))


def op_types(nodes: tuple[Node, ...]) -> list[str]:
    return [node.op_type for node in nodes]


def residual() -> Model:
    """Two convolutions, the second of which is summed with what the first reads."""
    weights = {f"w{i}": normal((16, 16, 3, 3), i, 0.1) for i in range(3)}
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        op("Conv", "x w0", "a", name="stem", **pads),
        op("Relu", "a", "b"),
        op("Conv", "b w1", "c", name="first", **pads),
        op("Relu", "c", "d"),
        op("Conv", "d w2", "e", name="second", **pads),
        op("Add", "e b", "f"),
        op("Relu", "f", "y"),
    ]
    return loaded(nodes, {"x": (1, 16, 8, 8)}, ["y"], weights)


def test_what_follows_a_convolution_runs_with_it() -> None:
    model = Model.from_proto(chain([*OPS, "Flatten", "Gemm"], width=16))
    kernels = kernels_of(model)
    assert op_types(kernels[0].nodes) == ["Conv", "BatchNormalization", "Relu"]
    assert kernels[0].host.op_type == "Conv"
    assert kernels[0].inputs == ("x",)
    assert kernels[0].layouts == ("plain",)
    assert [kernel.host.op_type for kernel in kernels] == [
        *("Conv", "MaxPool", "Conv", "GlobalAveragePool", "Flatten", "Gemm")
    ]
    assert kernels[-1].read_as == ("plain",)


@pytest.mark.parametrize("make", [residual, lambda: Model.from_proto(chain(OPS, width=16))])
def test_every_node_is_in_one_kernel_and_inputs_are_computed_before(make: object) -> None:
    assert callable(make)
    model: Model = make()
    kernels = kernels_of(model)
    assert list(nodes_within(kernels)) == sorted(
        model.view.main_nodes, key=list(nodes_within(kernels)).index
    )
    assert sum(len(kernel.nodes) for kernel in kernels) == len(model.view.main_nodes)
    computed = {spec.name for spec in model.inputs}
    for kernel in kernels:
        assert set(kernel.inputs) <= computed
        computed |= set(kernel.outputs)


def test_a_sum_reads_both_branches() -> None:
    kernels = kernels_of(residual())
    (summing,) = (kernel for kernel in kernels if "Add" in op_types(kernel.nodes))
    assert "b" in summing.inputs
    assert summing.outputs[-1] in ("f", "y")


def test_constants_and_what_depends_on_them() -> None:
    nodes = [
        constant_node("c", ints(1, 4)),
        op("Identity", "c", "d"),
        op("Reshape", "x d", "y"),
    ]
    model = loaded(nodes, {"x": (2, 2)}, ["y"])
    assert constant_tensors(model, optimised_model(model.to_proto(), 1)) >= {"c", "d"}
    (kernel,) = kernels_of(model)
    assert op_types(kernel.nodes) == ["Reshape"]


def test_constants_that_were_computed_are_found() -> None:
    nodes = [
        op("Shape", "x", "s"),
        op("Cast", "s", "t", to=7),
        op("Mul", "t two", "u"),
        op("Cast", "u", "v", to=7),
        op("Tile", "x v", "y"),
    ]
    model = loaded(nodes, {"x": (2, 3)}, ["y"], {"two": ints(1, 2)})
    found = folded_constants(model, optimised_model(model.to_proto(), 1))
    np.testing.assert_array_equal(found["v"], [2, 6])


def test_shapes_that_are_known_beforehand_take_no_run() -> None:
    """As exporters flatten: the batch by Shape and Gather, the rest by -1."""
    nodes = [
        op("Relu", "x", "r", name="relu"),
        op("Shape", "r", "s"),
        op("Gather", "s zero", "g"),
        op("Unsqueeze", "g axis", "u"),
        op("Concat", "u rest", "c", axis=0),
        op("Reshape", "r c", "y", name="flatten"),
    ]
    given = {"zero": ints(0).reshape(()), "axis": ints(0), "rest": ints(-1)}
    model = loaded(nodes, {"x": (2, 3, 4)}, ["y"], given)
    optimised = optimised_model(model.to_proto(), 1)
    assert constant_tensors(model, optimised) == {*given, *"sguc"}
    assert [op_types(kernel.nodes) for kernel in kernels_of(model)] == [["Relu"], ["Reshape"]]
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    network = prepare_network(model, shapes, measured_machine(measured_layer((), (1,), ((1,),))))
    assert {entry.key for entry in network.missing} == {"relu", "flatten"}


def test_weights_that_may_be_replaced_are_not_fused() -> None:
    plain = kernels_of(Model.from_proto(chain(OPS[:3], width=16)))
    assert [op_types(kernel.nodes) for kernel in plain] == [OPS[:3]]
    assert plain[0].given == frozenset()
    kernels = kernels_of(Model.from_proto(replaceable(chain(OPS[:3], width=16))))
    assert [op_types(kernel.nodes) for kernel in kernels] == [[name] for name in OPS[:3]]
    assert kernels[0].given == {"Conv_0.weight", "Conv_0.bias"}
    assert kernels[2].given == frozenset()


def test_weights_that_may_be_replaced_are_told() -> None:
    model = chain([*OPS, "Flatten", "Gemm"], width=16)
    assert notes_on_weights(Model.from_proto(model)) == ()
    (note,) = notes_on_weights(Model.from_proto(replaceable(model)))
    assert note.startswith("3 weights are inputs of the model as well")
