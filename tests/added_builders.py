"""A small network, and the command line on it, for things that are added from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import Array, make_model, normal, op

from eapc.cli import main
from eapc.model import Model

WEIGHTS = {"v": normal((6, 4)), "w": normal((4, 3), seed=1)}


class Network:
    """6 inputs, 4 channels, Relu, 3 outputs, in a file; and `eapc` on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.path, self.data = folder / "net.onnx", folder / "data.npz"
        nodes = [
            op("Gemm", "x v", "a", name="first"),
            op("Relu", "a", "b", name="relu"),
            op("Gemm", "b w", "y", name="second"),
        ]
        onnx.save(make_model(nodes, {"x": ("N", 6)}, ["y"], WEIGHTS), self.path)
        np.savez(self.data, x=np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32))

    def eapc(self, *arguments: object, code: int = 0) -> str:
        """What a command says: to stdout, or to stderr if it has to fail."""
        assert main([*map(str, arguments)]) == code, self._capsys.readouterr().err
        said = self._capsys.readouterr()
        return said.err if code else said.out

    def document(self, command: str, *arguments: object) -> Any:
        """The JSON that a command on the network prints."""
        return json.loads(self.eapc(command, self.path, *arguments, "--threads", 1, "--json"))

    def changed(self, command: str, *arguments: object) -> dict[str, Array]:
        """The weights after a command that writes a model."""
        written, inputs = self.folder / "out.onnx", ("--calib", self.data)
        self.document(command, *inputs, *arguments, "-o", written, "--force")
        model = Model.load(written)
        return {name: model.constants[name] for name in WEIGHTS}


MACHINE = """\
schema: eapc.hardware/1
name: mine
description: A machine of one's own
objective: energy
word_bits: 32
clock_mhz: 1
mac_energy_mac_units: 1
operation_energy_mac_units: 3
instruction_energy_mac_units: 5
ofmap_dram_accesses_per_word: 1
memories:
  dram: {{energy_mac_units_per_word: 100}}
  {inner}: {{energy_mac_units_per_word: 2, size_bytes: 4096}}
machine:
{machine}
zeros: {{skip_mac: either, skip_register_file: [weights, ifmap, ofmap]}}
compression:
  weights: {{code: none}}
  ifmap: {{code: none}}
  ofmap: {{code: none}}
"""
"""A hardware file but for the name of its inner memory and what `machine` holds."""
