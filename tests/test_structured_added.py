"""A criterion from outside: one entry gives the option's value, the pass's and both lists."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from added_builders import WEIGHTS, Network
from numpy.typing import NDArray

from eapc.registry import CRITERIA
from eapc.structured import Criterion, Evidence

pytestmark = pytest.mark.usefixtures("kept_logging")


def last(evidence: Evidence) -> NDArray[np.float64]:
    """The last channels go first."""
    return -np.arange(evidence.channels, dtype=np.float64)


@pytest.fixture
def network(tmp_path: Path, capsys: pytest.CaptureFixture[str], undoing: ExitStack) -> Network:
    undoing.callback(CRITERIA.add("last", Criterion(last, needs_data=False)))
    return Network(tmp_path, capsys)


def test_it_chooses_the_channels(network: Network) -> None:
    zeroed = network.changed("run", "--pipeline", "prune-channels{fraction=0.25, criterion=last}")
    np.testing.assert_array_equal(zeroed["v"][:, :3], WEIGHTS["v"][:, :3])
    np.testing.assert_array_equal(zeroed["w"][:3], WEIGHTS["w"][:3])
    assert not zeroed["v"][:, 3].any()
    assert not zeroed["w"][3].any()


def test_prune_takes_them_out(network: Network) -> None:
    options = ("--structured", "--sparsity", 0.5, "--criterion", "last")
    left = network.changed("prune", *options)
    assert (left["v"].shape, left["w"].shape) == ((6, 2), (2, 3))
    np.testing.assert_allclose(left["v"], WEIGHTS["v"][:, :2], atol=1e-4)


def test_it_is_listed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("prune", "sweep"):
        assert "geometric-median, lamp, random or last." in network.eapc(command, "--help")
    assert "geometric-median, lamp, random, last" in network.eapc("passes")
    wrong = ("--structured", "--criterion", "best")
    said = network.eapc("prune", network.path, *wrong, code=2)
    assert "unknown criterion 'best'; choose from obs" in said
    assert "random, last" in said


def test_without_its_entry_its_name_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network(tmp_path, capsys)
    said = network.eapc("prune", network.path, "--structured", "--criterion", "last", code=2)
    assert "unknown criterion 'last'" in said
