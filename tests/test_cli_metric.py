"""--metric on the command line: goals, reports, refusals, and going on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Array, save
from pruning_builders import plain
from test_commands_resuming import StopAt, StopError

import eapc
from eapc.cli import main
from eapc.data import dataset
from eapc.model import Model
from eapc.runtime import collect_outputs

OWN = """
import numpy as np

def right(outputs, arrays):
    return outputs["y"].argmax(axis=1) == arrays["classes"][:, 0]

def closeness(outputs, arrays):
    return -np.abs(outputs["y"] - arrays["scores"]).sum(axis=1)

def share(outputs, arrays):
    return right(outputs, arrays).mean()

def nothing(outputs, arrays):
    return 0.0

def weighted(outputs, arrays):
    return 1 + arrays["counts"] * closeness(outputs, arrays) / 100

def wrong(outputs, arrays):
    return arrays["no such array"]

value = 3
"""

NET = plain()
Run = Callable[..., tuple[int, str, str]]


def labelled(classes: str) -> dict[str, Any]:
    """200 images with the network's own scores and answers; labels by this name."""
    gains = np.random.default_rng(2).normal(1, 1.5, (200, 3, 1, 1)).astype(np.float32)
    x: Array = np.tile(NET.arrays["x"], (4, 1, 1, 1))[:200] * gains
    (scores,) = collect_outputs(NET.model, dataset({"x": x}, NET.model.inputs, "test"), 1).values()
    answers = scores.argmax(axis=1)
    answers[::9] = (answers[::9] + 1) % 5
    return {"x": x, classes: answers if classes == "y" else answers[:, None], "scores": scores}


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kept_logging: None,  # noqa: ARG001
) -> Run:
    """A command in a folder with net.onnx, train.npz, val.npz, top1.npz and own.py."""
    monkeypatch.chdir(tmp_path)
    save(NET.proto, tmp_path / "net.onnx")
    np.savez(tmp_path / "train.npz", x=NET.arrays["x"])
    np.savez(tmp_path / "val.npz", **labelled("classes"))
    np.savez(tmp_path / "top1.npz", **labelled("y"))
    (tmp_path / "own.py").write_text(OWN)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--threads", "1"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


PRUNE = ("prune", "net.onnx", "--calib", "train.npz", "--force")


def test_right_and_wrong_by_a_function_give_what_top1_accuracy_gives(run: Run) -> None:
    """Without integer labels y the halves are others, so the whole is compared, not a search."""
    documents = []
    for options in (("--eval", "top1.npz"), ("--eval", "val.npz", "--metric", "own.py:right")):
        code, out, _ = run(*PRUNE, "--sparsity", "0.5", *options, "--json")
        assert code == 0
        documents.append(json.loads(out)["accuracy"])
    top1, own = documents
    assert (top1.pop("metric"), own.pop("metric")) == ("top-1", "right")
    assert own == top1
    assert own["samples"] == 200
    assert own["before"] == pytest.approx(1 - 23 / 200)


def test_a_search_by_a_function_is_that_by_top1_accuracy(run: Run) -> None:
    (own,) = (Path("own.py"),)
    own.write_text(OWN.replace('arrays["classes"][:, 0]', 'arrays["y"]'))
    options = (*PRUNE, "--max-drop", "0.05", "--eval", "top1.npz")
    found = []
    for more in ((), ("--metric", "own.py:right")):
        run(*options, *more)
        found.append(Path("net.pruned.onnx").read_bytes())
    assert found[0] == found[1]


def test_a_drop_in_the_metric_s_own_unit(run: Run) -> None:
    """-sum |error| over five scores: 0 for the original, which is no reason to refuse."""
    options = ("--metric", "own.py:closeness", "--eval", "val.npz", "--max-drop", "2.5", "--json")
    code, out, err = run(*PRUNE, *options)
    document = json.loads(out)
    decided, other = document["decided"], document["accuracy"]
    assert (decided["metric"], decided["samples"], other["samples"]) == ("closeness", 100, 100)
    assert -2.5 <= decided["after"] < decided["before"] == 0
    low, high = other["loss_interval_95"]
    assert low < -other["after"] < high
    assert code == (0 if document["confirmed"] else 4)
    assert document["energy_ratio"] < 0.9
    assert "closeness is 0 for the original" in err
    table = run(*PRUNE, *options[:-1])[1]
    row = next(line for line in table.splitlines() if line.startswith("closeness on 100 inputs"))
    assert "%" not in row
    assert row.split()[-1] == f"{other['after']:+.4g}"


def test_a_drop_of_one_number_with_confidence(run: Run) -> None:
    options = (*PRUNE, "--max-drop", "0.1", "--metric", "own.py:share", "--eval", "val.npz")
    plain, sure = (
        json.loads(run(*options, *more, "--json")[1]) for more in ((), ("--confidence", "0.99"))
    )
    assert plain["energy_ratio"] <= sure["energy_ratio"]
    for document in (plain, sure):
        decided = document["decided"]
        assert decided["before"] - decided["after"] <= 0.1
    low, high = sure["decided"]["loss_interval_95"]
    assert high < 0.1
    assert low < high


def test_a_drop_that_does_not_hold_is_not_confirmed(run: Run) -> None:
    """Errors count on the inputs that do not decide alone."""
    np.savez("odd.npz", **labelled("classes"), counts=np.arange(200) % 2)
    options = ("--max-drop", "0.02", "--metric", "own.py:weighted", "--eval", "odd.npz")
    code, out, err = run(*PRUNE, *options, "--json")
    document = json.loads(out)
    assert code == 4
    assert document["confirmed"] is False
    assert document["decided"]["after"] == 1
    lost = document["accuracy"]["before"] - document["accuracy"]["after"]
    assert lost > 0.02
    said = "goal not confirmed: on the 100 inputs that did not decide weighted fell by"
    assert f"{said} {100 * lost:.1f} points" in err
    assert Path("net.pruned.onnx").is_file()


@pytest.mark.parametrize(
    ("code", "options", "said"),
    [
        (2, ("--metric", "own.py:right"), "--metric: needs --eval"),
        (2, ("--metric", "none.py"), "--metric: needs --eval"),
        (2, ("--metric", "own.py", "--eval", "val.npz"), "expected FILE.py:NAME"),
        (2, ("--metric", "none.py:f", "--eval", "val.npz"), "no such file: none.py"),
        (2, ("--metric", "own.py:f", "--eval", "val.npz"), "no 'f' in own.py; it has right"),
        (2, ("--metric", "own.py:value", "--eval", "val.npz"), "is no function but of type int"),
        (3, ("--metric", "own.py:wrong", "--eval", "val.npz"), "own.py:20: KeyError: 'no such"),
        (3, ("--metric", "own.py:right", "--eval", "train.npz"), "arrays: x)"),
    ],
)
@pytest.mark.parametrize("command", ["prune", "sweep", "compare"])
def test_what_is_refused(
    run: Run, command: str, code: int, options: tuple[str, ...], said: str
) -> None:
    started = {
        "prune": ("prune", "net.onnx", "--sparsity", "0.5"),
        "sweep": ("sweep", "net.onnx", "--sparsity", "0.5", "-o", "."),
        "compare": ("compare", "net.onnx", "net.onnx", "--no-latency"),
    }
    files = sorted(Path().iterdir())
    calibrated = () if command == "compare" else ("--calib", "train.npz")
    found, out, err = run(*started[command], *calibrated, *options)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert said in err
    assert sorted(Path().iterdir()) == files


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--max-drop", "1", "--eval", "top1.npz"), 2),
        (("--max-drop", "1", "--eval", "top1.npz", "--dry-run"), 2),
        (("--max-drop", "1", "--eval", "val.npz", "--metric", "own.py:share"), 2),
        (("--max-drop", "-1", "--eval", "val.npz", "--metric", "own.py:closeness"), 2),
    ],
)
def test_drops_beyond_what_there_is(run: Run, options: tuple[str, ...], code: int) -> None:
    found, _, err = run("prune", "net.onnx", "--calib", "train.npz", *options)
    assert found == code
    assert "--max-drop: expected" in err


def test_a_metric_of_nothing_is_warned_of_once(run: Run) -> None:
    code, out, err = run(
        *("sweep", "net.onnx", "--calib", "train.npz", "--eval", "val.npz"),
        *("--metric", "own.py:nothing", "--max-drop", "0,0.1"),
    )
    assert code == 0
    assert err.count("nothing is 0 for the original") == 1
    assert "nothing" in out


def test_a_sweep_has_columns_of_the_metric(run: Run) -> None:
    options = ("--metric", "own.py:share", "--eval", "val.npz", "--csv", "s.csv")
    code, out, _ = run(
        "sweep", "net.onnx", "--calib", "train.npz", "--sparsity", "0.2,0.4", *options
    )
    assert code == 0
    assert "88.5%" in out
    assert "share is on 200 inputs" in out
    heading, *rows = Path("s.csv").read_text().splitlines()
    at = heading.split(",").index("accuracy_metric")
    assert [row.split(",")[at] for row in rows] == ["share", "share"]


@pytest.mark.parametrize("command", [("sweep", "net.onnx"), ("compare", "net.onnx", "net.onnx")])
def test_rows_do_not_go_where_the_metric_is(run: Run, command: tuple[str, ...]) -> None:
    goal = ("--sparsity", "0.5") if command[0] == "sweep" else ()
    options = ("--metric", "own.py:share", "--eval", "val.npz", "--csv", "own.py", "--force")
    code, _, err = run(*command, *goal, *options)
    assert code == 2
    assert "own.py" in err
    assert Path("own.py").read_text() == OWN


def test_compare_tells_the_metric(run: Run) -> None:
    options = ("--metric", "own.py:closeness", "--eval", "val.npz", "--no-latency")
    _, out, _ = run("compare", "net.onnx", "net.onnx", *options, "--csv", "-")
    assert "closeness,0.0,0.0," in out.splitlines()
    _, out, _ = run("compare", "net.onnx", "net.onnx", *options)
    row = next(line for line in out.splitlines() if line.startswith("closeness on 200 inputs"))
    assert row.split()[-3:] == ["0", "0", "+0"]


def test_a_function_from_python(run: Run) -> None:  # noqa: ARG001
    def closeness(outputs: Any, arrays: Any) -> Any:
        return -float(np.abs(outputs["y"] - arrays["scores"]).mean())

    done = eapc.prune(
        "net.onnx",
        eapc.Settings(calibration="train.npz", threads=1),
        goal=eapc.MaxDrop(0.3),
        evaluation="val.npz",
        metric=closeness,
    )
    assert done.accuracy is not None
    assert done.accuracy.metric == "closeness"
    assert done.energy_ratio < 0.95
    with pytest.raises(TypeError, match="expected a function, got int"):
        eapc.prune("net.onnx", evaluation="val.npz", metric=3)  # type: ignore[arg-type]


# --- what finished parts depend on ---------------------------------------------------------------


def scaled(by: float) -> Callable[[Any, Any], Any]:
    def closeness(outputs: Any, arrays: Any) -> Any:
        return -by * np.abs(outputs["y"] - arrays["scores"]).mean(axis=1)

    return closeness


def test_a_run_goes_on_with_another_metric(run: Run) -> None:  # noqa: ARG001
    """Layers do not depend on it, and every trial is judged anew: the result is the new one's."""
    settings = eapc.Settings(calibration="train.npz", threads=1)

    def prune(metric: Any, output: str, **more: Any) -> None:
        goal = eapc.MaxDrop(0.3)
        eapc.prune(
            "net.onnx",
            settings,
            goal=goal,
            evaluation="val.npz",
            metric=metric,
            output=output,
            **more,
        )

    prune(scaled(1), "one.onnx")
    prune(scaled(4), "four.onnx")
    with pytest.raises(StopError):
        prune(scaled(1), "again.onnx", progress=StopAt(40))
    assert Path("again.onnx.partial").is_dir()
    prune(scaled(4), "again.onnx", resume=True)
    assert Path("again.onnx").read_bytes() == Path("four.onnx").read_bytes()
    assert Path("one.onnx").read_bytes() != Path("four.onnx").read_bytes()
    assert Model.load("again.onnx").weights == {}
