"""How layers are pruned, whatever the goal: the passes, and the options a goal does not set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eapc.pipeline import SEPARATOR, Pass, Pipeline
from eapc.registry import load_passes

_UNTYPABLE = re.compile(rf"[,{{}}{re.escape(SEPARATOR)}\s]")
"""What a pipeline's text has other uses for: in a name, a glob's ? stands for it."""


@dataclass(frozen=True)
class Recipe:
    """What the pipelines of every goal have in common; `passes` is the table of passes.

    `method` and `thorough` say how each layer is pruned, `pattern` which weights survive
    together, `include` and `exclude` name layers, `order` shares out an energy budget.
    """

    passes: Mapping[str, type[Pass]] = field(default_factory=load_passes)
    method: str = "admm"
    thorough: bool = False
    pattern: str = "unstructured"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    order: str = "shared"

    def pipeline(self, prune: str, held_out: float | None = None) -> Pipeline:
        """The pipeline that prunes with these options of prune-weights, such as `energy=0.7`.

        With `held_out` that fraction of the inputs takes no part in it. Raises UsageError
        where options do not go together.
        """
        options = self._typed("pattern", "include", "exclude", "order")
        fitting = self._typed("method", "thorough", "pattern")
        text = (
            f"annotate-energy, prune-weights{{{', '.join([prune, *options])}}}, "
            f"reconstruct-outputs{{{', '.join(fitting)}}}, annotate-energy"
        )
        if held_out is not None:
            text = f"hold-out-inputs{{fraction={held_out}}}, {text}"
        return Pipeline.parse(text, self.passes)

    def _typed(self, *names: str) -> list[str]:
        """These options as a pipeline's text has them."""
        return [f"{name}={_text(getattr(self, name))}" for name in names]

    def annotation(self) -> Pipeline:
        """The pipeline that only estimates energy."""
        return Pipeline.parse("annotate-energy", self.passes)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return SEPARATOR.join(_UNTYPABLE.sub("?", name) for name in value)
    return str(value)
