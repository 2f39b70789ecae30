"""A pass from outside: a package of its own, with the class and the entry point that docs show."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from added_builders import WEIGHTS, Network

pytestmark = pytest.mark.usefixtures("kept_logging")

PAGE = (Path(__file__).parents[1] / "docs" / "passes.md").read_text()


@pytest.fixture
def network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Network:
    """The network, and docs/passes.md's package where Python finds it."""
    source = re.search(r"\n\n(    from dataclasses .*?)\n\nA pass may", PAGE, re.DOTALL)
    entry = re.search(r'"eapc\.passes"\]\n    (.*)\n', PAGE)
    assert source
    assert entry
    package, info = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "clip.py").write_text(dedent(source[1]))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[eapc.passes]\n" + entry[1].replace('"', "") + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return Network(tmp_path, capsys)


def test_run_knows_its_name_and_its_option(network: Network) -> None:
    clipped = network.changed("run", "--pipeline", "annotate-energy, clip-weights{limit=0.25}")
    for name, weight in clipped.items():
        np.testing.assert_array_equal(weight, np.clip(WEIGHTS[name], -0.25, 0.25))
        assert np.abs(weight).max() == 0.25


def test_it_is_listed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = network.eapc("passes")
    assert "clip-weights" in said
    assert "largest magnitude left" in said
    said = network.eapc("run", network.path, "--pipeline", "clip", code=2)
    assert "there are annotate-energy, choose-widths, clip-weights" in said
    wrong = ("--pipeline", "clip-weights{limits=1}")
    assert "limit" in network.eapc("run", network.path, *wrong, code=2)


def test_without_its_package_its_name_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network(tmp_path, capsys)
    said = network.eapc("run", network.path, "--pipeline", "clip-weights", code=2)
    assert "no pass 'clip-weights'; there are annotate-energy" in said
