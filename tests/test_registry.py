"""Tables of what can be added: every shipped name stands for what it says, and is described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eapc.dataflow import Dataflow
from eapc.errors import UsageError
from eapc.registry import CRITERIA, DATAFLOWS, METHODS, Table
from eapc.solvers import Method
from eapc.structured import Criterion

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    ("table", "kind", "page"),
    [
        (DATAFLOWS, Dataflow, "hardware"),
        (METHODS, Method, "prune"),
        (CRITERIA, Criterion, "structured"),
    ],
)
def test_shipped_names_are_loaded_and_described(table: Table[Any], kind: type, page: str) -> None:
    described = (DOCS / f"{page}.md").read_text()
    for name, entry in table.items():
        assert isinstance(entry, kind)
        assert f"`{name}`" in described


def test_one_of_your_own_comes_last_and_goes_again() -> None:
    table: Table[Any] = Table("spice", {"pi": "math:pi"})
    undo = table.add("salt", 3)
    assert list(table.items()) == [("pi", pytest.approx(3.14159)), ("salt", 3)]
    with pytest.raises(ValueError, match="spice salt exists already"):
        table.add("salt", 4)
    undo()
    assert (list(table), len(table)) == (["pi"], 1)
    with pytest.raises(UsageError, match="unknown spice 'salt'; choose from pi"):
        table.require("salt")
