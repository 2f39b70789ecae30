"""What is fused into its producer, and which tensors the energy model asks about."""

from __future__ import annotations

import numpy as np
from builders import Array, chain, conv_model, ints, loaded, make_graph, normal, op, scalar, value
from onnx import ModelProto, NodeProto, TensorProto

from eapc.energy import NodeWork, resized, work_list
from eapc.energy.worklist import UNNEEDED, activation_tensors
from eapc.model import Model, infer_shapes, input_shapes
from eapc.workload import StreamWorkload

X = {"x": (1, 4, 8, 8)}
WEIGHTS: dict[str, Array] = {
    "w": normal((4, 4, 1, 1)),
    "w2": normal((4, 4, 1, 1), 1),
    "c": normal((4, 1, 1)),
    **{name: np.ones(4, np.float32) for name in ("s", "b", "m", "v")},
}


def works_of(model: Model | ModelProto) -> dict[str, NodeWork]:
    found = model if isinstance(model, Model) else Model.from_proto(model)
    shapes = infer_shapes(found, input_shapes(found, {}, None))
    return {item.node.key: item for item in work_list(found, shapes)}


def fusion(nodes: list[NodeProto], outputs: tuple[str, ...] = ("y",)) -> dict[str, str]:
    """Host by node, for the fused ones."""
    model = loaded(nodes, X, outputs, WEIGHTS)
    return {key: item.fused_into for key, item in works_of(model).items() if item.fused_into}


CONV = op("Conv", "x w", "a", name="conv")


def test_relu_behind_conv_moves_nothing() -> None:
    works = works_of(chain(["Conv", "Relu"]))
    assert works["Relu_1"].fused_into == "Conv_0"
    assert works["Relu_1"].work.workloads == (StreamWorkload(operations=512),)
    assert (works["Conv_0"].ofmap, works["Relu_1"].ofmap) == ("y", "y")


def test_a_row_of_per_element_nodes_joins_one_host() -> None:
    nodes = [
        CONV,
        op("Add", "a c", "biased", name="bias"),
        op("BatchNormalization", "biased s b m v", "scaled", name="bn"),
        op("Relu", "scaled", "y", name="relu"),
    ]
    assert fusion(nodes) == dict.fromkeys(("bias", "bn", "relu"), "conv")


def test_two_readers_keep_the_tensor() -> None:
    nodes = [CONV, op("Relu", "a", "r", name="relu"), op("Conv", "a w2", "y", name="other")]
    assert fusion(nodes, ("y", "r")) == {}


def test_a_graph_output_is_written() -> None:
    assert fusion([CONV, op("Relu", "a", "y", name="relu")], ("y", "a")) == {}


def test_an_addition_of_two_activations_reads_both() -> None:
    nodes = [
        CONV,
        op("Conv", "x w2", "b2", name="other"),
        op("Add", "a b2", "sum", name="add"),
        op("Relu", "sum", "y", name="relu"),
    ]
    assert fusion(nodes) == {"relu": "add"}


def test_a_result_that_grows_is_not_fused() -> None:
    nodes = [
        op("GlobalAveragePool", "x", "p", name="pool"),
        op("Add", "p grid", "y", name="add"),
    ]
    model = loaded(nodes, X, ["y"], {"grid": normal((1, 4, 5, 5))})
    assert not works_of(model)["add"].fused_into


def test_a_model_input_has_no_host() -> None:
    assert fusion([op("Relu", "x", "y", name="relu")]) == {}


def test_pooling_is_a_host_but_never_fused() -> None:
    pool = op("MaxPool", "a", "p", name="pool", kernel_shape=[2, 2])
    assert fusion([CONV, pool, op("Relu", "p", "y", name="relu")]) == {"relu": "pool"}


def test_a_reader_within_a_subgraph_counts() -> None:
    then = make_graph([op("Neg", "a", "t")], {}, ["t"])
    other = make_graph([op("Abs", "x", "e")], {}, ["e"])
    nodes = [
        CONV,
        op("Relu", "a", "y", name="relu"),
        op("If", "flag", "z", then_branch=then, else_branch=other),
    ]
    inputs = [value("x", (1, 4, 8, 8)), value("flag", [], TensorProto.BOOL)]
    outputs = [value("y", None), value("z", None)]
    assert not works_of(loaded(nodes, inputs, outputs, WEIGHTS))["relu"].fused_into


def test_a_node_of_a_subgraph_is_never_a_host() -> None:
    """A branch may call its result as the If does: the reader outside follows the If."""
    then = make_graph([op("Conv", "x w", "a", name="inner")], {}, ["a"])
    other = make_graph([op("Conv", "x w2", "e")], {}, ["e"])
    nodes = [
        op("If", "flag", "a", name="if", then_branch=then, else_branch=other),
        op("Relu", "a", "y", name="relu"),
    ]
    inputs = [value("x", (1, 4, 8, 8)), value("flag", [], TensorProto.BOOL)]
    works = works_of(loaded(nodes, inputs, [value("y", (1, 4, 8, 8))], WEIGHTS))
    assert not works["relu"].fused_into
    assert works["if/then_branch/inner"].work.workloads
    assert works["if"].note == "the nodes of its subgraphs count once each"


def test_quantizing_a_result_moves_nothing() -> None:
    nodes = [
        CONV,
        op("QuantizeLinear", "a scale zero", "q", name="q"),
        op("DequantizeLinear", "q scale zero", "d", name="dq"),
        op("Conv", "d w2", "y", name="next"),
    ]
    tensors = {"scale": scalar(0.1), "zero": scalar(3, np.uint8)}
    works = works_of(loaded(nodes, X, ["y"], WEIGHTS | tensors))
    assert (works["q"].fused_into, works["dq"].fused_into) == ("conv", "conv")
    assert (works["conv"].ofmap, works["next"].work.ifmap) == ("d", "d")


def test_every_node_is_listed_in_file_order() -> None:
    model = chain(["Conv", "BatchNormalization", "Relu", "MaxPool", "Flatten", "Gemm", "Softmax"])
    assert list(works_of(model)) == [node.name for node in model.graph.node]


def test_tensors_whose_densities_matter() -> None:
    model = chain(["Conv", "Relu", "MaxPool", "Flatten", "Gemm"])
    works = tuple(works_of(model).values())
    assert set(activation_tensors(works)) == {
        *("x", "Conv_0.weight", "Relu_1_out", "MaxPool_2_out"),
        *("Flatten_3_out", "Gemm_4.weight", "y"),
    }


def test_subgraphs_have_no_densities_of_their_own() -> None:
    then = make_graph([op("Neg", "x", "t")], {}, ["t"])
    node = op("If", "flag", "y", then_branch=then, else_branch=then)
    inputs = [value("x", (2,)), value("flag", [], TensorProto.BOOL)]
    works = tuple(works_of(loaded([node], inputs, [value("y", (2,))])).values())
    assert activation_tensors(works) == ()


def test_the_shape_of_something_unknown_is_not_a_constant() -> None:
    nodes = [
        op("NonZero", "x", "found"),
        op("Shape", "found", "s"),
        op("Expand", "one s", "y", name="expand"),
    ]
    model = loaded(nodes, X, [value("y", None)], {"one": ints(1)})
    assert works_of(model)["expand"].reason == "shape of the output is unknown"


# --- nodes of other shapes ---------------------------------------------------------------------


def resized_macs(model: ModelProto, x: int, w: tuple[int, int], y: int) -> float:
    """MACs of a 3 x 3 convolution of 8 x 8 maps once x, w and y have so many channels."""
    item = works_of(model)["conv"]
    smaller = resized(item, ((1, x, 8, 8), (*w, 3, 3)), ((1, y, 6, 6),))
    assert not smaller.reason
    (load,) = smaller.work.workloads
    return load.macs


def test_a_smaller_convolution_by_hand() -> None:
    assert resized_macs(conv_model(), 3, (5, 3), 5) == 5 * 3 * 9 * 36
    assert resized_macs(conv_model(), 4, (6, 4), 6) == 6 * 4 * 9 * 36


def test_groups_follow_the_shapes() -> None:
    """Whole groups go, or the same channels of each: the filters' inputs tell."""
    assert resized_macs(conv_model(group=2), 2, (3, 2), 3) == 3 * 2 * 9 * 36
    assert resized_macs(conv_model(group=2), 2, (4, 1), 4) == 4 * 1 * 9 * 36
    assert resized_macs(conv_model((1, 6, 8, 8), group=6), 4, (4, 1), 4) == 4 * 9 * 36


def test_what_is_fused_stays_fused_in_other_shapes() -> None:
    item = works_of(chain(["Conv", "Relu"]))["Relu_1"]
    smaller = resized(item, ((1, 4, 8, 8),), ((1, 4, 8, 8),))
    (load,) = smaller.work.workloads
    assert isinstance(load, StreamWorkload)
    assert load.operations == 4 * 64
    assert load.ifmap_words == load.ofmap_words == 0
    assert smaller.fused_into == item.fused_into == "Conv_0"


def test_shapes_that_do_not_fit_have_a_reason() -> None:
    item = works_of(conv_model())["conv"]
    assert resized(item, ((1, 4, 8, 8), (6,)), ((1, 6, 6, 6),)).reason
    assert resized(item, ((1, 4, 8, 8), None), ((1, 6, 6, 6),)).reason


def test_work_without_operands_stays() -> None:
    item = works_of(conv_model())["conv"]
    bare = NodeWork(item.node, item.work)
    assert resized(bare, (), ()) is bare


def test_what_no_output_needs_does_no_work() -> None:
    """Neither the convolution nor what reads it, subgraphs included; the file still lists them."""
    branch = make_graph([op("Conv", "b w", "t", name="inner")], {}, ["t"])
    nodes = [
        CONV,
        op("Conv", "x w2", "b", name="dead"),
        op("Cast", "flag", "f", name="cast", to=TensorProto.BOOL),
        op("If", "f", "z", name="if", then_branch=branch, else_branch=branch),
    ]
    works = works_of(loaded(nodes, X, ["a"], {**WEIGHTS, "flag": scalar(1.0)}))
    assert {"conv", "dead", "cast", "if"} < works.keys()
    assert works["conv"].work.parts
    for key, item in works.items():
        if key != "conv":
            assert not item.work.parts
            assert item.note in (UNNEEDED, "never runs")
