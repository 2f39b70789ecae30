"""The shipped models and recipes: published counts, finite outputs, the command line."""

import importlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

MODELS = Path(__file__).parents[1] / "models"


def load(name: str) -> ModuleType:
    """Import a module of models/, which is a folder of scripts and not a package."""
    if str(MODELS) not in sys.path:
        sys.path.insert(0, str(MODELS))
    return importlib.import_module(name)


Recipe = Callable[[int | None, int | None], ModelProto]
RECIPES: dict[str, Recipe] = load("recipes").RECIPES


class Counts(NamedTuple):
    """Per image, or per sequence of 128 tokens."""

    macs: float
    parameters: int


PUBLISHED = {
    # MACs 666e6 + 58.6e6: Sze, Chen, Yang, Emer, "Efficient processing of deep neural networks",
    # Proc. IEEE 2017. Parameters: "60 million" in the paper, exactly as in Caffe's bvlc_alexnet.
    "alexnet": Counts(0.7244e9, 60_965_224),
    # The paper's budget is "1.5 billion multiply-adds"; its layers, as in Caffe's bvlc_googlenet,
    # come to 1.583e9.
    "googlenet": Counts(1.583e9, 6_998_552),
    # torchvision's weight tables for the next six ("GFLOPS" counts multiply-accumulates there).
    "vgg16": Counts(15.47e9, 138_357_544),
    "resnet18": Counts(1.814e9, 11_689_512),
    "resnet50": Counts(4.089e9, 25_557_032),
    "squeezenet1_0": Counts(0.819e9, 1_248_424),
    "squeezenet1_1": Counts(0.349e9, 1_235_496),
    "mobilenetv2": Counts(0.301e9, 3_504_872),
    # BERT-base has 109,482,240 parameters, of which 590,592 are the pooler, left out here. MACs by
    # formula per block of L = 128 tokens, d = 768, f = 3072: 4 L d d + 2 L L d + 2 L d f. Half of
    # the 22.5e9 operations of Sun et al., "MobileBERT", ACL 2020, is 0.7 % more.
    "transformer12": Counts(
        12 * (4 * 128 * 768**2 + 2 * 128**2 * 768 + 2 * 128 * 768 * 3072), 108_891_648
    ),
}


def skeleton(model: ModelProto) -> ModelProto:
    """The graph with its weight matrices declared as inputs: shapes without 500 MB of values."""
    graph = model.graph
    small = [weight for weight in graph.initializer if len(weight.dims) < 2]
    matrices = [
        helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))
        for weight in graph.initializer
        if len(weight.dims) >= 2
    ]
    bare = helper.make_graph(graph.node, graph.name, [*graph.input, *matrices], graph.output, small)
    return helper.make_model(bare, opset_imports=model.opset_import, ir_version=model.ir_version)


def tensor_shapes(model: ModelProto) -> dict[str, list[int]]:
    graph = onnx.shape_inference.infer_shapes(skeleton(model), strict_mode=True).graph
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.value_info, *graph.output]
    }


def node_macs(node: NodeProto, shapes: dict[str, list[int]]) -> int:
    """Outputs times the length of the sum behind each."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    left, right = shapes[node.input[0]], shapes[node.input[1]]
    terms = math.prod(right[1:]) if node.op_type == "Conv" else left[-1]
    return math.prod(shapes[node.output[0]]) * terms


def count_macs(model: ModelProto, op_types: tuple[str, ...] = ("Conv", "Gemm", "MatMul")) -> int:
    shapes = tensor_shapes(model)
    return sum(node_macs(node, shapes) for node in model.graph.node if node.op_type in op_types)


def count_parameters(model: ModelProto) -> int:
    """Trained values: float tensors, without running statistics and scalar constants."""
    statistics = {
        name
        for node in model.graph.node
        if node.op_type == "BatchNormalization"
        for name in node.input[3:]
    }
    return sum(
        math.prod(weight.dims)
        for weight in model.graph.initializer
        if weight.data_type == TensorProto.FLOAT and weight.dims and weight.name not in statistics
    )


class Network(NamedTuple):
    name: str
    model: ModelProto


@pytest.fixture(scope="module", params=sorted(PUBLISHED))
def network(request: pytest.FixtureRequest) -> Network:
    """Each recipe with weights of zeros and batch 1, one at a time."""
    name = str(request.param)
    return Network(name, RECIPES[name](None, 1))


def test_every_recipe_has_published_counts() -> None:
    assert RECIPES.keys() == PUBLISHED.keys()


def test_counts_are_the_published_ones(network: Network) -> None:
    published = PUBLISHED[network.name]
    assert count_macs(network.model) == pytest.approx(published.macs, rel=1e-3)
    assert count_parameters(network.model) == published.parameters


def test_models_are_valid(network: Network) -> None:
    onnx.checker.check_model(network.model, full_check=True)
    assert network.model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in network.model.opset_import] == [("", 17)]


def test_nodes_have_names_of_their_own(network: Network) -> None:
    names = [node.name for node in network.model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_alexnet_convolutions() -> None:
    # conv1 to conv5: 105.4 + 223.9 + 149.5 + 112.1 + 74.8 million (Sze et al. 2017: 666 million)
    macs = 55**2 * 96 * 363 + 27**2 * 256 * 1200 + 13**2 * (384 * 2304 + 384 * 1728 + 256 * 1728)
    assert count_macs(RECIPES["alexnet"](None, 1), ("Conv",)) == macs == 665_784_864


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv2", "resnet18"])
def test_random_networks_give_finite_varied_outputs(name: str) -> None:
    model = RECIPES[name](0, None)
    images = np.random.default_rng(1).standard_normal((2, 3, 224, 224), dtype=np.float32)
    logits = session(model.SerializeToString()).run(["logits"], {"input": images})[0]
    assert logits.shape == (2, 1000)
    assert np.isfinite(logits).all()
    assert 0.1 < logits.std() < 100
    assert not np.allclose(logits[0], logits[1])


def test_the_batch_is_dynamic_unless_given() -> None:
    def batch_of(model: ModelProto) -> tuple[str, int]:
        dim = model.graph.input[0].type.tensor_type.shape.dim[0]
        return dim.dim_param, dim.dim_value

    assert batch_of(RECIPES["squeezenet1_1"](None, None)) == ("N", 0)
    assert batch_of(RECIPES["squeezenet1_1"](None, 4)) == ("", 4)


def test_weights_follow_the_seed() -> None:
    first, again, other = (
        RECIPES["squeezenet1_1"](seed, None).SerializeToString() for seed in (3, 3, 4)
    )
    assert first == again != other


def run_recipes(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(MODELS / "recipes.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_script_writes_a_model_from_any_folder(tmp_path: Path) -> None:
    done = run_recipes(tmp_path, "squeezenet1_1", "out.onnx", "--batch", "2")
    assert (done.returncode, done.stderr) == (0, "")
    onnx.checker.check_model(onnx.load(tmp_path / "out.onnx"))


def test_the_script_refuses_an_unknown_name_in_one_line(tmp_path: Path) -> None:
    done = run_recipes(tmp_path, "alexnot", "out.onnx")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert all(name in done.stderr for name in RECIPES)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = load("recipes").main
    output = tmp_path / "out.onnx"
    output.write_bytes(b"mine")
    assert main(["squeezenet1_1", str(output)]) == 2
    assert output.read_bytes() == b"mine"
    assert "--force" in capsys.readouterr().err
    assert main(["squeezenet1_1", str(output), "--force"]) == 0
    assert output.stat().st_size > 4_000_000


@pytest.mark.parametrize("output", ["missing/out.onnx", "."])
def test_an_impossible_output_is_refused(tmp_path: Path, output: str) -> None:
    assert load("recipes").main(["squeezenet1_1", str(tmp_path / output)]) == 2


def test_stored_weights_must_have_the_shape_asked_for() -> None:
    builder = load("graph_builder")
    weights = builder.weights_stored({"conv.weight": np.zeros((4, 3, 1, 1), np.float32)})
    assert weights("conv.weight", (4, 3, 1, 1), 0.0, 1.0).shape == (4, 3, 1, 1)
    with pytest.raises(ValueError, match="expected shape"):
        weights("conv.weight", (4, 3, 3, 3), 0.0, 1.0)


def test_only_the_last_node_can_be_the_output() -> None:
    builder = load("graph_builder")
    b = builder.Builder("two", builder.weights_from(None))
    first = b.relu(b.input("input", [3]), "first")
    b.relu(first, "second")
    with pytest.raises(ValueError, match="last node"):
        b.finish(first, "output", [3])


def digits_accuracy(part: str) -> float:
    data = np.load(MODELS / f"digits_{part}.npz")
    assert data["x"].dtype == np.uint8
    assert data["x"].max() == 16
    images = ((data["x"] * data["scale"] - data["mean"]) / data["std"]).astype(np.float32)
    model = (MODELS / "digits.onnx").read_bytes()
    logits = session(model).run(["logits"], {"image": images})[0]
    return float(np.mean(logits.argmax(axis=1) == data["y"]))


def test_digits_network_reads_held_out_digits() -> None:
    assert digits_accuracy("calibration") > digits_accuracy("eval") >= 0.98


def test_digits_network_has_both_forms_of_normalisation_and_both_joins() -> None:
    model = onnx.load(MODELS / "digits.onnx")
    onnx.checker.check_model(model, full_check=True)
    nodes = model.graph.node
    assert {"Add", "Concat", "BatchNormalization"} <= {node.op_type for node in nodes}
    biased = {len(node.input) == 3 for node in nodes if node.op_type == "Conv"}
    assert biased == {True, False}
    assert 30_000 < count_parameters(model) < 100_000


def test_digits_files_are_small() -> None:
    assert sum(path.stat().st_size for path in MODELS.glob("digits*")) < 1_000_000
