"""Examples of the help are as typed; what completes a line in bash is eapc's own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from eapc.cli import main
from eapc.cli.app import make_app
from eapc.cli.examples import EXAMPLES

PROJECT = Path(__file__).parents[1]
QUICK = ("analyze", "prune", "compare", "run", "passes", "hw list", "hw validate", "data show")
ALL = [(command, text) for command, texts in EXAMPLES.items() for text in texts]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words begin with, and its arguments."""
    group: Any = typer.main.get_command(make_app())
    while hasattr(group, "commands"):
        group, words = group.commands[words[0]], words[1:]
    return group, words


def leaves(group: Any, above: tuple[str, ...] = ()) -> list[str]:
    """The names of all commands, such as `hw list`."""
    if not hasattr(group, "commands"):
        return [" ".join(above)]
    return [leaf for name, each in group.commands.items() for leaf in leaves(each, (*above, name))]


def test_every_command_has_an_example() -> None:
    assert sorted(leaves(typer.main.get_command(make_app()))) == sorted(EXAMPLES)


@pytest.mark.parametrize(("command", "text"), ALL)
def test_the_help_ends_with_the_example(
    command: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"eapc {text}" in shown[shown.index("Examples:") :]


@pytest.mark.parametrize(("command", "text"), ALL)
def test_an_example_is_understood(command: str, text: str) -> None:
    words = shlex.split(text.partition(" >")[0])
    known, arguments = command_of(words)
    assert text.startswith(command)
    known.make_context(command, arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped models and a machine of one's own."""
    (tmp_path / "models").symlink_to(PROJECT / "models")
    shutil.copy(PROJECT / "hwmodels" / "eyeriss.yaml", tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("kept_logging", "folder")
def test_quick_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    for command in QUICK:
        text = EXAMPLES[command][0]
        assert main(shlex.split(text)) == 0, capsys.readouterr().err
        assert capsys.readouterr().out


# --- completion ----------------------------------------------------------------------------------


def run_eapc(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eapc.cli", *arguments],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def completed(line: str) -> list[str]:
    """What bash gets for the last word of a line."""
    last = str(len(line.split(" ")) - 1)
    done = run_eapc(COMP_WORDS=line, COMP_CWORD=last, _EAPC_COMPLETE="complete_bash")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_commands_and_options_are_completed() -> None:
    assert completed("eapc an") == ["analyze"]
    assert completed("eapc hw s") == ["show"]
    assert completed("eapc prune models/digits.onnx --max-d") == ["--max-drop"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_script_for_bash_completes(tmp_path: Path) -> None:
    shown = run_eapc("--show-completion", "bash")
    assert (shown.returncode, shown.stderr) == (0, "")
    eapc = tmp_path / "eapc"
    eapc.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m eapc.cli "$@"\n')
    eapc.chmod(0o755)
    typed = 'COMP_WORDS=(eapc co); COMP_CWORD=1; _eapc_completion eapc; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{shown.stdout}\n{typed}"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["compare"]
    assert "complete -o default -F _eapc_completion eapc" in shown.stdout


def test_completion_is_installed(tmp_path: Path) -> None:
    done = run_eapc("--install-completion", "bash", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    script = tmp_path / ".bash_completions" / "eapc.sh"
    assert "_eapc_completion" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()
