"""--target-size: bytes of the file as it is written, or packed."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from goal_builders import RECIPE, start, varied
from pruning_builders import residual

from eapc.commands.compiler import prune
from eapc.commands.preparation import Settings, checked
from eapc.errors import UsageError
from eapc.goals import TargetSize, Trials
from eapc.model import Model, input_bytes, stored_bytes, written_bytes
from eapc.pipeline import Recipe

NET = residual()
SETTINGS = Settings(calibration=NET.data, samples=40, threads=1)


@pytest.mark.parametrize(
    ("value", "amount", "is_fraction"),
    [
        (0.5, 0.5, True),
        ("0.5", 0.5, True),
        (1, 1, True),
        ("200kB", 200_000, False),
        ("200 KB", 200_000, False),
        ("64KiB", 65_536, False),
        ("1.5MB", 1_500_000, False),
        ("2G", 2e9, False),
        ("300B", 300, False),
        (4096, 4096, False),
    ],
)
def test_sizes_by_hand(value: float | str, amount: float, is_fraction: bool) -> None:
    goal = TargetSize(value)
    assert goal.amount == amount
    assert goal.is_fraction == is_fraction


@pytest.mark.parametrize("value", ["12x", "kB", "-1", "", "a half"])
def test_what_is_no_size(value: str) -> None:
    with pytest.raises(UsageError, match="--target-size: expected "):
        TargetSize(value)


@pytest.mark.parametrize("value", [0, -0.5, float("nan"), float("inf"), "0kB", "nan"])
def test_sizes_that_make_no_sense(value: float | str) -> None:
    with pytest.raises(UsageError, match="--target-size: expected more than 0"):
        TargetSize(value)


def test_packings_are_gzip() -> None:
    with pytest.raises(UsageError, match="--packed: expected gzip, got 'zip'"):
        TargetSize(0.5, "zip")
    assert str(TargetSize("200kB", "gzip")) == "--target-size 200kB --packed gzip"
    assert str(TargetSize(0.5)) == "--target-size 0.5"


def on_disk(proto: onnx.ModelProto, path: Path, external: bool) -> Model:
    """The model read from a file of its own, with or without one of external data."""
    if external:
        onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    else:
        onnx.save(proto, path)
    return Model.load(path)


@pytest.mark.parametrize("external", [False, True])
def test_bytes_are_those_of_the_files(tmp_path: Path, external: bool) -> None:
    model = on_disk(residual().proto, tmp_path / "m.onnx", external)
    files = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(files) == 1 + external
    assert input_bytes(model) == sum(map(len, files))
    assert input_bytes(model, packed=True) == sum(len(gzip.compress(f, 6)) for f in files)
    (tmp_path / "out").mkdir()
    model.save(tmp_path / "out" / "model.pruned.onnx")
    written = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    tensors = len(model.view.initializers) if external else 0
    assert 0 <= written_bytes(model) - sum(map(len, written)) <= 32 * tensors
    assert 0 <= input_bytes(model) - stored_bytes(model) < 4096 * external + 1


def test_zeros_pay_off_where_the_file_is_packed(tmp_path: Path) -> None:
    goal = TargetSize(0.6, "gzip")
    model = on_disk(residual().proto, tmp_path / "m.onnx", external=False)
    recipe = Recipe(exclude=("fc",))
    done = prune(model, SETTINGS, goal=goal, recipe=recipe, output=tmp_path / "out.onnx")
    whole = len(gzip.compress((tmp_path / "m.onnx").read_bytes(), 6))
    packed = len(gzip.compress((tmp_path / "out.onnx").read_bytes(), 6))
    assert done.goal_met
    assert packed / whole <= 0.6
    assert goal.bytes_of(done) == packed
    assert goal.reached(done) == packed / whole


def test_bits_are_chosen_where_zeros_do_not_count(tmp_path: Path) -> None:
    model = on_disk(varied().proto, tmp_path / "m.onnx", external=False)
    goal = TargetSize(1.0)
    trials = Trials(replace(start(varied()), model=model, reference=model), RECIPE)
    ways = list(goal.ways(trials))
    assert [way.recipe.widths is not None for way in ways] == [True]
    packed = [way.recipe.widths for way in TargetSize(1.0, "gzip").ways(trials)]
    assert [bits and bits.weights for bits in packed] == [8, 4, None]
    channels = Trials(start(varied()), replace(RECIPE, structured=True))
    assert [way.recipe.widths is None for way in goal.ways(channels)] == [False, True]
    given = replace(RECIPE, bits=ways[0].recipe.bits)
    assert [way.recipe for way in goal.ways(Trials(start(varied()), given))] == [given]


@pytest.mark.parametrize(("value", "tried"), [(0.5, [8, None]), (0.2, [8, 4]), (0.15, [8, 4])])
def test_ways_that_cannot_be_the_best_are_not_tried(
    value: float, tried: list[int | None], digits: Path
) -> None:
    """Packed, 8 bits alone leave 0.274 of the digits network, 4 bits of weights 0.166."""
    data = digits.parent / "digits_calibration.npz"
    settings, recipe = Settings(calibration=data, samples=48, threads=1), Recipe(method="magnitude")
    goal = TargetSize(value, "gzip")
    begun = checked(digits, settings, (goal,), recipe, None, (), False)
    trials = begun.trials(begun.compilation)
    ways = list(goal.tried_ways(trials.of(goal)))
    widths = [way.recipe.widths for way, _ in ways]
    assert [bits and bits.weights for bits in widths] == tried
    assert [found.is_pruned for _, found in ways] == [value != 0.5, value != 0.2]


def test_plain_and_out_of_reach(digits: Path, tmp_path: Path) -> None:
    """8 bits make the digits network 0.309 of its size; zeros would make it no smaller."""
    data = digits.parent / "digits_calibration.npz"
    settings = Settings(calibration=data, samples=64, threads=1)
    met = prune(digits, settings, goal=TargetSize(0.5), output=tmp_path / "half.onnx")
    assert met.goal_met
    assert not met.is_pruned
    assert (tmp_path / "half.onnx").stat().st_size <= 0.5 * digits.stat().st_size
    assert "quantize" in met.pipeline
    small = prune(digits, settings, goal=TargetSize("20kB"), output=tmp_path / "small.onnx")
    assert not small.goal_met
    assert "the network still takes 0.3" in small.reason
    assert "give --structured, so that channels go, or --packed gzip" in small.reason
    again = tmp_path / "half.onnx"
    with pytest.raises(UsageError, match="zeros make a plain file no smaller: give --structured"):
        prune(again, settings, goal=TargetSize(0.5))


def test_channels_make_a_plain_file_smaller(digits: Path, tmp_path: Path) -> None:
    data = digits.parent / "digits_calibration.npz"
    settings = Settings(calibration=data, samples=64, threads=1)
    recipe = Recipe(structured=True, bits=None)
    goal = TargetSize("190kB")
    done = prune(digits, settings, goal=goal, recipe=recipe, output=tmp_path / "out.onnx")
    assert done.goal_met
    assert (tmp_path / "out.onnx").stat().st_size <= 190_000
    assert len({tuple(sorted(each.costs)) for each in done.trials}) == 1
    assert np.isclose(goal.limit(Model.load(digits)), 190_000 / digits.stat().st_size)
