"""Files that are wrong, each of a kind: refused in one line or told as they are, never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from eapc.cli import main

REFUSED = {
    "constant_without_output": "0 outputs",
    "conv_group_float": "attribute 'group' is of type float",
    "conv_pads_float": "attribute 'pads' is of type float",
    "conv_pads_short": "attribute 'pads' holds 1 number",
    "cycle": "in a cycle",
    "dup_init": "two initializers are called 'w'",
    "einsum_equation_int": "attribute 'equation' is of type int",
    "if_fewer_results": "1 result, the node has 2 outputs",
    "not_utf8_node_name": "not valid UTF-8",
    "output_nobody_writes": "nobody writes the output 'y'",
    "undefined_input": "which nobody writes",
    "written_twice": "has been written or given before",
}


@pytest.fixture(scope="session")
def broken(shared_data: Path) -> Path:
    folder = shared_data / "cases" / "broken"
    if not folder.is_dir():
        pytest.skip(f"no broken files in {folder}")
    return folder


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize("command", ["analyze", "prune"])
def test_every_broken_model_is_told(
    command: str, broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--sparsity", "0.3", "-o", str(tmp_path / "o.onnx"), "--force", "--samples", "16"]
    for path in sorted(broken.glob("*.onnx")):
        code = main([command, str(path), *(options if command == "prune" else [])])
        said = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
        assert code in (0, 3), (path.name, said)
        assert len(said) == (code == 3), (path.name, said)
        if path.stem in REFUSED:
            assert code == 3
            assert f"{path}: " in said[0]
            assert REFUSED[path.stem] in said[0]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.usefixtures("kept_logging")
def test_every_broken_data_file_is_told(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(broken.glob("*.npz")):
        output = str(tmp_path / "o.onnx")
        model = str(broken / "plain.onnx")
        code = main(["prune", model, "--calib", str(path), "--sparsity", "0.3", "-o", output])
        said = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
        assert code in (0, 3, 4), (path.name, said)
        assert len(said) == (code > 0), (path.name, said)
        Path(output).unlink(missing_ok=True)
    assert not list(tmp_path.glob("*.partial"))
