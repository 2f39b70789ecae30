"""Properties that every pruning pass keeps on every kind of network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import pytest
from builders import Array, make_model, normal, op
from evaluation_builders import relative_output_error
from pruning_builders import NETS, Net, dense, fixed_batch, residual, statistics, tied, weights_for

from eapc.commands.compiler import analyze
from eapc.commands.preparation import Settings
from eapc.data import dataset
from eapc.errors import ModelError, PassError, UsageError
from eapc.hardware import load_hardware
from eapc.layers import find_layers
from eapc.pipeline import Compilation, Conditions, Pipeline, load_passes
from eapc.runtime import Engine, Session, collect_outputs, with_outputs

EYERISS = load_hardware("eyeriss")
UNIFORM = "prune-weights{sparsity=%s}, reconstruct-outputs"


def compile_net(net: Net, pipeline: str, seed: int = 0, threads: int = 1) -> Compilation:
    conditions = Conditions(engine=Engine(threads, seed))
    start = Compilation(net.model, EYERISS, net.data, conditions)
    return Pipeline.parse(pipeline, load_passes()).run(start)


@cache
def uniform(name: str, sparsity: float) -> Compilation:
    return compile_net(NETS[name](), UNIFORM % sparsity)


def outputs_of(compilation: Compilation) -> dict[str, Array]:
    assert compilation.calibration is not None
    return collect_outputs(compilation.model, compilation.calibration, 1)


def error_of(compilation: Compilation) -> float:
    """Relative output error on the calibration inputs."""
    assert compilation.calibration is not None
    original = collect_outputs(compilation.model.original, compilation.calibration, 1)
    return relative_output_error(original, outputs_of(compilation))


def tensors_of(proto: onnx.ModelProto) -> dict[str, bytes]:
    found = {tensor.name: tensor.SerializeToString() for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = node.SerializeToString()
    return found


@pytest.mark.parametrize("name", NETS)
def test_the_result_is_a_model_that_runs(name: str) -> None:
    proto = uniform(name, 0.5).model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    assert all(np.isfinite(value).all() for value in outputs_of(uniform(name, 0.5)).values())


@pytest.mark.parametrize("name", NETS)
def test_the_input_is_never_changed(name: str) -> None:
    net = NETS[name]()
    model, before = net.model, net.proto.SerializeToString()
    arrays = {key: array.copy() for key, array in net.arrays.items()}
    start = Compilation(model, EYERISS, net.data, Conditions(engine=Engine(1)))
    Pipeline.parse(UNIFORM % 0.5, load_passes()).run(start)
    assert net.proto.SerializeToString() == before
    assert model.weights == {}
    for key, array in net.arrays.items():
        np.testing.assert_array_equal(array, arrays[key])


@pytest.mark.parametrize("name", NETS)
def test_what_no_layer_owns_stays_bit_for_bit(name: str) -> None:
    net = NETS[name]()
    layers = find_layers(net.model).layers
    owned = {tied.weight for tied in layers}
    owned |= {user.bias.tensor for tied in layers for user in tied.users if user.bias}
    before, after = tensors_of(net.proto), tensors_of(uniform(name, 0.5).model.to_proto())
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} <= owned
    assert [n.name for n in uniform(name, 0.5).model.nodes] == [n.name for n in net.model.nodes]


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("name", NETS)
def test_each_layer_has_at_most_its_number_of_weights(name: str, sparsity: float) -> None:
    done = uniform(name, sparsity)
    layers = find_layers(done.model).layers
    assert set(done.record.layers) == {tied.weight for tied in layers}
    for tied_layers in layers:
        value = done.model.weights[tied_layers.weight]
        record = done.record.layers[tied_layers.weight]
        assert np.count_nonzero(value) <= round((1 - sparsity) * value.size)
        assert record.weights == value.size
        assert record.nonzero_weights == np.count_nonzero(value)
        assert record.relative_output_error is not None


EXACT = {"float16": 2e-2}


@pytest.mark.parametrize("pipeline", [UNIFORM % 0, "prune-weights{sparsity=0}"])
@pytest.mark.parametrize("name", NETS)
def test_at_sparsity_zero_the_outputs_stay(name: str, pipeline: str) -> None:
    done = compile_net(NETS[name](), pipeline)
    assert done.calibration is not None
    before = collect_outputs(done.model.original, done.calibration, 1)
    after = outputs_of(done)
    for key, value in before.items():
        largest = float(np.abs(value).max())
        difference = float(np.abs(value.astype(np.float64) - after[key]).max())
        assert difference <= EXACT.get(name, 1e-4) * largest


@pytest.mark.parametrize("name", NETS)
def test_reconstruction_lowers_the_output_error(name: str) -> None:
    zeroed = compile_net(NETS[name](), "prune-weights{sparsity=0.5}")
    assert error_of(uniform(name, 0.5)) < error_of(zeroed)


@pytest.mark.parametrize("name", ["residual", "tied", "dense", "branches"])
def test_keeping_the_mask_only_refits(name: str) -> None:
    zeroed = compile_net(NETS[name](), "prune-weights{sparsity=0.6}")
    refitted = compile_net(
        NETS[name](), "prune-weights{sparsity=0.6}, reconstruct-outputs{keep_mask=true}"
    )
    for weight in zeroed.record.layers:
        before, after = zeroed.model.weights[weight], refitted.model.weights[weight]
        assert not np.any(after[before == 0])
    assert error_of(refitted) < error_of(zeroed)


@pytest.mark.parametrize("sparsity", [0.6, 0.8])
def test_choosing_the_mask_anew_beats_keeping_it(sparsity: float) -> None:
    kept = compile_net(
        residual(), f"prune-weights{{sparsity={sparsity}}}, reconstruct-outputs{{keep_mask=1}}"
    )
    assert error_of(uniform("residual", sparsity)) < error_of(kept)


@pytest.mark.parametrize("name", ["residual", "transformer", "tied"])
def test_the_same_seed_gives_the_same_bytes(name: str) -> None:
    for pipeline in (UNIFORM % 0.5, "prune-weights{energy=0.8}, reconstruct-outputs"):
        one, two = (compile_net(NETS[name](), pipeline) for _ in range(2))
        assert one.model.to_proto().SerializeToString() == two.model.to_proto().SerializeToString()


@pytest.mark.parametrize("name", ["residual", "dense", "transformer"])
def test_the_number_of_threads_changes_no_bytes(name: str) -> None:
    one, two = (compile_net(NETS[name](), UNIFORM % 0.5, threads=n) for n in (1, 2))
    assert one.model.to_proto().SerializeToString() == two.model.to_proto().SerializeToString()


def test_a_seed_decides_which_rows_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.calibration.lockstep.row_limit", lambda _: 300)
    one, two = (compile_net(residual(), UNIFORM % 0.5, seed=seed) for seed in (1, 2))
    assert one.model.to_proto() != two.model.to_proto()
    assert error_of(one) < 0.3


# --- folded twins ----------------------------------------------------------------------------


def folded(net: Net) -> Net:
    """The same function with every BatchNormalization folded into the layer before it."""
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    model = net.model
    tensors = {name: model.constants.value(name) for name in model.constants.plain}
    values = {name: array for name, array in tensors.items() if array is not None}
    nodes = list(proto.graph.node)
    for index, node in enumerate(nodes):
        if node.op_type != "BatchNormalization":
            continue
        layer = nodes[index - 1]
        gain, shift = folded_statistics(values, node)
        weight = values[layer.input[1]]
        by_output = gain if layer.op_type == "Gemm" else gain.reshape(-1, 1, 1, 1)
        values[layer.input[1]] = (weight * by_output).astype(np.float32)
        bias = f"{layer.name}_bias"
        values[bias] = shift.astype(np.float32)
        layer.input.append(bias)
        layer.output[0] = node.output[0]
    kept = [node for node in nodes if node.op_type != "BatchNormalization"]
    read = {name for node in kept for name in node.input}
    given = {name: array for name, array in values.items() if name in read}
    inputs = {spec.name: spec.shape for spec in model.inputs}
    return Net(make_model(kept, inputs, ["y"], given), net.arrays)


def folded_statistics(values: Mapping[str, Array], node: onnx.NodeProto) -> tuple[Array, Array]:
    gamma, beta, mean, var = (values[name].astype(np.float64) for name in node.input[1:])
    gain = gamma / np.sqrt(var + 1e-5)
    return gain, beta - mean * gain


@pytest.mark.parametrize("name", ["residual", "dense"])
@pytest.mark.parametrize("sparsity", [0.3, 0.7])
def test_folded_and_unfolded_networks_become_the_same_function(name: str, sparsity: float) -> None:
    net = NETS[name]()
    twin = folded(net)
    one, two = (compile_net(each, UNIFORM % sparsity) for each in (net, twin))
    before = [collect_outputs(each.model.original, net.data, 1)["y"] for each in (one, two)]
    np.testing.assert_allclose(before[0], before[1], rtol=1e-4, atol=1e-4)
    after = [outputs_of(each)["y"] for each in (one, two)]
    lost = float(np.linalg.norm(after[0] - before[0]))
    assert np.linalg.norm(after[1] - before[0]) == pytest.approx(lost, rel=0.03)
    assert np.linalg.norm(after[1] - after[0]) < 0.1 * lost  # near-ties fall as BLAS rounds


def test_a_channel_that_is_multiplied_by_zero_loses_its_weights() -> None:
    net = residual()
    for tensor in net.proto.graph.initializer:
        if tensor.name == "pg":
            gamma = statistics("p", 8, 10)["pg"]
            gamma[3] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(gamma, "pg"))
    done = compile_net(net, UNIFORM % 0.3)
    assert not np.any(done.model.weights["w1"][3])
    assert np.count_nonzero(done.model.weights["w1"]) > 0.6 * done.model.weights["w1"].size
    assert error_of(done) < 0.05


# --- what makes the fit good -----------------------------------------------------------------


def error_at(compilation: Compilation, tensor: str) -> float:
    """Relative error of an intermediate tensor on the calibration inputs."""
    assert compilation.calibration is not None
    runs = []
    for model in (compilation.model.original, compilation.model):
        session = Session(with_outputs(model.to_proto(), [tensor]), 1, optimise=False)
        feeds = compilation.calibration.batches(64)
        runs.append({tensor: np.concatenate([session.run(feed)[tensor] for feed in feeds])})
    return relative_output_error(*runs)


@pytest.mark.parametrize("name", ["residual", "projected"])
@pytest.mark.parametrize("sparsity", [0.5, 0.7, 0.85])
def test_aiming_at_the_residual_sum_helps(
    name: str, sparsity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    aware = error_at(uniform(name, sparsity), "s")
    monkeypatch.setattr("eapc.model.epilogue._addends", lambda *_: ("", ""))
    blind = error_at(compile_net(NETS[name](), UNIFORM % sparsity), "s")
    assert aware < blind


def test_a_moved_bias_keeps_the_mean_of_a_layer() -> None:
    nodes = [op("Gemm", "x w b", "y", "gemm")]
    given = weights_for(nodes, {"w": (12, 6), "b": (6,)})
    x = normal((400, 12), 3, 1.0) + np.float32(2)
    net = Net(make_model(nodes, {"x": ("N", 12)}, ["y"], given), {"x": x})
    done = compile_net(net, UNIFORM % 0.75)
    before = collect_outputs(done.model.original, net.data, 1)["y"]
    after = outputs_of(done)["y"]
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=0.01 * before.std())


def test_tied_weights_serve_all_their_users() -> None:
    done = compile_net(tied(), UNIFORM % 0.5)
    assert set(done.record.layers) == {"w", "v"}
    assert done.record.layers["w"].name == "first"
    assert error_of(done) < 0.25


def test_a_layer_whose_inputs_never_vary_keeps_its_output() -> None:
    net = dense()
    x = np.repeat(net.arrays["x"][:1], 50, axis=0)
    done = compile_net(Net(net.proto, {"x": x}), UNIFORM % 0.5)
    before = collect_outputs(done.model.original, dataset({"x": x}, done.model.inputs, ""), 1)["y"]
    np.testing.assert_allclose(outputs_of(done)["y"], before, rtol=0.02, atol=0.02)


def test_almost_all_weights_may_go() -> None:
    done = compile_net(residual(), UNIFORM % 0.999)
    assert all(record.nonzero_weights <= 1 for record in done.record.layers.values())
    assert np.isfinite(outputs_of(done)["y"]).all()


# --- guards ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "",
        "{sparsity=0.5, energy=0.5}",
        "{sparsity=1}",
        "{sparsity=-0.1}",
        "{sparsity=nan}",
        "{energy=0}",
        "{energy=1.01}",
        "{energy=nan}",
    ],
)
def test_prune_weights_refuses_options(options: str) -> None:
    with pytest.raises(UsageError, match="prune-weights"):
        Pipeline.parse(f"prune-weights{options}", load_passes())


@pytest.mark.parametrize("text", ["prune-weights{energy=0.5}", UNIFORM % 0.5])
def test_what_needs_calibration_says_so(text: str) -> None:
    start = Compilation(residual().model, EYERISS)
    with pytest.raises(PassError, match="calibration") as caught:
        Pipeline.parse(text, load_passes()).run(start)
    assert caught.value.exit_code == 2


def test_uniform_zeroing_needs_no_data() -> None:
    start = Compilation(residual().model, EYERISS)
    done = Pipeline.parse("prune-weights{sparsity=0.5}", load_passes()).run(start)
    assert done.record.layers["w1"].nonzero_weights == 288
    assert done.record.layers["w1"].relative_output_error is None


def test_reconstruction_of_an_untouched_model_does_nothing() -> None:
    done = compile_net(residual(), "reconstruct-outputs")
    assert done.model.weights == {}


def test_nothing_to_prune_is_an_error() -> None:
    net = Net(make_model([op("Relu", "x", "y")], {"x": ("N", 4)}, ["y"]), {"x": normal((4, 4))})
    with pytest.raises(PassError, match="nothing to prune: no Conv, Gemm or MatMul") as caught:
        compile_net(net, "prune-weights{sparsity=0.5}")
    assert isinstance(caught.value.__cause__, ModelError)
    assert caught.value.exit_code == 3


def test_zeroing_keeps_the_largest_weights_as_the_layers_behind_see_them() -> None:
    nodes = [op("Gemm", "x w", "y", "gemm")]
    w = np.array([[3, -1, 0.5], [0.1, -4, 2]], np.float32)
    net = Net(make_model(nodes, {"x": ("N", 2)}, ["y"], {"w": w}), {"x": normal((9, 2))})
    done = compile_net(net, "prune-weights{sparsity=0.5}")
    np.testing.assert_array_equal(done.model.weights["w"], [[3, 0, 0], [0, -4, 2]])


def test_an_energy_budget_gives_layers_different_densities() -> None:
    done = compile_net(residual(), "prune-weights{energy=0.7}")
    assert done.record.curves is not None
    densities = {r.nonzero_weights / r.weights for r in done.record.layers.values()}
    assert len(densities) > 1


def test_an_energy_budget_of_one_keeps_everything() -> None:
    done = compile_net(residual(), "prune-weights{energy=1.0}")
    assert all(record.sparsity == 0 for record in done.record.layers.values())


def test_curves_are_computed_once() -> None:
    done = compile_net(residual(), "prune-weights{energy=0.9}")
    again = Pipeline.parse("prune-weights{energy=0.8}", load_passes()).run(done)
    assert again.record.curves is done.record.curves
    fresh = compile_net(residual(), "prune-weights{energy=0.8}")
    assert {k: r.nonzero_weights for k, r in fresh.record.layers.items()} == {
        k: r.nonzero_weights for k, r in again.record.layers.items()
    }


def test_a_pruned_model_can_be_pruned_further() -> None:
    net = residual()
    once = uniform("residual", 0.5).model.to_proto()
    twice = compile_net(Net(once, net.arrays), UNIFORM % 0.75)
    assert all(record.sparsity >= 0.74 for record in twice.record.layers.values())
    assert error_of(twice) < 0.2


# --- hold-out-inputs -------------------------------------------------------------------------


def test_held_out_inputs_take_no_part_in_what_follows() -> None:
    done = compile_net(residual(), "hold-out-inputs{fraction=0.25}")
    assert done.calibration is not None
    assert len(done.calibration) == 30
    _, apart = residual().data.split(0.25)
    kept = done.calibration.arrays["x"]
    assert not any((kept == image).all(axis=(1, 2, 3)).any() for image in apart.arrays["x"])


@pytest.mark.parametrize("fraction", ["0", "-1", "0.6", "nan"])
def test_hold_out_inputs_refuses_fractions(fraction: str) -> None:
    with pytest.raises(UsageError, match="hold-out-inputs"):
        Pipeline.parse(f"hold-out-inputs{{fraction={fraction}}}", load_passes())


def test_holding_out_needs_inputs() -> None:
    start = Compilation(residual().model, EYERISS)
    with pytest.raises(PassError, match="hold-out-inputs: needs calibration data"):
        Pipeline.parse("hold-out-inputs", load_passes()).run(start)


def test_a_batch_for_analysis_goes_before_the_models_own() -> None:
    net = fixed_batch()
    settings = [Settings(batch=4), Settings(batch=4, calibration=net.data)]
    alone, with_data = (analyze(net.model, one).energy for one in settings)
    assert (alone.batch, with_data.batch) == (4, 4)
    assert with_data.macs == alone.macs
    for node in with_data.nodes:
        words = alone.by_node[node.key].accesses["dram"]
        assert node.accesses["dram"].weights == words.weights
