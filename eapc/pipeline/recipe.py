"""How layers are pruned, whatever the goal: the passes, and the options a goal does not set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eapc.errors import UsageError
from eapc.pipeline.passes import SEPARATOR, Pass, Pipeline
from eapc.pipeline.registry import load_passes
from eapc.registry import CRITERIA
from eapc.structured import DEFAULT_CRITERION

_UNTYPABLE = re.compile(rf"[,{{}}{re.escape(SEPARATOR)}\s]")
"""What a pipeline's text has other uses for: in a name, a glob's ? stands for it."""


OBJECTIVES = ("energy", "latency")

_OF_ZEROS: dict[str, Any] = {
    "method": "admm",
    "thorough": False,
    "pattern": "unstructured",
    "order": "shared",
}
"""Options that mean nothing where channels alone go, and their defaults."""


@dataclass(frozen=True)
class Recipe:
    """What the pipelines of every goal have in common; `passes` is the table of passes.

    `method` and `thorough` say how each layer is pruned, `pattern` which weights survive
    together, `include` and `exclude` name layers, `order` shares out an energy budget.
    With `structured` whole channels go, chosen by `criterion`; with `zeros` as well, weights of
    what is left are zeroed then. `objective` says what a budget is one of: energy, latency, or,
    left empty, whichever the machine tells.
    """

    passes: Mapping[str, type[Pass]] = field(default_factory=load_passes)
    method: str = _OF_ZEROS["method"]
    thorough: bool = _OF_ZEROS["thorough"]
    pattern: str = _OF_ZEROS["pattern"]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    order: str = _OF_ZEROS["order"]
    structured: bool = False
    zeros: bool = False
    criterion: str = DEFAULT_CRITERION
    objective: str = ""

    def __post_init__(self) -> None:
        if self.zeros and not self.structured:
            raise UsageError("--zeros come on top of channels: give --structured as well")
        if self.criterion != DEFAULT_CRITERION and not self.structured:
            raise UsageError("--criterion chooses channels: give --structured as well")
        CRITERIA.require(self.criterion)
        if self.objective and self.objective not in OBJECTIVES:
            raise UsageError(
                f"unknown objective '{self.objective}'; choose from {', '.join(OBJECTIVES)}"
            )
        if self.objective == "latency" and (self.zeros or not self.structured):
            raise UsageError(
                "zeros save no time on stock runtimes: latency takes --structured without --zeros"
            )
        if self.structured and not self.zeros:
            self._require_no_options_of_zeros()

    def pipeline(self, prune: str, held_out: float | None = None) -> Pipeline:
        """The pipeline that prunes with these options, such as `energy=0.7`, to the recipe.

        The options are those of prune-weights, or of prune-channels where the recipe is
        structured. With `held_out` that fraction of the inputs takes no part in it. Raises
        UsageError where options do not go together.
        """
        if self.zeros:
            return self.pipeline_of_both(prune, "energy=1.0", held_out)
        steps = self._channels(prune) if self.structured else self._weights(prune)
        return self._parsed(["annotate-energy", *steps], held_out)

    def evenly(self, fraction: float) -> str:
        """The option that takes the same fraction everywhere: of weights or of channels."""
        if self.zeros:
            raise UsageError("--sparsity is one number: with channels and zeros there are two")
        return f"{'fraction' if self.structured else 'sparsity'}={fraction}"

    def pipeline_of_both(
        self, channels: str, weights: str, held_out: float | None = None, *, sharing: bool = True
    ) -> Pipeline:
        """The pipeline that takes out channels and zeroes weights of what is left.

        If `sharing`, channels leave zeros a share of their budget.
        """
        first = self if sharing else self.removing()
        steps = ["annotate-energy", *first._channels(channels), *self._weights(weights)]
        return self._parsed(steps, held_out)

    def channels(self, prune: str) -> Pipeline:
        """The steps that take out channels, of the annotated network."""
        return self._parsed(self._channels(prune), None)

    def budget(self, ratio: float, late: float = 0.0) -> str:
        """The options that keep a fraction of the objective: `energy=0.7`.

        With `late`, a fraction as well, the last layers get so much more than their share.
        """
        return f"{self.objective or OBJECTIVES[0]}={ratio!r}" + (f", late={late!r}" if late else "")

    def removing(self) -> Recipe:
        """The same without zeros: channels alone go."""
        return replace(self, zeros=False, **_OF_ZEROS)

    def zeroing(self) -> Recipe:
        """The same without channels."""
        return replace(self, structured=False, zeros=False, criterion=DEFAULT_CRITERION)

    def _require_no_options_of_zeros(self) -> None:
        for name, default in _OF_ZEROS.items():
            if getattr(self, name) != default:
                raise UsageError(
                    f"--{name} is one of zeros: give --zeros as well, or no --structured"
                )

    def _parsed(self, steps: Sequence[str], held_out: float | None) -> Pipeline:
        kept_out = [] if held_out is None else [f"hold-out-inputs{{fraction={held_out}}}"]
        return Pipeline.parse(", ".join([*kept_out, *steps]), self.passes)

    def _weights(self, prune: str) -> list[str]:
        options = self._typed("pattern", "include", "exclude", "order")
        fitting = self._typed("method", "thorough", "pattern")
        return [
            f"prune-weights{{{', '.join([prune, *options])}}}",
            f"reconstruct-outputs{{{', '.join(fitting)}}}",
            "annotate-energy",
        ]

    def _channels(self, prune: str) -> list[str]:
        options = self._typed("criterion", "include", "exclude") + ["zeros=true"] * self.zeros
        return [
            f"prune-channels{{{', '.join([prune, *options])}}}",
            "reconstruct-outputs{keep_mask=true}",
            "shrink-channels",
            "annotate-energy",
        ]

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
