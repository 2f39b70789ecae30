"""CPU seconds that the table of an analysis of 5,000 nodes takes to be laid out and printed.

    python benchmarks/table_layout.py [--nodes 5000] [--width 10000]

The report is made up: names of seven scopes, all of them different, of which many are alike in
both their ends. It is printed as the command line prints it where there is no terminal; a width
of 9999 is a terminal's that has all rows. The quickest of three counts.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from contextlib import redirect_stdout

from eapc.cli.session import show
from eapc.commands.compiler import Analysis
from eapc.commands.preparation import Settings
from eapc.dataflow import Accesses
from eapc.energy import EnergyReport, NodeEnergy
from eapc.hardware import load_hardware
from eapc.model import Model
from eapc.report.tables import analysis_table
from eapc.workload import BitWidths, OperandDensities


def a_node(number: int) -> NodeEnergy:
    """A node of a made-up transformer; every third one is fused."""
    layer, head = divmod(number, 12)
    energy = 1e6 / (1 + number)
    return NodeEnergy(
        key=f"/model/encoder/layers.{layer}/attention/heads.{head}/projection/out/MatMul",
        name="",
        op_type="MatMul",
        energy_mac_units=energy,
        macs=energy / 2,
        nonskipped_macs=energy / 4,
        operations=0.0,
        densities=OperandDensities(0.5, 0.25, 1.0),
        by_operand={"compute": energy / 2, "weights": energy / 2, "ifmap": 0.0, "ofmap": 0.0},
        by_level={"mac": energy / 2, "dram": energy / 2, "glb": 0.0, "network": 0.0, "rf": 0.0},
        accesses={"dram": Accesses(weights=energy / 400)},
        bits=BitWidths(16, 16, 16),
        fused_into="" if number % 3 else "another",
    )


def an_analysis(nodes: int, digits: Model) -> Analysis:
    """The analysis of so many made-up nodes."""
    made = tuple(map(a_node, range(nodes)))
    report = EnergyReport(load_hardware("eyeriss"), 1, made, (), weights=1, nonzero_weights=1)
    return Analysis(digits, report, samples=0)


def seconds_of(analysis: Analysis, width: int) -> tuple[float, int]:
    """CPU seconds of printing the table, and how many lines it has."""
    printed = io.StringIO()
    start = time.process_time()
    with redirect_stdout(printed):
        show(lambda _: analysis_table(analysis, Settings(), width))
    return time.process_time() - start, printed.getvalue().count("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--width", type=int, default=10_000)
    parser.add_argument("--model", default="models/digits.onnx", help="any model: it gives a name")
    given = parser.parse_args()
    analysis = an_analysis(given.nodes, Model.load(given.model))
    taken = [seconds_of(analysis, given.width) for _ in range(3)]
    best, lines = min(taken)
    sys.stdout.write(f"{lines} lines in {best:.2f} CPU seconds, the quickest of {len(taken)}\n")


if __name__ == "__main__":
    main()
