"""annotate-energy: estimate every node's energy and write it on the node."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from eapc.energy import node_annotations
from eapc.pipeline import Compilation, Pass, estimate_energy


@dataclass(frozen=True)
class AnnotateEnergy(Pass):
    """Estimate the energy of every node on the machine and annotate the nodes with it."""

    name: ClassVar[str] = "annotate-energy"

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with an energy report and annotated nodes."""
        report = estimate_energy(compilation)
        model = compilation.model.with_annotations(node_annotations(report))
        return replace(compilation, model=model, energy=report)
