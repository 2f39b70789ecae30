"""Keywords from Python: what they are called, what they take, what they come to."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import onnx
import pytest

import eapc
from eapc.api.given import Given, data_source
from eapc.api.keywords import (
    ALIASES,
    AnalyzeOptions,
    CompareOptions,
    DynamicOptions,
    FinetuneOptions,
    GoalLists,
    GoalOptions,
    ProfileOptions,
    PruneOptions,
    RecipeOptions,
    RunOptions,
    SweepOptions,
)
from eapc.cli.option_groups import Layers
from eapc.commands.preparation import Settings
from eapc.data import Remembered
from eapc.energy import GivenBits
from eapc.errors import ArgumentError, UsageError
from eapc.goals import DEFAULT_GOAL, GOALS, Goal, Pruned, Target, Width, keyword_of, refinements
from eapc.model import Model
from eapc.pipeline import Recipe

MODELS = Path(__file__).parents[1] / "models"
DIGITS = MODELS / "digits.onnx"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(DIGITS)


def pruning(**options: Any) -> Given:
    return Given("prune", options, PruneOptions)


# --- names ---------------------------------------------------------------------------------------


def test_every_goal_is_a_keyword() -> None:
    """A goal that is entered in the table needs its line for type checkers."""
    names = {keyword_of(option) for option in GOALS}
    names |= {each.name for kind in GOALS.values() for each in refinements(kind)}
    assert GoalOptions.__annotations__.keys() == names
    assert GoalLists.__annotations__.keys() == names


def test_every_option_of_layers_is_a_keyword() -> None:
    assert RecipeOptions.__annotations__.keys() == {each.name for each in fields(Layers)}


def test_every_setting_is_a_keyword() -> None:
    known = PruneOptions.__annotations__.keys() | AnalyzeOptions.__annotations__.keys()
    assert {each.name for each in fields(Settings)} <= known


@pytest.mark.parametrize(
    ("function", "keywords"),
    [
        (eapc.analyze, AnalyzeOptions),
        (eapc.prune, PruneOptions),
        (eapc.sweep, SweepOptions),
        (eapc.compare, CompareOptions),
        (eapc.compare_all, CompareOptions),
        (eapc.run, RunOptions),
        (eapc.profile, ProfileOptions),
        (eapc.dynamic, DynamicOptions),
        (eapc.finetune, FinetuneOptions),
    ],
)
def test_help_lists_the_keywords(function: Any, keywords: Any) -> None:
    shown = inspect.signature(function).parameters
    own = {name for name in keywords.__annotations__ if name not in ALIASES}
    assert own <= shown.keys()
    assert not set(ALIASES) & shown.keys()
    assert "options" not in shown


def test_a_keyword_may_be_written_out(model: Model) -> None:
    short = pruning(hw="eyeriss", calib="a.npz", input_shape={"image": (2, 1, 8, 8)})
    long = pruning(hardware="eyeriss", calibration="a.npz", input_shapes={"image": [2, 1, 8, 8]})
    assert short.settings(None, model) == long.settings(None, model)
    assert pruning(eval="b.npz").rest == {"evaluation": "b.npz"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparcity": 0.8}, "prune: no keyword 'sparcity'; did you mean sparsity?"),
        ({"input": (1, 2)}, "no keyword 'input'; did you mean input_shape"),
        ({"density": 0.5}, "no keyword 'density'; did you mean densities"),
        ({"qq": 1}, "no keyword 'qq'; there are batch, bits, calib, calibration, "),
        ({"hw": "eyeriss", "hardware": "eyeriss"}, "hw and hardware are the same: give one"),
        ({"calib": "a", "calibration": "b"}, "calibration and calibration are|calib"),
    ],
)
def test_keywords_that_are_unknown_or_given_twice(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said.replace("?", r"\?")):
        pruning(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": "4"}, "batch: expected a whole number, got str"),
        ({"batch": True}, "batch: expected a whole number, got bool"),
        ({"samples": 2.5}, "samples: expected a whole number, got float"),
        ({"hw": 3}, "hw: expected a shipped machine's name, a path or a HardwareModel, got int"),
        ({"hardware": b"eyeriss"}, "hardware: expected a shipped .*, got bytes"),
        ({"structured": "yes"}, "structured: expected True or False, got str"),
        ({"bits": 7.5}, "bits: expected 8, 'weights=4,activations=8' or a dict, got float"),
        ({"output": 1}, "output: expected a path, got int"),
        ({"memory": 1.5}, "memory: expected bytes or a size such as '2GB', got float"),
        ({"include": 3}, "include: expected a name or several, got int"),
        ({"progress": "bar"}, "progress: expected a function of steps, got str"),
        ({"classes": 3}, "classes: expected numbers or names of classes, or a path, got int"),
    ],
)
def test_values_of_the_wrong_type(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        pruning(**options)


@pytest.mark.parametrize("name", ["batch", "samples"])
def test_numbers_that_are_too_low(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: expected 1 or more, got 0") as caught:
        pruning(**{name: 0})
    assert not isinstance(caught.value, TypeError)


def test_none_is_as_if_not_given(model: Model) -> None:
    given = pruning(hw=None, samples=None, sparsity=None, bits=None)
    assert given.settings(None, model) == Settings()
    assert given.goal(None, given.recipe(None)) == DEFAULT_GOAL


# --- settings, recipe, goal --------------------------------------------------------------------


def test_settings_of_keywords(model: Model) -> None:
    given = pruning(
        hw=Path("my.yaml"),
        batch=np.int64(4),
        input_shape=(4, 1, 8, 8),
        samples=16,
        threads=1,
        seed=3,
        memory="2MB",
    )
    expected = Settings(
        hardware=Path("my.yaml"),
        batch=4,
        input_shapes={"image": (4, 1, 8, 8)},
        samples=16,
        threads=1,
        seed=3,
        memory=2_000_000,
    )
    assert given.settings(None, model) == expected
    assert given.rest == {}


@pytest.mark.parametrize("shape", [(1, "a"), "1,1,8,8", {"image": 3}, (0, 1, 8, 8)])
def test_shapes_that_are_none(shape: Any, model: Model) -> None:
    with pytest.raises(ArgumentError, match=r"input_shape: 'image': expected sizes such as \(1, 3"):
        pruning(input_shape=shape).settings(None, model)


def test_an_object_and_its_keywords_do_not_go_together(model: Model) -> None:
    with pytest.raises(TypeError, match="settings and hw are both given: hw belongs to settings"):
        pruning(hw="eyeriss").settings(Settings(), model)
    with pytest.raises(TypeError, match="recipe and method are both given"):
        pruning(method="eap").recipe(Recipe())
    with pytest.raises(TypeError, match="goal and sparsity are both given"):
        pruning(sparsity=0.5).goal(eapc.Sparsity(0.5), Recipe())


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda given, model: given.settings("eyeriss", model),
            "settings: expected an eapc.Settin",
        ),
        (
            lambda given, _: given.recipe({"method": "eap"}),
            "recipe: expected an eapc.Recipe, got d",
        ),
        (lambda given, _: given.goal(0.7, Recipe()), "goal: expected an eapc.Goal, got float"),
        (lambda given, _: given.goals([0.7], Recipe()), "goals: expected goals such as .* got fl"),
        (lambda given, _: given.goals("x", Recipe()), "goals: expected a series of goals, got str"),
    ],
)
def test_objects_of_the_wrong_type(made: Any, said: str, model: Model) -> None:
    with pytest.raises(ArgumentError, match=said):
        made(pruning(), model)


def test_a_recipe_of_keywords() -> None:
    recipe = pruning(
        method="eap", pattern="2:4", include=["conv*", "fc"], exclude="fc", repair=2, bits="mixed"
    ).recipe(None)
    expected = Recipe(
        method="eap",
        pattern="2:4",
        include=("conv*", "fc"),
        exclude=("fc",),
        repair=2,
        mixed_bits=True,
    )
    assert recipe == expected


@pytest.mark.parametrize("bits", [4, "4", {"weights": 4, "activations": 4}, GivenBits(4, 4)])
def test_widths_as_people_write_them(bits: Any) -> None:
    given = pruning(bits=bits)
    recipe = given.recipe(None)
    assert recipe.bits == GivenBits(4, 4)
    assert given.goal(None, recipe) == Width("4")


@pytest.mark.parametrize(
    ("options", "goal"),
    [
        ({"sparsity": 0.8}, eapc.Sparsity(0.8)),
        ({"target_energy": np.float32(0.5)}, eapc.TargetEnergy(0.5)),
        ({"max_drop": 0, "confidence": 0.9}, eapc.MaxDrop(0.0, 0.9)),
        ({"densities": "d.yaml"}, eapc.Densities(Path("d.yaml"))),
        ({"pattern": "2:4"}, eapc.Sparsity(0.5)),
        ({}, DEFAULT_GOAL),
    ],
)
def test_a_goal_of_keywords(options: dict[str, Any], goal: Goal) -> None:
    given = pruning(**options)
    assert given.goal(None, given.recipe(None)) == goal


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsity": "0.8"}, "sparsity: expected a number, got str"),
        ({"densities": [1]}, "densities: expected a path, got list"),
        ({"densities": 0.5}, "densities: expected a path, got float"),
        ({"confidence": "high"}, "confidence: expected a number, got str"),
        ({"sparsity": 2}, r"--sparsity: expected a fraction in \[0, 1\), got 2.0"),
        ({"sparsity": 0.5, "confidence": 0.9}, "--confidence: goes with --max-drop"),
        ({"target_energy": 0.7, "pattern": "2:4"}, "--pattern 2:4 fixes the share of zeros"),
    ],
)
def test_goals_that_are_none(options: dict[str, Any], said: str) -> None:
    given = pruning(**options)
    with pytest.raises(UsageError, match=said):
        given.goal(None, given.recipe(None))


def test_goals_of_a_sweep() -> None:
    given = Given("sweep", {"target_energy": [0.8, 0.7]}, SweepOptions)
    assert given.goals(None, Recipe()) == [eapc.TargetEnergy(0.8), eapc.TargetEnergy(0.7)]
    one = Given("sweep", {"max_drop": 0.01, "confidence": 0.9}, SweepOptions)
    assert one.goals(None, Recipe()) == [eapc.MaxDrop(0.01, 0.9)]
    with pytest.raises(UsageError, match="a sweep needs values of a goal"):
        Given("sweep", {}, SweepOptions).goals(None, Recipe())


@dataclass(frozen=True)
class MostWeights(Target):
    """Non-zero weights at most so many."""

    value: Any
    counted: str = field(
        default="", metadata={"option": "--counted", "metavar": "K", "kind": str, "help": "How."}
    )

    option = "--most-weights"
    metavar = "F"
    help = "At most this fraction of non-zero weights."
    kind = str
    cost = "weights"

    def __post_init__(self) -> None:
        """Any text."""

    def ratio(self, result: Pruned) -> float:
        return result.after.nonzero_weights / result.before.nonzero_weights


def test_a_goal_of_ones_own_is_a_keyword(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="no keyword 'most_weights'"):
        pruning(most_weights=0.5)
    monkeypatch.setitem(GOALS, MostWeights.option, MostWeights)
    given = pruning(most_weights="half", counted="twice")
    assert given.goal(None, Recipe()) == MostWeights("half", "twice")
    assert pruning(most_weights=0.5).goal(None, Recipe()) == MostWeights("0.5")
    with pytest.raises(ArgumentError, match="most_weights: expected a number or text, got list"):
        pruning(most_weights=[0.5]).goal(None, Recipe())


def test_data_in_memory_is_read_once() -> None:
    kept = data_source("calibration", [np.ones(3)])
    assert isinstance(kept, Remembered)
    assert data_source("calibration", kept) is kept
    assert data_source("calibration", "a.npz") == "a.npz"
    with pytest.raises(TypeError, match=r"calibration: expected a path, an eapc.DataFiles .* int$"):
        data_source("calibration", 3)


# --- calls that a type checker and Python both judge ---------------------------------------------


def test_types_of_results() -> None:
    """`make check` reads these lines too: what has to be refused would else be an unused ignore."""
    proto = onnx.load(DIGITS)
    assert_type(eapc.analyze(proto, hw="eyeriss", batch=2), eapc.Analysis)
    assert_type(eapc.analyze(DIGITS.read_bytes(), bits={"weights": 4}), eapc.Analysis)
    ran = eapc.run(DIGITS, ["annotate-energy"], threads=1)
    assert_type(ran, eapc.Ran)
    assert_type(ran.to_json(), str)
    with pytest.raises(TypeError):
        eapc.analyze(DIGITS, batch="4")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        eapc.analyze(DIGITS, sparsity=0.5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        eapc.prune(DIGITS, sparcity=0.5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        eapc.prune(DIGITS, calibration=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        eapc.prune([DIGITS])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        eapc.sweep(DIGITS, sparsity="0.5")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        eapc.run(DIGITS, [3])  # type: ignore[list-item]
