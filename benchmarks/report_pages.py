"""How large pages of large networks are, and how long they take beside the analysis.

    python benchmarks/report_pages.py            # ResNet-50 of the recipes, and 5,000 nodes
    python benchmarks/report_pages.py --keep DIR # and leave the pages there

Prints a row per network: nodes, CPU seconds of the analysis, CPU seconds of its page in a process
that has drawn nothing before, and the page's size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from eapc.commands.compiler import analyze

RECIPES = Path(__file__).parents[1] / "models" / "recipes.py"
NODES = 5000
CHANNELS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--page", nargs=2, type=Path, metavar=("MODEL", "HTML"))
    arguments = parser.parse_args()
    if arguments.page:
        print_figures(*arguments.page)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.keep or Path(made)
        folder.mkdir(exist_ok=True)
        print("network    nodes  analysis, CPU s  page, CPU s  page, MB", flush=True)
        for model in (resnet50(folder), made_up(folder)):
            html = folder / f"{model.stem}.html"
            command = [sys.executable, __file__, "--page", str(model), str(html)]
            subprocess.run(command, check=True)


def print_figures(model: Path, html: Path) -> None:
    """Analyse, write the page and print a row."""
    start = time.process_time()
    analysis = analyze(model)
    _ = analysis.savings  # which the table shows too
    analysed = time.process_time()
    from eapc.pages.analysis_page import analysis_page

    html.write_text(analysis_page(analysis).html(), encoding="utf-8")
    drawn = time.process_time()
    nodes, size = len(analysis.energy.nodes), html.stat().st_size / 1e6
    print(
        f"{model.stem:<9}{nodes:>7,}{analysed - start:>17.2f}{drawn - analysed:>13.2f}{size:>10.2f}"
    )


def page_of(model: Path) -> Path:
    """The page of an analysis, beside the model."""
    from eapc.pages.analysis_page import analysis_page

    html = model.with_suffix(".html")
    html.write_text(analysis_page(analyze(model)).html(), encoding="utf-8")
    return html


def resnet50(folder: Path) -> Path:
    """ResNet-50 with random weights."""
    path = folder / "resnet50.onnx"
    command = [sys.executable, str(RECIPES), "resnet50", str(path), "--force"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def made_up(folder: Path) -> Path:
    """5,000 nodes: convolutions, activations and sums that reach back, in 50 stages."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for place in range(NODES):
        name = f"stage{place // 100}/block{place // 10}/node{place}"
        kind = ("Conv", "Relu", "Add")[place % 3]
        inputs = [last]
        if kind == "Conv":
            kernel = rng.normal(0, 0.1, (CHANNELS, CHANNELS, 1, 1)).astype(np.float32)
            weights.append(numpy_helper.from_array(kernel, f"w{place}"))
            inputs.append(f"w{place}")
        elif kind == "Add":
            inputs.append(f"t{max(0, place - int(rng.integers(2, 40)))}")
        last = f"t{place}"
        nodes.append(helper.make_node(kind, inputs, [last], name=name))
    shape = [1, CHANNELS, 16, 16]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", last)]
    graph = helper.make_graph(nodes, "made-up", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "made-up.onnx"
    onnx.save(model, path)
    return path


if __name__ == "__main__":
    main()
