"""--html and --plot as they are typed: files, endings, what is refused before any work."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from page_builders import seen

from eapc.cli import main
from eapc.errors import UsageError
from eapc.pages import Chart, extra
from eapc.pages.plot import write_plot

pytestmark = pytest.mark.usefixtures("kept_logging")

SVG = "{http://www.w3.org/2000/svg}"


def test_analyze_writes_a_page_and_a_picture(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, svg = tmp_path / "report.html", tmp_path / "energy.svg"
    assert main(["analyze", str(digits), "--html", str(html), "--plot", str(svg)]) == 0
    said = capsys.readouterr().out
    assert str(html) in said
    assert str(svg) in said
    assert "digits.onnx on eyeriss" in seen(html.read_text(encoding="utf-8")).text
    picture = ElementTree.parse(svg).getroot()
    assert picture.tag == f"{SVG}svg"
    titles = picture.findall(f"{SVG}title")
    assert [title.text for title in titles] == ["energy by node, stacked by operand"]
    assert {"merge", "block.conv1"} <= {text.text for text in picture.iter(f"{SVG}text")}
    assert "prefers-color-scheme:dark" in svg.read_text()


def test_a_png_is_sharp(digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "energy.PNG"
    assert main(["analyze", str(digits), "--plot", str(path)]) == 0
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, _ = struct.unpack(">II", content[16:24])
    assert width == 2 * 760


def test_prune_writes_a_page(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, png = tmp_path / "p.html", tmp_path / "p.png"
    typed = ["prune", str(digits), "--sparsity", "0.5", "--samples", "64"]
    written = ["-o", str(tmp_path / "p.onnx"), "--html", str(html), "--plot", str(png)]
    assert main([*typed, *written, "-q"]) == 0
    text = seen(html.read_text(encoding="utf-8")).text
    assert "--sparsity 0.5" in text
    assert "p.onnx" in text
    said = capsys.readouterr().out
    assert str(html) in said
    assert str(png) in said
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "MODEL", "MODEL", "--no-latency"],
        ["compare", "MODEL", "MODEL", "MODEL", "--no-latency"],
        ["sweep", "MODEL", "--sparsity", "0.3,0.5", "--samples", "16"],
    ],
    ids=["compare", "compare many", "sweep"],
)
def test_tables_name_the_pictures_that_were_written(
    command: list[str], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, svg = str(tmp_path / "page.html"), str(tmp_path / "chart.svg")
    typed = [str(digits) if word == "MODEL" else word for word in command]
    assert main([*typed, "--html", html, "--plot", svg, "-q"]) == 0
    said = capsys.readouterr().out
    assert [path for path in (html, svg) if path in said and Path(path).exists()] == [html, svg]


@pytest.mark.parametrize("name", ["energy.pdf", "energy", "energy.svg.gz"])
def test_other_endings_are_refused(
    name: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    assert main(["analyze", str(digits), "--plot", str(path)]) == 2
    said = capsys.readouterr().err
    assert said == f"eapc: --plot: {path}: expected a name that ends in .svg or .png\n"
    assert not path.exists()


def test_files_are_replaced_only_when_told_to(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.html"
    path.write_text("mine")
    assert main(["analyze", str(digits), "--html", str(path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["analyze", str(digits), "--html", str(path), "--force"]) == 0
    assert path.read_text() != "mine"


def test_a_page_is_not_put_where_another_result_goes(digits: Path, tmp_path: Path) -> None:
    one = str(tmp_path / "one.svg")
    assert main(["analyze", str(digits), "--html", one, "--plot", one]) == 2
    assert main(["analyze", str(digits), "--csv", one, "--plot", one]) == 2
    assert main(["prune", str(digits), "-o", one, "--plot", one]) == 2
    assert not Path(one).exists()


def test_a_dry_run_has_no_page(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["prune", str(digits), "--dry-run", "--html", str(tmp_path / "p.html")]
    assert main(typed) == 2
    assert "--dry-run" in capsys.readouterr().err


def test_without_the_extra_one_line_says_how_to_get_it(
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def find(name: str, *_: Any) -> Any:
        return None if name == "vl_convert" else importlib.util.find_spec(name)

    monkeypatch.setattr(extra, "find_spec", find)
    assert main(["analyze", str(digits), "--html", str(tmp_path / "p.html")]) == 2
    said = "needs vl-convert-python, not installed: pip install 'eapc[report]'"
    assert capsys.readouterr().err == f"eapc: --html: {said}\n"


def test_nothing_of_the_extra_is_loaded_without_need(digits: Path) -> None:
    code = (
        "import sys; from eapc.cli import main; main(['analyze', sys.argv[1], '-q']);"
        "print({'jinja2', 'vl_convert', 'igraph'} & set(sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(digits)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    chart = Chart("bars", {"mark": "bar", "data": {"values": []}, "encoding": {}})
    with pytest.raises(UsageError, match="cannot be written"):
        write_plot(tmp_path / "missing" / "a.svg", chart)


def test_titles_are_text_in_pictures(tmp_path: Path) -> None:
    chart = Chart('a < b & "c"', {"mark": "bar", "data": {"values": []}, "encoding": {}})
    write_plot(tmp_path / "a.svg", chart)
    title = ElementTree.parse(tmp_path / "a.svg").getroot().find(f"{SVG}title")
    assert title is not None
    assert title.text == 'a < b & "c"'
