"""Pipelines: how they are typed and printed, what they record, how they fail."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest
from builders import loaded, op

from eapc.errors import DataError, EapcError, ModelError, PassError, UsageError
from eapc.hardware import load_hardware
from eapc.model import Model
from eapc.pipeline import Compilation, LayerRecord, Pass, Pipeline, Record, load_passes


@dataclass(frozen=True)
class Noting(Pass):
    """Write down the options.

    More about it.
    """

    name: ClassVar[str] = "note"

    number: float = field(default=1.0, metadata={"help": "a number"})
    keep_it: bool = False
    kind: Literal["a", "b"] = "a"
    text: str = ""

    def run(self, compilation: Compilation) -> Compilation:
        layers = {**compilation.record.layers, str(self): LayerRecord(str(self), 4, 1)}
        return compilation.with_record(layers=layers)


@dataclass(frozen=True)
class Failing(Pass):
    """Fail."""

    name: ClassVar[str] = "fail"

    def run(self, compilation: Compilation) -> Compilation:
        raise DataError(f"too small: {len(compilation.record.layers)}")


@dataclass(frozen=True)
class Crashing(Pass):
    """Crash."""

    name: ClassVar[str] = "crash"

    def run(self, compilation: Compilation) -> Compilation:
        raise RuntimeError(f"a bug after {compilation.record}")


TABLE: dict[str, type[Pass]] = {kind.name: kind for kind in (Noting, Failing, Crashing)}


def model() -> Model:
    return loaded([op("Relu", "x", "y")], {"x": ("N", 4)}, ["y"])


def compilation() -> Compilation:
    return Compilation(model(), load_hardware("eyeriss"))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("note", "note"),
        ("  note ,note", "note, note"),
        ("note{}", "note"),
        ("note{number=1}", "note"),
        ("note{number=0.25}", "note{number=0.25}"),
        ("note{ kind = b , keep-it = true }", "note{keep_it=True, kind=b}"),
        ("note{number=-1e-05}\n,\tnote{text=x y}", "note{number=-1e-05}, note{text=x y}"),
        ("note,", "note"),
        ("note, ", "note"),
    ],
)
def test_what_is_typed_is_printed_and_read_again(text: str, printed: str) -> None:
    pipeline = Pipeline.parse(text, TABLE)
    assert str(pipeline) == printed
    assert Pipeline.parse(str(pipeline), TABLE) == pipeline


def test_shipped_passes_round_trip() -> None:
    text = "annotate-energy, prune-weights{sparsity=0.8}, reconstruct-outputs{keep_mask=True}"
    assert str(Pipeline.parse(text, load_passes())) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        (",", "cannot read ','"),
        ("note note", "cannot read 'note note'"),
        ("note{", "cannot read 'note{'"),
        ("note}", "cannot read 'note}'"),
        ("note{{}}", "cannot read"),
        ("note,,note", "cannot read ',note'"),
        ("note, no te\nagain", "cannot read"),
        ("nope", "no pass 'nope'; there are crash, fail, note"),
        ("Note", "no pass 'Note'"),
        ("note{nope=1}", "note: bad option 'nope=1'; options: keep_it, kind, number, text"),
        ("note{number}", "note: bad option 'number'"),
        ("note{number=1, number=2}", "note: bad option 'number=2'"),
        ("fail{x=1}", "fail: bad option 'x=1'; options: none"),
        ("note{number=much}", "note: number: "),
        ("note{number=}", "note: number: "),
        ("note{keep_it=perhaps}", "note: keep_it: "),
        ("note{kind=c}", "note: kind: "),
        ("note{name=other}", "note: bad option 'name=other'"),
    ],
)
def test_bad_pipelines(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline.parse(text, TABLE)
    assert str(caught.value).startswith("pipeline: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_are_typed_values() -> None:
    (step,) = Pipeline.parse("note{number=3, keep_it=1, kind=b}", TABLE).passes
    assert step == Noting(number=3.0, keep_it=True, kind="b")


def test_passes_run_in_order_and_time_is_recorded() -> None:
    start = compilation()
    done = Pipeline((Noting(number=2), Noting(number=3), Noting(number=2))).run(start)
    assert list(done.record.layers) == ["note{number=2}", "note{number=3}"]
    assert list(done.record.seconds) == ["note"]
    assert done.record.seconds["note"] > 0
    assert start.record == Record()


def test_time_adds_up_over_runs() -> None:
    once = Pipeline((Noting(),)).run(compilation())
    twice = Pipeline((Noting(),)).run(once)
    assert twice.record.seconds["note"] > once.record.seconds["note"]


def test_a_failure_carries_its_pass_and_exit_code() -> None:
    with pytest.raises(PassError) as caught:
        Pipeline.parse("note, fail", TABLE).run(compilation())
    assert str(caught.value) == "fail: too small: 1"
    assert isinstance(caught.value.__cause__, DataError)
    assert caught.value.exit_code == DataError.exit_code == 3


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        Pipeline.parse("crash", TABLE).run(compilation())


def test_every_error_has_an_exit_code() -> None:
    for kind in EapcError.__subclasses__():
        error = kind("fail", ModelError("x")) if kind is PassError else kind("x")
        assert error.exit_code in (2, 3, 4, 5)


def test_a_summary_is_the_first_line() -> None:
    assert Noting.summary() == "Write down the options."


def test_a_new_model_has_no_energy() -> None:
    done = Pipeline.parse("annotate-energy", load_passes()).run(compilation())
    assert done.energy is not None
    assert done.with_model(done.model).energy is None


def test_compilations_and_passes_are_frozen() -> None:
    for thing in (compilation(), Noting(), Record(), LayerRecord("a", 4, 2)):
        name = dataclasses.fields(thing)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, None)


def test_sparsity_of_a_layer() -> None:
    assert LayerRecord("a", 8, 2).sparsity == 0.75
