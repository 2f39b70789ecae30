"""A microcontroller's constants from measured networks: known constants come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from builders import loaded, make_model, normal, op

from eapc.cli import main
from eapc.commands.board_fit import fit_board
from eapc.commands.kernel_fit import (
    KernelCounts,
    constants_of,
    counts_of,
    fit_constants,
    fit_scale,
    left_out,
    with_constants,
)
from eapc.hardware import HardwareModel, load_hardware
from eapc.model import Model

pytestmark = pytest.mark.usefixtures("kept_logging")

M4 = load_hardware("cortex-m4")
TRUE = KernelCounts(1.0, 5.0, 2.0, 40.0)
SHAPES = {"dense": (16, 8, 3, 3), "depthwise": (8, 1, 3, 3), "pointwise": (32, 8, 1, 1)}


def network(name: str, size: int) -> onnx.ModelProto:
    groups = 8 if name == "depthwise" else 1
    nodes = [op("Conv", "x w", "y", name="only", group=groups)]
    return make_model(nodes, {"x": (1, 8, size, size)}, ["y"], {"w": normal(SHAPES[name])})


def saved(folder: Path) -> list[tuple[str, KernelCounts]]:
    found = []
    for name in SHAPES:
        for size in (4, 9):
            proto = network(name, size)
            onnx.save(proto, folder / f"{name}{size}.onnx")
            model = loaded(
                [op("Conv", "x w", "y", group=8 if name == "depthwise" else 1)],
                {"x": (1, 8, size, size)},
                ["y"],
                {"w": normal(SHAPES[name])},
            )
            found.append((f"{name}{size}.onnx", counts_of(model, M4)))
    return found


def units(counts: Sequence[KernelCounts], constants: KernelCounts = TRUE) -> list[float]:
    return [sum(a * b for a, b in zip(constants, each, strict=True)) for each in counts]


def table(folder: Path, text: str) -> Path:
    path = folder / "board.csv"
    path.write_text(text)
    return path


def test_counts_by_hand(tmp_path: Path) -> None:
    found = dict(saved(tmp_path))
    # 2 x 2 positions of 16 filters with 72 weights; one call of 500
    assert found["dense4.onnx"] == pytest.approx((4 * 16 * 72 + 500, 0, 16 * 72, 64))
    assert found["depthwise4.onnx"] == pytest.approx((500, 4 * 72, 72, 32))


def test_constants_of_a_machine_put_in_come_out() -> None:
    assert constants_of(with_constants(M4, TRUE)) == TRUE
    assert constants_of(M4) == KernelCounts(1.0, 3.0, 0.9, 25.0)


def test_constants_come_back(tmp_path: Path) -> None:
    counts = [each for _, each in saved(tmp_path)]
    fit = fit_constants([(counts, [0.01 * u for u in units(counts)])])
    assert fit is not None
    assert fit.constants == pytest.approx(TRUE)
    assert fit.scales[0] == pytest.approx(0.01)


def test_boards_share_constants_and_have_scales(tmp_path: Path) -> None:
    counts = [each for _, each in saved(tmp_path)]
    fit = fit_constants(
        [(counts, [s * u for u in units(counts)]) for s in (2.0, 0.5)], constants_of(M4)
    )
    assert fit is not None
    assert fit.constants == pytest.approx(TRUE, rel=0.01)
    assert fit.scales == pytest.approx((2.0, 0.5), rel=0.01)


def test_what_is_not_free_keeps_its_ratio(tmp_path: Path) -> None:
    counts = [each for _, each in saved(tmp_path)][1:4]
    true = KernelCounts(1.0, 7.0, 0.9, 25.0)
    fit = fit_constants([(counts, units(counts, true))], constants_of(M4), ("depthwise",))
    assert fit is not None
    assert fit.constants == pytest.approx(true)
    assert fit_constants([(counts[:1], [1.0])], constants_of(M4), ("depthwise",)) is None


def test_too_few_networks_tell_no_constants(tmp_path: Path) -> None:
    counts = [each for _, each in saved(tmp_path)][:3]
    assert fit_constants([(counts, units(counts))]) is None


def test_a_scale_and_what_is_left_out_by_hand() -> None:
    counts = [KernelCounts(100, 0, 0, 0), KernelCounts(200, 0, 0, 0)]
    group = counts, [1.0, 4.0]
    # r = 100, 50: scale (100 + 50) / (100^2 + 50^2)
    assert fit_scale(KernelCounts(1, 1, 1, 1), group).scales[0] == pytest.approx(0.012)
    found = left_out(lambda of: fit_scale(KernelCounts(1, 1, 1, 1), of), group)
    assert found == pytest.approx([1.0, -0.5])
    assert left_out(lambda of: fit_scale(TRUE, of), (counts[:1], [1.0])) is None


def test_a_board_is_fitted_and_its_file_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = saved(tmp_path)
    took = units([each for _, each in networks])
    # 64 MHz, 2 cycles a MAC unit, 10 mW
    lines = [
        f"{name},{u * 2 / 64e3:.9g},{u * 2 / 64e3 * 10:.9g}"
        for (name, _), u in zip(networks, took, strict=True)
    ]
    board = table(tmp_path, "network,ms,microjoules\n" + "\n".join(lines) + "\n")
    written = tmp_path / "mine.yaml"
    assert main(["hw", "fit", str(board), "-o", str(written), "--clock-mhz", "64"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "fitted MAC, depthwise, weight, output; what else costs" in said
    assert "2 cycles a MAC unit, 64 MHz, 10 mW" in said
    assert "depthwise MAC 5, weight 2, output 40 MAC units" in said
    machine = load_hardware(written)
    assert constants_of(machine) == pytest.approx(TRUE, rel=1e-4)
    assert machine.active_power_mw == pytest.approx(10)
    assert main(["hw", "validate", str(written)]) == 0
    assert main(["hw", "fit", str(board), "-o", str(written)]) == 2
    assert "exists" in capsys.readouterr().err


def test_few_networks_fit_one_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (name, counts), *_ = saved(tmp_path)
    (took,) = units([counts], constants_of(M4))
    written = tmp_path / "mine.yaml"
    board = table(tmp_path, f"network,microjoules\n{name},{took * 1e-3}\n")
    assert main(["hw", "fit", str(board), "-o", str(written)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "fitted MAC; what else costs" in said
    assert "no milliseconds: time is that of the machine" in said
    assert "one network cannot be left out" in said
    assert main(["hw", "fit", str(board), "-o", str(written), "--force", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["fitted"], found["dead_channels"]) == (["mac"], "skipped")
    assert found["networks"][0]["off"] == pytest.approx(0, abs=1e-9)
    assert found["networks"][0]["off_left_out"] is None
    machine = load_hardware(written)
    assert machine.mac_unit_pj == pytest.approx(1000, rel=1e-4)  # 1e-3 microjoules a MAC unit
    assert machine.machine == M4.machine


def test_whether_dead_channels_run_is_told_by_what_fits(tmp_path: Path) -> None:
    weights, whole = normal((16, 8, 3, 3)), M4.model_dump(by_alias=True)
    weights[:12] = 0
    whole["machine"]["dead_channels"] = "executed"
    lines = ["network,ms"]
    for name, values in {"whole": normal((16, 8, 3, 3)), "dead": weights}.items():
        proto = make_model([op("Conv", "x w", "y")], {"x": (1, 8, 9, 9)}, ["y"], {"w": values})
        onnx.save(proto, tmp_path / f"{name}.onnx")
        counts = counts_of(Model.from_proto(proto), HardwareModel.model_validate(whole))
        lines.append(f"{name}.onnx,{units([counts], constants_of(M4))[0] * 1e-5}")
    found = fit_board(table(tmp_path, "\n".join(lines) + "\n"), "cortex-m4")
    assert not found.hardware.machine.skips_dead_channels
    assert [n.off for n in found.networks] == pytest.approx([0, 0], abs=1e-9)


def test_a_network_that_is_far_off_is_named(tmp_path: Path) -> None:
    """A time of a quarter of an hour among tenths of a millisecond."""
    saved(tmp_path)
    text = "network,ms\ndense4.onnx,0.1\ndense9.onnx,1e6\n"
    notes = fit_board(table(tmp_path, text), "cortex-m4").notes
    assert "dense9.onnx is off by -100%: see whether its row is right" in notes


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("network\ndense4.onnx\n", 3, "has no columns `network` and `ms` or `microjoules`"),
        ("network,ms\n", 3, "has no rows"),
        ("network,ms\nnone.onnx,1\n", 3, "board.csv:2: network: no file"),
        ("network,ms\n,\n", 3, "board.csv:2: network: is empty; give a path or remove the row"),
        (
            "network,ms\ndense4.onnx,-1\n",
            3,
            "board.csv:2: ms: expected a positive number, got '-1'",
        ),
        (
            "network,ms\ndense4.onnx,1e-300\n",
            3,
            "board.csv:2: ms: expected a number from 1e-06 to 1e+09, got '1e-300'",
        ),
        (
            "network,ms\ndense4.onnx,1\n./dense4.onnx,2\n",
            3,
            "board.csv:3: network: dense4.onnx stands in line 2 already; give each network once",
        ),
        ("network,ms\ndense4.onnx\n", 3, "a network has neither ms nor microjoules"),
        ("network,ms\ndense4.onnx,1\ndense9.onnx,\n", 3, "dense9.onnx has no ms and others do"),
    ],
)
def test_what_is_wrong_with_a_table(
    text: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path)
    board, written = table(tmp_path, text), tmp_path / "mine.yaml"
    assert main(["hw", "fit", str(board), "-o", str(written)]) == code
    assert said in capsys.readouterr().err
    assert not written.exists()


def test_only_microcontrollers_have_kernels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = table(tmp_path, "network,ms\nx.onnx,1\n")
    arguments = ["hw", "fit", str(board), "-o", str(tmp_path / "o.yaml"), "--hw", "eyeriss"]
    assert main(arguments) == 2
    assert "has no kernels to fit; give cortex-m4" in capsys.readouterr().err
