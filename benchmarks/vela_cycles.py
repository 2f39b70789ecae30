#!/usr/bin/env python3
"""`ethos-u55-128` and `ethos-u55-256` against the cycle estimates of Arm's compiler.

    python benchmarks/vela_cycles.py [--write docs/ethos-u55.md]

Reads references/vela_cycles.csv and the networks under $EAPC_DATA (default: `shared` beside the
project), and vela_networks.csv and vela_layers.csv beside this file. Exits with 1 if a network of
the references is off by more than is held.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from published_figures import references

from eapc.dataflow import execute
from eapc.energy import DensityTable, EnergyReport, estimate, work_list
from eapc.hardware import HardwareModel, load_hardware
from eapc.model import Model, infer_shapes, input_shapes
from eapc.workload import BitWidths, ConvWorkload

EACH = 0.25
"""What every network may be off by, without a scale."""
LAYERS, MORE = (Path(__file__).parent / f"vela_{what}.csv" for what in ("layers", "networks"))
BYTES = BitWidths(8, 8, 8)


def report(network: str, machine: str) -> EnergyReport:
    model = Model.load(references().parent / "models" / f"{network}.onnx")
    works = work_list(model, infer_shapes(model, input_shapes(model, {}, None)))
    return estimate(model, works, load_hardware(machine), DensityTable())


def cycles(network: str, machine: str) -> float:
    """Cycles of all nodes, one after another."""
    return sum(node.cycles or 0.0 for node in report(network, machine).nodes)


def networks(table: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Modelled and estimated cycles by accelerator and network."""
    found: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    with table.open(encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            name, machine = line["network"], line["accelerator"]
            found[machine][name] = cycles(name, machine), float(line["npu_cycles"])
    return found


def scale_of(found: Mapping[str, tuple[float, float]]) -> float:
    """The geometric mean of estimated over modelled, of MLPerf Tiny's networks."""
    tiny = [figures for name, figures in found.items() if name.startswith("mlperf_tiny")]
    logs = [math.log(estimated / modelled) for modelled, estimated in tiny]
    return math.exp(sum(logs) / len(logs))


# --- layers ----------------------------------------------------------------------------------


def layer(line: Mapping[str, str]) -> ConvWorkload:
    """The layer of a line of vela_layers.csv, whose padding keeps the size at stride 1."""
    number = {name: int(text) for name, text in line.items() if text.isdigit()}
    depthwise = line["kind"] == "depthwise"
    stride, dilation = number["stride"], number["dilation"]
    return ConvWorkload(
        batch=1,
        groups=number["channels"] if depthwise else 1,
        filters_per_group=1 if depthwise else number["filters"],
        channels_per_group=1 if depthwise else number["channels"],
        ofmap_rows=math.ceil(number["rows"] / stride),
        ofmap_columns=math.ceil(number["columns"] / stride),
        filter_rows=number["filter_rows"],
        filter_columns=number["filter_columns"],
        stride_rows=stride,
        stride_columns=stride,
        dilation_rows=dilation,
        dilation_columns=dilation,
        bits=BYTES,
    )


def layer_ratios() -> dict[tuple[str, str], list[float]]:
    """Modelled over estimated cycles of single layers, by accelerator and kind."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    machines: dict[str, HardwareModel] = {}
    with LAYERS.open(encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            name = line["accelerator"]
            machine = machines.setdefault(name, load_hardware(name))
            done = execute(layer(line), machine)
            found[name, line["kind"]].append((done.cycles or 0.0) / float(line["cycles"]))
    return found


# --- the page --------------------------------------------------------------------------------

INTRODUCTION = """# Ethos-U55 against its compiler's estimates

Written by `python benchmarks/vela_cycles.py --write docs/ethos-u55.md`. `ethos-u55-128` and
`ethos-u55-256` run layers in blocks of the ofmap
([energy-model.md](energy-model.md#output-blocks)). They are held against the cycles that Arm's
compiler ethos-u-vela 5.2.0 estimates, by a model of its own: no chip was measured. The constants
are the engine's as the compiler has them; none is fitted to the cycles here.

**Where it is wrong.** Latencies of memories and commands are left out, so cycles are low, most of
all in layers of a few hundred cycles. Where another block is taken than the compiler's, a layer
may be off by half either way. Layers at stride 3 read whole blocks and wait for the port of SRAM up
to twice as long as the estimates. A pool of a whole map leaves half a micro-block idle there (2.5
times the cycles), a multiplication takes half of an addition's time, softmax is some thirty steps.
"""
NETWORKS = """The compiler's `npu_cycles` are a sum over layers without the wait for flash; so the
machines have flash behind a port as wide as SRAM's. With 8 bits a cycle, as in the compiler's
default system, ad waits for its 264,192 bytes of weights as many cycles. Held: 25 % each without a
scale, on the 128 MACs of references/vela_cycles.csv. The others are told: networks converted layer
by layer and compiled (benchmarks/vela_networks.csv). The right column has one scale for all of an
accelerator, that of MLPerf Tiny's four."""
SINGLE = """Single layers of random sizes (benchmarks/vela_layers.csv), compiled one by one with a
flash as fast as SRAM: modelled over estimated cycles. Told, not held."""


def percent(modelled: float, estimated: float) -> str:
    return f"{100 * (modelled / estimated - 1):+.1f} %"


def network_section(found: Mapping[str, Mapping[str, tuple[float, float]]]) -> Iterator[str]:
    yield from ("## Networks", "", NETWORKS, "")
    yield "| accelerator | network | modelled | estimated | off | off with a scale |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for machine, rows in found.items():
        scale = scale_of(rows)
        for name, (modelled, estimated) in rows.items():
            figures = f"{modelled:,.0f} | {estimated:,.0f} | {percent(modelled, estimated)}"
            scaled = f"{percent(scale * modelled, estimated)} at {scale:.2f}"
            yield f"| {machine} | {name} | {figures} | {scaled} |"


def layer_section() -> Iterator[str]:
    yield from ("", "## Layers", "", SINGLE, "")
    yield "| accelerator | kind | layers | median | least | most | within 25 % |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for (name, kind), ratios in sorted(layer_ratios().items()):
        near = sum(abs(ratio - 1) <= EACH for ratio in ratios)
        spread = f"{median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f}"
        yield f"| {name} | {kind} | {len(ratios)} | {spread} | {near} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write a page of Markdown")
    target = parser.parse_args().write
    if not (references() / "vela_cycles.csv").is_file():
        print(f"skipped: {references()}/vela_cycles.csv is absent; set EAPC_DATA to its folder")
        return 0
    held, more = networks(references() / "vela_cycles.csv"), networks(MORE)
    every = {name: {**held.get(name, {}), **more[name]} for name in sorted(more)}
    text = "\n".join([INTRODUCTION, *network_section(every), *layer_section(), ""])
    if target:
        target.write_text(text, encoding="utf-8")
    else:
        print(text)
    figures = [row for rows in held.values() for row in rows.items()]
    missed = [name for name, (own, other) in figures if abs(own / other - 1) > EACH]
    for name in missed:
        print(f"outside: {name}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
