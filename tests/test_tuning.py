"""Fine-tuning: outputs come back, zeros stay, the same seed gives the same weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Array, loaded, normal, op
from pruning_builders import dense, halved, residual

from eapc.checkpoints import Checkpoints, Finished
from eapc.data import Dataset, dataset
from eapc.errors import DataError, ModelError, UsageError
from eapc.progress import Step
from eapc.tuning import Options, Tuned, tune
from eapc.tuning.augmentation import Augmentation
from eapc.tuning.results import Epoch
from eapc.tuning.student import Student
from eapc.tuning.targets import Teacher, factors
from eapc.tuning.training import Run, TrainingState

SHORT = Options(epochs=6, batch=8, augment="none")


@cache
def tuned(name: str = "residual", **changes: Any) -> Tuned:
    net = {"residual": residual, "dense": dense}[name]()
    return tune(halved(net), net.model, net.data, replace(SHORT, **changes), threads=1)


@pytest.mark.parametrize("name", ["residual", "dense"])
def test_outputs_come_back_and_zeros_stay(name: str) -> None:
    found = tuned(name)
    assert found.changed
    assert found.after < 0.7 * found.before
    pruned = halved({"residual": residual, "dense": dense}[name]())
    zeros = moved = 0
    for key, array in found.model.weights.items():
        before = pruned.constants[key]
        assert array.dtype == before.dtype
        if before.ndim > 1:
            np.testing.assert_array_equal(array == 0, before == 0)
            zeros += int((before == 0).sum())
        moved += int((array != before).sum())
    assert zeros > 0
    assert moved > 0
    count = len({"residual": residual, "dense": dense}[name]().data)
    assert (found.samples, found.held_out) == (count - count // 8, count // 8)
    assert [epoch.number for epoch in found.epochs] == [1, 2, 3, 4, 5, 6]


def test_the_loss_is_the_squared_error_over_the_variance() -> None:
    """Outputs 2 x in place of x: an error of x^2 over the variance of x."""
    constants: dict[str, Array] = {"w": np.array([[2.0]], np.float32)}
    student = loaded([op("MatMul", "x w", "y")], {"x": ["N", 1]}, ["y"], constants)
    teacher = student.with_weights({"w": np.array([[1.0]], np.float32)})
    data = dataset({"x": 1 + normal((32, 1))}, student.inputs, "test")
    _, held = data.split(1 / 8)
    x = held.arrays["x"]
    found = tune(student, teacher, data, replace(SHORT, epochs=1, learning_rate=1e-9), threads=1)
    assert found.before == pytest.approx(float(np.square(x).mean() / x.var()))


def test_made_up_inputs_of_all_kinds_are_trained_on() -> None:
    net = residual()
    kinds = np.repeat([0, 1], len(net.data) // 2)
    run = Run(net.model, net.model, replace(net.data, kinds=kinds), SHORT, 1)
    batches = list(run._batches(np.random.default_rng(0)))
    assert [len(batch.feed["x"]) for batch in batches] == [8, 8, 8, 8]


def test_a_rate_that_spoils_keeps_what_there_was() -> None:
    found = tuned(learning_rate=1e5)
    assert not found.changed
    assert found.after == found.before
    before = halved(residual()).constants
    for name, array in found.model.weights.items():
        np.testing.assert_array_equal(array, before[name])


def test_the_same_seed_gives_the_same_bytes() -> None:
    net = residual()
    second = tune(halved(net), net.model, net.data, SHORT, threads=1)
    for name, array in tuned().model.weights.items():
        np.testing.assert_array_equal(array, second.model.weights[name])
    other = tuned(seed=1).model.weights
    assert any(not np.array_equal(array, other[n]) for n, array in second.model.weights.items())


def test_steps_are_relative_to_what_is_left_of_a_tensor() -> None:
    """Weights 3 and 4 beside zeros: a root mean square of sqrt(12.5); a bias takes the median."""
    constants: dict[str, Array] = {
        "w": np.array([[3.0, 0.0], [0.0, 4.0]], np.float32),
        "b": np.array([7.0, 7.0], np.float32),
    }
    model = loaded([op("Gemm", "x w b", "y")], {"x": ["N", 2]}, ["y"], constants)
    student = Student(model, Teacher.of(model, model, 1), {})
    assert student.scales == {"w": pytest.approx(12.5**0.5), "b": pytest.approx(12.5**0.5)}
    assert tuned(learning_rate=0.0).learning_rate == 0.025


def test_minutes_bound_the_epochs() -> None:
    assert tuned(minutes=1e-6).planned == 1
    assert tuned(minutes=60.0).planned == SHORT.epochs


def test_training_stops_once_nothing_is_gained() -> None:
    found = tuned(learning_rate=1e5, epochs=40)
    assert len(found.epochs) < 40


@pytest.mark.parametrize(
    ("planned", "held_out", "goes_on"),
    [
        (20, [0.3 - 0.01 * n for n in range(12)], True),  # worse than the first state, but falling
        (16, [0.3] * 8, True),
        (16, [0.3] * 9, False),
        (40, [0.3] * 20, True),
        (40, [0.3] * 21, False),
        (40, [0.3, np.inf], False),
    ],
)
def test_epochs_without_a_better_one_end_training(
    planned: int, held_out: list[float], goes_on: bool
) -> None:
    epochs = [Epoch(n + 1, loss, loss) for n, loss in enumerate(held_out)]
    state = TrainingState(planned, 0.1, {}, 0.1, {}, {}, epochs)
    assert state.goes_on is goes_on


def test_frozen_normalisations_stay() -> None:
    changed = tuned(batch_norm="frozen").model.weights
    assert {"pg", "pb"} <= tuned().model.weights.keys()
    before = halved(residual()).constants
    assert all(np.array_equal(changed.get(n, before[n]), before[n]) for n in ("pg", "pb"))


# --- labels --------------------------------------------------------------------------------------


def labelled() -> Dataset:
    net = residual()
    return replace(net.data, labels=np.arange(len(net.data)) % 3)


def test_labels_take_the_place_of_the_original() -> None:
    net, options = residual(), replace(SHORT, labels=True, epochs=10)
    found = tune(halved(net), net.model, labelled(), options, threads=1)
    assert found.epochs[-1].loss < found.epochs[0].loss


def test_labels_that_are_missing_or_no_class() -> None:
    net, options = residual(), replace(SHORT, labels=True)
    with pytest.raises(DataError, match="no labels"):
        tune(halved(net), net.model, net.data, options, threads=1)
    wrong = replace(net.data, labels=np.full(len(net.data), 99))
    with pytest.raises(DataError, match="label 99 is none of the"):
        tune(halved(net), net.model, wrong, options, threads=1)


# --- a run that is killed ------------------------------------------------------------------------


class KilledError(Exception):
    """Stands for what ends a process."""


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    net, epochs = residual(), []

    def kill(step: Step) -> None:
        epochs.append(step.done)
        if step.stage == "fine-tune" and step.done == 3:
            raise KilledError

    kept = Finished(Checkpoints(tmp_path / "out.partial", "run"), "scope")
    with pytest.raises(KilledError):
        tune(halved(net), net.model, net.data, SHORT, threads=1, kept=kept, progress=kill)
    epochs.clear()
    found = tune(
        halved(net),
        net.model,
        net.data,
        SHORT,
        threads=1,
        kept=kept,
        progress=lambda step: epochs.append(step.done),
    )
    assert epochs == [3, 4, 5, 6]
    assert found.epochs == tuned().epochs
    for name, array in tuned().model.weights.items():
        np.testing.assert_array_equal(array, found.model.weights[name])


# --- what cannot be trained ----------------------------------------------------------------------


def test_networks_that_differ() -> None:
    one, other = residual(), dense()
    named = loaded([op("Relu", "a", "y")], {"a": ["N", 3, 8, 8]}, ["y"])
    with pytest.raises(ModelError, match=r"inputs x .* are not those of the teacher: a"):
        tune(one.model, named, one.data, SHORT, threads=1)
    with pytest.raises(ModelError, match=r"inputs x .* are not those of the teacher: x"):
        tune(one.model, other.model, one.data, SHORT, threads=1)
    constants = {"w": normal((3, 3)).reshape(1, 1, 3, 3)}
    same = loaded([op("Identity", "x", "z")], {"x": ["N", 3, 8, 8]}, ["z"], constants)
    with pytest.raises(ModelError, match="outputs y are not those of the teacher: z"):
        tune(one.model, same, one.data, SHORT, threads=1)


def test_nothing_to_train() -> None:
    model = loaded([op("Relu", "x", "y")], {"x": ["N", 2]}, ["y"])
    data = dataset({"x": normal((16, 2))}, model.inputs, "test")
    with pytest.raises(ModelError, match="nothing to train"):
        tune(model, model, data, SHORT, threads=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"minutes": 0.0},
        {"minutes": float("nan")},
        {"batch": 0},
        {"learning_rate": -1.0},
        {"augment": "spin"},
        {"batch_norm": "maybe"},
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Options(**wrong)


def test_too_few_inputs() -> None:
    net = residual()
    with pytest.raises(DataError):
        tune(halved(net), net.model, net.data.first(1), SHORT, threads=1)


# --- targets -------------------------------------------------------------------------------------


def test_targets_lie_before_what_squashes_them() -> None:
    constants: dict[str, Array] = {"w": normal((2, 3))}
    nodes = [op("MatMul", "x w", "logits"), op("Softmax", "logits", "y")]
    model = loaded(nodes, {"x": ["N", 2]}, ["y"], constants)
    teacher = Teacher.of(model, model, 1)
    assert teacher.names == ("logits",)
    x = normal((4, 2))
    np.testing.assert_allclose(teacher.targets({"x": x})[0], x @ constants["w"], rtol=1e-5)


def test_targets_lie_before_what_chooses() -> None:
    """An ArgMax has no gradient, and neither have indices: scores are what is learnt."""
    constants: dict[str, Array] = {"w": normal((2, 3)), "k": np.array([2])}
    scores = [op("MatMul", "x w", "logits"), op("Softmax", "logits", "p")]
    chosen = [*scores, op("ArgMax", "p", "i", axis=1), op("Cast", "i", "y", to=6)]
    model = loaded(chosen, {"x": ["N", 2]}, ["y"], constants)
    assert Teacher.of(model, model, 1).names == ("logits",)
    best = [*scores, op("TopK", "logits k", "values places", axis=1)]
    model = loaded(best, {"x": ["N", 2]}, ["p", "values", "places"], constants)
    assert Teacher.of(model, model, 1).names == ("logits",)
    data = dataset({"x": normal((32, 2))}, model.inputs, "test")
    student = model.with_weights({"w": constants["w"] + normal((2, 3), 1, 0.3)})
    found = tune(student, model, data, replace(SHORT, epochs=8), threads=1)
    assert found.after < found.before


def test_outputs_without_gradients_take_no_part_and_alone_are_refused() -> None:
    constants: dict[str, Array] = {"w": normal((2, 3)), "zero": np.array([0.0], np.float32)}
    nodes = [op("MatMul", "x w", "s"), op("Greater", "s zero", "b"), op("Not", "b", "y")]
    both = loaded(nodes, {"x": ["N", 2]}, ["s", "y"], constants)
    assert Teacher.of(both, both, 1).names == ("s",)
    alone = loaded(nodes, {"x": ["N", 2]}, ["y"], constants)
    data = dataset({"x": normal((32, 2))}, alone.inputs, "test")
    with pytest.raises(ModelError, match="no output follows the weights by a gradient"):
        tune(alone, alone, data, SHORT, threads=1)


def test_every_label_is_looked_at_before_training() -> None:
    """One that is not held out, too."""
    net = residual()
    labels = np.zeros(len(net.data), np.int64)
    labels[1] = 25
    data = replace(net.data, labels=labels)
    assert data.split(1 / 8)[1].require_labels().max() == 0
    with pytest.raises(DataError, match="label 25 is none of the"):
        tune(halved(net), net.model, data, replace(SHORT, labels=True), threads=1)


def test_errors_count_by_the_variance_of_their_part() -> None:
    """Two outputs are two parts; variances 1 and 4 of one: 2 samples over a power of 2 + 8."""
    first = np.array([[0.0, 0.0], [2.0, 4.0]], np.float32)
    second = np.array([[1.0], [3.0]], np.float32)
    one, two = factors(["a", "b"], [[first, second]], {})
    np.testing.assert_allclose(np.broadcast_to(one, (1, 2)), [[0.5 * 2 / 10] * 2])
    np.testing.assert_allclose(two, [[0.5 * 2 / 2]])


def test_loud_channels_do_not_hide_quiet_ones() -> None:
    """Maps of powers 10,000 to 1 are parts of their own: half of the loss each."""
    y = np.stack([100 * normal((40, 4, 4)), normal((40, 4, 4), 1)], 1)
    (factor,) = factors(["y"], [[y]], {})
    spread = np.square(y - y.mean(0)).sum((0, 2, 3)) / 40
    np.testing.assert_allclose(factor.ravel(), 0.5 / spread, rtol=1e-5)


def test_a_constant_target_counts_by_its_square() -> None:
    (factor,) = factors(["y"], [[np.full((4, 2, 3, 3), 3, np.float32)]], {})
    np.testing.assert_allclose(np.broadcast_to(factor, (1, 2, 3, 3)).sum(), 1 / 9, rtol=1e-5)


# --- other views of images -----------------------------------------------------------------------


def augmentation(kind: str, channels: int = 3, size: int = 16) -> Augmentation:
    model = loaded([op("Relu", "x", "y")], {"x": ["N", channels, size, size]}, ["y"])
    x = normal((4, channels, size, size))
    return Augmentation.of(kind, dataset({"x": x}, model.inputs, "test"))


@pytest.mark.parametrize(
    ("channels", "size", "kind"), [(3, 16, "shift+flip"), (1, 16, "shift"), (3, 8, "none")]
)
def test_what_is_done_to_images_by_default(channels: int, size: int, kind: str) -> None:
    assert str(augmentation("auto", channels, size)) == kind


def test_images_are_mirrored_and_moved() -> None:
    x = normal((64, 3, 16, 16))
    flipped = augmentation("flip").apply({"x": x}, np.random.default_rng(0))["x"]
    same = (flipped == x).all((1, 2, 3))
    assert 16 < same.sum() < 48
    np.testing.assert_array_equal(flipped[~same], x[~same][..., ::-1])
    moved = augmentation("shift").apply({"x": x}, np.random.default_rng(0))["x"]
    for before, after in zip(x, moved, strict=True):
        places = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(
                after[:, 2:-2, 2:-2], before[:, 2 + down : 14 + down, 2 + right : 14 + right]
            )
        ]
        assert len(places) == 1


def test_no_image_to_change() -> None:
    with pytest.raises(UsageError, match="no input is an image"):
        augmentation("flip", size=8)


def test_a_run_is_refused_where_torch_computes_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eapc.tuning.student._AGREES", -1.0)
    net = residual()
    with pytest.raises(ModelError, match="torch and onnxruntime differ"):
        Run(net.model, net.model, net.data, SHORT, 1)
