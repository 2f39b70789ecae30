"""Fewer target classes from end to end, on the digits network and on small ones."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array, loaded, make_model, normal, op, save

import eapc
from eapc.checkpoints import model_digest
from eapc.classes import class_map
from eapc.cli import main
from eapc.data import Dataset
from eapc.errors import DataError, PassError, UsageError, VerificationError
from eapc.evaluation import require_kept_answers
from eapc.runtime import collect_outputs, open_model

MODELS = Path(__file__).parents[1] / "models"
CALIBRATION = MODELS / "digits_calibration.npz"
EVALUATION = MODELS / "digits_eval.npz"
FEW = eapc.Settings(calibration=CALIBRATION, samples=300, threads=1)
GOAL = eapc.Sparsity(0.5)


@pytest.fixture(scope="module")
def pruned() -> eapc.Pruned:
    model = MODELS / "digits.onnx"
    return eapc.prune(model, FEW, goal=GOAL, evaluation=EVALUATION, classes=[8, 3])


def labels(path: Path) -> Array:
    found: Array = np.load(path)["y"]
    return found


def test_the_rest_is_fitted_and_judged_on_the_classes_kept(
    pruned: eapc.Pruned, digits: Path
) -> None:
    """Accuracy before is that of the original's answers restricted to the two classes."""
    calibration = pruned.compilation.calibration
    assert calibration is not None
    assert len(calibration) == np.isin(labels(CALIBRATION)[:300], (8, 3)).sum()
    assert set(calibration.require_labels()) == {0, 1}
    y = labels(EVALUATION)
    chosen = np.flatnonzero(np.isin(y, (8, 3)))
    original = eapc.Model.load(digits)
    data = eapc.load_data(EVALUATION, original.inputs).take(chosen)
    scores = collect_outputs(original, data)["logits"][:, [8, 3]]
    right = scores.argmax(axis=1) == np.where(y[chosen] == 8, 0, 1)
    assert pruned.accuracy is not None
    assert pruned.accuracy.samples == len(chosen)
    assert pruned.accuracy.before == pytest.approx(right.mean())
    assert pruned.accuracy.before > 0.97


def test_the_cut_network_is_what_results_are_held_against(pruned: eapc.Pruned) -> None:
    """640 weights of the classifier become 128; the others are there before and after."""
    assert pruned.uncut is not None
    assert pruned.uncut.weights - pruned.before.weights == 640 - 128
    assert pruned.before.energy_mac_units < pruned.uncut.energy_mac_units
    assert pruned.energy_ratio == pytest.approx(
        pruned.after.energy_mac_units / pruned.before.energy_mac_units
    )
    kept = class_map(pruned.model)
    assert kept is not None
    assert kept.classes == (8, 3)


def test_the_printed_pipeline_gives_the_same_weights(pruned: eapc.Pruned, digits: Path) -> None:
    assert pruned.pipeline.startswith("keep-classes{classes=8|3}, annotate-energy, prune-weights")
    ran = eapc.run(digits, pruned.pipeline, FEW).compilation.model
    for name in pruned.model.weights:
        np.testing.assert_array_equal(ran.constants[name], pruned.model.constants[name])


def test_made_up_inputs_are_those_that_run_makes(digits: Path) -> None:
    settings = eapc.Settings(samples=16, threads=1)
    done = eapc.prune(digits, settings, goal=GOAL, classes=[8, 3])
    ran = eapc.run(digits, done.pipeline, settings).compilation.model
    for name in done.model.weights:
        np.testing.assert_array_equal(ran.constants[name], done.model.constants[name])


@pytest.mark.usefixtures("kept_logging")
def test_a_file_of_two_classes_is_written_and_read(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """prune --classes with channels, then compare and prune what came out, and a cut of it."""
    out = tmp_path / "out.onnx"
    data = ["--calib", str(CALIBRATION), "--samples", "200", "--eval", str(EVALUATION)]
    asked = ["--classes", "8,3,1", "--structured", "--target-energy", "0.6", "--threads", "1"]
    assert main(["prune", str(digits), *data, *asked, "-o", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["classes"]["kept"] == [8, 3, 1]
    assert document["energy_ratio"] <= 0.602
    ratios = document["classes"]["pruned_over_uncut"]
    assert ratios["energy"] < document["energy_ratio"] < 1
    uncut = document["classes"]["uncut"]["energy_mac_units"]
    assert ratios["energy"] == pytest.approx(document["after"]["energy_mac_units"] / uncut)
    onnx.checker.check_model(out, full_check=True)

    compared = eapc.compare(digits, out, FEW, evaluation=EVALUATION, latency=False)
    assert compared.classes is not None
    assert compared.classes.classes == (8, 3, 1)
    accuracy = compared.accuracy
    assert accuracy is not None
    assert accuracy.before == document["accuracy"]["before"]
    assert accuracy.after == document["accuracy"]["after"]
    assert accuracy.samples == np.isin(labels(EVALUATION), (8, 3, 1)).sum()
    turned = eapc.compare(out, digits, FEW, evaluation=EVALUATION, latency=False)
    assert turned.accuracy is not None
    assert turned.accuracy.after == accuracy.before

    again = eapc.prune(out, FEW, goal=GOAL, evaluation=EVALUATION)
    assert again.accuracy is not None
    assert again.accuracy.before == accuracy.after
    fewer = eapc.prune(out, FEW, goal=GOAL, classes=[1, 8])
    assert class_map(fewer.model) == replace(compared.classes, classes=(1, 8))
    with pytest.raises(UsageError, match="no class '3': the network was cut to 1, 8"):
        eapc.prune(fewer.model, FEW, goal=GOAL, classes=[1, 3])


@pytest.mark.usefixtures("kept_logging")
def test_tables_tell_the_classes_and_what_is_left(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "few.txt"
    listed.write_text("8\n3\n")
    data = ["--calib", str(CALIBRATION), "--samples", "200", "--threads", "1"]
    asked = ["--classes", str(listed), "--sparsity", "0.8"]
    out = tmp_path / "out.onnx"
    assert main(["prune", str(digits), *data, *asked, "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "classes        8, 3\n" in said
    assert "% of energy once cut\n" in said
    assert "once pruned: weights fall faster than energy\n" in said
    assert main(["sweep", str(digits), *data, "--classes", "8,3", "--sparsity", "0.5,0.8"]) == 0
    said = capsys.readouterr().out
    assert "cut to classes 8, 3" in said
    assert main(["compare", str(digits), str(out), *data, "--no-latency"]) == 0
    assert "of both on the classes kept: 8, 3" in capsys.readouterr().out
    assert main(["data", "show", str(EVALUATION), "--model", str(out)]) == 0
    others = (~np.isin(labels(EVALUATION), (8, 3))).sum()
    said = " ".join(capsys.readouterr().out.split())
    assert f"{others} of 597 labels are of classes that the network was not cut to" in said


def test_a_sweep_has_the_same_rows_as_prune(pruned: eapc.Pruned, digits: Path) -> None:
    swept = eapc.sweep(digits, FEW, goals=[GOAL], evaluation=EVALUATION, classes="8,3")
    (row,) = swept.rows
    assert row.energy_ratio == pruned.energy_ratio
    assert row.accuracy == pruned.accuracy
    assert row.uncut == pruned.uncut


def test_a_killed_run_goes_on(digits: Path, tmp_path: Path) -> None:
    """Finished layers count for the same classes only."""
    out = tmp_path / "out.onnx"

    def stop(step: object) -> None:
        if getattr(step, "done", 0) == 3 and getattr(step, "stage", "") == "reconstruct-outputs":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eapc.prune(digits, FEW, goal=GOAL, classes=[8, 3], output=out, progress=stop)
    assert (tmp_path / "out.onnx.partial").is_dir()
    done = eapc.prune(digits, FEW, goal=GOAL, classes=[8, 3], output=out, resume=True)
    alone = eapc.prune(digits, FEW, goal=GOAL, classes=[8, 3])
    for name in alone.model.weights:
        np.testing.assert_array_equal(done.model.constants[name], alone.model.constants[name])


def test_the_default_goal_holds_for_the_cut_network(digits: Path) -> None:
    pipeline = eapc.prune(digits, FEW, goal=eapc.MinAgreement(0.5), classes=[1, 0]).pipeline
    assert pipeline.startswith("keep-classes{classes=1|0}, hold-out-inputs, annotate")


# --- what is refused, and what warned of -----------------------------------------------------


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("8,12", "--classes: no class '12': the network tells 0 to 9"),
        ("8,8", "--classes: class 8 is given twice"),
        ("8", "--classes: one class answers nothing: give two or more"),
        ("none.txt", "--classes: none.txt: no such file"),
    ],
)
def test_wrong_classes_are_one_line_and_nothing_is_written(
    digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    classes: str,
    said: str,
) -> None:
    out = tmp_path / "out.onnx"
    data = ["--calib", str(CALIBRATION), "--samples", "100"]
    assert main(["prune", str(digits), *data, "--classes", classes, "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("kept_logging")
def test_a_network_without_a_head_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = {"w": normal((6, 5)), "b": normal((5,))}
    nodes = [op("Gemm", "x w b", "y"), op("Relu", "y", "z")]
    model = save(make_model(nodes, {"x": ("N", 6)}, ["y", "z"], tensors), tmp_path / "two.onnx")
    assert main(["prune", str(model), "--samples", "16", "--classes", "1,2"]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1] == (
        "eapc: two.onnx: no classifier head to cut: it has 2 outputs, and a classifier has one"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["two.onnx"]


def digits_data(**changes: object) -> Dataset:
    model = eapc.Model.load(MODELS / "digits.onnx")
    return replace(eapc.load_data(CALIBRATION, model.inputs, 100), **changes)  # type: ignore[arg-type]


def test_data_without_labels_are_used_whole_with_a_warning(
    digits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = eapc.Settings(calibration=digits_data(labels=None), threads=1)
    with caplog.at_level(logging.WARNING):
        done = eapc.prune(digits, settings, goal=GOAL, classes=[8, 3], evaluation=EVALUATION)
    assert "calibration data has no labels y: inputs of all classes are used" in caplog.text
    assert done.compilation.calibration is not None
    assert len(done.compilation.calibration) == 100


def test_data_of_other_classes_alone_are_refused(digits: Path) -> None:
    settings = eapc.Settings(calibration=digits_data(labels=np.full(100, 5)), threads=1)
    with pytest.raises(DataError, match="--calib: 0 of 100 labels are of the classes kept, 8, 3"):
        eapc.prune(digits, settings, goal=GOAL, classes=[8, 3])
    evaluation = digits_data(labels=np.full(100, 5))
    with pytest.raises(DataError, match="--eval: 0 of 100 labels are of the classes kept, 8, 3"):
        eapc.prune(digits, FEW, goal=GOAL, classes=[8, 3], evaluation=evaluation)


def test_labels_that_the_uncut_network_has_no_class_for_are_refused(digits: Path) -> None:
    wrong = digits_data(labels=np.arange(100) % 12)
    with pytest.raises(DataError, match="label 11 is out of range: 10 classes"):
        eapc.prune(digits, FEW, goal=GOAL, classes=[8, 3], evaluation=wrong)


def test_calibration_labels_that_count_from_one_are_refused(digits: Path) -> None:
    settings = eapc.Settings(calibration=digits_data(labels=np.arange(100) % 10 + 1), threads=1)
    with pytest.raises(DataError, match="--calib: label 10 is out of range: 10 classes"):
        eapc.prune(digits, settings, goal=GOAL, classes=[8, 3])


def test_labels_of_no_use_are_said_to_be_so(
    digits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One-hot labels are there, but not one integer per sample."""
    given = dict(np.load(CALIBRATION))
    given["y"] = np.eye(10)[given["y"]]
    np.savez(tmp_path / "hot.npz", **given)
    settings = replace(FEW, calibration=tmp_path / "hot.npz")
    with caplog.at_level(logging.WARNING):
        eapc.prune(digits, settings, goal=GOAL, classes=[8, 3])
    assert "hot.npz: " in caplog.text
    assert ": inputs of all classes are used, not of those kept" in caplog.text
    assert "has no labels y" not in caplog.text


def test_names_of_subfolders_name_classes(digits: Path) -> None:
    names = tuple("zero one two three four five six seven eight nine".split())
    settings = eapc.Settings(calibration=digits_data(classes=names), threads=1)
    done = eapc.prune(digits, settings, goal=GOAL, classes=["eight", "three"])
    kept = class_map(done.model)
    assert kept is not None
    assert (kept.classes, kept.names) == ((8, 3), ("eight", "three"))


def test_two_files_of_other_classes_are_not_compared(digits: Path) -> None:
    one, other = (
        eapc.run(digits, f"keep-classes{{classes={each}}}").compilation.model
        for each in ("8|3", "3|1")
    )
    with pytest.raises(UsageError, match="each model has classes that the other was not cut to"):
        eapc.compare(one, other, FEW, latency=False)
    same = eapc.run(digits, "keep-classes{classes=3|8}").compilation.model
    found = eapc.compare(one, same, FEW, evaluation=EVALUATION, latency=False).accuracy
    assert found is not None
    assert found.loss == 0


# --- the pass --------------------------------------------------------------------------------


def test_the_pass_says_what_is_wrong_before_anything_runs(digits: Path) -> None:
    with pytest.raises(UsageError, match=r"keep-classes: give classes=3\|17\|42"):
        eapc.run(digits, "keep-classes")
    with pytest.raises(PassError, match="keep-classes: no class '12'"):
        eapc.run(digits, "annotate-energy, keep-classes{classes=3|12}")


def test_weights_that_were_pruned_before_stay_so(digits: Path) -> None:
    """A cut behind other passes takes what they have made; the reference is cut alike."""
    text = "annotate-energy, prune-weights{sparsity=0.5}, keep-classes{classes=3|8}"
    done = eapc.run(digits, text, FEW).compilation
    weights = done.model.constants["merge.weight"]
    assert np.mean(weights == 0) == pytest.approx(0.5, abs=0.01)
    assert class_map(done.reference) == class_map(done.model)
    assert not np.any(done.reference.constants["merge.weight"] == 0)


def test_scores_that_are_not_the_originals_are_refused() -> None:
    """The check that stands behind every cut sees classes that were swapped."""
    tensors = {"w": normal((3, 4))}
    model = loaded([op("Gemm", "x w", "y")], {"x": ("N", 3)}, ["y"], tensors)
    cut = eapc.run(model, "keep-classes{classes=0|1}").compilation.model
    data = eapc.Dataset(
        {spec.name: spec for spec in model.inputs}, {"x": normal((8, 3))}, {}, np.zeros(8, int)
    )
    require_kept_answers(model, cut, (0, 1), "", data, 1)
    with pytest.raises(VerificationError, match="are not the original's of these classes"):
        require_kept_answers(model, cut, (1, 0), "", data, 1)


def test_channels_that_only_other_classes_used_go_and_nothing_changes() -> None:
    """Class i reads channel i alone: of four channels those of the two classes kept stay."""
    nodes = [
        op("Conv", "x k", "c", name="conv"),
        op("Relu", "c", "r"),
        op("GlobalAveragePool", "r", "p"),
        op("Flatten", "p", "f"),
        op("Gemm", "f w", "y", name="head"),
    ]
    tensors = {"k": normal((4, 3, 1, 1)), "w": np.diag([1, 2, 3, 4]).astype(np.float32)}
    model = loaded(nodes, {"x": ("N", 3, 4, 4)}, ["y"], tensors)
    text = "keep-classes{classes=3|1}, annotate-energy, shrink-channels"
    smaller = eapc.run(model, text).compilation.model
    assert smaller.constants["w"].tolist() == [[0, 2], [4, 0]]
    np.testing.assert_array_equal(smaller.constants["k"], tensors["k"][[1, 3]])
    x = {"x": normal((5, 3, 4, 4), 1)}
    (before,), (after,) = (open_model(each).run(x).values() for each in (model, smaller))
    np.testing.assert_allclose(after, before[:, [3, 1]], rtol=1e-6)


def test_networks_of_other_classes_are_told_apart_by_their_digests(digits: Path) -> None:
    """They have one path, and what one run has finished is not the other's."""
    digests = {
        model_digest(eapc.run(digits, f"keep-classes{{classes={each}}}").compilation.model)
        for each in ("3|8", "8|3", "3|8|1")
    }
    assert len(digests | {model_digest(eapc.Model.load(digits))}) == 4
