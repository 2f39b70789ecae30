"""Pages of all commands in a real browser: nothing from outside, no fault, any width, by keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from measured_builders import measured_layer, measured_machine
from onnx import helper, numpy_helper

from browser.conftest import Opener
from browser.reader import DESKTOP, PHONE
from eapc.commands.machine_profile import Profiled
from eapc.pages import Page
from eapc.pages.profile_page import profile_page

COMMANDS = ("analyze", "prune", "sweep", "compare", "profile")
PROJECT = Path(__file__).parents[2]
CALIBRATION = PROJECT / "models" / "digits_calibration.npz"


def typed(*words: object) -> None:
    """A command as it is typed; it has to end well."""
    line = [sys.executable, "-m", "eapc.cli", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def pages(chromium: Any, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page of each command, of the shipped digits network."""
    assert chromium.is_connected()
    folder = tmp_path_factory.mktemp("pages")
    data = ("--hw", "eyeriss", "--calib", CALIBRATION, "--quiet")
    pruned, goal = folder / "pruned.onnx", "--target-energy"
    typed("analyze", digits, *data, "--html", folder / "analyze.html")
    typed("prune", digits, *data, goal, "0.6", "-o", pruned, "--html", folder / "prune.html")
    typed("sweep", digits, *data, goal, "0.8,0.6", "--html", folder / "sweep.html")
    both = (digits, pruned, *data, "--repeats", "3")
    typed("compare", *both, "--html", folder / "compare.html")
    (folder / "profile.html").write_text(staircases().html(), encoding="utf-8")
    return folder


def staircases() -> Page:
    """A page of seven layers, so that they are chosen from a list."""
    rows = [[0.1 * (out // 16) * (1 + ins // 16) for out in (16, 32, 64)] for ins in (16, 32)]
    layers = [
        measured_layer(
            [16, 32],
            [16, 32, 64],
            [[(1 + each) * ms for ms in row] for row in rows],
            f"Conv {each}",
        )
        for each in range(7)
    ]
    done = Profiled(measured_machine(*layers), (("Softmax:3", "not timed"),), 1.0, 1.2)
    return profile_page(done, [("measured", "7 layers")])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("command", COMMANDS)
def test_pages_fit_and_need_nothing(
    pages: Path, read: Opener, command: str, width: int, scheme: str
) -> None:
    """`read` sees to it that nothing is asked for and nothing said on the console."""
    reader = read(pages / f"{command}.html", width, scheme)
    assert reader.overflow == 0
    shown = "wide" if width == DESKTOP else "narrow"
    assert reader.page.locator(f".chart .{shown} svg:visible").count() > 0
    hidden = "narrow" if width == DESKTOP else "wide"
    assert reader.page.locator(f".chart .{hidden} svg:visible").count() == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_pages_print(pages: Path, read: Opener, command: str) -> None:
    assert read(pages / f"{command}.html").pdf().startswith(b"%PDF")


@pytest.mark.parametrize("command", ["analyze", "compare"])
def test_tables_are_searched_and_sorted_by_keys(pages: Path, read: Opener, command: str) -> None:
    reader = read(pages / f"{command}.html")
    assert reader.reach(".table input[type=search]")
    reader.page.keyboard.type("merge")
    names = reader.texts(".table:has(input) tbody th")
    assert names
    assert all("merge" in name for name in names)
    assert reader.reach(".table:has(input) thead th:last-child button")
    head = reader.page.locator(".table:has(input) thead th:last-child")
    reader.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    reader.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"


def test_a_choice_shows_another_chart(pages: Path, read: Opener) -> None:
    reader = read(pages / "compare.html")
    reader.page.get_by_role("button", name="operator", exact=True).first.click()
    shown = reader.page.locator(".option:visible").first
    assert shown.get_attribute("data-name") == "operator"


def test_many_layers_are_chosen_from_a_list(pages: Path, read: Opener) -> None:
    reader = read(pages / "profile.html")
    layers = reader.page.locator("select").first
    assert layers.locator("option").count() == 7
    # the slowest is shown first
    assert layers.input_value() == "Conv 6"
    layers.select_option("Conv 2")
    shown = reader.page.locator("svg:visible").first
    assert "Conv 2: latency over output channels" in (shown.get_attribute("aria-label") or "")


def long_chain(folder: Path, nodes: int) -> Path:
    """A network of so many small layers in a row."""
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    chain = [
        helper.make_node(
            "MatMul" if at % 2 else "Relu",
            [f"t{at}", "w"][: 1 + at % 2],
            [f"t{at + 1}"],
            name=f"block{at // 50}/layer{at}",
        )
        for at in range(nodes)
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4])
        for name in ("t0", f"t{nodes}")
    ]
    graph = helper.make_graph(chain, "chain", ends[:1], ends[1:], [weight])
    opset = helper.make_opsetid("", 17)
    path = folder / "chain.onnx"
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[opset]), path)
    return path


def test_a_network_of_5000_nodes_is_searched_and_sorted(tmp_path: Path, read: Opener) -> None:
    page = tmp_path / "chain.html"
    typed("analyze", long_chain(tmp_path, 5000), "--quiet", "--html", page)
    reader = read(page)
    reader.tell(
        """(() => { const box = document.querySelector('.table input[type=search]');
        box.value = 'layer4999'; box.dispatchEvent(new Event('input')) })()"""
    )
    assert reader.texts(".table:has(input) output")[0].startswith("1 of 5,000")
    head = "document.querySelector('.table:has(input) thead th:last-child')"
    reader.tell(f"{head}.firstChild.click()")
    assert reader.tell(f"{head}.getAttribute('aria-sort')") != "none"


def test_the_page_of_resnet_50_is_small(tmp_path: Path, read: Opener) -> None:
    model, page = tmp_path / "resnet50.onnx", tmp_path / "resnet50.html"
    recipe = [sys.executable, str(PROJECT / "models" / "recipes.py"), "resnet50", str(model)]
    subprocess.run(recipe, capture_output=True, check=True)
    typed("analyze", model, "--quiet", "--html", page)
    assert page.stat().st_size <= 4e6
    assert read(page).texts("h2")
