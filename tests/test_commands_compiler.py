"""The whole way of a model, on the shipped digits network."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import make_model, normal, op
from goal_builders import answered
from pruning_builders import Net, fixed_batch, plain, residual, transformer

import eapc
from eapc.commands.compiler import analyze, default_output, prune, run
from eapc.commands.preparation import Settings
from eapc.data import load_data
from eapc.errors import DataError, ModelError, PassError, UsageError, VerificationError
from eapc.goals import Goal, MinAgreement, Pruned, Sparsity, TargetEnergy
from eapc.model import Array, Model
from eapc.pipeline import Recipe, load_passes

MODELS = Path(__file__).parents[1] / "models"
DIGITS = MODELS / "digits.onnx"
CALIBRATION = MODELS / "digits_calibration.npz"
EVALUATION = MODELS / "digits_eval.npz"
SETTINGS = Settings(calibration=CALIBRATION, samples=400, threads=1)
FEW = replace(SETTINGS, samples=100)


@cache
def uniform(sparsity: float) -> Pruned:
    return prune(DIGITS, SETTINGS, goal=Sparsity(sparsity), evaluation=EVALUATION)


def save(net: Net, path: Path) -> Path:
    path.write_bytes(net.proto.SerializeToString())
    return path


def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any pruning an error."""

    def fail(*_: Any) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("eapc.commands.preparation.synthesise", fail)
    monkeypatch.setattr("eapc.pipeline.Pipeline.run", fail)


# --- prune -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("sparsity", "loss"), [(0.5, 0.01), (0.8, 0.03)])
def test_digits_keep_their_accuracy(sparsity: float, loss: float) -> None:
    done = uniform(sparsity)
    assert done.accuracy is not None
    assert done.accuracy.samples == 597
    assert done.accuracy.before > 0.95
    assert done.accuracy.after >= done.accuracy.before - loss
    assert done.goal_met
    assert not done.synthesised
    assert 0.3 < done.energy_ratio < 1
    assert all(layer.sparsity == pytest.approx(sparsity, abs=0.02) for layer in done.layers)


def test_the_report_is_about_the_model() -> None:
    done = uniform(0.8)
    assert [layer.name for layer in done.layers][:2] == ["stem", "block.conv1"]
    assert all(layer.relative_output_error is not None for layer in done.layers)
    assert done.before.weights == done.after.weights
    assert done.after.nonzero_weights == sum(layer.nonzero_weights for layer in done.layers)
    assert done.before.nonzero_weights > 4 * done.after.nonzero_weights
    assert done.pipeline.startswith("annotate-energy, prune-weights{sparsity=0.8}")
    assert done.seconds["total"] >= max(v for k, v in done.seconds.items() if k != "total")
    json.dumps({"seconds": dict(done.seconds), "ratio": done.energy_ratio})


def test_searches_tell_what_their_time_went_to() -> None:
    """What no stage accounts for is little, also where budgets are predicted and judged."""
    settings = Settings(samples=64, threads=1)
    done = prune(plain().model, settings, recipe=Recipe(load_passes(), structured=True))
    stages = {name: taken for name, taken in done.seconds.items() if name != "total"}
    assert {"synthesise-inputs", "prune-channels", "predict", "judge"} <= stages.keys()
    assert sum(stages.values()) <= done.seconds["total"]
    assert sum(stages.values()) > 0.5 * done.seconds["total"]


def test_the_file_written_is_the_model(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    before = DIGITS.read_bytes()
    done = prune(DIGITS, FEW, goal=Sparsity(0.8), output=output)
    assert done.output == output
    assert DIGITS.read_bytes() == before
    onnx.checker.check_model(str(output), full_check=True)
    assert output.read_bytes() == done.model.to_proto().SerializeToString()
    again = analyze(output, FEW)
    assert again.energy.nonzero_weights == done.after.nonzero_weights
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


@pytest.mark.parametrize("goal", [Sparsity(0.7), TargetEnergy(0.75)])
def test_neither_a_second_run_nor_threads_change_the_bytes(goal: Goal) -> None:
    def proto(threads: int) -> bytes:
        model = prune(DIGITS, replace(FEW, threads=threads), goal=goal).model
        return bytes(model.to_proto().SerializeToString())

    assert proto(1) == proto(2)


def test_an_energy_target_loses_less_than_uniform_pruning_at_that_energy() -> None:
    even = uniform(0.8)
    shared = prune(DIGITS, SETTINGS, goal=TargetEnergy(even.energy_ratio), evaluation=EVALUATION)
    assert shared.goal_met
    assert shared.energy_ratio <= even.energy_ratio
    assert shared.accuracy is not None
    assert even.accuracy is not None
    assert shared.accuracy.after >= even.accuracy.after - 0.01


def test_the_default_goal_keeps_the_outputs() -> None:
    done = prune(DIGITS, SETTINGS, evaluation=EVALUATION)
    assert done.goal_met
    assert done.agreement is not None
    assert done.agreement.value >= 0.98
    assert done.energy_ratio < 0.85
    assert done.accuracy is not None
    assert done.accuracy.after > done.accuracy.before - 0.04


def test_without_data_inputs_are_made_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        done = prune(
            plain().model,
            Settings(samples=100, threads=1),
            evaluation=answered(plain()),
            output=tmp_path / "out.onnx",
        )
    assert done.synthesised
    assert "real data" in caplog.text
    assert done.agreement is not None
    assert done.agreement.metric == "relative output error"
    assert done.agreement.is_met
    assert done.energy_ratio < 1
    assert (tmp_path / "out.onnx").exists()


def test_half_of_what_can_be_saved_needs_no_data() -> None:
    goal = TargetEnergy(0.7)
    done = prune(DIGITS, Settings(samples=100, threads=1), goal=goal, evaluation=EVALUATION)
    assert done.accuracy is not None
    assert done.accuracy.after > done.accuracy.before - 0.05


def test_a_goal_out_of_reach_still_gives_the_best(tmp_path: Path) -> None:
    done = prune(
        DIGITS,
        FEW,
        goal=TargetEnergy(0.05),
        output=tmp_path / "out.onnx",
    )
    assert not done.goal_met
    assert "0.05" in done.reason
    assert (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("net", [fixed_batch(), transformer()])
def test_other_networks_go_the_whole_way(net: Net, tmp_path: Path) -> None:
    path = save(net, tmp_path / "model.onnx")
    data = tmp_path / "data.npz"
    arrays: dict[str, Any] = dict(net.arrays)
    np.savez(data, **arrays)
    for settings in (Settings(calibration=data, threads=1), Settings(threads=1, samples=30)):
        done = prune(path, settings, goal=Sparsity(0.5), output=tmp_path / "o.onnx", force=True)
        assert all(layer.sparsity >= 0.49 for layer in done.layers)


class Reader:
    def __init__(self, x: Array) -> None:
        self._feeds = iter([{"image": part.astype(np.float32)} for part in np.array_split(x, 5)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def test_data_may_come_from_a_reader_or_a_dataset() -> None:
    x = np.load(CALIBRATION)["x"][:50] / np.float32(16)
    by_reader = prune(DIGITS, Settings(calibration=Reader(x), threads=1), goal=Sparsity(0.5))
    data = eapc.load_data(CALIBRATION, Model.load(DIGITS).inputs).first(50)
    by_dataset = prune(
        Model.load(DIGITS), Settings(calibration=data, threads=1), goal=Sparsity(0.5)
    )
    assert by_reader.after.nonzero_weights == by_dataset.after.nonzero_weights


# --- refusals, before any work ---------------------------------------------------------------


def test_an_existing_output_needs_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.onnx"
    output.write_text("mine")
    with monkeypatch.context() as patch:
        no_work(patch)
        with pytest.raises(UsageError, match="--force"):
            prune(DIGITS, SETTINGS, output=output)
        with pytest.raises(UsageError, match="--force"):
            run(DIGITS, "annotate-energy", output=output)
        with pytest.raises(UsageError, match="input model"):
            prune(DIGITS, SETTINGS, output=DIGITS, force=True)
        with pytest.raises(UsageError, match="no such folder"):
            prune(DIGITS, SETTINGS, output=tmp_path / "none" / "out.onnx")
    assert output.read_text() == "mine"
    run(DIGITS, "annotate-energy", output=output, force=True)
    assert Model.load(output).outputs == Model.load(DIGITS).outputs


def test_evaluation_data_is_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eapc.pipeline.Pipeline.run", None)
    x = np.load(EVALUATION)["x"]
    np.savez(tmp_path / "plain.npz", x=x)
    np.savez(tmp_path / "classes.npz", x=x, y=np.full(len(x), 10))
    for name, message in (("plain", "no labels"), ("classes", "label 10 is out of range")):
        with pytest.raises(DataError, match=message):
            prune(DIGITS, SETTINGS, evaluation=tmp_path / f"{name}.npz")


def test_a_model_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_work(monkeypatch)
    proto = make_model([op("Relu", "x", "y")], {"x": ("N", 4)}, ["y"])
    path = save(Net(proto, {}), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="nothing to prune"):
        prune(path)


@pytest.mark.parametrize("samples", [0, 3])
def test_too_few_samples(samples: int, tmp_path: Path) -> None:
    net = residual(batch=4)
    path = save(net, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=net.arrays["x"])
    settings = Settings(calibration=tmp_path / "d.npz", samples=samples, threads=1)
    with pytest.raises(DataError, match="samples"):
        prune(path, settings, goal=Sparsity(0.5))


def test_nothing_is_left_when_verification_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        def check(_: Path) -> None:
            raise VerificationError("no")

        return check

    monkeypatch.setattr("eapc.pipeline.compilation.verifier", refuse)
    with pytest.raises(VerificationError):
        run(DIGITS, "prune-weights{sparsity=0.5}", output=tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_overflows_is_not_written(tmp_path: Path) -> None:
    nodes = [op("Gemm", "x w", "y", "gemm")]
    tensors = {"w": normal((4, 3)).astype(np.float16)}
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, ("N", 4))
    path = save(Net(make_model(nodes, [x], ["y"], tensors), {}), tmp_path / "m.onnx")
    done = run(path, "prune-weights{sparsity=0.5}", Settings(threads=1))
    assert done.compilation.model.weights["w"].dtype == np.float16


# --- analyze, run, names ---------------------------------------------------------------------


def test_analyze_measures_densities() -> None:
    dense, measured = analyze(DIGITS), analyze(DIGITS, SETTINGS)
    assert measured.samples == 400
    assert dense.samples == 0
    assert measured.energy.energy_mac_units < dense.energy.energy_mac_units
    assert measured.energy.macs == dense.energy.macs


def test_an_annotated_model_is_saved(tmp_path: Path) -> None:
    analyze(DIGITS).save(tmp_path / "out.onnx")
    node = onnx.load(tmp_path / "out.onnx").graph.node[0]
    assert any(entry.key == "eapc.energy_mac_units" for entry in node.metadata_props)
    with pytest.raises(UsageError, match="--force"):
        analyze(DIGITS).save(tmp_path / "out.onnx")


def test_run_runs_what_is_typed(tmp_path: Path) -> None:
    text = "prune-weights{sparsity=0.5}, reconstruct-outputs"
    done = run(
        DIGITS,
        text,
        FEW,
        output=tmp_path / "out.onnx",
    )
    assert done.pipeline == text
    assert done.output == tmp_path / "out.onnx"
    assert len(done.compilation.record.layers) == 7


def test_run_reports_the_pass_that_failed() -> None:
    few = load_data(DIGITS.with_name("digits_calibration.npz"), Model.load(DIGITS).inputs).first(1)
    with pytest.raises(PassError, match="hold-out-inputs: ") as caught:
        run(DIGITS, "hold-out-inputs, reconstruct-outputs", Settings(calibration=few))
    assert caught.value.exit_code == 3


def test_run_makes_up_the_inputs_that_passes_need() -> None:
    settings = Settings(samples=20)
    done = run(DIGITS, "prune-weights{sparsity=0.5}, reconstruct-outputs", settings).compilation
    assert done.calibration is not None
    assert done.calibration.synthesised
    assert "synthesise-inputs" in done.record.seconds
    assert run(DIGITS, "annotate-energy").compilation.calibration is None


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("prune-weights{sparsity=0.5}", "(10 for 64): about 128 calibration inputs would do"),
        ("prune-channels{fraction=0.3}", "(10 for 45): about 90 calibration inputs would do"),
    ],
)
def test_run_says_which_layers_its_data_do_not_determine(
    step: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The classifier reads 64 channels, 70 % of them are 45; of 20 images half are fitted."""
    text = f"hold-out-inputs{{fraction=0.5}}, {step}, reconstruct-outputs{{keep_mask=true}}"
    run(DIGITS, text, replace(SETTINGS, samples=20))
    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "of 7 layers have fewer rows to be fitted on than inputs, such as 'classifier'" in line
    assert line.endswith(said)


def test_run_refuses_unknown_passes() -> None:
    with pytest.raises(UsageError, match="no pass 'nope'"):
        run("missing.onnx", "nope")


def test_names() -> None:
    assert default_output("a/b.onnx") == Path("a/b.pruned.onnx")
    with pytest.raises(UsageError):
        default_output("")
    assert "energy" in str(MinAgreement().pipeline(Recipe()))
    for name in eapc.__all__:
        assert getattr(eapc, name) is not None
    with pytest.raises(AttributeError, match="nope"):
        _ = eapc.nope


# --- real models, where the shared data is there ---------------------------------------------


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("mnist-8.onnx", "mnist_calibration.npz"),
        ("cifar10_resnet20_external.onnx", "cifar10_calibration.npz"),
        ("cifar10_resnet20_qdq_int8.onnx", "cifar10_calibration.npz"),
    ],
)
def test_real_models_go_the_whole_way(
    model: str, data: str, shared_data: Path, tmp_path: Path
) -> None:
    calibration = shared_data / "data" / data
    settings = Settings(calibration=calibration, samples=16, threads=2)
    output = tmp_path / "out.onnx"
    done = prune(shared_data / "models" / model, settings, goal=Sparsity(0.5), output=output)
    assert done.energy_ratio < 1
    assert all(layer.sparsity >= 0.45 for layer in done.layers if layer.weights > 100)
    assert Model.load(output).inputs == Model.load(shared_data / "models" / model).inputs


def test_a_real_model_with_all_its_layers_in_branches(shared_data: Path, tmp_path: Path) -> None:
    """Made-up inputs have the rate of one branch; what the other has stays as it is.

    So does the Fourier transform in front, which nobody has learnt.
    """
    shapes = {"input": (1, 576), "state": (2, 1, 128)}
    settings = Settings(input_shapes=shapes, samples=32)
    path, output = shared_data / "models" / "silero_vad.onnx", tmp_path / "out.onnx"
    done = prune(path, settings, goal=Sparsity(0.5), output=output)
    assert len(done.layers) == 7
    assert all(layer.sparsity == 0.5 for layer in done.layers)
    assert {layer.name.rsplit("/", 1)[-1] for layer in done.layers} >= {"LSTM W", "LSTM R"}
    assert any("stft" in skip.name for skip in done.skipped)
    others = (s for s in done.skipped if "else_branch" in s.name and "stft" not in s.name)
    reasons = {skip.reason for skip in others}
    assert reasons == {"no calibration input comes to it; give some that do"}
    kinds = [[node.op_type for node in Model.load(each).view.main_nodes] for each in (path, output)]
    assert kinds[0] == kinds[1]
