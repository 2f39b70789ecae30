"""The functions of `import eapc`: what they take a model as, and what they hand on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import chain, save
from measured_builders import measured_machine
from onnx import numpy_helper
from routing_builders import LEAD, inputs, wide
from test_profiling_latency import MODEL, machine

import eapc
from eapc.commands.machine_profile import machine_yaml
from eapc.errors import ArgumentError, ModelError, UsageError
from eapc.model import open_model
from eapc.profiling import layer_timer
from eapc.registry import VIEWS
from eapc.tuning import Options as TrainingOptions

DIGITS = Path(__file__).parents[1] / "models" / "digits.onnx"
OPS = ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


# --- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        str,
        Path,
        Path.read_bytes,
        lambda path: bytearray(path.read_bytes()),
        onnx.load,
        eapc.Model.load,
    ],
)
def test_the_forms_of_a_model(form: Any) -> None:
    opened = open_model(form(DIGITS))
    assert [spec.name for spec in opened.inputs] == ["image"]
    assert len(opened.nodes) == 21


def test_a_model_is_printed_in_a_line() -> None:
    opened = open_model(DIGITS.read_bytes())
    assert repr(opened) == "<Model digits: 21 nodes, image to logits>"
    assert repr(open_model(DIGITS)) == f"<Model {DIGITS}: 21 nodes, image to logits>"


def test_a_proto_may_change_afterwards() -> None:
    proto = onnx.load(DIGITS)
    opened = open_model(proto)
    name = proto.graph.initializer[0].name
    before = np.array(opened.constants[name])
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros_like(before), name))
    np.testing.assert_array_equal(open_model(opened).constants[name], before)


class Module:
    """What a network of torch is known by."""

    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([DIGITS], "expected a path, bytes, an onnx.ModelProto or an eapc.Model, got list"),
        (None, "an eapc.Model, got NoneType"),
        (Module(), "got Module; torch.onnx.export makes an ONNX file of it"),
    ],
)
def test_what_is_no_model(source: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"^model: .*{said}$") as caught:
        open_model(source)
    assert isinstance(caught.value, ArgumentError)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"nothing", "the model given: not an ONNX"),
        (onnx.ModelProto(), "the model given: not an ONNX model"),
        (DIGITS.read_bytes()[:1000], "the model given: not an ONNX file, or a truncated one"),
    ],
)
def test_models_that_are_broken(source: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        open_model(source)


def test_external_data_is_missed_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "apart.onnx"
    onnx.save(onnx.load(DIGITS), path, save_as_external_data=True, location="apart.data")
    with pytest.raises(ModelError, match=r"the model given: .*apart\.data"):
        open_model(path.read_bytes())


def test_the_second_model_is_named() -> None:
    with pytest.raises(TypeError, match=r"^model 2: expected a path"):
        eapc.compare(DIGITS, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="models: expected several models, got str"):
        eapc.compare_all("model.onnx")
    with pytest.raises(TypeError, match=r"^teacher: expected a path"):
        eapc.finetune(DIGITS, 3, data="x.npz")  # type: ignore[arg-type]


def test_a_run_that_is_resumed_has_an_output() -> None:
    with pytest.raises(UsageError, match="resume: needs output: finished layers are kept beside"):
        eapc.prune(DIGITS, sparsity=0.5, resume=True)


# --- functions -----------------------------------------------------------------------------------


def test_keywords_are_what_settings_are() -> None:
    by_words = eapc.analyze(DIGITS, hw="mobile-cpu", batch=2, bits="weights=4")
    by_object = eapc.analyze(
        DIGITS, eapc.Settings(hardware="mobile-cpu", batch=2, bits="weights=4")
    )
    assert by_words.to_json() == by_object.to_json()
    assert by_words.energy.batch == 2


def test_a_machine_of_latencies_is_refused_and_read(tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.write_text(machine_yaml(machine("none")))
    with pytest.raises(UsageError, match=r"holds measured latencies .*; eapc\.time_nodes reads it"):
        eapc.analyze(MODEL, hw=file)
    for given in (file, str(file), machine("none")):
        assert eapc.time_nodes(MODEL, hw=given, threads=1).latency_ms == 9.5
    assert eapc.time_nodes(MODEL, file, threads=1).latency_ms == 9.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "hw: none is given; give a file that eapc profile has written"),
        ({"hw": "eyeriss"}, "hw: holds no measured latencies"),
        ({"hw": measured_machine(), "machine": measured_machine()}, "machine and hw are the same"),
        ({"hw": measured_machine(), "sparsity": 0.5}, "time_nodes: no keyword 'sparsity'"),
    ],
)
def test_machines_that_time_nothing(options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        eapc.time_nodes(MODEL, **options)


def test_a_profile_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_timer, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(layer_timer, "_LOOK_SECONDS", 0.0)
    model, out = save(chain(OPS), tmp_path / "tiny.onnx"), tmp_path / "host.yaml"
    done = eapc.profile(model, batch=2, threads=1, repeats=1, minutes=0, output=out)
    assert (done.machine.name, done.machine.batch, done.machine.repeats) == ("host", 2, 1)
    assert eapc.load_machine(out) == done.machine
    with pytest.raises(UsageError, match=r"host\.yaml: exists"):
        eapc.profile(model, output=out)
    with pytest.raises(ArgumentError, match="settings and batch are both given"):
        eapc.profile(model, eapc.ProfileSettings(), batch=2)


def test_two_levels_by_keywords() -> None:
    """Data that is read several times may come from a generator."""
    x = inputs()
    pairs = zip(x, (x[:, 1] <= 0).astype(np.int64), strict=True)
    images = (row for row in x[:64])
    done = eapc.dynamic(
        wide(16), mild=wide(), aggressive=LEAD, eval=pairs, calib=images, bits=None, threads=1
    )
    assert sum(done.parts) == len(x)
    assert done.judged.metric == "top-1"
    assert repr(done).startswith("<DynamicNetwork ")
    assert "sent on" in done._repr_html_()
    networks = json.loads(done.to_json())["networks"]
    rows = VIEWS["DynamicNetwork"].table(done)[1]
    assert [row["accuracy"] for row in rows] == [each["accuracy"]["after"] for each in networks]


def test_training_by_keywords() -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install torch")
    with np.load(DIGITS.with_name("digits_calibration.npz")) as stored:
        x = (stored["x"][:64] * stored["scale"] - stored["mean"]) / stored["std"]
        y = stored["y"][:64]
    pruned = eapc.prune(DIGITS, calibration=x, sparsity=0.8, method="magnitude", threads=1).model
    done = eapc.finetune(
        pruned, DIGITS, data=(x, y), labels=True, epochs=1, batch_size=16, seed=2, threads=1
    )
    assert done.pipeline == "fine-tune{epochs=1, batch=16, labels=True}"
    assert len(VIEWS["FineTuned"].table(done)[1]) == len(done.tuned.epochs) == 1
    assert repr(done).startswith("<FineTuned digits.onnx: loss ")
    with pytest.raises(ArgumentError, match="training and epochs are both given"):
        eapc.finetune(pruned, DIGITS, training=TrainingOptions(), epochs=1)
    with pytest.raises(UsageError, match="fine-tuning needs inputs: --data"):
        eapc.finetune(pruned, DIGITS)


def test_data_is_described() -> None:
    described = eapc.describe_data(DIGITS.with_name("digits_eval.npz"), DIGITS)
    assert "samples 597, inputs image float32 (597, 1, 8, 8)" in repr(described)
    assert VIEWS["DataDescription"].table(described)[1][0]["name"] == "image"
    assert json.loads(described.to_json())["samples"] == 597


def test_a_run_shows_what_it_did() -> None:
    ran = eapc.run(DIGITS, "annotate-energy, prune-weights{sparsity=0.5}", threads=1)
    assert repr(ran).startswith("<Ran digits.onnx: pipeline annotate-energy, prune-weights")
    assert VIEWS["Ran"].table(ran) == ([], [])
    priced = eapc.run(DIGITS, "annotate-energy")
    assert len(VIEWS["Ran"].table(priced)[1]) == 21
    assert json.loads(priced.to_json())["schema"] == "eapc.run/1"


def test_a_dynamic_network_needs_inputs() -> None:
    with pytest.raises(UsageError, match="--eval: is needed"):
        eapc.dynamic(DIGITS)


def test_a_generator_serves_a_command_that_reads_twice() -> None:
    stored = np.load(DIGITS.with_name("digits_calibration.npz"))
    images = (stored["x"][:48] * stored["scale"]).astype(np.float32)
    lines = (image for image in images)
    compared = eapc.compare(DIGITS, DIGITS, calibration=lines, latency=False, threads=1)
    assert compared.likeness is not None
    assert compared.likeness.samples == 48
    assert compared.energy_ratio == 1.0


class Nameless(eapc.Pass):
    """Has no name."""

    def run(self, compilation: eapc.Compilation) -> eapc.Compilation:
        return compilation


class Forgetful(eapc.Pass):
    """Gives nothing back."""

    name = "forgetful"

    def run(self, compilation: eapc.Compilation) -> eapc.Compilation:  # noqa: ARG002
        return None  # type: ignore[return-value]


def test_a_pass_has_to_give_a_compilation_back() -> None:
    with pytest.raises(eapc.PassError, match="forgetful: its run gave NoneType, not a Co"):
        eapc.run(DIGITS, Forgetful())


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (Nameless(), "pipeline: Nameless has no name: it needs a line such as name: ClassVar"),
        ([], "pipeline: empty; name at least one pass"),
        (3, "expected text, passes such as MyPass.., or an eapc.Pipeline, got int"),
        ([eapc.Pass], "got the class Pass"),
        (["annotate-energy", None], "got NoneType"),
    ],
)
def test_pipelines_that_are_none(steps: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        eapc.run(DIGITS, steps)
