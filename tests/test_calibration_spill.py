"""Arrays beyond the budget go to disk and read the same."""

from __future__ import annotations

import gc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from builders import Array
from pruning_builders import NETS

from eapc.calibration import ActivationWalk, MemoryBudget, activations
from eapc.calibration.activations import default_limit
from eapc.commands.compiler import prune
from eapc.commands.preparation import Settings
from eapc.errors import DataError
from eapc.goals import Goal, Sparsity, TargetEnergy

MODELS = Path(__file__).parents[1] / "models"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=np.float64).reshape(4, 6).T[::2],
        np.array([1.5, -0.0, 3], ml_dtypes.bfloat16),
        np.array([[True, False]]),
        np.asarray(np.int64(7)),
    ],
)
def test_what_goes_to_disk_reads_the_same(array: Array) -> None:
    budget = MemoryBudget(0)
    found = budget.keep(array)
    assert found is not array
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert not found.flags.writeable
    assert budget.spilled == array.nbytes
    assert budget.held == 0


def test_what_is_let_go_makes_room() -> None:
    budget = MemoryBudget(1000)
    first, second = np.zeros(600, np.uint8), np.zeros(600, np.uint8)
    assert budget.keep(first) is first
    assert budget.keep(second) is not second
    del first
    gc.collect()
    assert budget.held == 0
    assert budget.keep(second) is second


def test_empty_arrays_and_texts_stay() -> None:
    budget = MemoryBudget(0)
    for array in (np.zeros((0, 3), np.float32), np.array(["a", "b"], object)):
        assert budget.keep(array) is array


def test_files_have_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    held = MemoryBudget(0).keep(np.ones(10_000))
    assert list(tmp_path.iterdir()) == []
    assert held.sum() == 10_000


def test_a_full_disk_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(DataError, match=r"No space left.*--memory"):
        MemoryBudget(0).keep(np.ones(3))


def test_the_default_is_half_of_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    physical = default_limit()
    assert physical > 1 << 28
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(activations, "_CGROUP_LIMIT", limit)
    limit.write_text("4000\n")
    assert default_limit() == 2000
    limit.write_text("max\n")
    assert default_limit() >= physical


@pytest.mark.parametrize("name", ["residual", "transformer", "float16", "constants"])
def test_a_walk_without_memory_gives_the_same_bits(name: str) -> None:
    net = NETS[name]()
    model = net.model
    plan = [[out] for node in model.view.main_nodes for out in node.outputs if out]
    plan = [names for names in plan if names[0] not in model.constants.plain]
    walks = [
        ActivationWalk(model, net.data, plan, 8, 1, MemoryBudget(limit))
        for limit in (0, 2000, 1 << 30)
    ]
    for i in range(len(plan)):
        one, two, three = (walk.step(i, model) for walk in walks)
        for tensor, batches in three.items():
            for k, batch in enumerate(batches):
                assert one[tensor][k].tobytes() == two[tensor][k].tobytes() == batch.tobytes()


@pytest.mark.parametrize("goal", [Sparsity(0.7), TargetEnergy(0.8)])
def test_a_tiny_budget_changes_no_byte(goal: Goal) -> None:
    def pruned(memory: int | None) -> bytes:
        calibration = MODELS / "digits_calibration.npz"
        settings = Settings(calibration=calibration, samples=60, threads=1, memory=memory)
        model = prune(MODELS / "digits.onnx", settings, goal=goal).model
        return bytes(model.to_proto().SerializeToString(deterministic=True))

    assert pruned(1000) == pruned(None)
