"""What was given in a call from Python becomes settings, a recipe and a goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from numbers import Integral, Real
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from eapc.api.keywords import ALIASES
from eapc.commands.arguments import nearest, read_size, recipe_of
from eapc.commands.preparation import DataSource, Settings
from eapc.data import FORMS, DataFiles, Dataset, Remembered, is_data, kind_of
from eapc.energy import GivenBits
from eapc.errors import ArgumentError, UsageError
from eapc.goals import GOALS, MIXED, AskedGoals, Goal, keyword_of, refinements
from eapc.hardware import HardwareModel, MeasuredMachine
from eapc.model import InputShapes, Model
from eapc.pipeline import Recipe
from eapc.profiling import Meter

_PATHS = (str, PathLike)


class _Kind(NamedTuple):
    """What a keyword takes, in words; `least` is the least number."""

    types: tuple[type, ...]
    words: str
    least: int | None = None


_FLAG = _Kind((bool,), "True or False")
_NAME = _Kind((str,), "a name")
_NAMES = _Kind((str, Sequence), "a name or several")
_NUMBER = _Kind((Real,), "a number")
_FROM_ONE = _Kind((Integral,), "a whole number", 1)
_FROM_NOUGHT = _Kind((Integral,), "a whole number", 0)
_PATH = _Kind(_PATHS, "a path")
_SHAPES = _Kind((Mapping, Sequence), "a dict of shapes by input, or a shape")
_HARDWARE = _Kind(
    (*_PATHS, HardwareModel, MeasuredMachine), "a shipped machine's name, a path or a HardwareModel"
)

_KINDS: Mapping[str, _Kind] = {
    "hw": _HARDWARE,
    "batch": _FROM_ONE,
    "input_shape": _SHAPES,
    "samples": _FROM_ONE,
    "density": _Kind((Real, *_PATHS), "a fraction or a path"),
    "bits": _Kind((Integral, str, Mapping, GivenBits), "8, 'weights=4,activations=8' or a dict"),
    "threads": _FROM_NOUGHT,
    "seed": _FROM_NOUGHT,
    "memory": _Kind((Integral, str), "bytes or a size such as '2GB'", 1),
    "share": _NUMBER,
    "repeats": _FROM_ONE,
    "epochs": _FROM_ONE,
    "batch_size": _FROM_ONE,
    "repair": _FROM_NOUGHT,
    "output": _PATH,
    **dict.fromkeys(("minutes", "learning_rate"), _NUMBER),
    **dict.fromkeys(("include", "exclude"), _NAMES),
    **dict.fromkeys(
        ("method", "pattern", "order", "criterion", "objective", "augment", "batch_norm"), _NAME
    ),
    **dict.fromkeys(
        (
            *("thorough", "structured", "zeros", "finetune", "force", "resume", "latency"),
            *("energy", "labels"),
        ),
        _FLAG,
    ),
    "name": _NAME,
    "progress": _Kind((Callable,), "a function of steps"),  # type: ignore[arg-type]
    "meter": _Kind((Meter,), "an eapc.Meter"),
    "classes": _Kind((*_PATHS, Sequence), "numbers or names of classes, or a path"),
}

_OF_SETTINGS = {"hw": "hardware", "input_shape": "input_shapes"}
"""Fields of `Settings` that have another name than their keyword."""

_RECIPE = frozenset(each.name for each in fields(Recipe)) - {"passes", "classes", "mixed_bits"}
"""Keywords of recipes; `classes` may come beside a Recipe."""


def require(name: str, value: object, kind: _Kind) -> None:
    """Raise ArgumentError for a value of another type, UsageError for a number that is too low."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    is_right = isinstance(value, kind.types) and not isinstance(value, bytes)
    if not is_right or (isinstance(value, bool) and bool not in kind.types):
        raise ArgumentError(f"{name}: expected {kind.words}, got {kind_of(value)}")
    if kind.least is not None and is_number and not value >= kind.least:  # type: ignore[operator]
        raise UsageError(f"{name}: expected {kind.least} or more, got {value}")


class Given:
    """The keywords of one call; settings, recipe and goal take theirs, `rest` is what is left.

    Raises ArgumentError for keywords that `command` does not know, with the nearest ones, for
    those that are given under two names, and for values of the wrong type.
    """

    def __init__(self, command: str, options: Mapping[str, Any], keywords: type) -> None:
        goals = _goal_options() if "sparsity" in keywords.__annotations__ else {}
        known = {*keywords.__annotations__, *goals}
        self._command = command
        self._left: dict[str, Any] = {}
        for given, value in options.items():
            if given not in known:
                raise ArgumentError(f"{command}: no keyword '{given}'; {nearest(given, known)}")
            name = ALIASES.get(given, given)
            if name in self._left and value is not None:
                raise ArgumentError(f"{command}: {name} and {given} are the same: give one")
            if value is not None:
                if name in _KINDS:
                    require(given, value, _KINDS[name])
                self._left[name] = value

    @property
    def rest(self) -> dict[str, Any]:
        """What nobody has taken; data to evaluate on as commands read it."""
        if "evaluation" in self._left:
            self._left["evaluation"] = data_source("evaluation", self._left["evaluation"])
        if "output" in self._left:
            self._left["output"] = Path(self._left["output"])
        return self._left

    def take(self, name: str, default: Any = None) -> Any:
        """The value of a keyword, which is then no longer left."""
        return self._left.pop(name, default)

    def settings(self, given: Settings | None, model: Model, *, widths: bool = False) -> Settings:
        """The settings of an object or of keywords; `widths` says that `bits` are among them."""
        names = {_OF_SETTINGS.get(each.name, each.name) for each in fields(Settings)}
        names = {"hw", "input_shape", *names} - set(_OF_SETTINGS.values())
        taken = self._taken(names if widths else names - {"bits"})
        self._refuse_both("settings", given, Settings, taken)
        if given is None:
            given = Settings(**_fields(taken, model))
        if given.calibration is None:
            return given
        return replace(given, calibration=data_source("calibration", given.calibration))

    def recipe(self, given: Recipe | None) -> Recipe:
        """The recipe of an object or of keywords."""
        taken = self._taken(_RECIPE)
        self._refuse_both("recipe", given, Recipe, taken)
        return recipe_of(taken) if given is None else given

    def goal(self, given: Goal | None, recipe: Recipe) -> Goal:
        """The goal of an object or of keywords; without any what `eapc prune` takes."""
        taken = self._taken(_goal_options())
        self._refuse_both("goal", given, Goal, taken)
        if given is not None:
            return given
        bits = None if recipe.bits is None else str(recipe.bits)
        bits = MIXED if recipe.mixed_bits else bits
        return AskedGoals(_by_option(taken, _value)).goal(recipe.pattern, bits)

    def goals(self, given: Sequence[Goal] | None, recipe: Recipe) -> Sequence[Goal]:
        """The goals of a sweep: objects, or the values of one keyword."""
        taken = self._taken(_goal_options())
        self._refuse_both("goals", given, Sequence, taken)
        if given is None:
            return AskedGoals(_by_option(taken, _values)).goals(recipe.pattern)
        for each in given:
            if not isinstance(each, Goal):
                expected = "expected goals such as eapc.TargetEnergy(0.7)"
                raise ArgumentError(f"goals: {expected}, got {kind_of(each)}")
        return given

    def _taken(self, names: Any) -> dict[str, Any]:
        return {name: self._left.pop(name) for name in list(self._left) if name in names}

    def _refuse_both(self, name: str, given: object, kind: type, taken: Mapping[str, Any]) -> None:
        """Raise ArgumentError where an object is of the wrong type, or keywords come beside it."""
        if given is None:
            return
        if not isinstance(given, kind) or isinstance(given, str):
            article = f"a series of {name}" if kind is Sequence else f"an eapc.{kind.__name__}"
            more = " or keywords such as hw= and calibration=" if kind is Settings else ""
            raise ArgumentError(f"{name}: expected {article}{more}, got {kind_of(given)}")
        if taken:
            other = next(iter(taken))
            said = f"{name} and {other} are both given: {other} belongs to {name}"
            raise ArgumentError(f"{self._command}: {said}; give one of them")


# --- values --------------------------------------------------------------------------------------


def data_source(name: str, source: Any) -> DataSource:
    """Data as commands read it: what is in memory is read once; ArgumentError for what is none."""
    if isinstance(source, str | DataFiles | Dataset | Remembered):
        return source
    if isinstance(source, PathLike):
        return Path(source)
    if not is_data(source):
        expected = f"expected a path, an eapc.DataFiles or Dataset, {FORMS}"
        raise ArgumentError(f"{name}: {expected}, got {kind_of(source)}")
    return Remembered(source, name)


def shapes_of(given: Any, model: Model) -> InputShapes:
    """Shapes by input; one shape is that of a model's only input."""
    if not isinstance(given, Mapping):
        if len(model.inputs) != 1:
            names = ", ".join(spec.name for spec in model.inputs)
            raise ArgumentError(f"input_shape: the inputs are {names}: give a dict of their shapes")
        given = {model.inputs[0].name: given}
    for name, shape in given.items():
        is_shape = isinstance(shape, Sequence) and not isinstance(shape, str)
        if not is_shape or not all(isinstance(n, Integral) and int(n) > 0 for n in shape):
            expected = "expected sizes such as (1, 3, 224, 224)"
            raise ArgumentError(f"input_shape: '{name}': {expected}, got {shape!r}")
    return {str(name): tuple(map(int, shape)) for name, shape in given.items()}


def _fields(taken: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Keywords as fields of `Settings`."""
    found = {_OF_SETTINGS.get(name, name): value for name, value in taken.items()}
    if "input_shapes" in found:
        found["input_shapes"] = shapes_of(found["input_shapes"], model)
    if isinstance(found.get("memory"), str):
        found["memory"] = read_size(found["memory"])
    if isinstance(found.get("hardware"), PathLike):
        found["hardware"] = Path(found["hardware"])
    for name in ("batch", "samples", "threads", "seed"):
        if name in found:
            found[name] = int(found[name])
    return found


def _goal_options() -> dict[str, str]:
    """The keywords of all goals and of what refines them, with their options."""
    options = [*GOALS]
    for kind in GOALS.values():
        options += [each.metadata["option"] for each in refinements(kind)]
    return {keyword_of(option): option for option in options}


def _by_option(
    taken: Mapping[str, Any], read: Callable[[str, type[Any], Any], Any]
) -> dict[str, Any]:
    """Values of goals by option, read by `read`; what refines goals has one value."""
    options = _goal_options()
    found = {}
    for name, value in taken.items():
        option = options[name]
        if option in GOALS:
            found[option] = read(name, GOALS[option].kind, value)
        else:
            found[option] = _value(name, _refining_kind(option), value)
    return found


def _refining_kind(option: str) -> type[Any]:
    """What a refinement of a goal is: a number unless its metadata say otherwise."""
    parts = (each for kind in GOALS.values() for each in refinements(kind))
    found = next(each for each in parts if each.metadata["option"] == option)
    kind: type[Any] = found.metadata.get("kind", float)
    return kind


def _value(name: str, kind: type[Any], value: Any) -> Any:
    """A goal's value: a number, or what its option reads from text."""
    if kind in (float, int):
        require(name, value, _NUMBER)
        return kind(value)
    if isinstance(value, str | PathLike):
        return kind(fspath(value))
    if isinstance(value, Real) and kind is not Path:
        return kind(str(value))
    expected = "a path" if kind is Path else "a number or text"
    raise ArgumentError(f"{name}: expected {expected}, got {kind_of(value)}")


def _values(name: str, kind: type[Any], values: Any) -> list[Any]:
    is_one = isinstance(values, str | PathLike | Real)
    if not is_one and not hasattr(values, "__iter__"):
        raise ArgumentError(f"{name}: expected a value or several, got {kind_of(values)}")
    return [_value(name, kind, each) for each in ([values] if is_one else values)]
