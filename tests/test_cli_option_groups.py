"""Groups of options: a command that takes them has their fields for options."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
from typer import Option, Typer, echo

from eapc.cli.option_groups import spread


@dataclass(frozen=True)
class Size:
    width: Annotated[int, Option("--width", "-w")] = 2
    height: Annotated[int, Option("--height")] = 3


@spread
def area(name: str, *, size: Size, loud: Annotated[bool, Option("--loud")] = False) -> None:
    """Say an area."""
    echo(f"{name}: {size.width * size.height}{'!' if loud else ''}")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["box"], "box: 6\n"),
        (["box", "-w", "5", "--loud"], "box: 15!\n"),
        (["box", "--height", "0"], "box: 0\n"),
    ],
)
def test_fields_are_options(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Typer()
    app.command()(area)
    app(args=typed, standalone_mode=False)
    assert capsys.readouterr().out == said


def test_options_keep_their_order_and_the_command_its_help() -> None:
    assert list(inspect.signature(area).parameters) == ["name", "width", "height", "loud"]
    assert (area.__name__, area.__doc__) == ("area", "Say an area.")
