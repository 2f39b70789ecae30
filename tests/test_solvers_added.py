"""A solver method from outside: one entry gives the option's value, the pass's and both lists."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from added_builders import WEIGHTS, Network
from numpy.typing import NDArray

from eapc.registry import METHODS
from eapc.solvers import LayerProblem, Method, Pattern

pytestmark = pytest.mark.usefixtures("kept_logging")


def smallest(problem: LayerProblem, nonzeros: int, pattern: Pattern) -> NDArray[np.float32]:
    """The smallest weights stay: what nobody should do."""
    mask = pattern.mask((1 / np.abs(problem.weight)).astype(np.float32), nonzeros)
    return np.where(mask, problem.weight, np.float32(0))


@pytest.fixture
def network(tmp_path: Path, capsys: pytest.CaptureFixture[str], undoing: ExitStack) -> Network:
    undoing.callback(METHODS.add("smallest", Method(smallest, fits=False)))
    return Network(tmp_path, capsys)


@pytest.mark.parametrize(
    "command",
    [
        ("prune", "--sparsity", 0.5, "--method", "smallest"),
        ("run", "--pipeline", "prune-weights{sparsity=0.5}, reconstruct-outputs{method=smallest}"),
    ],
)
def test_it_chooses_the_weights(network: Network, command: tuple[object, ...]) -> None:
    for name, weight in network.changed(*map(str, command)).items():
        was, half = WEIGHTS[name], WEIGHTS[name].size // 2
        kept = np.abs(was) < np.sort(np.abs(was).ravel())[half]
        np.testing.assert_array_equal(weight, np.where(kept, was, 0))


def test_it_is_listed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("prune", "sweep"):
        assert "admm, eap, sparsegpt, wanda, magnitude or smallest." in network.eapc(command, "-h")
    assert "how weights are chosen: admm, eap, sparsegpt, wanda, magnitude, smallest" in (
        network.eapc("passes")
    )
    said = network.eapc("prune", network.path, "--method", "best", code=2)
    assert "unknown method 'best'; choose from admm, eap" in said
    assert "magnitude, smallest" in said


def test_it_knows_no_thorough(network: Network) -> None:
    said = network.eapc("prune", network.path, "--method", "smallest", "--thorough", code=2)
    assert "method smallest knows no thorough" in said


def test_without_its_entry_its_name_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network(tmp_path, capsys)
    said = network.eapc("prune", network.path, "--method", "smallest", code=2)
    assert "unknown method 'smallest'" in said
