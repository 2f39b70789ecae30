"""Passes are found in one place: the shipped ones and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from eapc.errors import UsageError
from eapc.pipeline import Compilation, Pass, Pipeline, load_passes, passes


@dataclass(frozen=True)
class Doubling(Pass):
    """Do nothing, as an example."""

    name: ClassVar[str] = "double"

    factor: int = 2

    def run(self, compilation: Compilation) -> Compilation:
        return compilation


@dataclass(frozen=True)
class Impostor(Doubling):
    """Take a shipped name."""

    name: ClassVar[str] = "prune-weights"


class NotAPass:
    """Has a name, and that is all."""

    name = "not-a-pass"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that packages with these entry points are installed."""

    def install(*values: str) -> None:
        found = [EntryPoint(value, value, passes.ENTRY_POINT_GROUP) for value in values]

        def entry_points(group: str) -> list[EntryPoint]:
            return found if group == "eapc.passes" else []

        monkeypatch.setattr(passes, "entry_points", entry_points)

    return install


def test_shipped_passes_go_by_their_names() -> None:
    passes = load_passes()
    assert {"annotate-energy", "prune-weights", "reconstruct-outputs"} <= set(passes)
    for name, kind in passes.items():
        assert kind.name == name
        assert kind.summary()


def test_the_table_cannot_be_changed() -> None:
    table: Any = load_passes()
    with pytest.raises(TypeError):
        table["mine"] = Doubling


def test_an_installed_package_adds_its_passes(installed: Callable[..., None]) -> None:
    installed("test_pipeline_entry_points:Doubling")
    pipeline = Pipeline.parse("double{factor=3}, annotate-energy", load_passes())
    assert pipeline.passes[0].name == "double"
    assert str(pipeline) == "double{factor=3}, annotate-energy"


@pytest.mark.parametrize(
    "second", ["test_pipeline_entry_points:Impostor", "test_pipeline_entry_points:Doubling"]
)
def test_a_name_is_given_once(installed: Callable[..., None], second: str) -> None:
    installed("test_pipeline_entry_points:Doubling", second)
    with pytest.raises(UsageError, match="exists already"):
        load_passes()


@pytest.mark.parametrize(
    "value",
    [
        "no_such_module_of_ours:Thing",
        "test_pipeline_entry_points:Missing",
        "test_pipeline_entry_points:NotAPass",
    ],
)
def test_a_broken_package_is_named(installed: Callable[..., None], value: str) -> None:
    installed(value)
    with pytest.raises(UsageError) as caught:
        load_passes()
    assert value in str(caught.value)
    assert "\n" not in str(caught.value)
