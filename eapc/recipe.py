"""How layers are pruned, whatever the goal: the passes, and the options a goal does not set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eapc.pipeline import Pass, Pipeline


@dataclass(frozen=True)
class Recipe:
    """What the pipelines of every goal have in common; `passes` is the table of passes."""

    passes: Mapping[str, type[Pass]]

    def pipeline(self, prune: str, held_out: float | None = None) -> Pipeline:
        """The pipeline that prunes with these options of prune-weights, such as `energy=0.7`.

        With `held_out` that fraction of the inputs takes no part in it.
        """
        text = f"annotate-energy, prune-weights{{{prune}}}, reconstruct-outputs, annotate-energy"
        if held_out is not None:
            text = f"hold-out-inputs{{fraction={held_out}}}, {text}"
        return Pipeline.parse(text, self.passes)

    def annotation(self) -> Pipeline:
        """The pipeline that only estimates energy."""
        return Pipeline.parse("annotate-energy", self.passes)
