"""FILE.py:NAME: what is found, and what is said where nothing is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eapc.data import dataset
from eapc.errors import DataError, EapcError, UsageError
from eapc.evaluation import load_metric
from eapc.model import TensorSpec


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """What a metric's file adds to the import path goes no further than the test."""
    known = list(sys.path)
    yield
    sys.path[:] = known


def written(folder: Path, text: str, name: str = "own.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_function_is_found_and_no_file_left(tmp_path: Path) -> None:
    file = written(tmp_path, "def f(outputs, arrays):\n    return outputs['y'].mean()\n")
    metric = load_metric(f"{file}:f")
    assert metric.name == "f"
    assert metric.function({"y": np.array([1.0, 2])}, {}) == 1.5
    assert [path.name for path in tmp_path.iterdir()] == ["own.py"]


def test_modules_beside_the_file_and_dataclasses_work(tmp_path: Path) -> None:
    written(tmp_path, "from helper_of_own import SCALE\n", "unused.py")
    written(tmp_path, "SCALE = 3\n", "helper_of_own.py")
    text = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from helper_of_own import SCALE\n"
        "@dataclass\n"
        "class Scaled:\n"
        "    by: int\n"
        "    def __call__(self, outputs, arrays):\n"
        "        return self.by\n"
        "scaled = Scaled(SCALE)\n"
    )
    metric = load_metric(f"{written(tmp_path, text)}:scaled")
    assert metric.function({}, {}) == 3
    assert metric.name == "scaled"


def test_the_line_is_that_of_the_metric_s_file(tmp_path: Path) -> None:
    """Behind a wrapper of another file, and where what is called fails elsewhere."""
    written(
        tmp_path,
        "def passed(f):\n    def inner(*given):\n        return f(*given)\n    return inner\n",
        "wrapper_of_own.py",
    )
    text = (
        "import json\n"
        "from wrapper_of_own import passed\n"
        "@passed\n"
        "def f(outputs, arrays):\n"
        "    return json.loads('[')\n"
    )
    metric = load_metric(f"{written(tmp_path, text)}:f")
    data = dataset({"x": np.ones(2, np.float32)}, [TensorSpec("x", np.dtype("f4"), ("N",))], "")
    with pytest.raises(DataError, match=r"^metric f: own.py:5: JSONDecodeError: Expecting value"):
        metric.measure({"y": np.ones(2)}, data)


@pytest.mark.parametrize(
    ("text", "name", "kind", "said"),
    [
        ("f = 1\n", "f", UsageError, "'f' in .*own.py is no function but of type int"),
        ("def g(a, b): ...\n_h = g\n", "f", UsageError, "no 'f' in .*own.py; it has g$"),
        ("x = 1\n", "f", UsageError, "it has no functions"),
        ("\n1 / 0\n", "f", DataError, "own.py:2: ZeroDivisionError: division by zero"),
        ("def f(:\n", "f", DataError, "own.py:1: SyntaxError: "),
        ("import nothing_of_this_name\n", "f", DataError, "own.py:1: ModuleNotFoundError: No mod"),
        ("import sys\nsys.exit()\n", "f", DataError, "own.py:2: SystemExit"),
        ("x = '\ud800'\n", "f", DataError, "own.py"),
    ],
)
def test_a_file_that_has_none(
    tmp_path: Path, text: str, name: str, kind: type[EapcError], said: str
) -> None:
    (tmp_path / "own.py").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(kind, match=f"^--metric: .*{said}") as caught:
        load_metric(f"{tmp_path / 'own.py'}:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("own.py", "expected FILE.py:NAME, got 'own.py'"),
        (":f", "expected FILE.py:NAME"),
        ("own.py:", "expected FILE.py:NAME"),
        ("own.py:a b", "expected FILE.py:NAME"),
        ("nowhere.py:f", "no such file: nowhere.py"),
        (".:f", "no such file: ."),
    ],
)
def test_what_names_no_function(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"--metric: {said}"):
        load_metric(text)
