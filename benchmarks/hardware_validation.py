#!/usr/bin/env python3
"""The `validation` of the shipped hardware files, from the rows that they were held against.

    python benchmarks/hardware_validation.py

Prints the lines of each file. Exits with 1 if a file has others. Reads references/ and the
networks of MLPerf Tiny under $EAPC_DATA (default: `shared` beside the project).
"""

from __future__ import annotations

import sys

import accelerator_validation
import board_validation
import boards
import yaml
from held_against import Against
from published_figures import references

from eapc.hardware import Validation, load_hardware, shipped_hardware


def found() -> Against:
    """By machine."""
    measured = board_validation.validations(boards.rows())
    everything = {**accelerator_validation.validations(), **measured}
    return {
        name: validation.model_copy(update={"figures": load_hardware(name).figures})
        for name, validation in everything.items()
    }


def yaml_of(validation: Validation) -> str:
    """The lines of a hardware file."""
    document = {"validation": validation.model_dump(exclude_none=True)}
    return yaml.safe_dump(document, sort_keys=False, width=100).rstrip()


def main() -> int:
    if not references().is_dir():
        print(f"skipped: {references()} is absent; set EAPC_DATA to the folder of references/")
        return 0
    known = found()
    for name, validation in known.items():
        print(f"# hwmodels/{name}.yaml\n{yaml_of(validation)}\n")
    stale = [n for n in shipped_hardware() if load_hardware(n).validation != known.get(n)]
    for name in stale:
        print(f"hwmodels/{name}.yaml: `validation` is another", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
